"""A root whose keys are `<owner>/<name>`, by owner: uses and labels of a prompt, preferences of a device, fields of a model's config."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from crdt.reader import Problems
from crdt.shared import Txn, YMap, get, keys, plain


def by_first(key: str) -> tuple[str, str]:
    """For owners whose ids have no slash; what comes after may have some."""
    owner, _, name = key.partition("/")
    return owner, name


def by_last(key: str) -> tuple[str, str]:
    """For names without a slash; the owner's id may have some."""
    owner, _, name = key.rpartition("/")
    return owner, name


class Pairs:
    """Reads the root once and then only what has changed."""

    def __init__(self, root: str, there: YMap, problems: Problems, split: Callable[[str], tuple[str, str]] = by_first) -> None:
        self._root = root
        self._there = there
        self._problems = problems
        self._split = split
        self._owned: dict[str, dict[str, Any]] | None = None

    def of(self, owner: str, txn: Txn) -> dict[str, Any]:
        """The owner's names and their values, as JSON."""
        return self._all(txn).get(owner, {})

    def owners(self, txn: Txn) -> list[str]:
        return list(self._all(txn))

    def settle(self, changed: Iterable[str], txn: Txn) -> set[str]:
        """Read anew what is at these keys. Whose they are."""
        touched = set()
        for key in changed:
            self._problems.forget(f"{self._root}/{key}")
            owner, name = self._split(key)
            touched.add(owner)
            if self._owned is None:
                continue
            names = self._owned.setdefault(owner, {})
            names.pop(name, None)
            self._read(key, txn)
            if not names:
                self._owned.pop(owner, None)
        return touched

    def _all(self, txn: Txn) -> dict[str, dict[str, Any]]:
        if self._owned is None:
            self._owned = {}
            for key in keys(self._there, txn):
                self._read(key, txn)
        return self._owned

    def _read(self, key: str, txn: Txn) -> None:
        value = get(self._there, txn, key)
        if value is None or self._owned is None:
            return
        place = f"{self._root}/{key}"
        owner, name = self._split(key)
        self._owned.setdefault(owner, {})[name] = plain(value, txn, lambda: self._problems.note(place, f"{place}: not JSON"))
