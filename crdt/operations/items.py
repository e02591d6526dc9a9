"""What a user does to templates and contexts: made once with all their fields, changed a register at a time, never removed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pycrdt import Map

from crdt import kinds
from crdt.library import Library, Root
from crdt.operations.writing import found, mark_deleted, mark_restored, put, unused
from crdt.plain import same

_TEMPLATE: dict[str, kinds.Kind] = {
    "name": kinds.text,
    "type": kinds.text,
    "language": kinds.text,
    "content": kinds.json,
    "description": kinds.text,
}
_CONTEXT: dict[str, kinds.Kind] = {
    "title": kinds.text,
    "mode": kinds.text,
    "order": kinds.text,
    "messages": kinds.listing,
    "variables": kinds.mapping,
    "tools": kinds.listing,
}
TEMPLATE_REGISTERS = frozenset(_TEMPLATE)
CONTEXT_REGISTERS = frozenset(_CONTEXT)
_NEW_TEMPLATE = {"name": "", "type": "", "language": "", "content": "", "description": ""}
_NEW_CONTEXT = {"title": "", "mode": "", "order": "", "messages": [], "variables": {}, "tools": []}


def create_template(library: Library, template_id: str, fields: Mapping[str, Any], *, at: int) -> bytes:
    """A new template; fields that are not given are empty. Raises Exists, ValueError for a field that is none."""
    return _create(library, Root.TEMPLATES, template_id, kinds.checked(_NEW_TEMPLATE | dict(fields), _TEMPLATE), at)


def set_template_fields(library: Library, template_id: str, fields: Mapping[str, Any], *, at: int) -> bytes:
    """Set registers of a template. Raises Missing, ValueError for a field that is none."""
    return _set(library, Root.TEMPLATES, template_id, kinds.checked(fields, _TEMPLATE), at)


def delete_template(library: Library, template_id: str, at: int) -> bytes:
    """Put a template into the bin. Raises Missing."""
    return mark_deleted(library, Root.TEMPLATES, template_id, at)


def restore_template(library: Library, template_id: str) -> bytes:
    """Take a template out of the bin. Raises Missing."""
    return mark_restored(library, Root.TEMPLATES, template_id)


def create_context(library: Library, context_id: str, fields: Mapping[str, Any], *, at: int) -> bytes:
    """A new context; fields that are not given are empty. Raises Exists, ValueError for a field that is none."""
    return _create(library, Root.CONTEXTS, context_id, kinds.checked(_NEW_CONTEXT | dict(fields), _CONTEXT), at)


def set_context_fields(library: Library, context_id: str, fields: Mapping[str, Any], *, at: int) -> bytes:
    """Set registers of a context. Raises Missing, ValueError for a field that is none."""
    return _set(library, Root.CONTEXTS, context_id, kinds.checked(fields, _CONTEXT), at)


def delete_context(library: Library, context_id: str, at: int) -> bytes:
    """Put a context into the bin. Raises Missing."""
    return mark_deleted(library, Root.CONTEXTS, context_id, at)


def restore_context(library: Library, context_id: str) -> bytes:
    """Take a context out of the bin. Raises Missing."""
    return mark_restored(library, Root.CONTEXTS, context_id)


def _create(library: Library, root: Root, key: str, fields: dict[str, Any], at: int) -> bytes:
    unused(library, root, key)
    made = fields | {"updated_at": kinds.time(at), "deleted_at": None}
    return library.edit(lambda: library.root(root).__setitem__(key, Map(made)))


def _set(library: Library, root: Root, key: str, fields: dict[str, Any], at: int) -> bytes:
    there, at = found(library, root, key), kinds.time(at)
    changed = {name: value for name, value in fields.items() if name not in there or not same(there[name], value)}
    return library.edit(lambda: put(there, changed | {"updated_at": at} if changed else {}))
