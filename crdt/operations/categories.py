"""What a user does to categories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pycrdt import Map

from crdt import kinds
from crdt.library import Library, Root
from crdt.operations.writing import found, mark_deleted, mark_restored, put, unused
from crdt.shared import YMap, get, keys, reading

_KINDS: dict[str, kinds.Kind] = {
    "name": kinds.text,
    "description": kinds.text,
    "color": kinds.text_or_none,
    "parent": kinds.text_or_none,
    "order": kinds.text,
}
CATEGORY_REGISTERS = frozenset(_KINDS)


def create_category(
    library: Library, category_id: str, *, name: str, order: str, at: int, more: Mapping[str, Any] | None = None, is_named: bool = True
) -> bytes:
    """A new category. `more`: description, color, parent. Raises Exists, ValueError for what cannot be written.

    `is_named` False says that no category names it as its parent, so that there is no circle to look for.
    """
    unused(library, Root.CATEGORIES, category_id)
    registers = {"name": name, "description": "", "color": None, "parent": None, "order": order}
    fields = kinds.checked(registers | dict(more or {}), _KINDS) | {"created_at": kinds.time(at), "deleted_at": None}
    if is_named or fields["parent"] == category_id:
        _check_parent(library, category_id, fields)
    return library.edit(lambda: library.root(Root.CATEGORIES).__setitem__(category_id, Map(fields)))


def category_parents(library: Library) -> set[str]:
    """The ids that categories name as their parents', whether there are such or not."""
    categories = library.root(Root.CATEGORIES).integrated
    with reading(library.doc) as txn:
        there = [get(categories, txn, key) for key in keys(categories, txn)]
        named = [get(each, txn, "parent") for each in there if isinstance(each, YMap)]
    return {parent for parent in named if isinstance(parent, str)}


def set_category_fields(library: Library, category_id: str, fields: Mapping[str, Any]) -> bytes:
    """Set registers of a category. Raises Missing, ValueError for a field that is none, or a parent that is below it."""
    there, values = found(library, Root.CATEGORIES, category_id), kinds.checked(fields, _KINDS)
    _check_parent(library, category_id, values)
    return library.edit(lambda: put(there, values))


def delete_category(library: Library, category_id: str, at: int) -> bytes:
    """Put a category into the bin; prompts that name it show as having none. Raises Missing."""
    return mark_deleted(library, Root.CATEGORIES, category_id, at)


def restore_category(library: Library, category_id: str) -> bytes:
    """Take a category out of the bin: the prompts that name it are in it again. Raises Missing."""
    return mark_restored(library, Root.CATEGORIES, category_id)


def _check_parent(library: Library, category_id: str, fields: Mapping[str, Any]) -> None:
    # Two devices may make a circle all the same; that one is broken when reading.
    categories, seen, at = library.root(Root.CATEGORIES), set(), fields.get("parent")
    while isinstance(at, str) and at not in seen:
        if at == category_id:
            raise ValueError("parent: the category itself, or one below it")
        seen.add(at)
        there = categories.get(at)
        at = there.get("parent") if isinstance(there, Map) else None
