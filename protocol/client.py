"""A `promptsync.v1` client's conversation: frames in and out, and what has happened, by library.

No clock, no socket, no documents. One session lasts as long as the application, over any number of sockets: what is not acknowledged
is pushed again on the next one, in the same order.

A socket begins with `connect` and ends with `disconnect`. In between feed `receive` each frame, and after each call of any method send what
`next_frame` hands out until it is None.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from uuid import UUID

from protocol.client_events import Event, Failed
from protocol.client_states import TRANSITIONS, ClientState, LibraryState
from protocol.codec import MAX_CHANNEL, decode_from_server, encode
from protocol.errors import ProtocolError
from protocol.joining import Joiner
from protocol.messages import (
    CloseChannel,
    Error,
    FromClient,
    FromServer,
    Hello,
    Part,
    Ping,
    Pong,
    Presence,
    Synced,
    Update,
    Welcome,
)
from protocol.outbox import Entry
from protocol.session import frames
from protocol.subscription import PUSHING, Subscription

WINDOW_BYTES = 4 << 20
"""Pushes that are sent and not answered, in bytes: the rest waits in the queue. A larger one goes when it is alone."""
WINDOW_PUSHES = 1000
GREETING_BYTES = 64 << 10
"""The largest frame that may go out before welcome: a larger open waits for it."""
MAX_JOINED_BYTES = 512 << 20
"""What the server may send in parts before it ends them: a whole library comes as one update."""


class Place(NamedTuple):
    """Up to where a device has everything: a seq of an epoch."""

    epoch: int
    cursor: int


class ClientSession:
    """Follows libraries over one socket at a time, and keeps what it pushes until that is acknowledged."""

    def __init__(
        self,
        *,
        client_name: str = "",
        client_version: str = "",
        window_bytes: int = WINDOW_BYTES,
        window_pushes: int = WINDOW_PUSHES,
        max_joined_bytes: int = MAX_JOINED_BYTES,
    ) -> None:
        self.state = ClientState.OFFLINE
        self.welcome: Welcome | None = None
        """What the server has said of itself on this socket."""
        self._hello = Hello(client_name=client_name, client_version=client_version)
        self._window_bytes = window_bytes
        self._window_pushes = window_pushes
        self._subscriptions: dict[UUID, Subscription] = {}
        self._channels: dict[int, Subscription] = {}
        self._used = 0  # how many channels this socket has had: numbers are not taken again while others are left
        self._joiner = Joiner(max_bytes=max_joined_bytes)
        self._soon: deque[bytes] = deque()
        self._outgoing: tuple[int, Iterator[bytes]] | None = None  # the channel and the frames that are left of a push

    # -- libraries, in any state of the socket -------------------------------------------------------------------

    def follow(self, library: UUID, entries: Iterable[Entry] = (), place: Place | None = None) -> None:
        """Have to do with a library: what is not acknowledged from earlier, and the place up to which its document has everything.

        A place without the document that it describes loses updates: with a document that may be older leave it out.
        """
        if library in self._subscriptions:
            raise ValueError(f"library {library} is followed already")
        epoch, cursor = (None, None) if place is None else place
        self._subscriptions[library] = Subscription(library, entries, epoch, cursor)

    def leave(self, library: UUID) -> list[Entry]:
        """Have nothing to do with a library any more: what it leaves unacknowledged, in order."""
        self.close(library)
        subscription = self._subscriptions.pop(library)
        if subscription.channel is not None:
            self._drop(subscription.channel)
        return list(subscription.outbox)

    def push(self, library: UUID, number: int, update: bytes) -> None:
        """Put an update into the queue, under a number above all earlier ones. The document must have it already."""
        self._subscriptions[library].outbox.add(number, update)

    def retry(self, library: UUID) -> None:
        """Push again after a `Postponed` that is not `until_opened`."""
        self._subscriptions[library].postponed = False

    def state_of(self, library: UUID) -> LibraryState:
        """How the library stands with the server."""
        return self._subscriptions[library].state

    def unacknowledged(self, library: UUID) -> int:
        """How many updates are in the queue, sent ones included."""
        return len(self._subscriptions[library].outbox)

    def pending(self, library: UUID) -> list[Entry]:
        """The queue, in order."""
        return list(self._subscriptions[library].outbox)

    def place(self, library: UUID) -> Place | None:
        """Up to where the document has everything, provided that each `Received` was applied; None while that is unknown."""
        subscription = self._subscriptions[library]
        epoch, cursor = subscription.epoch, subscription.cursor.value
        return None if epoch is None or cursor is None else Place(epoch, cursor)

    # -- the socket ----------------------------------------------------------------------------------------------

    def connect(self, *, token: str | None = None, device: UUID | None = None) -> None:
        """A socket is open: say hello. Without a token it was sent with the upgrade. Libraries are opened by `open`, at once or later."""
        if self.state is not ClientState.OFFLINE:
            raise ValueError("the session has a socket")
        self.state = ClientState.GREETING
        hello = self._hello
        self._say(Hello(token=token, device=device, client_name=hello.client_name, client_version=hello.client_version))

    def disconnect(self) -> None:
        """The socket is gone, and what was on its way with it."""
        self.state, self.welcome, self._used, self._outgoing = ClientState.OFFLINE, None, 0, None
        self._soon.clear()
        self._channels.clear()
        self._joiner.clear()
        for subscription in self._subscriptions.values():
            subscription.shut()

    def open(self, library: UUID, vector: bytes) -> None:
        """Open a library that is shut. `vector` is what its document holds now."""
        subscription = self._subscriptions[library]
        if self.state is ClientState.OFFLINE or subscription.state is not LibraryState.SHUT:
            raise ValueError(f"a library that is {subscription.state.value}, on a socket that is {self.state.value}, cannot be opened")
        channel = self._free_channel()
        self._channels[channel] = subscription
        self._say(subscription.open(channel, vector))

    def close(self, library: UUID) -> None:
        """The library is not needed any more; does nothing where it is not open. Answers to pushes still count until it is closed."""
        subscription = self._subscriptions[library]
        if subscription.channel is not None and subscription.state is not LibraryState.CLOSING:
            subscription.state = LibraryState.CLOSING
            self._say(CloseChannel(subscription.channel))
            self._cut_short(subscription.channel)

    def presence(self, library: UUID, entries: bytes) -> bool:
        """Say who is here (a y-protocols awareness update). Whether the library is open, so that it goes out."""
        subscription = self._subscriptions[library]
        if subscription.channel is None or subscription.state not in PUSHING:
            return False
        self._say(Presence(subscription.channel, entries))
        return True

    def ask(self, library: UUID) -> bool:
        """Ask how the library stands, at once. Whether it is open, so that the question goes out."""
        subscription = self._subscriptions[library]
        if subscription.state not in PUSHING:
            return False
        self._say(subscription.status())
        return True

    def answer(self, library: UUID) -> None:
        """What the server has asked for is in the queue: say so once it is out."""
        self._subscriptions[library].answer()

    def keep(self, library: UUID, place: Place) -> None:
        """The document with everything up to `place` is where it survives a restart: tell the server, now or once it is synced."""
        subscription = self._subscriptions[library]
        if place.epoch == subscription.epoch:
            subscription.kept = place.cursor
            if subscription.state is LibraryState.SYNCED:
                subscription.answer()

    def ping(self, number: int) -> None:
        """Ask whether anybody is there, where the socket itself cannot."""
        self._say(Ping(number))

    # -- frames --------------------------------------------------------------------------------------------------

    def next_frame(self) -> bytes | None:
        """The next frame to send; None where there is none for now. Between the parts of a push other messages go out."""
        if self._soon:
            early = self.state is ClientState.GREETING and len(self._soon[0]) > GREETING_BYTES
            return None if early else self._soon.popleft()
        if self._outgoing is not None:
            frame = next(self._outgoing[1], None)
            if frame is not None:
                return frame
            self._outgoing = None
        for subscription in self._subscriptions.values():
            status = subscription.due_status()
            if status is not None:
                return encode(status)
        return self._next_push()

    def receive(self, frame: bytes) -> Event | None:
        """What a frame says has happened; None where there is nothing to be done about it (yet).

        Raises:
            ProtocolError: the server sent what it may not: close the socket with its code, and `disconnect`.
        """
        message = decode_from_server(frame)
        try:
            self.state = TRANSITIONS[self.state, type(message)]
        except KeyError:
            raise ProtocolError(f"{type(message).__name__.lower()} while {self.state.value}") from None
        match message:
            case Welcome():
                self.welcome = message
                return message
            case Pong():
                return message
            case Error(None, _, code, reason):
                return Failed(None, code, reason)
        return self._of_channel(message)

    def _of_channel(self, message: FromServer) -> Event | None:
        assert not isinstance(message, Welcome | Pong)  # noqa: S101
        channel = message.channel
        subscription = self._channels.get(channel) if channel is not None else None
        if subscription is None or channel is None:
            if channel is None or channel >= self._used:
                raise ProtocolError(f"{type(message).__name__.lower()} on a channel that never was")
            return None  # on its way while the channel was closed
        if isinstance(message, Part):
            subscription.after(message)
            self._joiner.add(message)
            return None
        if isinstance(message, Update | Synced):
            subscription.after(message)
            message = type(message)(channel, message.seq, self._joiner.whole(channel, message.seq, message.update))
        event = subscription.receive(message)
        if subscription.state is LibraryState.SHUT:
            self._drop(channel)
        return event

    def _drop(self, channel: int) -> None:
        self._channels.pop(channel, None)
        self._joiner.forget(channel)
        self._cut_short(channel)

    def _cut_short(self, channel: int) -> None:
        # both sides forget the parts of a push whose channel closes
        if self._outgoing is not None and self._outgoing[0] == channel:
            self._outgoing = None

    def _next_push(self) -> bytes | None:
        sent = list(self._channels.values())
        in_flight = sum(subscription.outbox.in_flight for subscription in sent)
        in_flight_bytes = sum(subscription.outbox.in_flight_bytes for subscription in sent)
        if in_flight >= self._window_pushes:
            return None
        for library, subscription in self._subscriptions.items():
            size = subscription.sendable
            if size is None:
                continue
            if in_flight and in_flight_bytes + size > self._window_bytes:
                return None  # its turn: smaller ones of other libraries would keep it waiting for ever
            self._subscriptions[library] = self._subscriptions.pop(library)  # the others have their turn before it comes again
            push = subscription.next_push()
            self._outgoing = (push.channel, frames(push))
            return next(self._outgoing[1])
        return None

    def _free_channel(self) -> int:
        for _ in range(MAX_CHANNEL + 1):
            channel = self._used % (MAX_CHANNEL + 1)
            self._used += 1
            if channel not in self._channels:
                return channel
        raise ValueError("every channel is open")

    def _say(self, message: FromClient) -> None:
        self._soon.append(encode(message))
