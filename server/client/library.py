"""A library as an application has it: a document that is kept in step with the server, and edits that are kept until they are stored."""

import asyncio
import random
from array import array
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any
from uuid import UUID

from crdt.fold import UNLIMITED
from crdt.knowledge import Knowledge
from crdt.ranges import Ranges
from crdt.updates import EMPTY_UPDATE, Inspected, decode_state_vector, inspect
from protocol.client import ClientSession, Place
from protocol.client_events import (
    Failed,
    LibraryClosed,
    LibraryEvent,
    LibraryOpened,
    PresenceHeard,
    Received,
    Refused,
    Saved,
    StatusHeard,
)
from protocol.client_states import LibraryState
from server.client.backoff import Backoff
from server.client.bell import Bell
from server.client.document import Document
from server.client.errors import ClientError, ClosedForGood, PushRefused, QueueFull
from server.client.here import Here
from server.client.queue_file import Queue

MAX_QUEUE_BYTES = 256 << 20
"""Unsaved updates of a library; past it `push` refuses, and the application's document is the only place where the edit is."""
VIEWER = "viewer"

Listener = Callable[[LibraryEvent | Failed], None]


class Library:
    """Made by `SyncClient.open`. Belongs to the event loop of its client.

    The document is the caller's, and edited by the caller; each edit's update goes to `push`. What others edit is applied to it between two
    turns of the event loop.
    """

    def __init__(
        self, library_id: UUID, document: Document, *, session: ClientSession, queue: Queue, executor: Executor, here: Here, read_only: bool
    ) -> None:
        self.id = library_id
        self.document = document
        self.role: str | None = None
        """What this user is in it; None until the server has said it."""
        self.failure: Exception | None = None
        """Why it is not kept in step any more."""
        self.is_synced = False
        """Whether this connection has brought everything that the document lacked."""
        self.backoff = Backoff(random.random)
        self.here = here
        self.bell = Bell()
        self.wake: Callable[[], None] = lambda: None
        """Called when there may be something to send."""
        self._session = session
        self._queue = queue
        self._executor = executor
        self._refused: dict[int, Refused] = {}
        self._listeners: list[Listener] = []
        self._ended = False
        self._read_only = read_only
        self._vector = b""
        self._deleted = Ranges()  # what the server is known to know of deletions, in this epoch
        self._useless = Knowledge()  # what it has refused

    # -- what an application does --------------------------------------------------------------------------------

    async def push(self, update: bytes) -> None:
        """Keep an update that the document has, and send it as soon as that is possible. Returns once it is kept where the queue is.

        Raises InvalidUpdate, QueueFull, OSError: it is not kept, though the document has the edit; ClientError where the library is closed.
        """
        inspect(update)
        if self._ended or self._read_only:
            raise ClientError("the library was closed" if self._ended else "the library was opened to be read")
        if self._queue.nbytes + len(update) > MAX_QUEUE_BYTES:
            raise QueueFull(f"more than {MAX_QUEUE_BYTES} bytes are unsaved")
        self._enqueue(update)
        await self._run(lambda: self._queue.flush(sync=True))

    @property
    def unsaved(self) -> int:
        """How many updates the server has not acknowledged."""
        return self._session.unacknowledged(self.id)

    @property
    def refused(self) -> tuple[Refused, ...]:
        """What the server will never store: `dismiss` each when it is dealt with."""
        return tuple(self._refused.values())

    def dismiss(self, refused: Refused) -> None:
        """Forget an update that was refused."""
        if self._refused.pop(refused.number, None) is not None:
            self._queue.remove(refused.number)
            self._changed()

    async def synced(self) -> None:
        """Wait until the document has what the server has. Raises ClosedForGood, or what the document raised."""
        await self.until(lambda: self.is_synced)

    async def saved(self) -> None:
        """Wait until everything that was pushed is stored. Raises PushRefused, ClosedForGood, or what the document raised."""
        await self.until(lambda: not self.unsaved)
        if self._refused:
            raise PushRefused(self.refused)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds, looked at after everything that comes. Raises ClosedForGood, or what the document raised."""
        await self.bell.until(lambda: condition() or self.failure is not None)
        if self.failure is not None and not condition():
            raise self.failure

    def listen(self, listener: Listener) -> None:
        """Call `listener` with everything that comes, after it was dealt with. What it raises ends the client."""
        self._listeners.append(listener)

    @property
    def place(self) -> Place | None:
        """Up to where the document has everything: store it together with the document, and then say so by `keep`."""
        return self._session.place(self.id)

    async def keep(self, place: Place, vector: bytes) -> None:
        """The document, holding `vector`, with everything up to `place` survives a restart: take both before the document is stored.

        The next process then asks just for what came after. Never call it for a document that is not stored: what it lacks would
        never be sent again.
        """
        self._queue.keep(place, vector)
        self._session.keep(self.id, place)
        self.wake()
        await self._run(lambda: self._queue.flush(sync=True))

    @property
    def present(self) -> dict[int, dict[str, Any]]:
        """What everybody who is here says of themselves, by client id."""
        return dict(self.here.states)

    def say(self, state: dict[str, Any] | None) -> None:
        """Tell the others this of us, now and on every reconnect; None: that we are gone."""
        self._session.presence(self.id, self.here.say(state))
        self.wake()

    # -- what the client does ------------------------------------------------------------------------------------

    def take(self, event: LibraryEvent | Failed) -> None:
        """Deal with what has come."""
        match event:
            case LibraryOpened():
                self._opened(event)
            case Received(_, _, update, catching_up):
                self._received(update, catching_up=catching_up)
            case Saved(_, number, update):
                self._learn(update)
                self._queue.remove(number)
            case Refused():
                self._refused[event.number] = event
                self._useless.learn(inspect(event.update, limits=UNLIMITED))
            case LibraryClosed(_, code, reason):
                self.lost()
                if event.permanent:
                    self.failure = ClosedForGood(code, reason, self.id)
            case PresenceHeard(_, entries):
                self.here.hear(entries)
            case StatusHeard(ask=True):
                self._offer(event.vector, deletions=True, told=Ranges())
                self._session.answer(self.id)
        for listener in self._listeners:
            listener(event)
        self._changed()

    def lost(self) -> None:
        """There is no channel any more."""
        self.is_synced = False
        self.here.clear()

    def fail(self, error: Exception) -> None:
        """It is not kept in step any more."""
        self.failure = self.failure or error
        self.lost()
        self._changed()

    def renew(self) -> None:
        """Say again what we have said of us."""
        if self._session.state_of(self.id) is LibraryState.SYNCED and (entries := self.here.renewed()) is not None:
            self._session.presence(self.id, entries)

    @property
    def dirty(self) -> bool:
        """Whether the file of the queue is behind."""
        return self._queue.dirty

    async def write_down(self) -> None:
        """Bring the file of the queue up to date, without waiting for the disk."""
        if self._queue.dirty:
            await self._run(lambda: self._queue.flush(sync=False))

    async def end(self) -> None:
        """Let go of the queue."""
        self._ended = True
        await self._run(self._queue.close)

    def _run(self, work: Callable[[], None]) -> Awaitable[None]:
        return asyncio.get_running_loop().run_in_executor(self._executor, work)

    def _changed(self) -> None:
        self.bell.ring()
        self.wake()

    def _enqueue(self, update: bytes) -> None:
        self._session.push(self.id, self._queue.add(update), update)
        self._changed()

    def _opened(self, event: LibraryOpened) -> None:
        self.role, self._vector = event.role, event.vector
        if event.anew:
            self._deleted = Ranges()
        self._offer(event.vector, deletions=False, told=self._deleted)
        if (entries := self.here.renewed()) is not None:
            self._session.presence(self.id, entries)

    def _received(self, update: bytes, *, catching_up: bool) -> None:
        self.document.apply(update)
        self._learn(update)
        if catching_up:
            self.is_synced = True
            self._offer(self._vector, deletions=True, told=self._deleted)

    def _learn(self, update: bytes) -> None:
        deleted = inspect(update, limits=UNLIMITED).deleted
        for place in range(0, len(deleted), 3):
            self._deleted.add(deleted[place], deleted[place + 1], deleted[place + 2])

    def _offer(self, vector: bytes, *, deletions: bool, told: Ranges) -> None:
        # What the document has and neither server nor queue: edits whose queue was lost, or that were acknowledged in another epoch.
        # A vector says nothing of deletions, so those wait until the server has told the ones that it knows; a server that asks wants all.
        if self._read_only or self.role == VIEWER:
            return
        update = self.document.missing(vector)
        if update == EMPTY_UPDATE:
            return
        known = Knowledge(deleted=told.copy())
        for client, clock in decode_state_vector(vector).items():
            known.held.add(client, 0, clock)
        known.union(self._useless)
        for entry in self._session.pending(self.id):
            known.learn(inspect(entry.update, limits=UNLIMITED))
        found = inspect(update, limits=UNLIMITED)
        if known.adds(found if deletions else Inspected(found.held, array("Q"))):
            self._enqueue_if_it_fits(update)

    def _enqueue_if_it_fits(self, update: bytes) -> None:
        most = self._session.welcome.limits.update if self._session.welcome is not None else len(update)
        if len(update) <= most:
            self._enqueue(update)
            return
        failed = Failed(self.id, "too_large", f"the server lacks {len(update)} bytes: send them by POST /api/sync/{self.id}")
        for listener in self._listeners:
            listener(failed)
