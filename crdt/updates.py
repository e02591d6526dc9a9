"""Yjs updates (v1) as bytes: what they hold, joining them, taking parts of them.

An update from outside is *inspected* before Yrs sees it: four bytes (`c8 ee db 70`) make Yrs reserve 538 MB, 60 KB of nested
arrays kill the process, and a room needs the clocks that an update holds, gaps included, which Yrs does not tell.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pycrdt import get_state, get_update, merge_updates

from crdt import varint
from crdt.contents import GC, READERS, SKIP, STRING, STRUCT_WEIGHT, text, utf16_length
from crdt.errors import InvalidStateVector, InvalidUpdate
from crdt.ranges import Ranges, Spans

EMPTY_UPDATE = b"\x00\x00"
EMPTY_STATE_VECTOR = b"\x00"

# Yrs keeps clocks in 32 bits and wraps without a word; a client that really made 4,294,967,295 changes has none left.
MAX_CLOCK = 2**32 - 1

MERGED_AT_ONCE = 500
"""Updates in one call of Yrs: what it takes grows with their square (10,000 at once 0.74 s, 500 at a time 0.05 s)."""

_ORIGIN, _RIGHT_ORIGIN, _PARENT_KEY, _KIND = 0x80, 0x40, 0x20, 0x1F
_CLIENT_STRUCTS_BYTES = 3  # least bytes of a client's structs: their number, client, clock
_CLIENT_DELETES_BYTES = 2  # least bytes of a client's deletions: client, their number
_DELETE_BYTES = 2  # least bytes of a deletion: clock, length


@dataclass(frozen=True, slots=True)
class Limits:
    """What an update may be. `clients` counts those with structs, and apart from them those with deletions; `ranges` both kinds of runs.

    `size` is the update's, in bytes. `memory` is what Yrs takes to decode it, estimated, in bytes: what clients write takes up to twenty
    times its size (one-letter strings of 11 bytes take 190), but empty subdocuments take 121 times it, 4 GB for 32 MiB.
    """

    size: int = 32 * 1024 * 1024  # a week offline came as 7 MB in one message
    memory: int = 768 * 1024 * 1024  # above what 32 MiB of one-letter strings take
    clients: int = 262_144  # twenty sessions a day, each with a new id, for 35 years
    ranges: int = 524_288  # of both kinds; a much edited library has 9,000, and a reader's work grows with them


LIMITS = Limits()


class Inspected(NamedTuple):
    """What an update holds and deletes: flat triples (client, start, end) of clocks, end exclusive, in the update's order.

    A run without gaps is one triple. Skip structs hold nothing. (A tuple, because a frozen dataclass takes a microsecond to make.)
    """

    held: Spans[int]
    deleted: Spans[int]

    @property
    def empty(self) -> bool:
        """Whether the update neither holds nor deletes anything."""
        return not self.held and not self.deleted


def inspect(update: bytes, *, limits: Limits = LIMITS) -> Inspected:
    """Read an update strictly and say what it holds.

    Accepts what yjs 13 and Yrs write. Raises InvalidUpdate for every other bytes, and nothing else: among them updates in the
    v2 encoding, what Yrs cannot decode or reads differently from yjs (a client's structs in two places, clocks past 32 bits).
    """
    size = len(update)
    if size > limits.size:
        raise InvalidUpdate("update too large", size)
    try:
        held, at, weight = _structs(update, limits.clients)
        if update[at]:
            deleted, at = _deletions(update, at, limits.clients)
        else:  # nearly every edit deletes nothing
            deleted, at = array("Q"), at + 1
    except IndexError:
        raise InvalidUpdate("update ends early", size) from None
    except UnicodeDecodeError:
        raise InvalidUpdate("text that is not UTF-8") from None
    except ValueError as error:
        raise InvalidUpdate(str(error)) from None
    if at != size:
        raise InvalidUpdate("update ends early" if at > size else "bytes after the update", min(at, size))
    if weight > limits.memory:
        raise InvalidUpdate("update too heavy for its size", size)
    if len(held) + len(deleted) > 3 * limits.ranges:
        raise InvalidUpdate("too many separate ranges", size)
    _yrs(get_state, update)  # whether Yrs can decode it: last, for it reserves what counts announce
    return Inspected(held, deleted)


def weigh(update: bytes) -> int:
    """About what a document takes of memory for an update that was inspected before, in bytes: structs and types, and their content."""
    return _structs(update, LIMITS.clients)[2] + len(update)


def merge(updates: Sequence[bytes]) -> bytes:
    """One update that holds what all of `updates` hold, in any order and with gaps. Of none, EMPTY_UPDATE.

    Keeps what could not be applied yet, unlike a document. Raises InvalidUpdate. The updates must have been inspected.
    """
    while len(updates) > MERGED_AT_ONCE:
        updates = [_yrs(merge_updates, *updates[start : start + MERGED_AT_ONCE]) for start in range(0, len(updates), MERGED_AT_ONCE)]
    return _yrs(merge_updates, *updates) if updates else EMPTY_UPDATE


def diff(update: bytes, state_vector: bytes) -> bytes:
    """What of `update` a peer with that state vector lacks, with the whole delete set of `update`.

    Raises InvalidUpdate. Both must have been inspected or decoded before.
    """
    return _yrs(get_update, update, state_vector)


def delete_set_update(deleted: Ranges) -> bytes:
    """An update of no structs that deletes the given clocks."""
    by_client: dict[int, list[tuple[int, int]]] = {}
    for client, start, end in deleted:
        by_client.setdefault(client, []).append((start, end))
    out = bytearray(b"\x00")
    varint.append(out, len(by_client))
    for client in sorted(by_client, reverse=True):  # as yjs does: higher ids first
        varint.append(out, client)
        varint.append(out, len(by_client[client]))
        for start, end in by_client[client]:
            varint.append(out, start)
            varint.append(out, end - start)
    return bytes(out)


def encode_state_vector(vector: dict[int, int]) -> bytes:
    """The state vector's v1 encoding, higher client ids first as yjs writes it."""
    out = bytearray()
    varint.append(out, len(vector))
    for client in sorted(vector, reverse=True):
        varint.append(out, client)
        varint.append(out, vector[client])
    return bytes(out)


def decode_state_vector(data: bytes, *, limits: Limits = LIMITS) -> dict[int, int]:
    """Read a state vector.

    Raises InvalidStateVector on an early or late end, a client named twice, more clients than `limits` allow, or a clock past 32 bits.
    """
    try:
        count, at = varint.read(data, 0)
        if count > limits.clients or count * 2 > len(data) - at:
            raise InvalidStateVector("too many clients", at)
        vector: dict[int, int] = {}
        for _ in range(count):
            client, at = varint.read(data, at)
            clock, at = varint.read(data, at)
            if clock > MAX_CLOCK:
                raise InvalidStateVector("clock out of range", at)
            vector[client] = clock
    except IndexError:
        raise InvalidStateVector("state vector ends early", len(data)) from None
    except ValueError as error:
        raise InvalidStateVector(str(error)) from None
    if at != len(data):
        raise InvalidStateVector("bytes after the state vector", at)
    if len(vector) != count:
        raise InvalidStateVector("client named twice", at)
    return vector


def _structs(data: bytes, max_clients: int) -> tuple[Spans[int], int, int]:
    # The hot loop: one function over an index, because calls for each struct made it three times slower (0.1 s a MB is the aim).
    # Reading past the end raises IndexError at the next byte, and a byte always follows: the delete set's first.
    # A struct that leans on a later one of its own client makes yjs throw on every device, each time it is applied.
    held = array("Q")  # not a list: a million deletions are 24 MB then, and were 110
    weight = 0
    seen: set[int] = set()
    size = len(data)
    clients, at = (data[0], 1) if data[0] < 128 else varint.read(data, 0)
    if clients > max_clients or clients * _CLIENT_STRUCTS_BYTES > size - at:
        raise InvalidUpdate("too many clients", at)
    for _ in range(clients):
        count = data[at]
        at += 1
        if count > 127:
            count, at = varint.read(data, at - 1)
        if count > size - at:
            raise InvalidUpdate("more structs announced than bytes are left", at)
        before = at
        client, at = varint.read(data, at)
        own = data[before:at]  # most origins name this client: comparing its bytes is cheaper than stepping over them
        width = at - before
        clock, at = varint.read(data, at)
        if client in seen:  # Yrs would join the two places, yjs would forget the first
            raise InvalidUpdate("client named twice", before)
        seen.add(client)
        weight += count * STRUCT_WEIGHT
        start = clock
        for _ in range(count):
            info = data[at]
            at += 1
            kind = info & _KIND
            if info == GC:
                length, at = varint.read(data, at)
                if not length:
                    raise InvalidUpdate("struct without length", at)
            elif info == SKIP:
                length, at = varint.read(data, at)
                if clock > start:
                    held.extend((client, start, clock))
                start = clock + length
            else:
                if info & _ORIGIN:
                    near = data.startswith(own, at)
                    at = at + width if near else varint.read(data, at)[1]
                    other = data[at]
                    at += 1
                    if other > 127:
                        other, at = _clock(data, at - 1)
                    if near and other >= clock:
                        raise InvalidUpdate("struct beside a later one of its client", at)
                if info & _RIGHT_ORIGIN:
                    near = data.startswith(own, at)
                    at = at + width if near else varint.read(data, at)[1]
                    other = data[at]
                    at += 1
                    if other > 127:
                        other, at = _clock(data, at - 1)
                    if near and other >= clock:
                        raise InvalidUpdate("struct beside a later one of its client", at)
                elif not info & _ORIGIN:
                    at = _parent(data, at, info, client, clock)
                if kind == STRING:
                    length = data[at]
                    at += 1
                    if length > 127:
                        length, at = varint.read(data, at - 1)
                    before = at
                    at += length
                    held_text = data[before:at]
                    if not held_text.isascii():
                        length = utf16_length(held_text)
                else:
                    reader = READERS[kind]
                    if reader is None:
                        raise InvalidUpdate("unknown kind of struct", at)
                    at, length, more = reader(data, at)
                    weight += more
            clock += length
        if clock > MAX_CLOCK:
            raise InvalidUpdate("clock out of range", at)
        if clock > start:
            held.extend((client, start, clock))
    return held, at, weight


def _deletions(data: bytes, at: int, max_clients: int) -> tuple[Spans[int], int]:
    deleted = array("Q")
    seen: set[int] = set()
    size = len(data)
    clients, at = (data[at], at + 1) if data[at] < 128 else varint.read(data, at)
    if clients > max_clients or clients * _CLIENT_DELETES_BYTES > size - at:
        raise InvalidUpdate("too many clients", at)
    for _ in range(clients):
        client, at = varint.read(data, at)
        if client in seen:  # Yrs would forget the first place
            raise InvalidUpdate("client named twice", at)
        seen.add(client)
        count, at = varint.read(data, at)
        if count * _DELETE_BYTES > size - at:
            raise InvalidUpdate("more deletions announced than bytes are left", at)
        start = end = 0
        for _ in range(count):
            clock = data[at]
            at += 1
            if clock > 127:
                clock, at = varint.read(data, at - 1)
            length = data[at]
            at += 1
            if length > 127:
                length, at = varint.read(data, at - 1)
            if not length:  # applying it makes yjs throw
                raise InvalidUpdate("deletion without length", at)
            if clock != end:
                if end > start:
                    deleted.extend((client, start, end))
                start = clock
            end = clock + length
            if end > MAX_CLOCK:
                raise InvalidUpdate("clock out of range", at)
        if end > start:
            deleted.extend((client, start, end))
    return deleted, at


def _parent(data: bytes, at: int, info: int, client: int, clock: int) -> int:
    # Only a struct without neighbours names its parent: a root by its name, or the item that holds the type by its id.
    named = data[at]
    if named == 1:
        at = text(data, at + 1)
    elif named == 0:
        holder, at = varint.read(data, at + 1)
        other, at = _clock(data, at)
        if holder == client and other >= clock:
            raise InvalidUpdate("struct inside a later one of its client", at)
    else:
        raise InvalidUpdate("unknown kind of parent", at)
    return text(data, at) if info & _PARENT_KEY else at


def _clock(data: bytes, at: int) -> tuple[int, int]:
    clock, end = varint.read(data, at)
    if clock > MAX_CLOCK:
        raise InvalidUpdate("clock out of range", at)
    return clock, end


def _yrs(call: Callable[..., bytes], *arguments: bytes) -> bytes:
    try:
        return call(*arguments)
    except MemoryError:
        raise
    except Exception as error:
        raise InvalidUpdate("Yrs cannot decode it") from error
    except BaseException as error:
        # A panic in Rust comes as a BaseException of its own; interrupts and cancellations are not ours to keep.
        if type(error).__module__ != "pyo3_runtime":
            raise
        raise InvalidUpdate("Yrs broke on it") from error
