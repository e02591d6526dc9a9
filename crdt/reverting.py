"""A library as it once was, as an edit of the library as it is: nothing is taken out of the log, and what others write meanwhile merges.

What has been made since is put into the bin, never destroyed; versions made since stay in their prompts' histories, and only `current` goes
back. What was destroyed since is made again, under its id. How often prompts were used, and what is a device's own, is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from enum import Enum
from typing import Any, NamedTuple

from pycrdt import Map, Text

from crdt.contents import MAX_DEPTH
from crdt.library import Library, Root
from crdt.operations.writing import retype, take_away
from crdt.plain import same, writable
from crdt.reader import number_in
from crdt.shared import Txn, YMap, YText, get, keys, reading
from crdt.textdiff import MOST_STEPS_OF_ALL, Budget

BINNED = (Root.PROMPTS, Root.CATEGORIES, Root.TEMPLATES, Root.CONTEXTS)
"""What was made since goes into the bin."""
EXACT = (Root.LABELS, Root.TAGS, Root.MODELS, Root.VARIABLES, Root.PREFS)
"""What was set since is taken away."""
GROWING = (Root.VERSIONS, Root.TEXTS)
"""What was made since stays."""
CONTENT: dict[tuple[Root, str], type[YMap] | type[YText]] = {
    **{(root, ""): YMap for root in BINNED},
    (Root.TEXTS, ""): YText,
    (Root.PROMPTS, "original"): YText,
    (Root.PROMPTS, "tags"): YMap,
    (Root.PROMPTS, "examples"): YMap,
}
"""What an entry, or a field of one, is. One that is so now and was damaged then stays: setting it would destroy what lies in it."""
LEFT_ALONE = (Root.META, Root.USES, Root.DEVICE_PREFS)
"""Only what is gone is put back."""


class Kind(Enum):
    """What a step does."""

    SET = "set"
    REMOVE = "remove"
    RETYPE = "retype"
    """Types a text back, where it differs."""


class Step(NamedTuple):
    """One change: where, as the keys from the root down, and what is there afterwards."""

    root: Root
    path: tuple[str, ...]
    kind: Kind
    value: Any


def steps(now: Library, past: Library, at: int) -> list[Step]:
    """What makes the library what it was; what was made since is put into the bin at this time (ms since 1970)."""
    with reading(now.doc) as here, reading(past.doc) as there:
        return list(_Reverting(here, there, at).all(now, past))


def take(library: Library, wanted: Iterable[Step]) -> bytes:
    """Carry the steps out in one transaction, and return the update that it made. The library is as it was when they were found."""

    budget = Budget(MOST_STEPS_OF_ALL)

    def change() -> None:
        for step in wanted:
            _take(library, step, budget)

    return library.edit(change)


def _take(library: Library, step: Step, budget: Budget) -> None:
    there: Any = library.root(step.root)
    for key in step.path[:-1]:
        there = there[key]
    match step.kind:
        case Kind.SET:
            there[step.path[-1]] = step.value
        case Kind.REMOVE:
            take_away(there, step.path[-1:])
        case Kind.RETYPE:
            retype(library, there[step.path[-1]], step.value, budget)


class _Reverting:
    """Both states, each within a transaction of its document."""

    def __init__(self, here: Txn, there: Txn, at: int) -> None:
        self._here = here
        self._there = there
        self._at = at

    def all(self, now: Library, past: Library) -> Iterator[Step]:
        for root in Root:
            has, had = now.root(root).integrated, past.root(root).integrated
            if root in LEFT_ALONE:
                yield from self._gone(root, has, had)
            else:
                yield from self._changed(root, has, had, (), keeps=root not in EXACT)
            if root in BINNED:
                yield from self._new(root, has, had)

    def _gone(self, root: Root, has: YMap, had: YMap) -> Iterator[Step]:
        there = set(keys(has, self._here))
        for key in sorted(set(keys(had, self._there)) - there):
            yield from self._set(root, (key,), get(had, self._there, key))

    def _new(self, root: Root, has: YMap, had: YMap) -> Iterator[Step]:
        before = set(keys(had, self._there))
        for key in sorted(set(keys(has, self._here)) - before):
            entry = get(has, self._here, key)
            if isinstance(entry, YMap) and number_in(get(entry, self._here, "deleted_at")) is None:
                yield Step(root, (key, "deleted_at"), Kind.SET, self._at)

    def _changed(self, root: Root, has: YMap, had: YMap, path: tuple[str, ...], *, keeps: bool) -> Iterator[Step]:
        """`keeps` says that what is only there now stays."""
        before = keys(had, self._there)
        for key in sorted(before):
            yield from self._compared(root, get(has, self._here, key), get(had, self._there, key), (*path, key))
        if not keeps:
            for key in sorted(set(keys(has, self._here)) - set(before)):
                if root in BINNED and len(path) == 1 and key == "deleted_at":
                    yield from self._compared(root, get(has, self._here, key), None, (*path, key))  # see `mark_restored`
                else:
                    yield Step(root, (*path, key), Kind.REMOVE, None)

    def _compared(self, root: Root, has: Any, had: Any, path: tuple[str, ...]) -> Iterator[Step]:
        if isinstance(has, YText) and isinstance(had, YText):
            if has.get_string(self._here) != (wanted := had.get_string(self._there)):
                yield Step(root, path, Kind.RETYPE, wanted)
        elif isinstance(has, YMap) and isinstance(had, YMap):
            if len(path) < MAX_DEPTH:  # what lies deeper is no part of the layout, and stays as it is
                yield from self._changed(root, has, had, path, keeps=False)
        elif isinstance(has, _content_of(root, path)):
            return
        elif isinstance(had, YMap | YText) or not same(has, had):
            yield from self._set(root, path, had)

    def _set(self, root: Root, path: tuple[str, ...], had: Any) -> Iterator[Step]:
        with suppress(ValueError):  # what no JSON is, nor a map or a text, is no part of the layout, and stays as it is
            yield Step(root, path, Kind.SET, self._made_again(had, len(path)))

    def _made_again(self, had: Any, depth: int) -> Any:
        if isinstance(had, YText):
            return Text(had.get_string(self._there))
        if isinstance(had, YMap):
            if depth >= MAX_DEPTH:
                raise ValueError("nested too deeply")
            return Map({key: self._made_again(get(had, self._there, key), depth + 1) for key in keys(had, self._there)})
        return writable(had)


def _content_of(root: Root, path: tuple[str, ...]) -> type[YMap] | type[YText] | tuple[()]:
    """What lies there where nothing is damaged, as far as it holds something."""
    return CONTENT.get((root, path[1] if len(path) > 1 else ""), ()) if len(path) <= 2 else ()
