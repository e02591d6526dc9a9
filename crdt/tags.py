"""Tags: their keys, and how the registry leads from the name that one was given to the name that it is shown under."""

from __future__ import annotations

import unicodedata
from typing import Any, NamedTuple

from crdt.chains import ends
from crdt.library import Library, Root
from crdt.plain import writable_text
from crdt.reader import number_in
from crdt.shared import get, keys, plain, reading


class TagEntry(NamedTuple):
    """What the registry says of a tag."""

    label: str | None
    color: str | None
    created_at: int
    merged_into: str | None
    """The key of another tag, which this one is shown as."""


def normalise_tag(text: str) -> str:
    """The key of a tag: "Work " and "work" are one."""
    return unicodedata.normalize("NFC", text).strip().casefold()


def tag_label(text: str) -> str:
    """A tag as it is shown. Raises ValueError for one without a character."""
    label = unicodedata.normalize("NFC", writable_text(text)).strip()
    if not label:
        raise ValueError("an empty tag")
    return label


def tag_key(text: str) -> str:
    """The key of a tag that is to be written. Raises ValueError for one without a character."""
    return normalise_tag(tag_label(text))


def tag_entry(value: Any) -> TagEntry | None:
    """A registry entry, whatever a client has written in it; None where it is no map."""
    if not isinstance(value, dict):
        return None
    label, color, into = value.get("label"), value.get("color"), value.get("merged_into")
    return TagEntry(
        label=label if isinstance(label, str) and label else None,
        color=color if isinstance(color, str) else None,
        created_at=number_in(value.get("created_at")) or 0,
        merged_into=normalise_tag(into) if isinstance(into, str) else None,
    )


class Registry:
    """The registry as it is now, for what is about to change it."""

    def __init__(self, library: Library) -> None:
        there = library.root(Root.TAGS).integrated
        with reading(library.doc) as txn:
            self._values = {key: plain(get(there, txn, key), txn, lambda: None) for key in keys(there, txn)}
        found = {key: tag_entry(value) for key, value in self._values.items()}
        self.entries = {key: entry for key, entry in found.items() if entry is not None}
        self._ends = ends({key: entry.merged_into for key, entry in self.entries.items() if entry.merged_into is not None})

    def raw(self, key: str) -> dict[str, Any]:
        """The entry as it is written, with whatever else a client has put there; empty where there is none."""
        value = self._values.get(key)
        return value if isinstance(value, dict) else {}

    def shown_as(self, tag: str) -> str:
        """The key that a tag is shown as, after merges."""
        key = normalise_tag(tag)
        return self._ends.get(key, key)
