"""The messages of `promptsync.v1`, as values. `protocol/README.md` says what each asks for; `codec.py` writes and reads them.

Update, state vector and presence bytes are opaque here (Yjs v1, y-protocols awareness).
"""

from dataclasses import dataclass, field
from typing import Any, TypeAlias
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """C: who is there. The token may have come with the upgrade instead; `device` is the id that it signed in with."""

    token: str | None = field(default=None, repr=False)
    device: UUID | None = None
    client_name: str = ""
    client_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a client must keep to on this socket, in bytes and channels."""

    update: int
    """An update as a whole; a larger one goes by `POST /api/sync/{library}`."""
    part: int
    """The bytes of an update in one message; a larger update goes in parts."""
    channels: int
    """Open at a time."""
    presence: int
    """The bytes of one presence message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """S: come in. `time` is the server's clock in milliseconds since 1970."""

    session: UUID
    user: UUID
    limits: Limits
    time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """C: open a library on a channel. `vector` is what the device holds; `cursor` the seq up to which it has everything, in `epoch`."""

    channel: int
    library: UUID
    vector: bytes
    epoch: int | None = None
    cursor: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """S: it is open. `vector` is what the server holds: push what it lacks."""

    channel: int
    library: UUID
    role: str
    epoch: int
    head: int
    vector: bytes


@dataclass(frozen=True, slots=True)
class Part:
    """Both: the next bytes of the push, update or synced of this number, which are too many for one message."""

    channel: int
    number: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Synced:
    """S: the update with everything that the device lacked (after its parts); it has all up to `seq` now."""

    channel: int
    seq: int
    update: bytes


@dataclass(frozen=True, slots=True)
class Push:
    """C: store this update (after its parts), and say what became of it under `ref`."""

    channel: int
    ref: int
    update: bytes


@dataclass(frozen=True, slots=True)
class Ack:
    """S: it is committed. `new`: as `seq`; else nothing in it was new, and `seq` is only where the library stands."""

    channel: int
    ref: int
    seq: int
    new: bool


@dataclass(frozen=True, slots=True)
class Update:
    """S: somebody else's update, committed as `seq` (after its parts)."""

    channel: int
    seq: int
    update: bytes


@dataclass(frozen=True, slots=True)
class Presence:
    """Both: who is here (a y-protocols awareness update)."""

    channel: int
    entries: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusAsked:
    """C: how does the library stand? And what the device has: everything up to `cursor`, kept where it survives a restart."""

    channel: int
    cursor: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """S: how the library stands. With `ask` the device is to push what `vector` lacks, and then to ask for the status itself."""

    channel: int
    head: int
    epoch: int
    vector: bytes
    unsaved: int
    """Pushes of this channel that are not settled yet."""
    storing: bool
    """Whether the server can store at the moment."""
    ask: bool = False


@dataclass(frozen=True, slots=True)
class Error:
    """S: one thing failed, and only that: the push `ref`, or what was asked on the channel."""

    channel: int | None
    ref: int | None
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class CloseChannel:
    """C: the library is not needed any more."""

    channel: int


@dataclass(frozen=True, slots=True)
class Closed:
    """S: the channel is closed, for a reason with a code as for sockets; 1000 where the client asked for it."""

    channel: int
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Ping:
    """C: is anybody there? For clients that cannot send WebSocket pings."""

    number: int


@dataclass(frozen=True, slots=True)
class Pong:
    """S: yes."""

    number: int


FromClient: TypeAlias = Hello | Open | Part | Push | Presence | StatusAsked | CloseChannel | Ping
FromServer: TypeAlias = Welcome | Opened | Part | Synced | Ack | Update | Presence | Status | Error | Closed | Pong

Fields: TypeAlias = dict[str, Any]
"""A message's map of named values, as msgpack reads it: unknown names in it are ignored, so that it can grow."""
