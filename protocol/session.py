"""One `promptsync.v1` peer's conversation, seen from the server: a frame in, and what the peer asks for out.

No clock, no socket, no database. What a peer does wrong either ends the socket (`goodbye`) or is answered with an error of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from protocol.closes import Close
from protocol.codec import PART_BYTES, decode_from_client, encode
from protocol.errors import ProtocolError
from protocol.messages import CloseChannel, Error, FromClient, FromServer, Hello, Open, Part, Ping, Push, Synced, Update
from protocol.states import CHANNEL_TRANSITIONS, TRANSITIONS, ChannelState, State


@dataclass(frozen=True, slots=True)
class Goodbye:
    """Why the socket is closed."""

    code: Close
    reason: str


class ServerSession:
    """Checks the order of a peer's messages, joins the parts of its pushes, and bounds both.

    `max_update_bytes` bounds a push, `max_channels` those that are open at a time.
    """

    def __init__(self, *, max_update_bytes: int, max_channels: int) -> None:
        self.state = State.GREETING
        self.goodbye: Goodbye | None = None
        """Set once the peer has broken the rules: close with it."""
        self._max_update_bytes = max_update_bytes
        self._max_channels = max_channels
        self._open: set[int] = set()
        self._joining: tuple[int, int] | None = None  # channel and ref of the push whose parts come
        self._joined = bytearray()  # not a list of parts: many small ones would take many times their bytes
        self._dropping: tuple[str, str] | None = None  # the push has no place here, for this: its parts are dropped as they come

    @property
    def channels(self) -> frozenset[int]:
        """The channels that are open."""
        return frozenset(self._open)

    @property
    def joining_bytes(self) -> int:
        """Bytes of a push whose last part has not come."""
        return len(self._joined)

    def receive(self, frame: bytes) -> FromClient | Error | None:
        """What the peer asks for; an Error to answer with as it is; or None where there is nothing to do (yet), or the session is over.

        A push comes whole, parts joined. Never raises: see `goodbye`.
        """
        if self.state is State.CLOSED:
            return None
        try:
            message = decode_from_client(frame)
            self.state = _after(self.state, message)
            return self._admit(message)
        except ProtocolError as error:
            self.goodbye = Goodbye(error.close, error.reason)
            self.close()
            return None

    def _admit(self, message: FromClient) -> FromClient | Error | None:
        if isinstance(message, Hello | Ping):
            return message
        channel = message.channel
        before = ChannelState.OPEN if channel in self._open else ChannelState.ABSENT
        after = CHANNEL_TRANSITIONS.get((before, type(message)))
        if isinstance(message, Part | Push):
            return self._join(message, is_open=after is not None)
        if after is None:
            if isinstance(message, Open):
                raise ProtocolError(f"channel {channel} is open already")
            return None if isinstance(message, CloseChannel) else Error(channel, None, "channel_closed", "the channel is not open")
        if isinstance(message, Open):
            if len(self._open) >= self._max_channels:
                return Error(channel, None, "too_many_channels", f"at most {self._max_channels} libraries on one socket")
            self.closed(channel)  # parts that were still on their way when it was closed the last time
            self._open.add(channel)
        elif isinstance(message, CloseChannel):
            self.closed(channel)
        return message

    def _join(self, message: Part | Push, *, is_open: bool) -> Push | Error | None:
        place = (message.channel, message.number if isinstance(message, Part) else message.ref)
        content = message.content if isinstance(message, Part) else message.update
        if self._joining is not None and self._joining != place:
            if self._joining[0] in self._open:
                raise ProtocolError("one push in parts at a time: the next begins after its last part")
            self._forget_parts()  # its channel was closed in between, and the peer has given it up
        fits = self.joining_bytes + len(content) <= self._max_update_bytes
        if self._dropping is None and not is_open:
            self.give_up("channel_closed", "the channel is not open")
        elif self._dropping is None and not fits:
            self.give_up("too_large", f"an update past {self._max_update_bytes} bytes goes by POST /api/sync/{{library}}")
        if self._dropping is not None:
            pass
        elif isinstance(message, Part) or self._joining is not None:
            self._joined += content
        if isinstance(message, Part):
            self._joining = place
            return None
        whole = message if self._joining is None else Push(*place, bytes(self._joined))
        dropped = self._dropping
        self._forget_parts()
        if not is_open:
            return Error(*place, "channel_closed", "the channel is not open")
        if dropped is not None:
            return Error(*place, *dropped)
        return whole

    def give_up(self, code: str, reason: str) -> None:
        """Drop the push whose parts come, and those that are still to come; its end is answered with this error."""
        self._joined, self._dropping = bytearray(), (code, reason)

    def _forget_parts(self) -> None:
        self._joining, self._joined, self._dropping = None, bytearray(), None

    def closed(self, channel: int) -> None:
        """The channel is closed. Parts of a push on it are forgotten."""
        self._open.discard(channel)
        if self._joining is not None and self._joining[0] == channel:
            self._forget_parts()

    def close(self) -> None:
        """The conversation is over."""
        self.state = State.CLOSED
        self._open.clear()
        self._forget_parts()


def _after(state: State, message: FromClient) -> State:
    try:
        return TRANSITIONS[state, type(message)]
    except KeyError:
        raise ProtocolError(f"{type(message).__name__.lower()} while {state.value}") from None


def frames(message: FromClient | FromServer) -> Iterator[bytes]:
    """`message` as the frames it takes: one, or several where it carries more than PART_BYTES of an update."""
    match message:
        case Push(channel, number, content) | Update(channel, number, content) | Synced(channel, number, content):
            last = max(0, (len(content) - 1) // PART_BYTES * PART_BYTES)
            for start in range(0, last, PART_BYTES):
                yield encode(Part(channel, number, content[start : start + PART_BYTES]))
            yield encode(type(message)(channel, number, content[last:]) if last else message)
        case _:
            yield encode(message)
