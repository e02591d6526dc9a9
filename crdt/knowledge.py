"""What a room knows of its document without holding it: the clocks held and the clocks deleted.

Deletions do not advance clocks, so equal state vectors do not mean equal documents: both sets are needed to say
whether an update adds anything.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from crdt import varint
from crdt.errors import InvalidKnowledge
from crdt.ranges import Ranges, Spans, holds, insert

if TYPE_CHECKING:
    from crdt.updates import Inspected

FORMAT = 1  # first byte of the packed form


class Knowledge:
    """The intervals `held` and the intervals `deleted` of one document. Owns both sets."""

    __slots__ = ("deleted", "held")

    def __init__(self, held: Ranges | None = None, deleted: Ranges | None = None) -> None:
        self.held = Ranges() if held is None else held
        self.deleted = Ranges() if deleted is None else deleted

    def adds(self, inspected: Inspected) -> bool:
        """Whether the update holds or deletes any clock that is not known as such."""
        return _new(self.held, inspected.held) or _new(self.deleted, inspected.deleted)

    def learn(self, inspected: Inspected) -> None:
        """Know from now on what the update holds and deletes."""
        _add(self.held, inspected.held)
        _add(self.deleted, inspected.deleted)

    def union(self, other: Knowledge) -> None:
        """Know from now on what `other` knows."""
        self.held.union(other.held)
        self.deleted.union(other.deleted)

    def covers(self, other: Knowledge) -> bool:
        """Whether everything `other` knows is known here."""
        return self.held.covers(other.held) and self.deleted.covers(other.deleted)

    def state_vector(self) -> dict[int, int]:
        """Per client the first clock missing: with 0..9 and 20..29 held it says 10, so that 10..19 is asked for."""
        return self.held.prefix()

    @property
    def gapless(self) -> bool:
        """Whether nothing is held beyond the state vector."""
        return self.held.gapless

    def lacking(self, vector: dict[int, int]) -> Ranges:
        """What is held here and lies at or above the peer's state vector."""
        return self.held.above(vector)

    def scratch(self) -> Scratch:
        """A view that learns without changing this knowledge. Valid until this knowledge learns itself."""
        return Scratch(self)

    def copy(self) -> Knowledge:
        """An independent copy."""
        return Knowledge(self.held.copy(), self.deleted.copy())

    @property
    def nbytes(self) -> int:
        """Memory taken, in bytes (an estimate)."""
        return self.held.nbytes + self.deleted.nbytes

    def __bool__(self) -> bool:
        return bool(self.held) or bool(self.deleted)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Knowledge) and self.held == other.held and self.deleted == other.deleted

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Knowledge(held={self.held}, deleted={self.deleted})"

    def pack(self) -> bytes:
        """The compact form, to be stored beside a snapshot."""
        held = self.held.pack()
        out = bytearray((FORMAT,))
        varint.append(out, len(held))
        return bytes(out) + held + self.deleted.pack()

    @classmethod
    def unpack(cls, packed: bytes) -> Knowledge:
        """Read what `pack` wrote. Raises InvalidKnowledge on anything else."""
        if packed[:1] != bytes((FORMAT,)):
            raise InvalidKnowledge("packed knowledge of an unknown format", 0)
        try:
            size, at = varint.read(packed, 1)
        except (IndexError, ValueError):
            raise InvalidKnowledge("packed knowledge without a length", 1) from None
        return cls(Ranges.unpack(packed[at : at + size]), Ranges.unpack(packed[at + size :]))


class Scratch:
    """Knowledge as it would be after a batch that has not committed.

    Copies the intervals of a client when it first learns of that client, so it costs what the batch touches, not what
    the room knows. The base must not learn while the view is in use.
    """

    __slots__ = ("_base", "_deleted", "_held")

    def __init__(self, base: Knowledge) -> None:
        self._base = base
        self._held: dict[int, Spans[int]] = {}
        self._deleted: dict[int, Spans[int]] = {}

    def adds(self, inspected: Inspected) -> bool:
        """Whether the update adds anything to the base and to what was learned here."""
        return _new_over(self._held, self._base.held, inspected.held) or _new_over(self._deleted, self._base.deleted, inspected.deleted)

    def learn(self, inspected: Inspected) -> None:
        """Know what the update holds and deletes, in this view only."""
        _add_over(self._held, self._base.held, inspected.held)
        _add_over(self._deleted, self._base.deleted, inspected.deleted)

    def end(self, client: int) -> int:
        """The first clock above everything that is held of the client, here and in the base: where its next edit goes."""
        spans = self._held.get(client)
        if spans is None:
            spans = self._base.held.spans_of(client)
        return spans[-1] if spans else 0

    def commit(self) -> None:
        """Let the base know what was learned here. The view is used up."""
        self._base.held.replace(self._held)
        self._base.deleted.replace(self._deleted)


def _new(known: Ranges, triples: Spans[int]) -> bool:
    for place in range(0, len(triples), 3):
        spans = known.spans_of(triples[place])
        if spans is None or not holds(spans, triples[place + 1], triples[place + 2]):
            return True
    return False


def _add(known: Ranges, triples: Spans[int]) -> None:
    for place in range(0, len(triples), 3):
        known.add(triples[place], triples[place + 1], triples[place + 2])


def _new_over(own: dict[int, Spans[int]], base: Ranges, triples: Spans[int]) -> bool:
    for place in range(0, len(triples), 3):
        client = triples[place]
        spans = own.get(client)
        if spans is None:
            spans = base.spans_of(client)
        if spans is None or not holds(spans, triples[place + 1], triples[place + 2]):
            return True
    return False


def _add_over(own: dict[int, Spans[int]], base: Ranges, triples: Spans[int]) -> None:
    for place in range(0, len(triples), 3):
        client = triples[place]
        spans = own.get(client)
        if spans is None:
            known = base.spans_of(client)
            spans = own[client] = array("Q") if known is None else known[:]
        insert(spans, triples[place + 1], triples[place + 2])
