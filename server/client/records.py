"""The file of a queue as bytes: a head, then records, each behind a mark that only this file has.

A crash tears the end, and what a machine that loses power leaves of the last writes may have holes. So a record has a checksum, and what is
not a whole record is stepped over up to the next mark: nothing that is whole is lost with it. The mark is random: no update can pretend.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from protocol.client import Place

MAGIC = b"promptsync queue 1\n"
MARK_BYTES = 8
HEAD_BYTES = len(MAGIC) + MARK_BYTES

_FRAME = struct.Struct("<II")  # length of the body, and its checksum
_NUMBER = struct.Struct("<cQ")
_PLACE = struct.Struct("<cQQ")


@dataclass(frozen=True, slots=True)
class Added:
    """An update is in the queue."""

    number: int
    update: bytes


@dataclass(frozen=True, slots=True)
class Removed:
    """It is not any more."""

    number: int


@dataclass(frozen=True, slots=True)
class Kept:
    """The application keeps its document with everything up to this place; it held `vector` then."""

    place: Place
    vector: bytes


Record: TypeAlias = Added | Removed | Kept


def head(mark: bytes) -> bytes:
    """How a file begins whose records have this mark."""
    return MAGIC + mark


def encode(record: Record, mark: bytes) -> bytes:
    """The record as it is appended."""
    match record:
        case Added(number, update):
            body = _NUMBER.pack(b"+", number) + update
        case Removed(number):
            body = _NUMBER.pack(b"-", number)
        case Kept(place, vector):
            body = _PLACE.pack(b"=", *place) + vector
    return mark + _FRAME.pack(len(body), zlib.crc32(body)) + body


def size_of(record: Record) -> int:
    """The bytes that it takes."""
    match record:
        case Added(_, update):
            body = _NUMBER.size + len(update)
        case Removed():
            body = _NUMBER.size
        case Kept(_, vector):
            body = _PLACE.size + len(vector)
    return MARK_BYTES + _FRAME.size + body


def whole(mark: bytes, records: Iterable[Record]) -> bytes:
    """A file of just these records."""
    return b"".join([head(mark), *(encode(record, mark) for record in records)])


def mark_of(content: bytes) -> bytes | None:
    """The mark of a file's records; None where it is no such file."""
    return content[len(MAGIC) : HEAD_BYTES] if content.startswith(MAGIC) and len(content) >= HEAD_BYTES else None


def read(content: bytes, mark: bytes) -> Iterator[tuple[Record, int]]:
    """Every whole record after the head, and where it ends."""
    at = content.find(mark, HEAD_BYTES)
    while at >= 0:
        start = at + MARK_BYTES + _FRAME.size
        record = None
        if start <= len(content):
            size, checksum = _FRAME.unpack_from(content, at + MARK_BYTES)
            body = content[start : start + size]
            record = _record(body) if len(body) == size and zlib.crc32(body) == checksum else None
        if record is None:
            at = content.find(mark, at + 1)
            continue
        yield record, start + size
        at = content.find(mark, start + size)


def _record(body: bytes) -> Record | None:
    try:
        match body[:1]:
            case b"+":
                return Added(_NUMBER.unpack_from(body)[1], body[_NUMBER.size :])
            case b"-":
                return Removed(_NUMBER.unpack(body)[1])
            case b"=":
                _, epoch, cursor = _PLACE.unpack_from(body)
                return Kept(Place(epoch, cursor), body[_PLACE.size :])
    except struct.error:
        pass
    return None
