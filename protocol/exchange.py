"""What `POST /api/sync/{library id}` exchanges as msgpack: one map in, one map out.

The maps have exactly the names that `protocol/README.md` lists, each of them once: what is sent here is not streamed, so a name that is
not known is a mistake rather than a newer client.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgpack

from protocol.codec import MAX_NUMBER
from protocol.errors import ProtocolError

MAX_NAME_BYTES = 32
"""The longest name in a map; there are no other strings."""
MAX_ITEMS = 8
"""The most names in a map."""

Fields = dict[str, Any]
"""A map as msgpack has it, before it is read."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a device says: its state vector, an update to store, and where it stood the last time, if it kept that."""

    vector: bytes
    update: bytes | None = field(default=None, repr=False)
    epoch: int | None = None
    cursor: int | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """What the server says: all that the device lacked up to `seq`, what the server holds, and whether the update was stored."""

    update: bytes = field(repr=False)
    vector: bytes
    seq: int
    epoch: int
    stored: bool
    quarantined: Sequence[bytes] = field(default=(), repr=False)
    """Updates to be applied one by one, apart from the others: some make Yrs break."""


def encode_asked(asked: Asked) -> bytes:
    """`asked` as a request's body."""
    fields = {"vector": asked.vector, "update": asked.update, "epoch": asked.epoch, "cursor": asked.cursor}
    return bytes(msgpack.packb({name: value for name, value in fields.items() if value is not None}))


def encode_answered(answered: Answered) -> bytes:
    """`answered` as an answer's body."""
    said: Fields = {"update": answered.update, "vector": answered.vector, "seq": answered.seq, "epoch": answered.epoch}
    said["stored"] = answered.stored
    if answered.quarantined:
        said["quarantined"] = list(answered.quarantined)
    return bytes(msgpack.packb(said))


def decode_asked(body: bytes) -> Asked:
    """What a device says in this body.

    Raises:
        ProtocolError: it is not such a map, or breaks a bound.
    """
    asked = _unpack(body, array=0)
    _only(asked, {"vector", "update", "epoch", "cursor"})
    return Asked(
        vector=_bytes(asked.get("vector")),
        update=_bytes(asked["update"]) if "update" in asked else None,
        epoch=_number(asked["epoch"]) if "epoch" in asked else None,
        cursor=_number(asked["cursor"]) if "cursor" in asked else None,
    )


def decode_answered(body: bytes) -> Answered:
    """What the server says in this body.

    Raises:
        ProtocolError: it is not such a map, or breaks a bound.
    """
    said = _unpack(body, array=len(body))
    _only(said, {"update", "vector", "seq", "epoch", "stored", "quarantined"})
    apart = said.get("quarantined", [])
    if not isinstance(said.get("stored"), bool) or not isinstance(apart, list) or ("quarantined" in said and not apart):
        raise ProtocolError("a value of the wrong kind")
    return Answered(
        update=_bytes(said.get("update")),
        vector=_bytes(said.get("vector")),
        seq=_number(said.get("seq")),
        epoch=_number(said.get("epoch")),
        stored=said["stored"],
        quarantined=tuple(_bytes(update) for update in apart),
    )


def _unpack(body: bytes, *, array: int) -> Fields:
    try:
        value = msgpack.unpackb(
            body,
            raw=False,
            strict_map_key=True,
            object_pairs_hook=_distinct,
            max_str_len=MAX_NAME_BYTES,
            max_bin_len=len(body),
            max_array_len=array,
            max_map_len=MAX_ITEMS,
            max_ext_len=0,
        )
    except ValueError as error:  # everything that unpackb raises is one
        raise ProtocolError("not one map of msgpack, or past a bound") from error
    if not isinstance(value, dict):
        raise ProtocolError("not a map")
    return value


def _distinct(pairs: list[tuple[Any, Any]]) -> Fields:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name that comes twice")
    return fields


def _only(fields: Fields, known: set[str]) -> None:
    if not fields.keys() <= known:
        raise ProtocolError("a name that is not known here")


def _bytes(value: object) -> bytes:
    if type(value) is not bytes:
        raise ProtocolError("a value that is missing or not bytes")
    return value


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value <= MAX_NUMBER:  # True is an int, too
        raise ProtocolError("a value that is missing or not a number of this protocol")
    return value
