"""The documents that REST reads and edits: which library lies on which desk, up to which seq, within a bound of bytes.

Small libraries lie in this process. Larger ones lie in document processes, each library always in the same one; they take milliseconds to
read and tens of them to open, and whatever breaks Yrs breaks only that process. The sync path has no use for any of this.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar, cast
from uuid import UUID
from weakref import WeakKeyDictionary

import structlog

from crdt.errors import DocumentBroken, InvalidUpdate
from crdt.updates import EMPTY_STATE_VECTOR, Inspected, encode_state_vector, weigh
from crdt.view import View
from server import desk, metrics
from server.desk import Desk, Done, Opening, Order
from server.document_process import DocumentProcess
from server.errors import DocumentTooLarge, TookTooLong, TryLater, WorkerDied
from server.rooms import Room
from server.shelf import CURSOR_UPDATES, Shelf
from storage.errors import NotFound, StorageError, Unavailable

log = structlog.get_logger(__name__)

T = TypeVar("T")

INLINE_BYTES = 64 << 10
"""A library of up to so many bytes (merged) may lie in this process: opening it takes about a millisecond, and Yrs bears whatever fits
into it (types inside one another, which it deletes and reads by recursion, end the process somewhere past 120,000 bytes of them)."""
INLINE_WEIGHT = 512 << 10
"""What such a library may weigh in Yrs' memory (`crdt.updates.weigh`): a few hundred types. Thousands of them inside one another would hold
everybody here up for seconds, since telling what changed in them takes as the square of their depth."""
INLINE_GROWN_BYTES = INLINE_BYTES * 3 // 2
"""Up to so many bytes it may grow by what comes in; past it, it is opened anew where it belongs."""
DOCUMENT_BYTES = 64 << 20
"""Past this a library is not made into a document, which takes about ten times as much memory: REST answers 413; devices sync as ever."""
GROWN_BYTES, SMALL_BYTES = 48 << 20, 64 << 10
"""Past the first, an edit over REST may write no more than the second: what frees space, and single edits, still go. Past it: 413; likewise
where an edit would make the library one that is not made into a document any more."""
CALL_SECONDS = 10.0
"""How long one call may take in a document process before the process is ended: 413."""
START_SECONDS = 60.0
"""How long a document process may take to start: on a busy machine longer than any call, and no call is to blame for it."""
BROKEN_SECONDS = 2.0
"""So long a library that has broken its document is not tried again, unless it was opened anew, since something was set apart: 503. Each
attempt may end a process in which others' libraries lie."""


class Ran(NamedTuple, Generic[T]):
    """What a call answered, what it changed (00 00: nothing) and holds, and the room's head that the document was at, at least."""

    answer: T
    update: bytes
    inspected: Inspected
    head: int
    size: int
    """Bytes of the library before."""


@dataclass(slots=True)
class _Lying:
    """A library that lies on a desk."""

    place: "_Place"
    epoch: int
    client_id: int
    head: int
    size: int
    """Bytes that it was opened with and that came in since."""
    weight: int
    """Of the same; counted where it lies in this process."""
    gapless: bool
    """Whether nothing in it waits for changes between; else it takes none in: Yrs tells the view nothing of what lies beyond a gap."""
    nbytes: int = 0


class _Place:
    """A desk, as seen from here: of this process, or of a document process. One order at a time, so that it is plain who broke it."""

    def __init__(self, process: DocumentProcess | None) -> None:
        self.process = process
        self.useless: list[UUID] = []
        """What lies there and is not wanted any more: put away with the next order."""
        self.suspect: UUID | None = None
        """The library whose order ended the process the last time."""
        self.on_death: Callable[[_Place], None] = lambda place: None
        """Told when the process has ended, and all that lay there with it."""
        self._own = Desk()
        self._turn = asyncio.Lock()
        self._has_started = False

    async def do(self, order: Order) -> Done:
        """See `Desk.do`. Once begun it is carried out to the end, whoever stops waiting for it."""
        if self.process is None:
            self._own.clear(self._cleared())
            return self._own.do(order)
        done = await self._begin(self.process, order)
        assert done is not None  # noqa: S101  # the answer to an order
        return done

    async def clear(self) -> None:
        """Put away what is not wanted any more, now."""
        if self.process is None:
            self._own.clear(self._cleared())
        else:
            await self._begin(self.process, None)

    async def _begin(self, process: DocumentProcess, order: Order | None) -> Done | None:
        await self._turn.acquire()  # who stops waiting here has asked for nothing
        return await asyncio.shield(asyncio.create_task(self._do(process, order)))

    async def _do(self, process: DocumentProcess, order: Order | None) -> Done | None:
        try:
            if not self._has_started:
                await process.do((), None, seconds=START_SECONDS)
                self._has_started = True
            return await process.do(self._cleared(), order, seconds=CALL_SECONDS)
        except WorkerDied:
            self._has_started = False
            self.useless.clear()
            metrics.document_processes_ended.inc()
            self.on_death(self)
            raise
        finally:
            self._turn.release()

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
        self._is_closed = False
        self._resting: WeakKeyDictionary[Room, float] = WeakKeyDictionary()  # rooms of libraries that are broken, and until when
        self._clearing: dict[_Place, asyncio.Task[None]] = {}
        for place in self._away:
            place.on_death = self._bury

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

    async def run(self, room: Room, call: Callable[[View], T], *, away: bool = False) -> Ran[T]:
        """Call a function, which may run in another process (pickled), on the library as it is at the room's head or later.

        `away` has it run in a document process in any case.

        It is one's turn. What the call changes is in the document only: it is to be stored, and forgotten where that fails.

        Raises:
            what the call raises, having changed nothing for good.
            TryLater: the document cannot be made at the moment, or has broken a moment ago.
            DocumentTooLarge, WorkerDied: it takes more than a document may.
            as `Shelf.content`.
        """
        if self._resting.get(room, 0.0) > time.monotonic():
            raise TryLater
        lying, order = await self._order(room, call, away)
        self._pop(room.library_id)  # until it is done, nobody knows what lies there
        try:
            done = await lying.place.do(order)
        except desk.NotThere:
            return await self.run(room, call, away=away)  # it is opened this time
        except WorkerDied as error:
            if lying.place.suspect != room.library_id and not isinstance(error, TookTooLong):
                lying.place.suspect = room.library_id
                return await self.run(room, call, away=away)  # it may have been killed for something else
            self._broken(room)
            raise
        except DocumentBroken as error:
            self._broken(room)
            raise TryLater from error
        except BaseException:  # cancelled, or a call that cannot be sent to another process
            lying.place.useless.append(room.library_id)
            raise
        if lying.place.suspect == room.library_id:
            lying.place.suspect = None
        if done.kept:
            lying.nbytes = max(done.nbytes, lying.weight)
            self._lying[room.library_id] = lying
            self._nbytes += lying.nbytes
            self._keep_bound()
        self._count()
        if done.error is not None:
            raise done.error
        return Ran(cast(T, done.answer), done.update, done.inspected, lying.head, lying.size)

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
        if self._starting is None and not self._is_closed:
            self._starting = asyncio.create_task(self._start())

    async def _start(self) -> None:
        for place in self._away:
            with suppress(WorkerDied):  # whoever needs it hears of it
                await place.clear()

    def close(self) -> None:
        """End the document processes, for good."""
        self._is_closed = True
        for task in (self._starting, *self._clearing.values()):
            if task is not None:
                task.cancel()
        for place in self._away:
            if place.process is not None:
                place.process.close()

    async def _order(self, room: Room, call: Callable[[View], T], away: bool) -> tuple[_Lying, Order]:
        """How the library gets to where the room is: by what came since, or opened anew."""
        lying = self._lying.get(room.library_id)
        if lying is not None and self._is_usable(lying, room, away):
            if lying.head == room.head:
                return lying, Order(room.library_id, None, (), EMPTY_STATE_VECTOR, call)
            if lying.gapless and room.knowledge.gapless and (more := await self._more(room, lying)) is not None:
                moved, since, least = more
                return moved, Order(room.library_id, None, since, least, call)
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
        weight = weigh(content) if len(content) <= INLINE_BYTES and not away else 0
        is_here = 0 < weight <= INLINE_WEIGHT
        metrics.documents_opened.labels("here" if is_here else "process").inc()
        place = self._here if is_here else self._away[room.library_id.int % len(self._away)]
        opened = _Lying(place, room.epoch, client_id, head, len(content), weight, head == room.head and room.knowledge.gapless)
        return opened, Order(room.library_id, Opening(client_id, content), (), EMPTY_STATE_VECTOR, call)

    async def _more(self, room: Room, lying: _Lying) -> tuple[_Lying, Sequence[bytes], bytes] | None:
        """Where the library will lie once it has taken in what came since, that, and what it has to hold then; None: it is to be opened."""
        wanted, least = room.head, _held(room)
        since = await self._shelf.updates_after(room, lying.head)
        if since is None:
            return None
        size = lying.size + sum(map(len, since))
        if lying.place is self._here and size > INLINE_GROWN_BYTES:
            return None
        weight = lying.weight + sum(map(weigh, since)) if lying.place is self._here else 0
        if weight > INLINE_WEIGHT:
            return None
        head = lying.head + len(since)  # not the room's: the log may have told of more, of which nothing is known yet
        return _Lying(lying.place, lying.epoch, lying.client_id, head, size, weight, head == wanted), since, least

    def _is_usable(self, lying: _Lying, room: Room, away: bool) -> bool:
        if away and lying.place is self._here:
            return False
        is_same = (lying.epoch, lying.client_id) == (room.epoch, room.server_client_id)
        return is_same and room.head - CURSOR_UPDATES <= lying.head <= room.head

    def _keep_bound(self) -> None:
        """Put away what was used longest ago while there is too much; not what somebody waits for."""
        for oldest, lying in tuple(self._lying.items()) if self._nbytes > self._cache_bytes else ():
            if self._nbytes <= self._cache_bytes:
                break
            if oldest not in self._turns:
                self.forget(oldest)
                self._clear_soon(lying.place)

    def _clear_soon(self, place: _Place) -> None:
        """Put away there what is not wanted any more, by itself if no order comes: nobody waits for what others are asking there."""
        if place not in self._clearing:
            self._clearing[place] = asyncio.create_task(self._clear(place))

    async def _clear(self, place: _Place) -> None:
        try:
            with suppress(WorkerDied):
                await place.clear()
        finally:
            del self._clearing[place]

    def _count(self) -> None:
        metrics.documents.set(len(self._lying))
        metrics.document_bytes.set(self._nbytes)

    def _pop(self, library_id: UUID) -> _Lying | None:
        lying = self._lying.pop(library_id, None)
        if lying is not None:
            self._nbytes -= lying.nbytes
        return lying

    def _bury(self, place: _Place) -> None:
        for library_id in [library_id for library_id, lying in self._lying.items() if lying.place is place]:
            self._pop(library_id)

    def _broken(self, room: Room) -> None:
        log.warning("document_broken", library=str(room.library_id))
        self._resting[room] = time.monotonic() + BROKEN_SECONDS
        self._shelf.on_broken(room.library_id)


def _held(room: Room) -> bytes:
    """What a document of the room's library holds: what is set apart is kept out of it."""
    return encode_state_vector(room.knowledge.state_vector()) if room.quarantined else room.state_vector()
