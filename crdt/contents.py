"""How to step over the content of each struct in a Yjs update (v1), and how many clocks it takes.

From the readers in yjs 13.6 (src/structs/Content*.js), lib0 0.2 (decoding.js) and the behaviour of Yrs 0.28. Only what
all of them read alike is accepted. Each reader takes the bytes and the index of the content, and returns the index after it, the
content's length in clocks, and about how many bytes of memory Yrs takes for it beyond those of every struct. Nothing is built:
announced counts are only counted down, each item taking at least a byte.

Raises: InvalidUpdate; IndexError where the data ends; UnicodeDecodeError; ValueError from an integer that is too long.
"""

from __future__ import annotations

from collections.abc import Callable

from crdt import varint
from crdt.errors import InvalidUpdate

Reader = Callable[[bytes, int], tuple[int, int, int]]

# How deep arrays and objects may stand in one another in a value. Yrs reads them recursively: 30,000 levels kill the
# process with SIGSEGV. Its own bound for JSON (serde_json) is 127, and no prompt comes near it.
MAX_DEPTH = 127

# Memory that Yrs 0.28 takes, in bytes, as measured with a million of each: empty subdocuments of six bytes took 727 each.
STRUCT_WEIGHT = 190
_TYPE_WEIGHT, _DOC_WEIGHT = 220, 450  # beyond the struct's
_VALUE_WEIGHT, _CONTAINER_WEIGHT = 32, 64  # an object or array is a value too
_JSON_WEIGHT = 28  # a byte of JSON text: "{}," makes a value and a container

GC, DELETED, JSON, BINARY, STRING, EMBED, FORMAT, TYPE, ANY, DOC, SKIP = range(11)

_XML_ELEMENT, _XML_HOOK, _LAST_TYPE = 3, 5, 6
_OBJECT, _ARRAY, _BUFFER, _TEXT, _INTEGER = 118, 117, 116, 119, 125
# Bytes after the tag: undefined, null, float32, float64, bigint, false, true.
_FIXED = {127: 0, 126: 0, 124: 4, 123: 8, 122: 8, 121: 0, 120: 0}


def text(data: bytes, at: int) -> int:
    """Step over a string whose length does not matter; its bytes must be UTF-8."""
    size = data[at]
    at += 1
    if size > 127:
        size, at = varint.read(data, at - 1)
    end = at + size
    held = data[at:end]
    if not held.isascii():
        held.decode()
    return end


def utf16_length(utf8: bytes) -> int:
    """How many UTF-16 units JavaScript counts in the text: the unit of clocks in strings."""
    return len(utf8.decode().encode("utf-16-le")) >> 1


def _refuse_json(data: bytes, at: int) -> tuple[int, int, int]:
    # Written by yjs before version 13 only. Yrs 0.28 reads one string too many and would shift everything after it.
    raise InvalidUpdate("legacy JSON content", at)


def _deleted(data: bytes, at: int) -> tuple[int, int, int]:
    length, end = varint.read(data, at)
    return end, _some(length, at), 0


def _buffer(data: bytes, at: int) -> tuple[int, int, int]:
    size, at = varint.read(data, at)
    return at + size, 1, 0


def _string(data: bytes, at: int) -> tuple[int, int, int]:
    size, at = varint.read(data, at)
    held = data[at : at + size]
    # Early versions of Yrs wrote empty strings. Yrs drops them when reading, and they hold nothing.
    return at + size, size if held.isascii() else utf16_length(held), 0


def _embed(data: bytes, at: int) -> tuple[int, int, int]:
    end = text(data, at)  # JSON, which Yrs parses as strictly as JavaScript does
    return end, 1, _JSON_WEIGHT * (end - at)


def _format(data: bytes, at: int) -> tuple[int, int, int]:
    end = text(data, text(data, at))
    return end, 1, _JSON_WEIGHT * (end - at)


def _type(data: bytes, at: int) -> tuple[int, int, int]:
    kind = data[at]
    # Yrs knows more of them, at which a device with yjs throws; of an XmlHook it does not read the name.
    if kind > _LAST_TYPE or kind == _XML_HOOK:
        raise InvalidUpdate("unknown shared type", at)
    at += 1
    return (text(data, at) if kind == _XML_ELEMENT else at), 1, _TYPE_WEIGHT


def _any(data: bytes, at: int) -> tuple[int, int, int]:
    count, at = varint.read(data, at)
    end, weight = values(data, at, _some(count, at))
    return end, count, weight


def _doc(data: bytes, at: int) -> tuple[int, int, int]:
    at = text(data, at)
    if data[at] != _OBJECT:  # yjs reads the options' fields without looking
        raise InvalidUpdate("subdocument options that are no object", at)
    end, weight = values(data, at, 1)
    return end, 1, weight + _DOC_WEIGHT


def _some(count: int, at: int) -> int:
    if not count:
        raise InvalidUpdate("struct without length", at)
    return count


def values(data: bytes, at: int, count: int) -> tuple[int, int]:
    """Step over `count` values in lib0's `any` encoding and return the index after them, and what Yrs takes for them."""
    keyed = False
    weight = count * _VALUE_WEIGHT
    outer: list[tuple[int, bool]] = []  # what is left to read around the innermost array or object
    while True:
        while not count:
            if not outer:
                return at, weight
            count, keyed = outer.pop()
        if count > len(data) - at:
            raise InvalidUpdate("more values announced than bytes are left", at)
        count -= 1
        if keyed:
            at = text(data, at)
        tag = data[at]
        at += 1
        if tag in _FIXED:
            at += _FIXED[tag]
        elif tag == _TEXT:
            at = text(data, at)
        elif tag == _INTEGER:
            at = _signed(data, at)
        elif tag in (_ARRAY, _OBJECT):
            if len(outer) >= MAX_DEPTH:
                raise InvalidUpdate("value nested too deeply", at)
            outer.append((count, keyed))
            keyed = tag == _OBJECT
            count, at = varint.read(data, at)
            weight += _CONTAINER_WEIGHT + count * _VALUE_WEIGHT
        elif tag == _BUFFER:
            at = _buffer(data, at)[0]
        else:
            raise InvalidUpdate("unknown kind of value", at - 1)


def _signed(data: bytes, at: int) -> int:
    # Six bits and a sign in the first byte, then seven a byte. lib0 writes 32 bits, Yrs whole numbers to 2^53 - 1.
    end = at + varint.MAX_BYTES
    while data[at] > 127:
        at += 1
    at += 1
    if at > end:
        raise InvalidUpdate("integer of more than 8 bytes", at)
    return at


# By the low five bits of a struct's info byte. GC and Skip have no content and are read where structs are.
READERS: tuple[Reader | None, ...] = (
    None,
    _deleted,
    _refuse_json,
    _buffer,
    _string,
    _embed,
    _format,
    _type,
    _any,
    _doc,
    None,
    *[None] * 21,
)
