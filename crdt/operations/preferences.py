"""What a user does to preferences and variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crdt import kinds
from crdt.library import Library, Root
from crdt.merge_patch import merged
from crdt.operations.writing import Missing, put
from crdt.plain import writable, writable_text
from crdt.shared import get, plain, reading


def merge_preferences(library: Library, patch: Mapping[str, Any]) -> bytes:
    """Apply a JSON merge patch: null deletes a key, a map is merged into its value. Writes only the keys whose value changes.

    Raises ValueError for what is no JSON.
    """
    return _merge(library, Root.PREFS, "", patch)


def merge_device_prefs(library: Library, device: str, patch: Mapping[str, Any]) -> bytes:
    """The same for what holds on one device. Raises ValueError for what is no JSON, or for a device's id with a slash."""
    return _merge(library, Root.DEVICE_PREFS, _prefix(device), patch)


def add_preferences(library: Library, values: Mapping[str, Any]) -> bytes:
    """Preferences as they stand, null within them too; a key that is there keeps its value. Raises ValueError for what is no JSON."""
    return _add(library, Root.PREFS, "", values)


def add_device_prefs(library: Library, device: str, values: Mapping[str, Any]) -> bytes:
    """The same for what holds on one device. Raises ValueError for what is no JSON, or for a device's id with a slash."""
    return _add(library, Root.DEVICE_PREFS, _prefix(device), values)


def set_variable(library: Library, name: str, value: str) -> bytes:
    """Give a variable its value. Raises ValueError for what is no string."""
    written = {writable_text(name): writable_text(value)}
    return library.edit(lambda: put(library.root(Root.VARIABLES), written))


def delete_variable(library: Library, name: str) -> bytes:
    """Remove a variable; where another device sets it at the same time it stays. Raises Missing."""
    variables = library.root(Root.VARIABLES)
    if name not in variables:
        raise Missing("no such variable")
    return library.edit(lambda: variables.__delitem__(name))


def _prefix(device: str) -> str:
    if not writable_text(device) or "/" in device:
        raise ValueError("not a device's id")
    return f"{device}/"


def _add(library: Library, root: Root, prefix: str, values: Mapping[str, Any]) -> bytes:
    wanted, there = kinds.mapping(values), library.root(root)
    return library.edit(lambda: put(there, {prefix + name: value for name, value in wanted.items() if prefix + name not in there}))


def _merge(library: Library, root: Root, prefix: str, patch: Mapping[str, Any]) -> bytes:
    wanted, there = writable(dict(patch)), library.root(root)
    with reading(library.doc) as txn:
        before = {name: plain(get(there.integrated, txn, prefix + name), txn, lambda: None) for name in wanted}
    after = {name: writable(merged(before[name], value)) for name, value in wanted.items()}
    gone = [prefix + name for name, value in wanted.items() if value is None and prefix + name in there]

    def change() -> None:
        for key in gone:
            del there[key]
        put(there, {prefix + name: after[name] for name, value in wanted.items() if value is not None})

    return library.edit(change)
