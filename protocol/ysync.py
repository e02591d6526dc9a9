"""The y-websocket dialect: one message a frame, written and read byte for byte.

Source: y-protocols 1.0 (`sync.js`, `awareness.js`, `auth.js`) and y-websocket 2 and 3; `protocol/README.md` has the
same on one page. Update and awareness bytes are opaque here.
"""

from dataclasses import dataclass
from typing import TypeAlias

from protocol.errors import ProtocolError

SYNC, AWARENESS, AUTH, QUERY_AWARENESS = 0, 1, 2, 3
STEP_1, STEP_2, UPDATE = 0, 1, 2

MAX_VARUINT_BYTES = 8
"""lib0 writes at most 2^53 - 1, which is eight bytes of seven bits; a longer one is malformed."""
KEEP_ALIVE = b"\x01\x01\x00"
"""An awareness message about nobody: harmless data for clients that close after 30 s without any (an empty frame throws)."""


@dataclass(frozen=True, slots=True)
class Step1:
    """A peer tells what it holds and asks for the rest."""

    state_vector: bytes


@dataclass(frozen=True, slots=True)
class Step2:
    """The answer to a step 1: what the asker lacks."""

    update: bytes


@dataclass(frozen=True, slots=True)
class Update:
    """An edit as it happens."""

    update: bytes


@dataclass(frozen=True, slots=True)
class Awareness:
    """Presence: who is here and what they point at."""

    entries: bytes


@dataclass(frozen=True, slots=True)
class QueryAwareness:
    """A peer asks for everybody's presence."""


Message: TypeAlias = Step1 | Step2 | Update | Awareness | QueryAwareness


def encode_varuint(value: int) -> bytes:
    """`value` as lib0 writes it: seven bits a byte, the lowest first, the highest bit meaning that more follow."""
    if value < 0x80:
        return value.to_bytes(1, "big")
    out = bytearray()
    while value > 0x7F:
        out.append(0x80 | (value & 0x7F))
        value >>= 7
    out.append(value)
    return bytes(out)


def decode_varuint(data: bytes, at: int) -> tuple[int, int]:
    """The number at `at` and the place after it.

    Raises:
        ProtocolError: `data` ends inside it, or it is longer than `MAX_VARUINT_BYTES`.
    """
    value = shift = 0
    for place in range(at, min(at + MAX_VARUINT_BYTES, len(data))):
        byte = data[place]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place + 1
        shift += 7
    raise ProtocolError("endless number" if len(data) - at >= MAX_VARUINT_BYTES else "truncated number")


def encode_step1(state_vector: bytes) -> bytes:
    """A frame that asks for everything beyond `state_vector` (Yjs state vector, v1)."""
    return b"\x00\x00" + encode_varuint(len(state_vector)) + state_vector


def encode_step2(update: bytes) -> bytes:
    """A frame that answers a step 1 with `update` (Yjs update, v1)."""
    return b"\x00\x01" + encode_varuint(len(update)) + update


def encode_update(update: bytes) -> bytes:
    """A frame that carries one edit (Yjs update, v1)."""
    return b"\x00\x02" + encode_varuint(len(update)) + update


def encode_awareness(entries: bytes) -> bytes:
    """A frame that carries presence (y-protocols awareness update)."""
    return b"\x01" + encode_varuint(len(entries)) + entries


def encode(message: Message) -> bytes:
    """`message` as one frame."""
    match message:
        case Step1(state_vector):
            return encode_step1(state_vector)
        case Step2(update):
            return encode_step2(update)
        case Update(update):
            return encode_update(update)
        case Awareness(entries):
            return encode_awareness(entries)
        case QueryAwareness():
            return b"\x03"


_SYNC_MESSAGES = (Step1, Step2, Update)


def decode(frame: bytes) -> Message:
    """The one message in `frame`.

    Raises:
        ProtocolError: truncated, unknown, or followed by further bytes.
    """
    if not frame:
        raise ProtocolError("empty frame")
    kind = frame[0]
    if kind == SYNC:
        if len(frame) < 2:
            raise ProtocolError("truncated frame")
        if frame[1] > UPDATE:
            raise ProtocolError("unknown sync message")
        return _SYNC_MESSAGES[frame[1]](_bytes_to_the_end(frame, 2))
    if kind == AWARENESS:
        return Awareness(_bytes_to_the_end(frame, 1))
    if kind == QUERY_AWARENESS and len(frame) == 1:
        return QueryAwareness()
    raise ProtocolError("unknown message")


def update_in(frame: bytes) -> bytes | None:
    """The update in a step 2 or update frame whose form is right; None for any other frame, which `decode` judges.

    The hot path: nearly every frame is a small update, and this makes no object but its bytes.
    """
    if frame[:2] != b"\x00\x02" and frame[:2] != b"\x00\x01":
        return None
    size = len(frame)
    if size >= 3 and frame[2] < 0x80:
        return frame[3:] if size - 3 == frame[2] else None
    if size >= 4 and frame[3] < 0x80:
        return frame[4:] if size - 4 == frame[2] & 0x7F | frame[3] << 7 else None
    return None


def _bytes_to_the_end(frame: bytes, at: int) -> bytes:
    """The length-prefixed bytes at `at`, which must fill the frame."""
    length, start = decode_varuint(frame, at)
    if len(frame) - start != length:
        raise ProtocolError("length does not fit the frame")
    return frame[start:]
