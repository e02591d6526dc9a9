"""One library as a `promptsync.v1` client follows it: its state, how far it is, and what it has not got acknowledged."""

from collections.abc import Iterable
from uuid import UUID

from protocol.client_events import (
    Failed,
    LibraryClosed,
    LibraryEvent,
    LibraryOpened,
    Postponed,
    PresenceHeard,
    Received,
    Refused,
    Saved,
    StatusHeard,
)
from protocol.client_states import LIBRARY_TRANSITIONS, LibraryState
from protocol.closes import Close
from protocol.cursor import Cursor
from protocol.errors import ProtocolError
from protocol.messages import Ack, Closed, Error, Open, Opened, Presence, Push, Status, StatusAsked, Synced, Update
from protocol.outbox import Entry, Outbox

REFUSALS = frozenset({"invalid_update", "too_large", "too_costly", "forbidden", "not_found", "library_overgrown", "unstorable"})
"""Errors of a push that no repetition mends. One with another code than these is kept, and repeated once the library is opened again."""
PUSHING = (LibraryState.CATCHING_UP, LibraryState.SYNCED)

ForLibrary = Opened | Synced | Update | Ack | Presence | Status | Error | Closed


class Subscription:
    """Survives its channels: queue, epoch and cursor stay when one is gone. Parts are joined before a message comes here."""

    def __init__(self, library: UUID, entries: Iterable[Entry], epoch: int | None, cursor: int | None) -> None:
        self.library = library
        self.outbox = Outbox(entries)
        self.epoch = epoch
        self.cursor = Cursor(cursor if epoch is not None else None)
        self.state = LibraryState.SHUT
        self.channel: int | None = None
        self.postponed = False
        """Nothing is pushed: the server could not store."""
        self.kept: int | None = None
        """The cursor that a status tells: what the application keeps through a restart, in this epoch."""
        self._answer_after: int | None = None

    def open(self, channel: int, vector: bytes) -> Open:
        """Ask for the library on this channel. `vector` is what the document holds now."""
        self.channel, self.state = channel, LibraryState.OPENING
        known = self.cursor.value is not None
        return Open(
            channel=channel,
            library=self.library,
            vector=vector,
            epoch=self.epoch if known else None,
            cursor=self.cursor.value,
        )

    def shut(self) -> None:
        """The channel is gone: what is not acknowledged waits for the next."""
        self.channel, self.state, self.postponed, self._answer_after = None, LibraryState.SHUT, False, None
        self.outbox.restart()
        self.cursor.suspend()

    @property
    def sendable(self) -> int | None:
        """The bytes of the update that can be pushed now; None where there is none."""
        return self.outbox.next_size() if self.state in PUSHING and not self.postponed else None

    def next_push(self) -> Push:
        """Take the first update that waits. Only where there is something `sendable`."""
        assert self.channel is not None  # noqa: S101
        return Push(self.channel, *self.outbox.send())

    def answer(self) -> None:
        """A status is owed, after everything that is in the queue now."""
        self._answer_after = self.outbox.last

    def due_status(self) -> StatusAsked | None:
        """The status that is owed, once what goes before it is out."""
        after = self._answer_after
        if after is None or self.state not in PUSHING or self.outbox.waits_up_to(after):
            return None
        self._answer_after = None
        return self.status()

    def status(self) -> StatusAsked:
        """How do things stand?"""
        assert self.channel is not None  # noqa: S101
        return StatusAsked(channel=self.channel, cursor=self.kept)

    def receive(self, message: ForLibrary) -> LibraryEvent | Failed | None:
        """What has happened; None where it is nothing to the application. Raises ProtocolError."""
        before = self.state
        self.state = self.after(message)
        if before is LibraryState.CLOSING and not isinstance(message, Ack | Error | Closed):
            return None
        match message:
            case Update(_, seq, update):
                self.cursor.update(seq)
                return Received(self.library, seq, update, catching_up=False)
            case Ack(_, ref, seq, new):
                return self._acknowledged(ref, seq, new)
            case Synced(_, seq, update):
                self.cursor.synced(seq)
                if self.kept is not None:
                    self.answer()
                return Received(self.library, seq, update, catching_up=True)
            case Opened():
                return self._opened(message)
            case Status():
                return self._stands(message)
            case Presence(_, entries):
                return PresenceHeard(self.library, entries)
            case Error():
                return self._failed(message)
            case Closed(_, code, reason):
                self.shut()
                return LibraryClosed(self.library, code, reason)

    def after(self, message: object) -> LibraryState:
        """The state that a message leads to. Raises ProtocolError where it may not come."""
        try:
            return LIBRARY_TRANSITIONS[self.state, type(message)]
        except KeyError:
            raise ProtocolError(f"{type(message).__name__.lower()} while {self.state.value}") from None

    def _opened(self, opened: Opened) -> LibraryOpened:
        if opened.library != self.library:
            raise ProtocolError("another library was opened than the one asked for")
        anew = opened.epoch != self.epoch
        if anew:
            self.cursor.forget()
            self.epoch, self.kept = opened.epoch, None
        return LibraryOpened(library=self.library, role=opened.role, epoch=opened.epoch, head=opened.head, vector=opened.vector, anew=anew)

    def _acknowledged(self, ref: int, seq: int, new: bool) -> Saved:
        try:
            entry = self.outbox.settle(ref)
        except KeyError:
            raise ProtocolError("ack of no push") from None
        if new:
            self.cursor.ours(seq)
        return Saved(self.library, entry.number, entry.update, seq, new)

    def _failed(self, error: Error) -> LibraryEvent | Failed | None:
        if error.code == "channel_closed" and self.state is LibraryState.CLOSING:
            return None  # of what we sent before we heard of the end; closed is on its way
        if error.code == "channel_closed":
            self.shut()
            return LibraryClosed(self.library, Close.RESTART, error.reason)
        if error.ref is not None:
            return self._push_failed(error.ref, error)
        if self.state is LibraryState.OPENING:  # too_many_channels: there is no channel
            self.shut()
            return LibraryClosed(self.library, Close.TRY_LATER, f"{error.code}: {error.reason}")
        return Failed(self.library, error.code, error.reason)

    def _push_failed(self, ref: int, error: Error) -> Refused | Postponed:
        try:
            if error.code in REFUSALS:
                entry = self.outbox.settle(ref)
                return Refused(self.library, entry.number, entry.update, error.code, error.reason)
            if error.code != "try_later":
                return Postponed(self.library, self.outbox.park(ref), error.code, error.reason, until_opened=True)
            self.postponed = True
            return Postponed(self.library, self.outbox.put_back(ref), error.code, error.reason, until_opened=False)
        except KeyError:
            raise ProtocolError("error of no push") from None

    def _stands(self, status: Status) -> StatusHeard:
        if status.epoch != self.epoch:
            self.cursor.forget()  # the next opening tells the new numbers
        return StatusHeard(
            library=self.library,
            head=status.head,
            epoch=status.epoch,
            vector=status.vector,
            unsaved=status.unsaved,
            storing=status.storing,
            ask=status.ask,
        )
