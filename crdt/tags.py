"""Tags: their keys, and how the registry leads from the name that one was given to the name that it is shown under."""

from __future__ import annotations

import unicodedata
from typing import Any, NamedTuple

from crdt.reader import number_in


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
