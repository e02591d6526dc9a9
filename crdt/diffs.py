"""What differs between two texts, for people: word by word, and line by line as a unified diff.

Found in one go and within one bound of steps; past it what is not known yet counts as replaced.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum

from crdt.textdiff import MOST_STEPS, Budget, lines, runs, words

CONTEXT_LINES = 3
"""Equal lines that a unified diff shows around each change."""
NO_NEWLINE = "\\ No newline at end of file"


class Op(StrEnum):
    """What became of a part of the text."""

    EQUAL = "equal"
    INSERT = "insert"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the old text, of the new one, or of both."""

    op: Op
    text: str


@dataclass(frozen=True, slots=True)
class Diff:
    """The segments are both texts in order: without the inserted ones they are the old text, without the deleted ones the new one."""

    segments: list[Segment]
    unified: list[str]
    """Hunks without a head, each line without its end."""


def compared(old: str, new: str) -> Diff:
    """What differs between two texts."""
    budget = Budget(MOST_STEPS)
    parts = [part for part in runs(lines(old), lines(new), budget) if part[0] or part[1]]
    segments: list[Segment] = []
    for before, after in parts:
        for op, text in _differences(before, after, budget):
            if segments and segments[-1].op is op:
                text = segments.pop().text + text
            segments.append(Segment(op, text))
    return Diff(segments, _unified(parts))


def _differences(before: list[str], after: list[str], budget: Budget) -> Iterator[tuple[Op, str]]:
    """What some lines keep, lose and get, word by word."""
    pairs = [(before, after)] if before == after else runs(words("".join(before)), words("".join(after)), budget)
    for kept, wanted in pairs:
        ops = ((Op.EQUAL, kept),) if kept == wanted else ((Op.DELETE, kept), (Op.INSERT, wanted))
        yield from ((op, "".join(some)) for op, some in ops if some)


class _Known(SequenceMatcher[str]):
    """Groups opcodes that were found elsewhere."""

    def __init__(self, opcodes: list[tuple[str, int, int, int, int]]) -> None:
        super().__init__()
        self._known = opcodes

    def get_opcodes(self) -> list[tuple[str, int, int, int, int]]:  # type: ignore[override]  # the tags are strings there, too
        return self._known


def _unified(parts: Sequence[tuple[list[str], list[str]]]) -> list[str]:
    opcodes: list[tuple[str, int, int, int, int]] = []
    left = right = 0
    for before, after in parts:
        opcodes.append(("equal" if before == after else "replace", left, left + len(before), right, right + len(after)))
        left, right = left + len(before), right + len(after)
    old, new = [line for before, _ in parts for line in before], [line for _, after in parts for line in after]
    found: list[str] = []
    for group in _Known(opcodes).get_grouped_opcodes(CONTEXT_LINES) if any(tag != "equal" for tag, *_ in opcodes) else ():
        first, last = group[0], group[-1]
        found.append(f"@@ -{_range(first[1], last[2])} +{_range(first[3], last[4])} @@")
        for tag, start, end, new_start, new_end in group:
            if tag == "equal":
                found += _marked(" ", old[start:end])
            else:
                found += _marked("-", old[start:end]) + _marked("+", new[new_start:new_end])
    return found


def _marked(mark: str, some: Sequence[str]) -> list[str]:
    found = [mark + line.removesuffix("\n") for line in some]
    return [*found, NO_NEWLINE] if some and not some[-1].endswith("\n") else found


def _range(start: int, end: int) -> str:
    """Lines as a hunk's head counts them: from 1, and of none the one before."""
    length = end - start
    return f"{start + 1}" if length == 1 else f"{start + 1 if length else start},{length}"
