"""Sets of clocks per client: what a room holds, and what is deleted.

A client's clocks are kept as sorted, disjoint, half-open intervals in one flat array of 64-bit integers
(start, end, start, end, ...): as tuples, the delete set of a much edited library (9,000 ranges) took 867 KB.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from crdt import varint
from crdt.errors import InvalidKnowledge

FORMAT = 1  # first byte of the packed form
CLIENT_BYTES = 200  # measured: dict slot, client id and the array's header, for one client
EDGE_BYTES = 8  # one end of an interval

Spans = array  # array("Q"): start, end, start, end, ...


def holds(spans: Spans[int], start: int, end: int) -> bool:
    """Whether every clock of the interval is in `spans`; an empty interval always is."""
    if start >= end:
        return True
    place = bisect_right(spans, start)
    return bool(place & 1) and end <= spans[place]


def insert(spans: Spans[int], start: int, end: int) -> bool:
    """Add the interval to `spans` in place, joining what it touches. True if a clock was not there before."""
    if start >= end:
        return False
    if spans:
        last = spans[-1]
        if spans[-2] <= start <= last:  # at the end of the last interval, where nearly every edit goes
            if end <= last:
                return False
            spans[-1] = end
            return True
        if start > last:
            spans.append(start)
            spans.append(end)
            return True
    place = bisect_right(spans, start)
    if place & 1 and end <= spans[place]:
        return False
    # An odd place lies inside an interval (or touches it), so that edge goes; an even one lies in a gap and the edge is new.
    left, right = bisect_left(spans, start), bisect_right(spans, end)
    edges = array("Q")
    if not left & 1:
        edges.append(start)
    if not right & 1:
        edges.append(end)
    spans[left:right] = edges
    return True


class Ranges:
    """Intervals of clocks by client id. Clocks and client ids are 0 to 2^53 - 1 (not checked here: readers do)."""

    __slots__ = ("_edges", "_spans")

    def __init__(self) -> None:
        self._spans: dict[int, Spans[int]] = {}
        self._edges = 0

    def add(self, client: int, start: int, end: int) -> bool:
        """Add the clocks start <= clock < end. True if any of them is new."""
        spans = self._spans.get(client)
        if spans is None:
            if start >= end:
                return False
            self._spans[client] = array("Q", (start, end))
            self._edges += 2
            return True
        before = len(spans)
        new = insert(spans, start, end)
        self._edges += len(spans) - before
        return new

    def replace(self, spans_by_client: dict[int, Spans[int]]) -> None:
        """Take over these clients' arrays (start, end, ...) instead of what is here of them."""
        for client, spans in spans_by_client.items():
            before = self._spans.get(client)
            self._edges += len(spans) - (0 if before is None else len(before))
            self._spans[client] = spans

    def union(self, other: Ranges) -> None:
        """Add everything that `other` has."""
        for client, theirs in other._spans.items():
            if client in self._spans:
                for place in range(0, len(theirs), 2):
                    self.add(client, theirs[place], theirs[place + 1])
            else:
                self._spans[client] = theirs[:]
                self._edges += len(theirs)

    def contains(self, client: int, start: int, end: int) -> bool:
        """Whether every clock start <= clock < end of the client is here; an empty interval always is."""
        spans = self._spans.get(client)
        return start >= end if spans is None else holds(spans, start, end)

    def covers(self, other: Ranges) -> bool:
        """Whether everything in `other` is here."""
        return all(self.contains(client, start, end) for client, start, end in other)

    def minus(self, other: Ranges) -> Ranges:
        """A new set: what is here and not in `other`."""
        rest = Ranges()
        for client, spans in self._spans.items():
            theirs = other._spans.get(client)
            if theirs is None:
                rest._spans[client] = spans[:]
                rest._edges += len(spans)
                continue
            for place in range(0, len(spans), 2):
                for start, end in _gaps(theirs, spans[place], spans[place + 1]):
                    rest.add(client, start, end)
        return rest

    def above(self, vector: dict[int, int]) -> Ranges:
        """A new set: the clocks at or above the vector's clock of their client (0 where the vector lacks the client)."""
        rest = Ranges()
        for client, spans in self._spans.items():
            clock = vector.get(client, 0)
            place = bisect_right(spans, clock)
            kept = spans[place:]
            if place & 1:
                kept.insert(0, clock)
            if kept:
                rest._spans[client] = kept
                rest._edges += len(kept)
        return rest

    def spans_of(self, client: int) -> Spans[int] | None:
        """The client's own array (start, end, ...), to read only; None where nothing of the client is here."""
        return self._spans.get(client)

    def prefix(self) -> dict[int, int]:
        """The state vector: per client the end of the interval that begins at clock 0; other clients are absent."""
        return {client: spans[1] for client, spans in self._spans.items() if not spans[0]}

    @property
    def gapless(self) -> bool:
        """Whether each client has one interval, beginning at clock 0: then `prefix` says everything."""
        return self._edges == 2 * len(self._spans) and not any(spans[0] for spans in self._spans.values())

    @property
    def gapped(self) -> int:
        """How many clients have clocks missing below others that are here."""
        return sum(len(spans) > 2 or spans[0] > 0 for spans in self._spans.values())

    @property
    def nbytes(self) -> int:
        """Memory taken, in bytes (an estimate, made without looking at the clients)."""
        return len(self._spans) * CLIENT_BYTES + self._edges * EDGE_BYTES

    @property
    def clients(self) -> int:
        """How many clients have clocks here."""
        return len(self._spans)

    def copy(self) -> Ranges:
        """An independent copy."""
        twin = Ranges()
        twin._spans = {client: spans[:] for client, spans in self._spans.items()}
        twin._edges = self._edges
        return twin

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """Every interval as (client, start, end): clients in the order they came, intervals ascending."""
        for client, spans in self._spans.items():
            for place in range(0, len(spans), 2):
                yield client, spans[place], spans[place + 1]

    def __bool__(self) -> bool:
        return bool(self._spans)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranges) and self._spans == other._spans

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Ranges({list(self)})"

    def pack(self) -> bytes:
        """The compact form: a format byte, the clients ascending, each with its intervals as distances."""
        out = bytearray((FORMAT,))
        varint.append(out, len(self._spans))
        for client in sorted(self._spans):
            spans = self._spans[client]
            varint.append(out, client)
            varint.append(out, len(spans) >> 1)
            before = 0
            for edge in spans:
                varint.append(out, edge - before)
                before = edge
        return bytes(out)

    @classmethod
    def unpack(cls, packed: bytes) -> Ranges:
        """Read what `pack` wrote.

        Raises InvalidKnowledge on anything else: another format, an early or late end, clients or intervals out of order.
        """
        try:
            ranges, at = cls._read(packed)
        except IndexError:
            raise InvalidKnowledge("packed ranges end early", len(packed)) from None
        except ValueError as error:
            raise InvalidKnowledge(str(error)) from None
        if at != len(packed):
            raise InvalidKnowledge("bytes after packed ranges", at)
        return ranges

    @classmethod
    def _read(cls, packed: bytes) -> tuple[Ranges, int]:
        if packed[0] != FORMAT:
            raise InvalidKnowledge("packed ranges of an unknown format", 0)
        ranges, last = cls(), -1
        count, at = varint.read(packed, 1)
        for _ in range(count):
            client, at = varint.read(packed, at)
            intervals, at = varint.read(packed, at)
            if client <= last or not 0 < intervals <= len(packed) - at:
                raise InvalidKnowledge("packed ranges out of order", at)
            last, edge, spans = client, 0, array("Q")
            for place in range(2 * intervals):
                step, at = varint.read(packed, at)
                edge += step
                if (not step and place) or edge > varint.MAX_INTEGER:
                    raise InvalidKnowledge("packed ranges out of order", at)
                spans.append(edge)
            ranges._spans[client] = spans
            ranges._edges += len(spans)
        return ranges, at


def _gaps(spans: Spans[int], start: int, end: int) -> Iterator[tuple[int, int]]:
    """What of the interval start <= clock < end is not in `spans`, ascending."""
    place = bisect_right(spans, start)
    if place & 1:
        start = spans[place]
        place += 1
    while start < end:
        if place >= len(spans) or spans[place] >= end:
            yield start, end
            return
        yield start, spans[place]
        start = spans[place + 1]
        place += 2
