"""From one text to another by few edits, in the offsets that Yrs counts: bytes of UTF-8.

Who replaces a text as a whole (over REST, say) has changed a part of it. Only that part is deleted and inserted, so what others type
elsewhere in the text meanwhile stays where it is. Words are kept whole: half of one and half of another help nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

MOST_STEPS = 300_000
"""Steps that are taken to find what two texts have in common, about a quarter of a second; past it what is not known yet is replaced as a
whole, line by line where lines are known."""
MOST_STEPS_OF_ALL = 10 * MOST_STEPS
"""Steps for all texts of one change, about two and a half seconds; those that come when they are used up are replaced as a whole."""

_WORDS = re.compile(r"\w+|[^\S\n]+|.", re.DOTALL)
_UNSPACED = re.compile("([\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff])")
"""Scripts that are written without spaces: each character stands for itself."""


class Edit(NamedTuple):
    """At `start`, delete `delete` bytes and insert `insert`; offsets in bytes of UTF-8 of the text as it is before any edit."""

    start: int
    delete: int
    insert: str


class Budget:
    """Steps that are left."""

    def __init__(self, steps: int) -> None:
        self.steps = steps


def edits(old: str, new: str, of_all: Budget | None = None) -> list[Edit]:
    """The edits that make `new` of `old`, the last place in the text first: so applied, none moves the place of another.

    Where texts are many they share a budget, of which each takes MOST_STEPS at most.
    """
    given = MOST_STEPS if of_all is None else min(MOST_STEPS, of_all.steps)
    budget = Budget(given)
    found: list[Edit] = []
    offset = 0
    for kept, wanted in runs(lines(old), lines(new), budget):
        before, after = "".join(kept), "".join(wanted)
        if before != after:
            found += _between(before, after, offset, budget)
        offset += len(before.encode())
    if of_all is not None:
        of_all.steps -= given - budget.steps
    return found[::-1]


def rebased(base: str, wanted: str, current: str, of_all: Budget | None = None) -> str:
    """`current` with what was changed from `base` to `wanted`: where both have changed a place, what either inserted is there, and what
    either deleted is not. The same change on both sides is made once."""
    theirs, ours = edits(base, current, of_all)[::-1], edits(base, wanted, of_all)[::-1]
    made = sorted([*theirs, *(edit for edit in ours if edit not in theirs)], key=lambda edit: edit.start)  # at one place theirs first
    before, after = base.encode(), list[bytes]()
    kept = 0  # what comes before is in `after`, or deleted
    for edit in made:
        after += before[kept : max(kept, edit.start)], edit.insert.encode()
        kept = max(kept, edit.start + edit.delete)
    return b"".join((*after, before[kept:])).decode()


def _between(old: str, new: str, offset: int, budget: Budget) -> Iterator[Edit]:
    """The same for some lines that begin at a byte, word by word, the first place first."""
    for kept, wanted in runs(words(old), words(new), budget):
        before, after = "".join(kept), "".join(wanted)
        size = len(before.encode())
        if before != after:
            yield Edit(offset, size, after)
        offset += size


def runs(before: list[str], after: list[str], budget: Budget) -> Iterator[tuple[list[str], list[str]]]:
    """Both lists in parts, in order: those that are in both are equal, the others lie between."""
    begin = _common(before, after)
    end = _common(before[begin:][::-1], after[begin:][::-1])
    middle, wanted = before[begin : len(before) - end], after[begin : len(after) - end]
    yield before[:begin], after[:begin]
    left, right = 0, 0
    for start, first, length in _matches(middle, wanted, budget):
        yield middle[left:start], wanted[right:first]
        yield middle[start : start + length], wanted[first : first + length]
        left, right = start + length, first + length
    yield middle[left:], wanted[right:]
    yield before[len(before) - end :], after[len(after) - end :]


def _matches(before: list[str], after: list[str], budget: Budget) -> list[tuple[int, int, int]]:
    """What both have in common, in order: places and lengths; nothing where to find it takes more than the budget.

    Myers, "An O(ND) Difference Algorithm and Its Variations" (1986), the greedy one.
    """
    furthest, trace = {1: 0}, list[dict[int, int]]()
    for edits_made in range(len(before) + len(after) + 1 if before and after else 0):
        trace.append(furthest.copy())
        for diagonal in range(-edits_made, edits_made + 1, 2):
            x = _next(furthest, diagonal, edits_made)
            y = x - diagonal
            budget.steps -= 1
            while x < len(before) and y < len(after) and before[x] == after[y]:
                x, y = x + 1, y + 1
                budget.steps -= 1
            furthest[diagonal] = x
            if x >= len(before) and y >= len(after):
                return _back(trace, x, y)
        if budget.steps < 0:
            break
    return []


def _next(furthest: dict[int, int], diagonal: int, edits_made: int) -> int:
    """Where a path gets to by one more edit: down from the diagonal above, or right from the one below."""
    if diagonal == -edits_made or (diagonal != edits_made and furthest[diagonal - 1] < furthest[diagonal + 1]):
        return furthest[diagonal + 1]
    return furthest[diagonal - 1] + 1


def _back(trace: list[dict[int, int]], x: int, y: int) -> list[tuple[int, int, int]]:
    """The matches of the path that ends here."""
    found: list[tuple[int, int, int]] = []
    for edits_made in range(len(trace) - 1, -1, -1):
        furthest, diagonal = trace[edits_made], x - y
        is_down = diagonal == -edits_made or (diagonal != edits_made and furthest[diagonal - 1] < furthest[diagonal + 1])
        before_x = furthest[diagonal + 1 if is_down else diagonal - 1]
        before_y = before_x - (diagonal + 1 if is_down else diagonal - 1)
        start = before_x if is_down else before_x + 1
        if edits_made == 0:
            start, before_x, before_y = 0, 0, 0
        if x > start:
            found.append((start, start - diagonal, x - start))
        x, y = before_x, before_y
    return found[::-1]


def lines(text: str) -> list[str]:
    """The lines, each with its end."""
    *ended, last = text.split("\n")
    return [f"{line}\n" for line in ended] + ([last] if last else [])


def words(text: str) -> list[str]:
    """Words, spaces and other characters, as they follow one another."""
    return [part for word in _WORDS.findall(text) for part in _UNSPACED.split(word) if part]


def _common(left: list[str], right: list[str]) -> int:
    count = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        count += 1
    return count
