"""A device on the y-websocket dialect: its frames in, what became of its updates, and what the room relays to it.

Frames come synchronously from the wire. What has to wait (the room, a worker, an opening answer) runs as a task of this member's
group, and the frames after it wait their turn in a bounded backlog.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine
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
from server.errors import WorkerDied, close_for_unreadable
from server.rooms import Room
from server.sockets import Hall
from server.wire import Wire, encode_frame
from server.workers import INLINE_INSPECT_BYTES
from storage.errors import StorageError

log = structlog.get_logger(__name__)

KEEP_ALIVE_FRAME = encode_frame(KEEP_ALIVE)
FRAME_BYTES = 100
"""What a frame that waits takes of memory besides its own bytes; an empty one takes some, too."""
SLICE_BYTES = 64 << 10
"""Frames that waited are handled in slices of this, and others get their turn in between: the worst take about 10 ms."""
BUDGETED_BYTES = 64 << 10
"""An opening answer past this counts against the budget of bytes in flight."""

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
        "_backlog",
        "_backlog_bytes",
        "_busy",
        "_exempt_bytes",
        "_group",
        "_hall",
        "_limits",
        "_next_vector",
        "_opening",
        "_paused",
        "_unsettled_bytes",
        "_wire",
        "closed",
        "last_sent",
        "library_id",
        "may_write",
        "room",
        "session_id",
        "user_id",
    )

    def __init__(self, hall: Hall, wire: Wire, group: asyncio.TaskGroup, *, user_id: UUID, session_id: UUID, library_id: UUID) -> None:
        self.user_id = user_id
        self.session_id = session_id
        self.library_id = library_id
        self.may_write = False
        self.room: Room | None = None
        self.closed = False
        self.last_sent = hall.now()
        self._hall = hall
        self._wire = wire
        self._group = group
        self._limits = Limits(size=hall.settings.max_update_bytes)
        self._busy = True  # until the room is open
        self._backlog: deque[bytes] | None = None
        self._backlog_bytes = 0
        self._unsettled_bytes = 0
        self._paused = False
        self._opening = False
        self._next_vector: bytes | None = None
        self._exempt_bytes = 0

    # --- frames in

    def receive(self, frame: bytes) -> None:
        """Take one binary message from the wire."""
        if self.closed:
            return
        if not self._busy:
            self._handle(frame)
            return
        if self._backlog is None:
            self._backlog = deque()
        self._backlog.append(frame)
        self._backlog_bytes += len(frame) + FRAME_BYTES
        self._throttle()

    def begin(self, room: Room) -> None:
        """The room is open and joined: ask the device what the room lacks, and answer what it has sent meanwhile."""
        self.room = room
        self._send(encode_step1(room.state_vector()))
        asyncio.get_running_loop().call_later(GREETING_DELAY, self._greet_a_watcher)
        self._catch_up_on_backlog()

    def _catch_up_on_backlog(self) -> None:
        self._busy, handled = False, 0
        while self._backlog and not self._busy and not self.closed:
            if handled > SLICE_BYTES:
                self._busy = True  # what comes meanwhile waits behind the rest
                asyncio.get_running_loop().call_soon(self._catch_up_on_backlog)
                break
            frame = self._backlog.popleft()
            self._backlog_bytes -= len(frame) + FRAME_BYTES
            handled += len(frame) + FRAME_BYTES
            self._handle(frame)
        if not self._backlog:
            self._backlog = None
        self._throttle()

    def _handle(self, frame: bytes) -> None:
        assert self.room is not None  # noqa: S101  # frames are handled after `begin`; tells the type checker
        try:
            update = update_in(frame)
            if update is not None:
                self._take(update)
                return
            match decode(frame):
                case Update(update) | Step2(update):
                    self._take(update)
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

    def _take(self, update: bytes) -> None:
        if update == EMPTY_UPDATE:
            return
        if len(update) > self._limits.size:
            self.refuse(Close.TOO_LARGE, f"update past {self._limits.size} bytes: use POST /api/sync/{{library}}")
        elif len(update) <= INLINE_INSPECT_BYTES:
            self._submit(update, inspect(update, limits=self._limits))
        elif self._hall.inspecting_bytes and self._hall.inspecting_bytes + len(update) > self._hall.settings.writer_queue_bytes:
            self.refuse(Close.TRY_LATER, "too much is waiting to be read")
        else:
            self._busy = True
            self._hall.inspecting_bytes += len(update)
            self._spawn(self._take_large(update)).add_done_callback(partial(self._hall.inspected, len(update)))

    async def _take_large(self, update: bytes) -> None:
        try:
            inspected = await self._hall.workers.inspect(update, self._limits)
        except CrdtError as error:
            self.refuse(Close.MALFORMED, str(error))
        except WorkerDied:
            self.refuse(Close.MALFORMED, "the update cannot be read with the memory allowed")
        else:
            if not self.closed:
                self._submit(update, inspected)
                self._catch_up_on_backlog()

    def _submit(self, update: bytes, inspected: Inspected) -> None:
        assert self.room is not None  # noqa: S101
        entry = Entry(self.room, update, inspected, self.session_id, self.may_write, self)
        self._unsettled_bytes += entry.nbytes
        self._hall.writer.submit(entry)
        if self._unsettled_bytes > self._hall.settings.socket_inflight_bytes:
            self._throttle()

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
        self._unsettled_bytes -= entry.nbytes
        if self._paused:
            self._throttle()

    def _throttle(self) -> None:
        """Stop reading from a device whose updates come faster than they are stored; read on at half the bound."""
        waiting = self._unsettled_bytes + self._backlog_bytes
        bound = self._hall.settings.socket_inflight_bytes
        if not self._paused and waiting > bound:
            self._paused = True
            self._wire.pause()
        elif self._paused and waiting <= bound // 2:
            self._paused = False
            self._wire.resume()

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
                for update in apart:
                    self._send(encode_update(update))  # one that a device cannot read must not cost it the others
            state_vector, self._next_vector = self._next_vector, None
        self._opening = False

    async def _send_opening(self, answer: bytes) -> None:
        if len(answer) <= BUDGETED_BYTES:
            self._send(encode_step2(answer))
            return
        async with self._hall.opening_budget.taken(len(answer)):  # who waits here holds no copy of its own of a cached answer
            message = encode_step2(answer)
            self._exempt_bytes = len(message)
            self._send(message)
            self._exempt_bytes = len(message)
            del message
            while not self.closed and not await self._wire.drained(self._hall.settings.opening_stall_seconds):
                self.refuse(Close.TRY_LATER, "the opening answer was not read")
            self._exempt_bytes = 0

    # --- frames out

    def relay(self, frames: bytes) -> None:
        """Write frames that are encoded once for everybody; a device that does not read is closed and resyncs."""
        if self.closed:
            return
        bound, unsent = self._hall.settings.outbox_bytes, self._wire.unsent
        if unsent > bound:
            if unsent > bound + self._exempt_bytes:
                self.refuse(Close.TRY_LATER, "the device does not read fast enough")
                return
        elif len(frames) > bound or not unsent:
            self._exempt_bytes = len(frames)  # one that is larger than the bound may be on its way
        self._wire.write(frames)
        self.last_sent = self._hall.now()

    def _send(self, message: bytes) -> None:
        self.relay(encode_frame(message))

    def keep_alive(self) -> None:
        """Send data that means nothing: stock clients close when none comes for 30 s."""
        self.relay(KEEP_ALIVE_FRAME)

    # --- the end

    def leave(self) -> None:
        """The device has disconnected: nothing is relayed to it any more."""
        self.closed = True
        self._hall.exit(self)
        if self.room is not None:
            self._hall.rooms.leave(self.room, self)

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
        self._backlog = None
        self._wire.close(code, reason)

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        return self._group.create_task(work)
