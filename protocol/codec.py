"""The messages of `promptsync.v1` as bytes: one msgpack array a frame, its first element the message's name.

The arrays have exactly the elements that `protocol/README.md` lists; only what is a map there may hold names that are not known here.
"""

from itertools import count
from typing import Any, Never
from uuid import UUID

import msgpack

from protocol.closes import Close
from protocol.errors import ProtocolError
from protocol.messages import (
    Ack,
    CloseChannel,
    Closed,
    Error,
    Fields,
    FromClient,
    FromServer,
    Hello,
    Limits,
    Open,
    Opened,
    Part,
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

PART_BYTES = 1 << 20
"""The most bytes of an update in one message, and the longest `bytes` there is. Past it: close 4413."""
FRAME_BYTES = PART_BYTES + 1024
"""The largest frame; what is around the bytes of an update takes under 64. Past it: close 4413."""
MAX_TEXT_BYTES = 8 << 10
"""The longest string there is (a token); names have 200 characters at most."""
MAX_NAME_CHARACTERS = 200
MAX_NUMBER = (1 << 53) - 1
"""Channels are smaller; refs, seqs and cursors may be as large as JavaScript's numbers are exact."""
MAX_CHANNEL = (1 << 16) - 1
MAX_CONTAINERS = 64
"""Arrays and maps in a message, those under unknown names too: a frame of a million empty ones took 0.6 s and 60 MiB to read."""

_BOUNDS = {
    "max_str_len": MAX_TEXT_BYTES,
    "max_bin_len": FRAME_BYTES,
    "max_array_len": 16,
    "max_map_len": 32,
    "max_ext_len": 0,
}


def encode(message: FromClient | FromServer) -> bytes:
    """`message` as one frame. Its bytes are the caller's to keep within PART_BYTES."""
    return bytes(msgpack.packb(_array(message)))


def _array(message: FromClient | FromServer) -> list[Any]:  # one line a message
    match message:
        case Push(channel, ref, update):
            return ["push", channel, ref, update]
        case Ack(channel, ref, seq, new):
            return ["ack", channel, ref, seq, new]
        case Update(channel, seq, update):
            return ["update", channel, seq, update]
        case Part(channel, number, content):
            return ["part", channel, number, content]
        case Synced(channel, seq, update):
            return ["synced", channel, seq, update]
        case Presence(channel, entries):
            return ["presence", channel, entries]
        case Error(channel, ref, code, reason):
            return ["error", channel, ref, code, reason]
        case Closed(channel, code, reason):
            return ["closed", channel, code, reason]
        case CloseChannel(channel):
            return ["close", channel]
        case Ping(number):
            return ["ping", number]
        case Pong(number):
            return ["pong", number]
        case Hello():
            client = {"name": message.client_name, "version": message.client_version}
            return ["hello", _present(token=message.token, device=message.device and str(message.device), client=client)]
        case Welcome(limits=limits):
            bounds = {"update": limits.update, "part": limits.part, "channels": limits.channels, "presence": limits.presence}
            return ["welcome", {"session": str(message.session), "user": str(message.user), "limits": bounds, "time": message.time}]
        case Open():
            asked = _present(library=str(message.library), vector=message.vector, epoch=message.epoch, cursor=message.cursor)
            return ["open", message.channel, asked]
        case Opened():
            said = {"library": str(message.library), "role": message.role, "epoch": message.epoch, "head": message.head}
            return ["opened", message.channel, said | {"vector": message.vector}]
        case StatusAsked():
            return ["status", message.channel, _present(cursor=message.cursor)]
        case Status():
            said = {"head": message.head, "epoch": message.epoch, "vector": message.vector}
            said |= {"unsaved": message.unsaved, "storing": message.storing, "ask": message.ask}
            return ["status", message.channel, said]


def _present(**values: Any) -> Fields:
    return {name: value for name, value in values.items() if value is not None}


def decode_from_client(frame: bytes) -> FromClient:
    """The message that a client has sent.

    Raises:
        ProtocolError: it is none, or breaks a bound.
    """
    match _unpack(frame):
        case ["push", channel, ref, update]:
            return Push(_channel(channel), _number(ref), _bytes(update))
        case ["presence", channel, entries]:
            return Presence(_channel(channel), _bytes(entries))
        case ["part", channel, number, content]:
            return Part(_channel(channel), _number(number), _bytes(content))
        case ["status", channel, dict(asked)]:
            return StatusAsked(channel=_channel(channel), cursor=_maybe_number(asked.get("cursor")))
        case ["open", channel, dict(asked)]:
            return _open(_channel(channel), asked)
        case ["close", channel]:
            return CloseChannel(_channel(channel))
        case ["ping", number]:
            return Ping(_number(number))
        case ["hello", dict(said)]:
            return _hello(said)
    _refuse()


def decode_from_server(frame: bytes) -> FromServer:  # one case a message
    """The message that a server has sent.

    Raises:
        ProtocolError: it is none, or breaks a bound.
    """
    match _unpack(frame):
        case ["update", channel, seq, update]:
            return Update(_channel(channel), _number(seq), _bytes(update))
        case ["ack", channel, ref, seq, bool(new)]:
            return Ack(_channel(channel), _number(ref), _number(seq), new)
        case ["presence", channel, entries]:
            return Presence(_channel(channel), _bytes(entries))
        case ["part", channel, number, content]:
            return Part(_channel(channel), _number(number), _bytes(content))
        case ["synced", channel, seq, update]:
            return Synced(_channel(channel), _number(seq), _bytes(update))
        case ["opened", channel, dict(said)]:
            return _opened(_channel(channel), said)
        case ["status", channel, dict(said)]:
            return _status(_channel(channel), said)
        case ["error", channel, ref, str(code), str(reason)]:
            return Error(None if channel is None else _channel(channel), _maybe_number(ref), code, reason)
        case ["closed", channel, code, str(reason)]:
            return Closed(_channel(channel), _number(code), reason)
        case ["pong", number]:
            return Pong(_number(number))
        case ["welcome", dict(said)]:
            return _welcome(said)
    _refuse()


def _unpack(frame: bytes) -> Any:
    if len(frame) > FRAME_BYTES:
        raise ProtocolError("frame too large: an update past 1 MiB goes in parts", Close.TOO_LARGE)
    containers = count(1)

    def counted(container: Any) -> Any:
        if next(containers) > MAX_CONTAINERS:
            raise ProtocolError("too many arrays and maps")
        return container

    try:
        return msgpack.unpackb(frame, raw=False, strict_map_key=True, list_hook=counted, object_hook=counted, **_BOUNDS)
    except ValueError as error:  # everything that unpackb raises is one
        raise ProtocolError("not a message: broken msgpack, or past a bound") from error


def _refuse() -> Never:
    raise ProtocolError("unknown message")


def _hello(said: Fields) -> Hello:
    client = said.get("client")
    if not isinstance(client, dict):
        raise ProtocolError("hello: client is a map")
    return Hello(
        token=_maybe_text(said.get("token"), MAX_TEXT_BYTES),
        device=None if said.get("device") is None else _uuid(said["device"]),
        client_name=_text(client.get("name"), MAX_NAME_CHARACTERS),
        client_version=_text(client.get("version"), MAX_NAME_CHARACTERS),
    )


def _welcome(said: Fields) -> Welcome:
    limits = said.get("limits")
    if not isinstance(limits, dict):
        raise ProtocolError("welcome: limits is a map")
    bounds = {name: _number(limits.get(name)) for name in ("update", "part", "channels", "presence")}
    return Welcome(
        session=_uuid(said.get("session")), user=_uuid(said.get("user")), limits=Limits(**bounds), time=_number(said.get("time"))
    )


def _open(channel: int, asked: Fields) -> Open:
    return Open(
        channel=channel,
        library=_uuid(asked.get("library")),
        vector=_bytes(asked.get("vector")),
        epoch=_maybe_number(asked.get("epoch")),
        cursor=_maybe_number(asked.get("cursor")),
    )


def _opened(channel: int, said: Fields) -> Opened:
    return Opened(
        channel=channel,
        library=_uuid(said.get("library")),
        role=_text(said.get("role"), MAX_NAME_CHARACTERS),
        epoch=_number(said.get("epoch")),
        head=_number(said.get("head")),
        vector=_bytes(said.get("vector")),
    )


def _status(channel: int, said: Fields) -> Status:
    return Status(
        channel=channel,
        head=_number(said.get("head")),
        epoch=_number(said.get("epoch")),
        vector=_bytes(said.get("vector")),
        unsaved=_number(said.get("unsaved")),
        storing=_bool(said.get("storing")),
        ask=_bool(said.get("ask")),
    )


def _channel(value: object) -> int:
    return _number(value, MAX_CHANNEL)


def _number(value: object, most: int = MAX_NUMBER) -> int:
    if type(value) is not int or not 0 <= value <= most:  # True is an int, too
        raise ProtocolError("not a number of this protocol")
    return value


def _maybe_number(value: object) -> int | None:
    return None if value is None else _number(value)


def _bool(value: object) -> bool:
    if type(value) is not bool:
        raise ProtocolError("neither true nor false")
    return value


def _bytes(value: object) -> bytes:
    if type(value) is not bytes:
        raise ProtocolError("not bytes")
    if len(value) > PART_BYTES:
        raise ProtocolError("bytes past 1 MiB: an update of more goes in parts", Close.TOO_LARGE)
    return value


def _text(value: object, most: int) -> str:
    if type(value) is not str or len(value) > most:
        raise ProtocolError("not a text, or too long a one")
    return value


def _maybe_text(value: object, most: int) -> str | None:
    return None if value is None else _text(value, most)


def _uuid(value: object) -> UUID:
    text = _text(value, 36)
    try:
        read = UUID(text)
    except ValueError as error:
        raise ProtocolError("not a UUID") from error
    if str(read) != text.lower():  # UUID() also reads braces, other digits than ASCII's, and hyphens anywhere
        raise ProtocolError("not a UUID as RFC 9562 writes it")
    return read
