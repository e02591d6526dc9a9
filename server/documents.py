"""The documents that REST reads and edits: which library lies on which desk, up to which seq, within a bound of bytes.

Small libraries lie in this process. Larger ones lie in document processes, each library always in the same one; they take milliseconds to
read and tens of them to open, and whatever breaks Yrs breaks only that process. The sync path has no use for any of this.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar, cast
from uuid import UUID

import structlog

from crdt.errors import DocumentBroken, InvalidUpdate
from crdt.updates import Inspected
from crdt.view import View
from server import desk
from server.desk import Desk, Done, Opening, Order
from server.document_process import DocumentProcess
from server.errors import DocumentTooLarge, TryLater, WorkerDied
from server.rooms import Room
from server.shelf import CURSOR_UPDATES, Shelf
from storage.errors import NotFound, StorageError, Unavailable

log = structlog.get_logger(__name__)

T = TypeVar("T")

INLINE_BYTES = 64 << 10
"""A library of up to so many bytes (merged) may lie in this process: opening it takes about a millisecond, and Yrs bears whatever fits
into it (types inside one another, which it deletes and reads by recursion, end the process somewhere past 120,000 bytes of them)."""
INLINE_GROWN_BYTES = INLINE_BYTES * 3 // 2
"""Up to so many bytes it may grow by what comes in; past it, it is opened anew where it belongs."""
DOCUMENT_BYTES = 64 << 20
"""Past this a library is not made into a document, which takes about ten times as much memory: REST answers 413; devices sync as ever."""
CALL_SECONDS = 20.0
"""How long one call may take in a document process before the process is ended: 413."""


class Ran(NamedTuple, Generic[T]):
    """What a call answered, what it changed (00 00: nothing) and holds, and the room's head that the document was at, at least."""

    answer: T
    update: bytes
    inspected: Inspected
    head: int


@dataclass(slots=True)
class _Lying:
    """A library that lies on a desk."""

    place: "_Place"
    epoch: int
    client_id: int
    head: int
    size: int
    """Bytes that it was opened with and that came in since."""
    nbytes: int = 0


class _Place:
    """A desk, as seen from here: of this process, or of a document process. One order at a time, so that it is plain who broke it."""

    def __init__(self, process: DocumentProcess | None) -> None:
        self.process = process
        self.useless: list[UUID] = []
        """What lies there and is not wanted any more: put away with the next order."""
        self._own = Desk()
        self._turn = asyncio.Lock()

    async def do(self, order: Order) -> Done:
        """See `Desk.do`. Carried out to the end, whoever stops waiting for it."""
        if self.process is None:
            self._own.clear(self._cleared())
            return self._own.do(order)
        done = await asyncio.shield(self._do(self.process, order))
        assert done is not None  # noqa: S101  # the answer to an order
        return done

    async def clear(self) -> None:
        """Put away what is not wanted any more, now."""
        if self.process is None:
            self._own.clear(self._cleared())
        else:
            await asyncio.shield(self._do(self.process, None))

    async def _do(self, process: DocumentProcess, order: Order | None) -> Done | None:
        async with self._turn:
            return await process.do(self._cleared(), order, seconds=CALL_SECONDS)

    def _cleared(self) -> list[UUID]:
        useless, self.useless = self.useless, []
        return useless


class Documents:
    """The documents of one serving process."""

    def __init__(self, shelf: Shelf, *, processes: int, cache_bytes: int) -> None:
        self._shelf = shelf
        self._cache_bytes = cache_bytes
        self._here = _Place(None)
        self._away = [_Place(DocumentProcess()) for _ in range(processes)]
        self._lying: OrderedDict[UUID, _Lying] = OrderedDict()  # least recently used first
        self._nbytes = 0
        self._turns: dict[UUID, tuple[asyncio.Lock, int]] = {}
        self._starting: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def turn(self, library_id: UUID) -> AsyncIterator[None]:
        """One's turn at the library: nobody else reads or edits its document here meanwhile."""
        turn, waiting = self._turns.get(library_id) or (asyncio.Lock(), 0)
        self._turns[library_id] = turn, waiting + 1
        try:
            async with turn:
                yield
        finally:
            turn, waiting = self._turns.pop(library_id)
            if waiting > 1:
                self._turns[library_id] = turn, waiting - 1

    async def run(self, room: Room, call: Callable[[View], T]) -> Ran[T]:
        """Call a function, which may run in another process (pickled), on the library as it is at the room's head or later.

        It is one's turn. What the call changes is in the document only: it is to be stored, and forgotten where that fails.

        Raises:
            what the call raises, having changed nothing for good.
            TryLater: the document cannot be made at the moment.
            DocumentTooLarge, WorkerDied: it takes more than a document may.
            as `Shelf.content`.
        """
        lying, order = await self._order(room, call)
        self._pop(room.library_id)  # until it is done, nobody knows what lies there
        try:
            done = await lying.place.do(order)
        except desk.NotThere:
            return await self.run(room, call)  # it is opened this time
        except WorkerDied:
            self._bury(lying.place)
            self._broken(room)
            raise
        except DocumentBroken as error:
            self._broken(room)
            raise TryLater from error
        except BaseException:  # cancelled, or a call that cannot be sent to another process
            lying.place.useless.append(room.library_id)
            raise
        if done.kept:
            lying.nbytes = done.nbytes
            self._lying[room.library_id] = lying
            self._nbytes += lying.nbytes
            await self._keep_bound()
        if done.error is not None:
            raise done.error
        return Ran(cast(T, done.answer), done.update, done.inspected, lying.head)

    def forget(self, library_id: UUID) -> None:
        """Keep nothing of this library: its document holds what is not stored."""
        if (lying := self._pop(library_id)) is not None:
            lying.place.useless.append(library_id)

    def __len__(self) -> int:
        return len(self._lying)

    @property
    def nbytes(self) -> int:
        """About what the open documents take of memory, in bytes."""
        return self._nbytes

    def start(self) -> None:
        """Let the document processes start, before somebody waits for one."""
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())

    async def _start(self) -> None:
        for place in self._away:
            with suppress(WorkerDied):  # whoever needs it hears of it
                await place.clear()

    def close(self) -> None:
        """End the document processes."""
        if self._starting is not None:
            self._starting.cancel()
        for place in self._away:
            if place.process is not None:
                place.process.close()

    async def _order(self, room: Room, call: Callable[[View], T]) -> tuple[_Lying, Order]:
        """How the library gets to where the room is: by what came since, or opened anew."""
        lying = self._lying.get(room.library_id)
        if lying is not None and self._is_usable(lying, room):
            head = room.head
            since = await self._shelf.updates_after(room, lying.head) if head > lying.head else []
            size = lying.size + sum(map(len, since or ()))
            if since is not None and (lying.place is not self._here or size <= INLINE_GROWN_BYTES):
                moved = _Lying(lying.place, lying.epoch, lying.client_id, head, size)
                return moved, Order(room.library_id, None, since, call)
            self.forget(room.library_id)
        client_id = room.server_client_id
        try:
            head, content = await self._shelf.content_at(room)
        except (NotFound, Unavailable):
            raise
        except (StorageError, InvalidUpdate) as error:
            log.error("document_not_read", library=str(room.library_id), error=type(error).__name__)
            raise TryLater from error
        if len(content) > DOCUMENT_BYTES:
            raise DocumentTooLarge
        place = self._here if len(content) <= INLINE_BYTES else self._away[room.library_id.int % len(self._away)]
        opened = _Lying(place, room.epoch, client_id, head, len(content))
        return opened, Order(room.library_id, Opening(client_id, content), (), call)

    def _is_usable(self, lying: _Lying, room: Room) -> bool:
        is_same = (lying.epoch, lying.client_id) == (room.epoch, room.server_client_id)
        return is_same and room.head - CURSOR_UPDATES <= lying.head <= room.head

    async def _keep_bound(self) -> None:
        """Put away what was used longest ago while there is too much; not what somebody waits for."""
        cleared: dict[_Place, None] = {}
        for oldest, lying in tuple(self._lying.items()) if self._nbytes > self._cache_bytes else ():
            if self._nbytes <= self._cache_bytes:
                break
            if oldest not in self._turns:
                self.forget(oldest)
                cleared[lying.place] = None
        for place in cleared:
            with suppress(WorkerDied):
                await place.clear()

    def _pop(self, library_id: UUID) -> _Lying | None:
        lying = self._lying.pop(library_id, None)
        if lying is not None:
            self._nbytes -= lying.nbytes
        return lying

    def _bury(self, place: _Place) -> None:
        place.useless.clear()
        for library_id in [library_id for library_id, lying in self._lying.items() if lying.place is place]:
            self._pop(library_id)

    def _broken(self, room: Room) -> None:
        log.warning("document_broken", library=str(room.library_id))
        self._shelf.on_broken(room.library_id)
