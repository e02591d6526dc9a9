"""What the processes of one deployment tell each other, and how it is written down.

A message is a pointer, never the truth: who hears one asks the database, and asks it from time to time anyway, so a lost message costs
time and never data. What is content in it (presence) was sealed before it came here. How messages travel is not decided here: see
`server/queued_bus.py` and the two ways below it.

    packet   version (1 byte) · sender (16) · messages; a packet without messages says hello
    message  kind (1) · then by kind:   1 Advanced: library (16), seq (8)      2 PresenceSaid: library (16), length (4), sealed bytes
                                        3 PresenceAsked: library (16)          4 SessionsRevoked: count (2), that many sessions (16)
                                        5 LibraryDeleted: library (16)         6 DevicesAsked: library (16), question (16), exchange (1)
                                        7 DevicesSaid: library (16), question (16), length (4), sealed bytes
    numbers are big-endian
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias
from uuid import UUID

from server.errors import ServerError

VERSION = 0xB1
SENDER_BYTES = 16
HEAD_BYTES = 1 + SENDER_BYTES
PRESENCE_BYTES = 1 + 16 + 4
"""What a PresenceSaid takes besides its sealed bytes."""
QUESTION_BYTES = 16
DEVICES_BYTES = 1 + 16 + QUESTION_BYTES + 4
"""What a DevicesSaid takes besides its sealed bytes."""
MAX_PACKET_BYTES = 2 << 20
"""A packet past it was not written by us: it is refused unread."""
MAX_SEQ = (1 << 63) - 1
"""The largest `bigint`."""

_ADVANCED = struct.Struct("!B16sQ")
_SAID = struct.Struct("!B16sI")
_LIBRARY = struct.Struct("!B16s")
_REVOKED = struct.Struct("!BH")
_DEVICES_ASKED = struct.Struct("!B16s16s?")
_DEVICES_SAID = struct.Struct("!B16s16sI")
_SESSIONS_AT_ONCE = 256


class BusError(ServerError):
    """Bytes on the bus that we have not written: a foreign sender, another version, or damage."""


@dataclass(frozen=True, slots=True)
class Advanced:
    """A library has been written to: what is stored reaches to `seq` at least."""

    library_id: UUID
    seq: int


@dataclass(frozen=True, slots=True)
class PresenceSaid:
    """Somebody is (or is no longer) present in a library; who, is sealed."""

    library_id: UUID
    sealed: bytes


@dataclass(frozen=True, slots=True)
class PresenceAsked:
    """A process has just opened this library, and knows nobody there: say who is present."""

    library_id: UUID


@dataclass(frozen=True, slots=True)
class SessionsRevoked:
    """These sessions have ended."""

    session_ids: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class LibraryDeleted:
    """This library was deleted."""

    library_id: UUID


@dataclass(frozen=True, slots=True)
class DevicesAsked:
    """Which devices have this library open? With `exchange` they are to bring what is not stored yet before that is said for good."""

    library_id: UUID
    question: bytes
    exchange: bool


@dataclass(frozen=True, slots=True)
class DevicesSaid:
    """The answer to a question of another process; which devices, is sealed."""

    library_id: UUID
    question: bytes
    sealed: bytes


Message: TypeAlias = Advanced | PresenceSaid | PresenceAsked | SessionsRevoked | LibraryDeleted | DevicesAsked | DevicesSaid


class Listener(Protocol):
    """Who is told what other processes say. Called on the event loop; must not block."""

    def heard(self, message: Message) -> None:
        """Another process says so. It may come twice, late or out of order, and never."""

    def missed(self) -> None:
        """The bus is connected, after anything may have been lost: look for yourself."""


class Bus(Protocol):
    """The way to the other processes."""

    @property
    def alone(self) -> bool:
        """Whether no other process listens: then it is of no use to tell them anything."""

    @property
    def presence_bytes(self) -> int:
        """The most bytes that `PresenceSaid.sealed` may have; a longer one is dropped and counted."""

    @property
    def devices_bytes(self) -> int:
        """The same for `DevicesSaid.sealed`."""

    def publish(self, message: Message) -> None:
        """Say it to the other processes soon. Never blocks, never raises; see `BusQueue` for what a full queue does."""

    def follow(self, library_id: UUID) -> None:
        """Hear what is said of this library, from a moment from now on. What is published later than this goes out after it took effect."""

    def unfollow(self, library_id: UUID) -> None:
        """Hear no more of it."""

    async def run(self, listener: Listener) -> None:
        """Carry messages until cancelled; a broken connection is made again."""


def size_of(message: Message) -> int:
    """How many bytes of a packet it takes."""
    match message:
        case Advanced():
            return _ADVANCED.size
        case PresenceSaid(sealed=sealed):
            return PRESENCE_BYTES + len(sealed)
        case DevicesAsked():
            return _DEVICES_ASKED.size
        case DevicesSaid(sealed=sealed):
            return DEVICES_BYTES + len(sealed)
        case SessionsRevoked(session_ids=session_ids):
            return sum(_REVOKED.size + 16 * len(part) for part in _parts(session_ids))
        case _:
            return _LIBRARY.size


def encode(messages: Sequence[Message], sender: bytes, *, limit: int) -> list[bytes]:
    """The messages, in order, in as few packets of at most `limit` bytes as that takes; no messages make one packet that says hello.

    What does not fit into a packet alone is left out: the caller has refused it already (`Bus.presence_bytes`, `Bus.devices_bytes`).
    """
    head = bytes((VERSION,)) + sender
    packets, parts, size = [], [head], len(head)
    for part in (written for message in messages for written in _write(message)):
        if len(head) + len(part) > limit:
            continue
        if size + len(part) > limit:
            packets.append(b"".join(parts))
            parts, size = [head], len(head)
        parts.append(part)
        size += len(part)
    return [*packets, b"".join(parts)] if size > len(head) or not packets else packets


def decode(packet: bytes) -> tuple[bytes, list[Message]]:
    """Who has sent this packet, and its messages.

    Raises:
        BusError: it is not a packet of ours.
    """
    if not HEAD_BYTES <= len(packet) <= MAX_PACKET_BYTES or packet[0] != VERSION:
        raise BusError("not a packet of this version")
    try:
        return packet[1:HEAD_BYTES], list(_read(packet, HEAD_BYTES))
    except struct.error as error:
        raise BusError("a packet that was cut") from error


def _write(message: Message) -> Iterator[bytes]:
    match message:
        case Advanced(library_id, seq):
            yield _ADVANCED.pack(1, library_id.bytes, seq)
        case PresenceSaid(library_id, sealed):
            yield _SAID.pack(2, library_id.bytes, len(sealed)) + sealed
        case PresenceAsked(library_id):
            yield _LIBRARY.pack(3, library_id.bytes)
        case SessionsRevoked(session_ids):
            for part in _parts(session_ids):
                yield _REVOKED.pack(4, len(part)) + b"".join(session_id.bytes for session_id in part)
        case LibraryDeleted(library_id):
            yield _LIBRARY.pack(5, library_id.bytes)
        case DevicesAsked(library_id, question, exchange):
            yield _DEVICES_ASKED.pack(6, library_id.bytes, question, exchange)
        case DevicesSaid(library_id, question, sealed):
            yield _DEVICES_SAID.pack(7, library_id.bytes, question, len(sealed)) + sealed


def _parts(session_ids: tuple[UUID, ...]) -> Iterator[tuple[UUID, ...]]:
    """So that each fits into the smallest packet there is."""
    for start in range(0, len(session_ids), _SESSIONS_AT_ONCE):
        yield session_ids[start : start + _SESSIONS_AT_ONCE]


def _read(packet: bytes, at: int) -> Iterator[Message]:
    while at < len(packet):
        match packet[at]:
            case 1:
                _, library, seq = _ADVANCED.unpack_from(packet, at)
                if seq > MAX_SEQ:
                    raise BusError("a seq that no database has")
                yield Advanced(UUID(bytes=library), seq)
                at += _ADVANCED.size
            case 2:
                _, library, length = _SAID.unpack_from(packet, at)
                at += _SAID.size
                yield PresenceSaid(UUID(bytes=library), _slice(packet, at, length))
                at += length
            case 4:
                _, count = _REVOKED.unpack_from(packet, at)
                at += _REVOKED.size
                raw = _slice(packet, at, 16 * count)
                yield SessionsRevoked(tuple(UUID(bytes=raw[start : start + 16]) for start in range(0, len(raw), 16)))
                at += len(raw)
            case 3 | 5 as kind:
                _, library = _LIBRARY.unpack_from(packet, at)
                yield PresenceAsked(UUID(bytes=library)) if kind == 3 else LibraryDeleted(UUID(bytes=library))
                at += _LIBRARY.size
            case 6:
                _, library, question, exchange = _DEVICES_ASKED.unpack_from(packet, at)
                yield DevicesAsked(UUID(bytes=library), question, exchange)
                at += _DEVICES_ASKED.size
            case 7:
                _, library, question, length = _DEVICES_SAID.unpack_from(packet, at)
                at += _DEVICES_SAID.size
                yield DevicesSaid(UUID(bytes=library), question, _slice(packet, at, length))
                at += length
            case _:
                raise BusError("a message of no kind that is known")


def _slice(packet: bytes, at: int, length: int) -> bytes:
    if length > len(packet) - at:
        raise BusError("a packet that was cut")
    return packet[at : at + length]
