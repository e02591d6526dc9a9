"""A device on the y-websocket dialect: its frames in, what became of its updates, and what the room relays to it.

Frames come synchronously from the wire. What has to wait (the room, a worker, an opening answer) runs as a task of this member's
group, and the frames after it wait their turn in a bounded backlog.
"""

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime
from functools import partial
from uuid import UUID

import structlog

from crdt.errors import CrdtError, InvalidStateVector
from crdt.presence import GREETING_DELAY
from crdt.presence import decode as decode_presence
from crdt.updates import EMPTY_UPDATE, Inspected, Limits, inspect
from protocol.closes import Close
from protocol.errors import ProtocolError
from protocol.ysync import (
    KEEP_ALIVE,
    Awareness,
    QueryAwareness,
    Step1,
    Step2,
    Update,
    decode,
    encode_step1,
    encode_step2,
    encode_update,
    update_in,
)
from server import metrics
from server.batch import Entry, Refusal
from server.broadcast import STOCK, Shown, Updates
from server.errors import WorkerDied, close_for_unreadable
from server.intake import Backlog, Intake
from server.outbox import BUDGETED_BYTES, Outbox
from server.rooms import Room
from server.sockets import Hall
from server.wire import Wire, encode_frame
from server.workers import INLINE_INSPECT_BYTES
from storage.errors import StorageError

log = structlog.get_logger(__name__)

KEEP_ALIVE_FRAME = encode_frame(KEEP_ALIVE)

CLOSE_OF = {
    Refusal.GONE: (Close.NOT_FOUND, "the library was deleted"),
    Refusal.FORBIDDEN: (Close.FORBIDDEN, "this session may not write"),
    Refusal.OVERGROWN: (Close.TOO_LARGE, "the library has too many clients or separate deletions"),
    Refusal.UNSTORABLE: (Close.MALFORMED, "the update cannot be stored"),
    Refusal.TROUBLE: (Close.TRY_LATER, "the database cannot store this at the moment"),
    Refusal.STALE: (Close.RESTART, "the library was reloaded: start again"),
    Refusal.FULL: (Close.TRY_LATER, "too much is waiting to be stored"),
    Refusal.STOPPING: (Close.RESTART, "the server is going down"),
}
"""A stock client never sends an update again on an open socket, so one that is not stored closes it."""


class Device:
    """One socket on one library."""

    __slots__ = (
        "_answered",
        "_asked",
        "_backlog",
        "_group",
        "_hall",
        "_intake",
        "_limits",
        "_next_vector",
        "_opening",
        "_outbox",
        "_pinged_at",
        "_settling",
        "_taking",
        "_wire",
        "client",
        "closed",
        "dialect",
        "known_seq",
        "library_id",
        "may_write",
        "opened_at",
        "room",
        "session_id",
        "user_id",
    )

    def __init__(self, hall: Hall, wire: Wire, group: asyncio.TaskGroup, *, user_id: UUID, session_id: UUID, library_id: UUID) -> None:
        self.user_id = user_id
        self.session_id = session_id
        self.library_id = library_id
        self.may_write = False
        self.dialect = "yjs"
        self.client = ""
        self.room: Room | None = None
        self.closed = False
        self.opened_at = datetime.now(UTC)
        self.known_seq: int | None = None
        """What it is known to have: a pong comes after all that was sent before the ping was read."""
        self._pinged_at: int | None = None
        self._hall = hall
        self._wire = wire
        self._group = group
        self._limits = Limits(size=hall.settings.max_update_bytes)
        self._outbox = Outbox(wire, bound=hall.settings.outbox_bytes, refuse=self.refuse)
        self._intake = Intake(wire, hall.settings.socket_inflight_bytes, hall.allowance)
        self._backlog = Backlog[bytes](self._intake, self._handle, busy=True)  # until the room is open
        self._opening = False
        self._answered = False  # whether it was sent what it lacked: before, it has nothing for certain
        self._next_vector: bytes | None = None
        self._asked: list[asyncio.Future[None]] = []  # who waits for the device's next step 2
        self._taking: list[asyncio.Future[None]] = []  # for the step 2 that has come, and is read
        self._settling: dict[Entry, list[asyncio.Future[None]]] = {}  # and for its being stored

    @property
    def last_sent(self) -> float:
        """When anything was sent to it (the hall's clock)."""
        return self._outbox.last_sent

    # --- frames in

    def receive(self, frame: bytes) -> None:
        """Take one binary message from the wire."""
        if self.closed:
            return
        self._intake.spend(len(frame))
        if self._backlog.busy:
            self._backlog.take(frame, len(frame))
        else:
            self._handle(frame)

    def begin(self, room: Room) -> None:
        """The room is open and joined: ask the device what the room lacks, and answer what it has sent meanwhile."""
        self.room = room
        self._send(encode_step1(room.state_vector()))
        asyncio.get_running_loop().call_later(GREETING_DELAY, self._greet_a_watcher)
        self._backlog.go_on()

    def _handle(self, frame: bytes) -> None:
        if self.closed:
            return
        assert self.room is not None  # noqa: S101  # frames are handled after `begin`; tells the type checker
        try:
            if not self._asked and (update := update_in(frame)) is not None:
                self._take(update)
                return
            match decode(frame):
                case Update(update):
                    self._take(update)
                case Step2(update):
                    self._taking, self._asked = self._asked, []
                    self._take(update, self._taking)
                case Step1(state_vector):
                    self._answer(state_vector)
                case Awareness(entries):
                    self.room.hear(self, decode_presence(entries), self._hall.now())
                case QueryAwareness():
                    self.room.greet(self)
        except ProtocolError as error:
            self.refuse(error.close, error.reason)
        except CrdtError as error:
            self.refuse(Close.MALFORMED, str(error))

    def _greet_a_watcher(self) -> None:
        """A device that has not said who it is by now only watches, and is told who else is here."""
        if self.room is not None and not self.closed and not self.room.presence.greeted(self):
            self.room.greet(self)

    # --- updates

    def _take(self, update: bytes, asked: list[asyncio.Future[None]] | None = None) -> None:
        if update == EMPTY_UPDATE:
            _settle_all(asked or ())
        elif len(update) > self._limits.size:
            self.refuse(Close.TOO_LARGE, f"update past {self._limits.size} bytes: use POST /api/sync/{{library}}")
        elif len(update) <= INLINE_INSPECT_BYTES:
            self._submit(update, inspect(update, limits=self._limits), asked)
        elif self._hall.inspecting_bytes and self._hall.inspecting_bytes + len(update) > self._hall.settings.writer_queue_bytes:
            self.refuse(Close.TRY_LATER, "too much is waiting to be read")
        else:
            self._backlog.busy = True
            self._hall.inspecting_bytes += len(update)
            self._spawn(self._take_large(update, asked)).add_done_callback(partial(self._hall.inspected, len(update)))

    async def _take_large(self, update: bytes, asked: list[asyncio.Future[None]] | None) -> None:
        try:
            inspected = await self._hall.workers.inspect(update, self._limits)
        except CrdtError as error:
            self.refuse(Close.MALFORMED, str(error))
        except WorkerDied:
            self.refuse(Close.MALFORMED, "the update cannot be read with the memory allowed")
        else:
            if not self.closed:
                self._submit(update, inspected, asked)
                self._backlog.go_on()

    def _submit(self, update: bytes, inspected: Inspected, asked: list[asyncio.Future[None]] | None) -> None:
        assert self.room is not None  # noqa: S101
        entry = Entry(self.room, update, inspected, self.session_id, self.may_write, self)
        if asked:
            self._settling[entry], self._taking = asked, []
        self._intake.add(entry.nbytes)
        self._hall.writer.submit(entry)

    def stored(self, entry: Entry, seq: int) -> None:
        """Committed; the room has echoed it."""
        self._settle(entry)

    def redundant(self, entry: Entry, head: int) -> None:
        """Nothing new in it: its echo says that all of it is stored."""
        self._settle(entry)
        self._send(encode_update(entry.update))

    def refused(self, entry: Entry, refusal: Refusal) -> None:
        """Not stored."""
        self._settle(entry)
        self.refuse(*CLOSE_OF[refusal])

    def _settle(self, entry: Entry) -> None:
        self._intake.remove(entry.nbytes)
        if self._settling:
            _settle_all(self._settling.pop(entry, ()))

    # --- opening

    def _answer(self, state_vector: bytes) -> None:
        """Answer a step 1: at once where the room can tell, else by one task, which takes the newest question next."""
        assert self.room is not None  # noqa: S101
        if self._opening:
            self._next_vector = state_vector
            return
        answer = self._hall.shelf.missing_at_once(self.room, state_vector)
        if answer is not None and len(answer) <= BUDGETED_BYTES and not self.room.quarantined:
            self._send(encode_step2(answer))
            self._answered = True
        else:
            self._opening = True
            self._spawn(self._open(state_vector))

    async def _open(self, state_vector: bytes | None) -> None:
        assert self.room is not None  # noqa: S101
        while state_vector is not None and not self.closed:
            try:
                answer = await self._hall.shelf.missing(self.room, state_vector)
                apart = await self._hall.shelf.quarantined(self.room, state_vector) if self.room.quarantined else []
            except InvalidStateVector as error:
                self.refuse(Close.MALFORMED, str(error))
            except (StorageError, CrdtError, WorkerDied) as error:
                # An opening that cannot be read is refused; it never passes for an empty library.
                log.error("opening_failed", library=str(self.library_id), error=type(error).__name__)
                self.refuse(close_for_unreadable(error), "the library cannot be read at the moment")
            else:
                await self._send_opening(answer)
                self._answered = True
                for update in apart:
                    self._send(encode_update(update))  # one that a device cannot read must not cost it the others
            state_vector, self._next_vector = self._next_vector, None
        self._opening = False

    async def _send_opening(self, answer: bytes) -> None:
        settings = self._hall.settings
        await self._outbox.write_opening(
            len(answer), lambda: (encode_frame(encode_step2(answer)),), self._hall.opening_budget, settings.opening_stall_seconds
        )

    # --- frames out

    def relay(self, updates: Updates) -> None:
        """Write what was committed; a device that does not read is closed and resyncs."""
        if not self.closed:
            self._outbox.write(updates.frames(STOCK))

    def show(self, shown: Shown) -> None:
        """Write who is here."""
        if not self.closed:
            self._outbox.write(shown.frames(STOCK))

    def _send(self, message: bytes) -> None:
        if not self.closed:
            self._outbox.write(encode_frame(message))

    def keep_alive(self) -> None:
        """Send data that means nothing: stock clients close when none comes for 30 s."""
        if not self.closed:
            self._outbox.write(KEEP_ALIVE_FRAME)

    # --- what it has

    def pinged(self) -> None:
        """A ping went out behind all that was sent so far."""
        self._pinged_at = self.room.relayed if self.room is not None and self._answered and not self._opening else None

    def ponged(self) -> None:
        """It was answered: all of that has arrived."""
        self.known_seq = self._pinged_at if self._pinged_at is not None else self.known_seq

    async def exchange(self) -> None:
        """Ask the device for what the room lacks, and wait until that is stored, or the device is gone."""
        if self.room is None or self.closed:
            return
        asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked.append(asked)
        try:
            self._send(encode_step1(self.room.state_vector()))
            self._wire.ping()
            await asked
        finally:
            if asked in self._asked:  # who asks may give up
                self._asked.remove(asked)

    # --- the end

    def leave(self) -> None:
        """The device has disconnected: nothing is relayed to it any more."""
        self.closed = True
        self._hall.exit(self)
        if self.room is not None:
            self._hall.rooms.leave(self.room, self)
        self._nobody_waits()

    def refuse(self, code: Close, reason: str) -> None:
        """Close for something this device did or met."""
        if not self.closed:
            log.info("device_closed", code=int(code), reason=reason, library=str(self.library_id), session=str(self.session_id))
            self.close(code, reason)

    def close(self, code: Close, reason: str) -> None:
        """End the connection with a code the device can read."""
        if self.closed:
            return
        self.closed = True
        metrics.closes.labels(str(int(code))).inc()
        self._backlog.drop()
        self._wire.close(code, reason)
        self._nobody_waits()

    hang_up = close
    """Its socket has one library only."""

    def _nobody_waits(self) -> None:
        _settle_all([*self._asked, *self._taking, *(future for futures in self._settling.values() for future in futures)])
        self._asked, self._taking = [], []
        self._settling = {}

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        return self._group.create_task(work)


def _settle_all(futures: "list[asyncio.Future[None]] | tuple[()]") -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
