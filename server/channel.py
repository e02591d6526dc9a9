"""A library on a `promptsync.v1` socket: its pushes in, what became of each, and what the room relays to it."""

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from auth.errors import SessionEnded
from auth.permissions import may_write
from crdt.errors import CrdtError, InvalidPresence, InvalidStateVector
from crdt.presence import GREETING_DELAY
from crdt.presence import decode as decode_presence
from crdt.updates import EMPTY_UPDATE, Inspected, Limits, inspect
from protocol.closes import Close
from protocol.codec import PART_BYTES
from protocol.messages import Ack, Closed, Error, FromClient, Open, Opened, Presence, Push, Status, StatusAsked, Synced
from protocol.session import frames
from server import metrics
from server.admission import as_turned
from server.batch import Entry, Refusal
from server.broadcast import MAX_PRESENCE_BYTES, Shown, Updates, update_frames
from server.errors import WorkerDied, close_for_unreadable
from server.intake import Backlog
from server.rooms import Room
from server.wire import encode_frame
from server.workers import INLINE_INSPECT_BYTES
from storage.errors import StorageError

if TYPE_CHECKING:
    from server.link import Link

log = structlog.get_logger(__name__)

ERROR_OF = {
    Refusal.GONE: ("not_found", "the library was deleted"),
    Refusal.FORBIDDEN: ("forbidden", "this session may not write"),
    Refusal.OVERGROWN: ("library_overgrown", "the library has too many clients or separate deletions"),
    Refusal.UNSTORABLE: ("unstorable", "the update cannot be stored"),
    Refusal.TROUBLE: ("try_later", "the database cannot store this at the moment"),
    Refusal.STALE: ("try_later", "the library was reloaded: open it again"),
    Refusal.FULL: ("try_later", "too much is waiting to be stored"),
    Refusal.STOPPING: ("try_later", "the server is going down"),
}
"""Nothing but the push fails: the client sends it again where that may help."""
ACKNOWLEDGED = -1
"""In place of a ref: this push was answered when it was relayed."""
TOO_MANY_CLIENTS = Close.TOO_LARGE, "the library has too many clients: its state vector fits no message"
APART_SEQ = 0
"""The number of updates that are kept apart since Yrs breaks on them: they move no cursor."""


class Channel:
    """One library on one socket."""

    def __init__(self, link: "Link", asked: Open) -> None:
        assert link.principal is not None  # noqa: S101  # nothing is opened before welcome; tells the type checker
        self.dialect = "promptsync.v1"
        self.number = asked.channel
        self.user_id: UUID = link.principal.user.id
        self.session_id = link.principal.session_id
        self.library_id = asked.library
        self.client = link.client
        self.may_write = False
        self.room: Room | None = None
        self.closed = False
        self.opened_at = datetime.now(UTC)
        self.known_seq: int | None = None
        """What it is known to have: a pong comes after all that was sent before the ping was read."""
        self._pinged_at: int | None = None
        self._link = link
        self._hall = link.hall
        self._synced = False
        self._limits = Limits(size=link.hall.settings.max_update_bytes)
        self._backlog = Backlog[FromClient](link.intake, self._handle, busy=True)  # until the room is open
        self._pushed: dict[int, tuple[Entry, int]] = {}  # by the identity of the update's bytes: the entry that holds them, and its ref
        self._exchanges: list[tuple[asyncio.Future[None], set[Entry] | None]] = []  # who waits, and for which pushes once that is known

    @property
    def last_sent(self) -> float:
        """When anything was sent on its socket (the hall's clock)."""
        return self._link.outbox.last_sent

    # --- opening

    def begin(self, asked: Open) -> None:
        """Open the library; what the client pushes meanwhile waits."""
        self._hall.enter(self)
        self._link.intake.add(len(asked.vector))  # it is kept until it is answered
        self._link.spawn(self._open(asked)).add_done_callback(lambda _: self._link.intake.remove(len(asked.vector)))

    async def _open(self, asked: Open) -> None:
        if self.closed:  # before it began: it costs nothing then
            return
        try:
            self._link.admission.count(self._link.address)
            library = await self._link.admission.library_of_session(self.library_id, self.session_id, self.user_id)
            self.may_write = may_write(library.role)
            room = await self._hall.open(library)
        except SessionEnded:
            return self._link.hang_up(Close.UNAUTHENTICATED, "the session has ended")
        except Exception as error:
            turned = as_turned(error)
            metrics.refusals.labels(str(int(turned.close))).inc()
            return self.close(turned.close, turned.reason)
        if self.closed:
            return
        if len(room.state_vector()) > PART_BYTES:
            return self.close(*TOO_MANY_CLIENTS)
        self._hall.rooms.join(room, self)
        self.room = room
        asyncio.get_running_loop().call_later(GREETING_DELAY, self._greet_a_watcher)
        self._link.send(
            Opened(
                channel=self.number,
                library=self.library_id,
                role=library.role,
                epoch=room.epoch,
                head=room.head,
                vector=room.state_vector(),
            )
        )
        self._backlog.go_on()
        await self._synchronise(room, asked)

    async def _synchronise(self, room: Room, asked: Open) -> None:
        """Send what the device lacks."""
        seq, shelf = room.head, self._hall.shelf
        try:
            answer = await shelf.after_cursor(room, asked.epoch, asked.cursor)
            if answer is None:
                answer = await shelf.missing(room, asked.vector)
            apart = await shelf.quarantined(room, asked.vector) if room.quarantined else []
        except InvalidStateVector as error:
            return self.close(Close.MALFORMED, str(error))
        except (StorageError, CrdtError, WorkerDied) as error:
            # An opening that cannot be read is refused; it never passes for an empty library.
            log.error("opening_failed", library=str(self.library_id), error=type(error).__name__)
            return self.close(close_for_unreadable(error), "the library cannot be read at the moment")
        if self.closed:
            return
        synced = Synced(self.number, seq, answer)

        def of_it() -> Iterable[bytes]:
            # its turn may come when the channel is closed, and its number stands for another library
            return () if self.closed else map(encode_frame, frames(synced))

        await self._link.outbox.write_opening(len(answer), of_it, self._hall.opening_budget, self._hall.settings.opening_stall_seconds)
        self._synced = True
        for update in apart:
            self._write(update_frames(self.number, APART_SEQ, update))

    def _greet_a_watcher(self) -> None:
        """A device that has not said who it is by now only watches, and is told who else is here."""
        if self.room is not None and not self.closed and not self.room.presence.greeted(self):
            self.room.greet(self)

    # --- messages in

    def receive(self, asked: FromClient) -> None:
        """Take one of the channel's messages."""
        if not self.closed:
            nbytes = len(asked.update) if isinstance(asked, Push) else len(asked.entries) if isinstance(asked, Presence) else 0
            self._backlog.take(asked, nbytes)

    def _handle(self, asked: FromClient) -> None:
        if self.closed:
            return
        assert self.room is not None  # noqa: S101  # messages are handled once it is; tells the type checker
        match asked:
            case Push(_, ref, update):
                self._take(ref, update)
            case Presence(_, entries):
                try:
                    if len(entries) > MAX_PRESENCE_BYTES:
                        raise InvalidPresence(f"past {MAX_PRESENCE_BYTES} bytes", 0)
                    self.room.hear(self, decode_presence(entries), self._hall.now())
                except CrdtError as error:
                    self._link.send(Error(self.number, None, "invalid_presence", str(error)))
            case StatusAsked(cursor=cursor):
                if cursor is not None and cursor <= self.room.head:
                    self.known_seq = cursor
                self._exchanged()
                self._tell_status(self.room, ask=False)

    def _take(self, ref: int, update: bytes) -> None:
        assert self.room is not None  # noqa: S101
        if update == EMPTY_UPDATE:
            self._link.send(Ack(self.number, ref, self.room.head, False))
        elif len(update) <= INLINE_INSPECT_BYTES:
            try:
                inspected = inspect(update, limits=self._limits)
            except CrdtError as error:
                self._link.send(Error(self.number, ref, "invalid_update", str(error)))
            else:
                self._submit(ref, update, inspected)
        elif self._hall.inspecting_bytes and self._hall.inspecting_bytes + len(update) > self._hall.settings.writer_queue_bytes:
            self._link.send(Error(self.number, ref, "try_later", "too much is waiting to be read"))
        else:
            self._backlog.busy = True
            self._hall.inspecting_bytes += len(update)
            self._link.spawn(self._take_large(ref, update)).add_done_callback(partial(self._hall.inspected, len(update)))

    async def _take_large(self, ref: int, update: bytes) -> None:
        try:
            inspected = await self._hall.workers.inspect(update, self._limits)
        except CrdtError as error:
            self._answer(Error(self.number, ref, "invalid_update", str(error)))
        except WorkerDied:
            self._answer(Error(self.number, ref, "too_costly", "the update cannot be read with the memory allowed"))
        else:
            if not self.closed:
                self._submit(ref, update, inspected)
        self._backlog.go_on()

    def _submit(self, ref: int, update: bytes, inspected: Inspected) -> None:
        assert self.room is not None  # noqa: S101
        entry = Entry(self.room, update, inspected, self.session_id, self.may_write, self)
        self._pushed[id(update)] = entry, ref
        self._link.intake.add(entry.nbytes)
        self._hall.writer.submit(entry)

    # --- what became of them

    def stored(self, entry: Entry, seq: int) -> None:
        """Committed. It was acknowledged when the room relayed it, unless another process was first to tell of it."""
        self._settle(entry, lambda ref: Ack(self.number, ref, seq, True))

    def redundant(self, entry: Entry, head: int) -> None:
        """Nothing new in it: all of it is stored."""
        self._settle(entry, lambda ref: Ack(self.number, ref, head, False))

    def refused(self, entry: Entry, refusal: Refusal) -> None:
        """Not stored."""
        self._settle(entry, lambda ref: Error(self.number, ref, *ERROR_OF[refusal]))

    def _settle(self, entry: Entry, answer: Callable[[int], Ack | Error]) -> None:
        self._link.intake.remove(entry.nbytes)
        waiting = self._pushed.pop(id(entry.update), None)
        if waiting is not None and waiting[1] != ACKNOWLEDGED:
            self._answer(answer(waiting[1]))
        if self._exchanges:
            for _, pushes in self._exchanges:
                if pushes is not None:
                    pushes.discard(entry)
            self._end_exchanges()

    def relay(self, updates: Updates) -> None:
        """Write what was committed, in the order of the log: the updates of others, and the acknowledgements of this device's own."""
        if self.closed:
            return
        if not self._pushed or not any(id(item.update) in self._pushed for item in updates.items):
            self._link.outbox.write(updates.frames(self.number))
            return
        parts = []
        for item in updates.items:
            mine = self._pushed.get(id(item.update))
            if mine is None:
                parts.append(update_frames(self.number, item.seq, item.update))
            else:
                entry, ref = mine
                self._pushed[id(item.update)] = entry, ACKNOWLEDGED
                parts += map(encode_frame, frames(Ack(self.number, ref, item.seq, True)))
        self._link.outbox.write(b"".join(parts))

    def show(self, shown: Shown) -> None:
        """Write who is here."""
        self._write(shown.frames(self.number))

    def keep_alive(self) -> None:
        """Nothing: a client of this dialect asks, or is asked by pings."""

    def _answer(self, message: Ack | Error) -> None:
        if not self.closed:  # its number may stand for another library by now
            self._link.send(message)

    def _write(self, frames_of_it: bytes) -> None:
        if not self.closed:
            self._link.outbox.write(frames_of_it)

    # --- what it has

    def pinged(self) -> None:
        """A ping went out behind all that was sent so far."""
        self._pinged_at = self.room.relayed if self.room is not None and self._synced else None

    def ponged(self) -> None:
        """It was answered: all of that has arrived."""
        self.known_seq = self._pinged_at if self._pinged_at is not None else self.known_seq

    def _tell_status(self, room: Room, *, ask: bool) -> None:
        vector = room.state_vector()
        if len(vector) > PART_BYTES:
            return self.close(*TOO_MANY_CLIENTS)
        self._link.send(
            Status(
                channel=self.number,
                head=room.head,
                epoch=room.epoch,
                vector=vector,
                unsaved=len(self._pushed),
                storing=not self._hall.writer.failing,
                ask=ask,
            )
        )

    async def exchange(self) -> None:
        """Ask the device for what the room lacks, and wait until that is stored, or the device is gone."""
        if self.room is None or self.closed:
            return
        asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._exchanges.append((asked, None))
        try:
            self._tell_status(self.room, ask=True)
            self._link.wire.ping()
            await asked
        finally:
            self._end_exchanges()  # who asks may give up

    def _exchanged(self) -> None:
        """The device has pushed all that it was asked for: those who wait for it wait for its being stored."""
        pushes = {entry for entry, _ in self._pushed.values()}
        self._exchanges = [(asked, set(pushes) if wanted is None else wanted) for asked, wanted in self._exchanges]
        self._end_exchanges()

    def _end_exchanges(self, *, all_of_them: bool = False) -> None:
        left = []
        for asked, pushes in self._exchanges:
            if all_of_them or (pushes is not None and not pushes) or asked.done():
                if not asked.done():
                    asked.set_result(None)
            else:
                left.append((asked, pushes))
        self._exchanges = left

    # --- the end

    def close(self, code: Close, reason: str) -> None:
        """End the library's part in the socket; the others go on."""
        if not self.closed:
            self._link.send(Closed(self.number, int(code), reason))
            self._link.forget(self)
            self.leave()

    def hang_up(self, code: Close, reason: str) -> None:
        """End the whole connection."""
        self._link.hang_up(code, reason)

    def leave(self) -> None:
        """Nothing is relayed to it any more."""
        if self.closed:
            return
        self.closed = True
        self._backlog.drop()
        self._hall.exit(self)
        if self.room is not None:
            self._hall.rooms.leave(self.room, self)
        self._end_exchanges(all_of_them=True)
