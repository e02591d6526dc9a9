"""A `promptsync.v1` server of one process and no database: what the client is tried on where the real one would hide its mistakes.

It stores what adds something under the next seq, relays it to the other channels of the library, and can be told to misbehave.
"""

from collections import deque
from collections.abc import Callable
from uuid import UUID

from crdt.errors import InvalidUpdate
from crdt.knowledge import Knowledge
from crdt.updates import decode_state_vector, diff, encode_state_vector, inspect, merge
from protocol.messages import (
    Ack,
    CloseChannel,
    Closed,
    Error,
    FromClient,
    FromServer,
    Hello,
    Limits,
    Open,
    Opened,
    Ping,
    Pong,
    Presence,
    Push,
    Status,
    StatusAsked,
    Synced,
    Update,
    Welcome,
)
from protocol.session import ServerSession, frames

LIMITS = Limits(update=32 << 20, part=1 << 20, channels=64, presence=64 << 10)
SOMEBODY = UUID(int=7)


class SmallLibrary:
    """The log of one library."""

    def __init__(self) -> None:
        self.epoch = 1
        self.log: list[bytes] = []
        self.known = Knowledge()
        self.members: list[tuple[SmallPeer, int]] = []

    @property
    def vector(self) -> bytes:
        return encode_state_vector(self.known.state_vector())

    def store(self, update: bytes) -> tuple[int, bool]:
        """The seq and whether it is new. Raises InvalidUpdate."""
        inspected = inspect(update)
        if not self.known.adds(inspected):
            return len(self.log), False
        self.known.learn(inspected)
        self.log.append(update)
        return len(self.log), True

    def restore(self, seq: int) -> None:
        """Put the database back to an earlier time."""
        self.log = self.log[:seq]
        self.epoch += 1
        self.known = Knowledge()
        for update in self.log:
            self.known.learn(inspect(update))


class SmallServer:
    """Libraries come into being when they are opened."""

    def __init__(self) -> None:
        self.libraries: dict[UUID, SmallLibrary] = {}
        self.role = "owner"
        self.refusal: Callable[[bytes], str | None] = lambda update: None
        """Says with which code a push is refused; None stores it."""
        self.lazy = False
        """Updates of others wait until `relay`, while acks go out at once."""
        self.late: list[tuple[SmallPeer, Update]] = []
        self.opened: list[Open] = []
        self.hellos: list[Hello] = []
        self.statuses: list[StatusAsked] = []

    def library(self, library: UUID) -> SmallLibrary:
        return self.libraries.setdefault(library, SmallLibrary())

    def connect(self) -> "SmallPeer":
        return SmallPeer(self)

    def relay(self) -> None:
        """Send the updates that wait."""
        late, self.late = self.late, []
        for peer, update in late:
            if update.channel in peer.channels:
                peer.say(update)


class SmallPeer:
    """One socket's server side: frames in, frames out in `outbox`."""

    def __init__(self, server: SmallServer) -> None:
        self.server = server
        self.session = ServerSession(max_update_bytes=LIMITS.update, max_channels=LIMITS.channels)
        self.outbox: deque[bytes] = deque()
        self.channels: dict[int, SmallLibrary] = {}
        self.on_output: Callable[[], None] = lambda: None

    def say(self, message: FromServer) -> None:
        self.outbox.extend(frames(message))
        self.on_output()

    def receive(self, frame: bytes) -> None:
        message = self.session.receive(frame)
        assert self.session.goodbye is None, self.session.goodbye
        if isinstance(message, Error):
            self.say(message)
        elif message is not None:
            self._serve(message)

    def _serve(self, message: FromClient) -> None:
        match message:
            case Hello():
                self.server.hellos.append(message)
                self.say(Welcome(session=SOMEBODY, user=SOMEBODY, limits=LIMITS, time=1_700_000_000_000))
            case Open():
                self._open(message)
            case Push(channel, ref, update):
                self._push(channel, ref, update)
            case Presence(channel, entries):
                for peer, other in self.channels[channel].members:
                    peer.say(Presence(other, entries))
            case StatusAsked(channel=channel):
                self.server.statuses.append(message)
                self.say(self.status(channel))
            case CloseChannel(channel):
                self._forget(channel)
                self.say(Closed(channel, 1000, "closed"))
            case Ping(number):
                self.say(Pong(number))

    def status(self, channel: int, *, ask: bool = False) -> Status:
        library = self.channels[channel]
        head = len(library.log)
        return Status(channel=channel, head=head, epoch=library.epoch, vector=library.vector, unsaved=0, storing=True, ask=ask)

    def _open(self, asked: Open) -> None:
        self.server.opened.append(asked)
        library = self.server.library(asked.library)
        head = len(library.log)
        self.channels[asked.channel] = library
        library.members.append((self, asked.channel))
        opened = {"channel": asked.channel, "library": asked.library, "role": self.server.role}
        self.say(Opened(**opened, epoch=library.epoch, head=head, vector=library.vector))  # type: ignore[arg-type]  # named one by one
        if asked.cursor is not None and asked.epoch == library.epoch:
            lacking = merge(library.log[asked.cursor :])
        else:
            decode_state_vector(asked.vector)
            lacking = diff(merge(library.log), asked.vector) if library.log else b"\0\0"
        self.say(Synced(asked.channel, head, lacking))

    def _push(self, channel: int, ref: int, update: bytes) -> None:
        library = self.channels[channel]
        code = self.server.refusal(update)
        if code is not None:
            self.say(Error(channel, ref, code, "told to"))
            return
        try:
            seq, new = library.store(update)
        except InvalidUpdate as error:
            self.say(Error(channel, ref, "invalid_update", error.reason))
            return
        if new:
            for peer, other in library.members:
                if (peer, other) != (self, channel):
                    self.server.late.append((peer, Update(other, seq, update)))
            if not self.server.lazy:
                self.server.relay()
        self.say(Ack(channel, ref, seq, new))

    def shut(self, channel: int, code: int, reason: str = "told to") -> None:
        """Close a channel."""
        self._forget(channel)
        self.session.closed(channel)
        self.say(Closed(channel, code, reason))

    def gone(self) -> None:
        """The socket is gone."""
        for channel in list(self.channels):
            self._forget(channel)
        self.session.close()

    def _forget(self, channel: int) -> None:
        library = self.channels.pop(channel, None)
        if library is not None:
            library.members.remove((self, channel))
