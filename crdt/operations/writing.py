"""How all operations write: find what is there, check everything, then write no more than what changes.

Nothing is written before everything is checked: an operation that raises has changed nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from pycrdt import Map, Text

from crdt.errors import CrdtError
from crdt.library import Library, Root
from crdt.plain import same, writable_text
from crdt.reader import number_in
from crdt.textdiff import Budget, edits


class Missing(CrdtError):
    """There is no such prompt, version, category, tag or other thing in this library."""


class Exists(CrdtError):
    """There is one with this id already: making it again would drop what others have put into it."""


class IsCurrent(CrdtError):
    """The version is the one whose text the prompt is now."""


def found(library: Library, root: Root, key: str) -> Map[Any]:
    """The map at this key. Raises Missing."""
    there = library.root(root).get(key)
    if not isinstance(there, Map):
        raise Missing(f"no such entry of {root.value}")
    return there


def part(there: Map[Any], name: str, kind: type[Any]) -> Any:
    """The shared type in a map. Raises Missing, also where a client has put something else there."""
    value = there.get(name)
    if not isinstance(value, kind):
        raise Missing(f"{name} is not there, or is no {kind.__name__}")
    return value


def unused(library: Library, root: Root, key: str) -> str:
    """The id, of which nothing is made yet. Raises Exists, ValueError for what is no id."""
    if not writable_text(key):
        raise ValueError("an empty id")
    if key in library.root(root):
        raise Exists(f"there is such an entry of {root.value}")
    return key


def put(there: Map[Any], fields: Mapping[str, Any]) -> None:
    """Set those registers that have another value. Within an edit, checked before."""
    for name, value in fields.items():
        if name not in there or not same(there[name], value):
            there[name] = value


def take_away(there: Map[Any], names: Iterable[str]) -> None:
    """Take these away. Within an edit. A rich-text format that a client has put into a map is listed, and cannot be taken away."""
    for name in names:
        with suppress(KeyError):
            del there[name]


def mark_deleted(library: Library, root: Root, key: str, at: int) -> bytes:
    """Put something into the bin; what is there already stays as it went. Raises Missing."""
    there = found(library, root, key)
    if number_in(there.get("deleted_at")) is not None:
        return library.edit(lambda: None)
    if number_in(at) is None:
        raise ValueError("not a time in ms since 1970")
    return library.edit(lambda: there.__setitem__("deleted_at", at))


def mark_restored(library: Library, root: Root, key: str) -> bytes:
    """Take something out of the bin. Raises Missing."""
    # A value, never the key's removal: setting beats removing where they meet, so a removal could not undo a deletion.
    there = found(library, root, key)
    return library.edit(lambda: put(there, {"deleted_at": None}))


def retype(library: Library, text: Text, wanted: str, budget: Budget | None = None) -> bytes:
    """Make a text this one, changing only what differs; several of them may share a budget. Raises ValueError for what is no text."""
    changes = edits(str(text), writable_text(wanted), budget)

    def change() -> None:
        for edit in changes:
            if edit.delete:
                del text[edit.start : edit.start + edit.delete]
            if edit.insert:
                text.insert(edit.start, edit.insert)

    return library.edit(change)
