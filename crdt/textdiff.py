"""From one text to another by few edits, in the offsets that Yrs counts: bytes of UTF-8.

Who replaces a text as a whole (over REST, say) has changed a part of it. Only that part is deleted and inserted, so what others type
elsewhere in the text meanwhile stays where it is. Words are kept whole: half of one and half of another help nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import NamedTuple

MOST_COMPARISONS = 4_000_000
"""Words on one side times words on the other that are compared, about a second at worst; past it what lies between the common beginning and
the common end is replaced as a whole."""

_WORDS = re.compile(r"\w+|[^\S\n]+|.", re.DOTALL)
_UNSPACED = re.compile("([\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff])")
"""Scripts that are written without spaces: each character stands for itself."""


class Edit(NamedTuple):
    """At `start`, delete `delete` bytes and insert `insert`; offsets in bytes of UTF-8 of the text as it is before any edit."""

    start: int
    delete: int
    insert: str


def edits(old: str, new: str) -> list[Edit]:
    """The edits that make `new` of `old`, the last place in the text first: so applied, none moves the place of another."""
    before, after = _words(old), _words(new)
    begin = _common(before, after)
    end = _common(before[begin:][::-1], after[begin:][::-1])
    middle, wanted = before[begin : len(before) - end], after[begin : len(after) - end]
    offset = sum(len(word.encode()) for word in before[:begin])
    found = [Edit(offset + edit.start, edit.delete, edit.insert) for edit in _between(middle, wanted)]
    return found[::-1]


def _between(before: list[str], after: list[str]) -> Iterator[Edit]:
    if not before and not after:
        return
    sizes = [0]
    for word in before:
        sizes.append(sizes[-1] + len(word.encode()))
    if len(before) * len(after) > MOST_COMPARISONS:
        yield Edit(0, sizes[-1], "".join(after))
        return
    for kind, start, stop, first, last in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind != "equal":
            yield Edit(sizes[start], sizes[stop] - sizes[start], "".join(after[first:last]))


def _words(text: str) -> list[str]:
    return [part for word in _WORDS.findall(text) for part in _UNSPACED.split(word) if part]


def _common(left: list[str], right: list[str]) -> int:
    count = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        count += 1
    return count
