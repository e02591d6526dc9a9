"""Folding a log into one update, and finding the update that Yrs cannot bear.

A fold is a merge, which keeps what still waits for others, gaps and all. A document leaves that out, but it forgets the content of what is
deleted: so the merge is put through one, and what comes out is taken only if it holds and deletes exactly the same clocks.

Yrs breaks on some updates that it decodes: it panics, it ends the process (100,000 types inside one another, and the outermost deleted), or
its merge lacks something. An update that does so must not keep its library from being opened, so it is looked for by trial.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pycrdt import Doc

from crdt.errors import CrdtError, DocumentBroken, InvalidUpdate
from crdt.knowledge import Knowledge
from crdt.panics import told_as_broken
from crdt.updates import Limits, inspect, merge

UNLIMITED = Limits(size=1 << 40, memory=1 << 50, clients=1 << 40, ranges=1 << 40)
"""What is folded was inspected when it came; only its form is read again."""
DOCUMENT_BYTES = 64 << 20
"""Past this a merge is not put through a document, which would take about ten times as much memory; garbage stays in it."""


class FoldBroken(CrdtError):
    """Yrs cannot fold these updates without breaking, or without losing something."""


@dataclass(frozen=True, slots=True)
class Folded:
    """Several updates as one: what it holds and deletes, and whether the content of what is deleted is left out."""

    content: bytes = field(repr=False)
    knowledge: Knowledge
    collected: bool


def fold(snapshot: bytes | None, updates: Sequence[bytes]) -> Folded:
    """One update that holds and deletes what the snapshot and the updates do, checked clock by clock.

    What waits for updates that have not come stays in it. Raises FoldBroken when Yrs breaks on them, MemoryError, and nothing else; some
    updates break the process instead, which is for the caller to survive.
    """
    parts = [*([snapshot] if snapshot is not None else []), *updates]
    try:
        wanted = knowledge_of(parts)
        merged = merge(parts)
        collected = _collected(merged) if len(merged) <= DOCUMENT_BYTES else merged
        if wanted.gapless and len(collected) < len(merged) and knowledge_of([collected]) == wanted:
            return Folded(collected, wanted, True)
        if knowledge_of([merged]) != wanted:
            raise FoldBroken("the merge lacks something")
    except InvalidUpdate as error:
        raise FoldBroken(error.reason) from error
    return Folded(merged, wanted, False)


def knowledge_of(updates: Sequence[bytes]) -> Knowledge:
    """What these updates hold and delete together. Raises InvalidUpdate."""
    knowledge = Knowledge()
    for update in updates:
        knowledge.learn(inspect(update, limits=UNLIMITED))
    return knowledge


class Bisection:
    """Finds the update at which a sequence of `count` updates that breaks begins to break, by trying beginnings of it.

    None of them must not break. As long as `half` is a number, try so many of the first updates and `tell`; then `culprit` is the index.
    """

    def __init__(self, count: int) -> None:
        self.culprit, self._broken = 0, count

    @property
    def half(self) -> int | None:
        """How many of the first updates to try next; None once the culprit is known."""
        return (self.culprit + self._broken) // 2 if self._broken - self.culprit > 1 else None

    def tell(self, half: int, breaks: bool) -> None:
        """Whether the first `half` updates break."""
        if breaks:
            self._broken = half
        else:
            self.culprit = half


def _collected(merged: bytes) -> bytes:
    """What a document makes of it: without the content of what is deleted, and without what waits. Raises FoldBroken."""
    try:
        with told_as_broken():
            doc: Doc[Any] = Doc()
            doc.apply_update(merged)
            return doc.get_update()
    except MemoryError:
        raise
    except DocumentBroken as error:
        raise FoldBroken(error.reason) from error
    except Exception as error:
        raise FoldBroken("Yrs cannot apply it") from error
