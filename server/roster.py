"""Who is connected to a library, as one process writes it down for another. It is sealed before it goes on the bus.

flags (1: 1 more is to come, 2 not all of them) · process (16) · for each device: session (16), user (16), flags (1: 1 may write,
2 promptsync.v1, 4 has not finished), seq (8, -1: not known), since (8, microseconds from 1970), length (1), the client's name
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

DIALECTS = ("yjs", "promptsync.v1")
PROCESS_BYTES = 16
MAX_CLIENT_BYTES = 64
"""Of a client's name and version; a longer one is cut."""

_MORE, _CUT = 1, 2
_MAY_WRITE, _DIALECT, _UNFINISHED = 1, 2, 4
_DEVICE = struct.Struct("!16s16sBqqB")
_1970 = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A device that is connected to a library, here or to another process."""

    session_id: UUID
    user_id: UUID
    dialect: str
    client: str
    may_write: bool
    seq: int | None
    since: datetime
    finished: bool = True
    """Whether it has brought what the server lacked, as far as it was asked to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """The devices of a library in one process, or as many as fit."""

    process: bytes
    devices: tuple[Seen, ...]
    more: bool = False
    """Whether the process says it again, once its devices have exchanged."""
    cut: bool = False


def pack(process: bytes, devices: Sequence[Seen], *, more: bool, limit: int) -> bytes:
    """As many of the devices as fit into `limit` bytes, the first ones first."""
    size = 1 + PROCESS_BYTES
    parts: list[bytes] = []
    for device in devices:
        part = _device(device)
        if size + len(part) > limit:
            break
        parts.append(part)
        size += len(part)
    flags = (_MORE if more else 0) | (_CUT if len(parts) < len(devices) else 0)
    return bytes((flags,)) + process + b"".join(parts)


def _device(device: Seen) -> bytes:
    flags = (_MAY_WRITE if device.may_write else 0) | (_DIALECT if device.dialect == DIALECTS[1] else 0)
    flags |= 0 if device.finished else _UNFINISHED
    client = device.client.encode("utf-8", "replace")[:MAX_CLIENT_BYTES].decode("utf-8", "ignore").encode()
    seq = -1 if device.seq is None else device.seq
    since = (device.since - _1970) // _MICROSECOND
    return _DEVICE.pack(device.session_id.bytes, device.user_id.bytes, flags, seq, since, len(client)) + client


def unpack(said: bytes) -> Roster:
    """What `pack` wrote.

    Raises:
        ValueError: it was not written by it.
    """
    if len(said) < 1 + PROCESS_BYTES:
        raise ValueError("too short for a roster")
    devices: list[Seen] = []
    at = 1 + PROCESS_BYTES
    try:
        while at < len(said):
            session, user, flags, seq, since, length = _DEVICE.unpack_from(said, at)
            at += _DEVICE.size + length
            if at > len(said):
                raise ValueError("a roster that was cut")
            devices.append(
                Seen(
                    session_id=UUID(bytes=session),
                    user_id=UUID(bytes=user),
                    dialect=DIALECTS[bool(flags & _DIALECT)],
                    client=said[at - length : at].decode(),
                    may_write=bool(flags & _MAY_WRITE),
                    seq=None if seq < 0 else seq,
                    since=_1970 + since * _MICROSECOND,
                    finished=not flags & _UNFINISHED,
                )
            )
    except (struct.error, OverflowError) as error:
        raise ValueError("not a roster") from error
    return Roster(process=said[1 : 1 + PROCESS_BYTES], devices=tuple(devices), more=bool(said[0] & _MORE), cut=bool(said[0] & _CUT))
