"""REST's way into a library: reading its document, and editing it through the devices' write path.

An edit is built on the document as it is here, and stored as the library's server client only if no other server has written as that
client meanwhile: what devices have stored does not matter, it merges. Where others were faster, or where the edit depends on all there is,
it is built again, and in the end under the library's row lock.
"""

import asyncio
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar
from uuid import UUID

import structlog

from auth.errors import Forbidden
from auth.permissions import may_write
from crdt.updates import EMPTY_UPDATE
from crdt.view import View
from server.awaited import REFUSALS, Awaited, NotStored
from server.batch import Basis, Entry, Refusal
from server.documents import DOCUMENT_BYTES, GROWN_BYTES, SMALL_BYTES, Documents, Ran
from server.errors import DocumentTooLarge, TryLater
from server.rooms import Room
from server.services import Services
from server.shelf import NOTHING
from server.sockets import Hall
from storage import libraries
from storage.errors import NotFound
from storage.libraries import Library, draw_client_id

log = structlog.get_logger(__name__)

T = TypeVar("T")

BUILT_BEFORE_THE_LOCK = 3
"""How often an edit is built without a lock; then under it."""
ATTEMPTS = 6
"""How often an edit is tried over all; a room that is dropped again and again ends there: 503."""
BUILD_SECONDS = 2.0
"""How long an edit may take to be built under the row lock, where the library's other writers wait: 503."""


class Edited(NamedTuple, Generic[T]):
    """What an edit answered, and the seq at which all of it is committed."""

    answer: T
    seq: int


class Editor:
    """Reads and edits the libraries of this process."""

    def __init__(self, services: Services, hall: Hall, documents: Documents) -> None:
        self._services = services
        self._hall = hall
        self._documents = documents

    async def read(self, library: Library, question: Callable[[View], T], *, away: bool = False) -> T:
        """What a function answers on the library as it was when `library` was asked for, or later. It must not change anything.

        It may run in another process, so it is a function of a module, or a partial of one. `away` has it done in a document process in any
        case: it takes long.

        Raises:
            what the question raises; as `Documents.run` and `Hall.room_of`.
        """
        self._documents.start()
        async with self._documents.turn(library.id):
            return (await self._documents.run(await self._hall.room_of(library), question, away=away)).answer

    async def edit(
        self, library: Library, change: Callable[[View], T], *, session_id: UUID, on_all: bool = False, away: bool = False
    ) -> Edited[T]:
        """Let a function change the library, and answer once that is committed and on its way to the devices.

        It may be called several times, each time on a document that has nothing of the time before. `on_all` says that it decides on the
        library as it is (a precondition): then nothing at all is stored between what it has seen and what it writes.
        `away` has it done in a document process in any case: it takes long.

        Raises:
            Forbidden: the member may not write.
            what the change raises, nothing being stored then.
            TryLater, and what `Documents.run` and `Hall.room_of` raise.
        """
        if not may_write(library.role):
            raise Forbidden
        self._documents.start()
        for attempt in range(ATTEMPTS):
            async with self._documents.turn(library.id):
                trial = _Trial(self._services, self._hall, self._documents, await self._hall.room_of(library), session_id, on_all, away)
                try:
                    return await (trial.build_and_store(change) if attempt < BUILT_BEFORE_THE_LOCK else trial.store_while_locked(change))
                except NotStored as refused:
                    if refused.refusal not in (Refusal.OUTDATED, Refusal.STALE):
                        raise REFUSALS[refused.refusal] from refused
        log.warning("edit_outdated", library=str(library.id))
        raise TryLater


class _UsedUp(NotStored):
    """Its client id has to be renewed: what the document writes does not follow what the library holds of it."""


class _Trial:
    """One attempt to edit, while it is one's turn at the document."""

    def __init__(
        self, services: Services, hall: Hall, documents: Documents, room: Room, session_id: UUID, on_all: bool, away: bool
    ) -> None:
        self._services = services
        self._hall = hall
        self._documents = documents
        self._room = room
        self._session_id = session_id
        self._on_all = on_all
        self._away = away

    async def build_and_store(self, change: Callable[[View], T]) -> Edited[T]:
        """Build the edit on the document as it is here. Raises NotStored with OUTDATED where it was not stored for what others have."""
        room = self._room
        is_stored = False
        try:
            self._check_client()
            ran = await self._documents.run(room, change, away=self._away)
            basis = self._basis(ran)
            if ran.update == EMPTY_UPDATE:
                is_stored = True
                return Edited(ran.answer, room.head)
            awaited = Awaited()
            outcome = await awaited.submit(
                self._hall.writer, Entry(room, ran.update, ran.inspected, self._session_id, may_write=True, origin=awaited, basis=basis)
            )
            is_stored = True
            return Edited(ran.answer, outcome.seq)
        except _UsedUp:
            await self._renew_client_id()
            raise
        finally:
            if not is_stored:
                self._documents.forget(room.library_id)

    async def store_while_locked(self, change: Callable[[View], T]) -> Edited[T]:
        """Have the writer build it while nobody else can write the library."""
        room, awaited = self._room, Awaited()
        built: list[Ran[T]] = []
        failures: list[Exception] = []

        async def build(entry: Entry) -> None:
            if awaited.outcome.cancelled():  # nobody has the turn any more
                return
            if built or failures:  # the transaction is tried again: the document has what the last one built
                self._documents.forget(room.library_id)
            built.clear()
            failures.clear()
            try:
                self._check_client()
                async with asyncio.timeout(BUILD_SECONDS):
                    ran = await self._documents.run(room, change, away=self._away)
                basis = self._basis(ran) if ran.update != EMPTY_UPDATE else None
            except Exception as error:
                failures.append(TryLater() if isinstance(error, TimeoutError) else error)
                entry.update, entry.inspected, entry.basis = EMPTY_UPDATE, NOTHING, None
            else:
                built.append(ran)
                entry.update, entry.inspected, entry.basis = ran.update, ran.inspected, basis

        is_stored = False
        try:
            self._check_client()
            await self._documents.run(room, _nothing, away=self._away)  # opened and brought up to date before anybody waits for it
            outcome = await awaited.submit(
                self._hall.writer, Entry(room, EMPTY_UPDATE, NOTHING, self._session_id, may_write=True, origin=awaited, build=build)
            )
            if failures:
                raise failures[0]
            is_stored = True
            return Edited(built[0].answer, outcome.seq)
        except _UsedUp:
            await self._renew_client_id()  # not while the row is locked: it would wait for itself
            raise
        finally:
            if not is_stored:
                self._documents.forget(room.library_id)

    def _check_client(self) -> None:
        """Make sure that the server's client has no hole: past one a document says that it changes nothing. Raises _UsedUp."""
        room = self._room
        spans = room.knowledge.held.spans_of(room.server_client_id) or (0, 0)
        if len(spans) > 2 or spans[0] or room.quarantined.held.spans_of(room.server_client_id):
            raise _UsedUp(Refusal.OUTDATED)

    def _basis(self, ran: Ran[T]) -> Basis:
        """What the edit was built on. Raises _UsedUp; NotStored where the document has what the room does not know of yet."""
        room = self._room
        self._check_client()
        if ran.head > room.head:
            raise NotStored(Refusal.OUTDATED)
        if len(ran.update) > SMALL_BYTES and (ran.size > GROWN_BYTES or ran.size + len(ran.update) > DOCUMENT_BYTES):
            raise DocumentTooLarge
        client_id, held = room.server_client_id, ran.inspected.held
        clock = held[1] if held else None
        if clock is not None and room.head == ran.head and clock != (room.knowledge.held.spans_of(client_id) or (0,))[-1]:
            raise _UsedUp(Refusal.OUTDATED)
        return Basis(client_id, clock, ran.head if self._on_all else None)

    async def _renew_client_id(self) -> None:
        """Somebody else has written as this library's server client, or what it has written waits for something that cannot come."""
        room = self._room
        log.warning("server_client_id_renewed", library=str(room.library_id))
        async with self._services.database.acquire() as connection:
            new = draw_client_id(self._services.random)
            found = await libraries.renew_client_id(connection, room.library_id, room.server_client_id, new)
        if found is None:
            raise NotFound
        room.server_client_id = found


def _nothing(view: View) -> None:
    """Change nothing."""
