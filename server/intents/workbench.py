"""What REST asks of the templates, variables and preferences in a library's document. These functions run where the document lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crdt import operations
from crdt.operations import Missing
from crdt.plain import same
from crdt.shown import Template
from crdt.view import View
from server.errors import AlreadyThere, TooMany

MOST_VARIABLES = 1_000
"""Variables of a library: they are answered whole. Past it: 409."""
MOST_PREFERENCES = 1_000
"""Preferences, likewise."""


def templates(view: View, *, type: str | None, language: str | None, deleted: bool) -> Sequence[Template]:
    """The templates, or those in the bin, by name."""
    found = [
        template
        for template in view.templates()
        if (template.deleted_at is not None) == deleted and type in (None, template.type) and language in (None, template.language)
    ]
    return sorted(found, key=lambda template: (template.name.casefold(), template.id))


def template(view: View, template_id: str) -> Template:
    """One template, in the bin or not. Raises Missing."""
    for each in view.templates():
        if each.id == template_id:
            return each
    raise Missing(f"no template {template_id}")


def create_template(view: View, template_id: str, fields: Mapping[str, Any], now: int, *, again: bool) -> Template:
    """Make a template; where it is made `again`, one of that id that is there already is it. Raises AlreadyThere."""
    if any(each.id == template_id for each in view.templates()):
        if again:
            return template(view, template_id)
        raise AlreadyThere
    operations.create_template(view.library, template_id, fields, at=now)
    return template(view, template_id)


def change_template(view: View, template_id: str, fields: Mapping[str, Any], now: int) -> Template:
    """Set fields of a template. Raises Missing."""
    there = template(view, template_id)
    changed = {name: value for name, value in fields.items() if not same(getattr(there, name), value)}
    if changed:
        operations.set_template_fields(view.library, template_id, changed, at=now)
    return template(view, template_id)


def delete_template(view: View, template_id: str, now: int) -> None:
    """Put a template into the bin. Raises Missing."""
    if template(view, template_id).deleted_at is None:
        operations.delete_template(view.library, template_id, now)


def restore_template(view: View, template_id: str) -> Template:
    """Take a template out of the bin. Raises Missing."""
    if template(view, template_id).deleted_at is not None:
        operations.restore_template(view.library, template_id)
    return template(view, template_id)


def variables(view: View) -> Mapping[str, str]:
    """The global variables by their names."""
    return view.variables()


def set_variable(view: View, name: str, value: str) -> None:
    """Give a variable a value. Raises TooMany."""
    there = view.variables()
    if name not in there and len(there) >= MOST_VARIABLES:
        raise TooMany
    operations.set_variable(view.library, name, value)


def delete_variable(view: View, name: str) -> None:
    """Take a variable away. Raises Missing."""
    operations.delete_variable(view.library, name)


def preferences(view: View) -> Mapping[str, Any]:
    """The preferences by their keys."""
    return view.preferences()


def change_preferences(view: View, patch: Mapping[str, Any]) -> Mapping[str, Any]:
    """The preferences after a merge patch (RFC 7396). Raises TooMany."""
    new = {key for key, value in patch.items() if value is not None}
    if len(view.preferences().keys() | new) > MOST_PREFERENCES:
        raise TooMany
    operations.merge_preferences(view.library, patch)
    return view.preferences()
