"""What prompts are filed under: categories, and the registry of tags. Kept up to date by what has changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from crdt.chains import breaks, ends
from crdt.library import CATEGORY_FIELDS, Library, Root
from crdt.reader import Problems, Reader
from crdt.shared import Txn, YMap, get, keys
from crdt.shown import Category
from crdt.tags import TagEntry, normalise_tag, tag_entry


class Shown(NamedTuple):
    """How a prompt's tags are shown."""

    labels: tuple[str, ...]
    """Sorted."""
    keys: frozenset[str]
    """After merges."""


class Catalogue:
    """Categories and tags as they are shown: without circles, and after merges."""

    def __init__(self, library: Library, problems: Problems) -> None:
        self._category_root = library.root(Root.CATEGORIES).integrated
        self._tag_root = library.root(Root.TAGS).integrated
        self._problems = problems
        self._written: dict[str, Category] | None = None
        self._categories: dict[str, Category] | None = None
        self._entries: dict[str, TagEntry] | None = None
        self._ends: dict[str, str] | None = None
        self._known: dict[str, tuple[str, str]] = {}  # tags as prompts have them: key and label

    def settle(self, categories: Iterable[str], tags: Iterable[str], txn: Txn) -> bool:
        """Read anew these categories and tags. Whether there were any."""
        changed = False
        for category_id in categories:
            changed = True
            self._problems.forget(f"categories/{category_id}")
            if self._written is not None:
                self._read_category(category_id, self._written, txn)
                self._categories = None
        for key in tags:
            changed = True
            self._problems.forget(f"tags/{key}")
            if self._entries is not None:
                self._read_tag(key, self._entries, txn)
                self._ends = None
                self._known.clear()
        return changed

    # --- categories

    def categories(self, txn: Txn) -> dict[str, Category]:
        """Every category, those in the bin too."""
        if self._categories is None:
            if self._written is None:
                self._written = {}
                for category_id in keys(self._category_root, txn):
                    self._read_category(category_id, self._written, txn)
            self._categories = self._rooted(self._written)
        return self._categories

    def category_of(self, category_id: str | None, txn: Txn) -> str | None:
        """The category that a prompt which names this one is shown in; None where it is gone or in the bin."""
        category = self.categories(txn).get(category_id) if category_id is not None else None
        return category.id if category is not None and category.deleted_at is None else None

    def _read_category(self, category_id: str, written: dict[str, Category], txn: Txn) -> None:
        place = f"categories/{category_id}"
        there = get(self._category_root, txn, category_id)
        written.pop(category_id, None)
        if not isinstance(there, YMap):
            if there is not None:
                self._problems.note(place, f"{place}: not a Map")
            return
        read = Reader.of(there, CATEGORY_FIELDS, place, lambda what: self._problems.note(place, what), txn)
        written[category_id] = Category(
            id=category_id,
            name=read.text("name"),
            description=read.text("description"),
            color=read.text_or_none("color"),
            parent=read.text_or_none("parent"),
            order=read.text("order"),
            created_at=read.time("created_at"),
            deleted_at=read.time_or_none("deleted_at"),
        )

    def _rooted(self, written: dict[str, Category]) -> dict[str, Category]:
        """The categories without parents that are not there, and without circles: each is broken at its smallest id."""
        parents = {key: category.parent for key, category in written.items() if category.parent is not None}
        broken = breaks(parents)
        self._problems.forget("categories")
        for key, parent in parents.items():
            if key in broken:
                self._problems.note("categories", f"categories/{key}: its parents lead in a circle")
            elif parent not in written:
                self._problems.note("categories", f"categories/{key}: its parents are not there")
        return {
            key: replace(category, parent=None)
            if category.parent is not None and (key in broken or category.parent not in written)
            else category
            for key, category in written.items()
        }

    # --- tags

    def entries(self, txn: Txn) -> dict[str, TagEntry]:
        """What is registered, by key."""
        if self._entries is None:
            self._entries = {}
            for key in keys(self._tag_root, txn):
                self._read_tag(key, self._entries, txn)
        return self._entries

    def registry(self, txn: Txn) -> dict[str, TagEntry]:
        """The same without circles: each is broken at its smallest key."""
        entries = self.entries(txn)
        broken = breaks({key: entry.merged_into for key, entry in entries.items() if entry.merged_into is not None})
        return {key: entry._replace(merged_into=None) if key in broken else entry for key, entry in entries.items()}

    def key_of(self, tag: str, txn: Txn) -> str:
        """The key that a tag is shown as, after merges."""
        key = normalise_tag(tag)
        return self._merged(txn).get(key, key)

    def label_of(self, key: str, txn: Txn) -> str:
        """How a tag is shown, of the key after merges."""
        entry = self.entries(txn).get(key)
        return entry.label if entry is not None and entry.label is not None else key

    def shown(self, tags: Iterable[str], txn: Txn) -> Shown:
        """Those of a prompt."""
        known, found = self._known, []
        for tag in tags:
            if tag not in known:
                key = self.key_of(tag, txn)
                known[tag] = key, self.label_of(key, txn)
            found.append(known[tag])
        return Shown(tuple(sorted({label for _, label in found})), frozenset(key for key, _ in found))

    def _merged(self, txn: Txn) -> dict[str, str]:
        if self._ends is None:
            into = {key: entry.merged_into for key, entry in self.entries(txn).items() if entry.merged_into is not None}
            self._problems.forget("tags")
            for key in breaks(into):
                self._problems.note("tags", f"tags/{key}: merged in a circle")
            self._ends = ends(into)
        return self._ends

    def _read_tag(self, key: str, entries: dict[str, TagEntry], txn: Txn) -> None:
        place = f"tags/{key}"
        value = get(self._tag_root, txn, key)
        entry = tag_entry(value)
        entries.pop(key, None)
        if entry is not None:
            entries[key] = entry
        elif value is not None:
            self._problems.note(place, f"{place}: not a map")
