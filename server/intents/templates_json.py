"""Templates as JSON has them. A list is put into it where the document lies, and is sent on as it is."""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json

from crdt.shown import Template
from crdt.view import View
from server.intents import workbench
from server.times import moment


def templates(view: View, *, type: str | None, language: str | None, deleted: bool) -> bytes:
    """The list that `workbench.templates` has."""
    found = workbench.templates(view, type=type, language=language, deleted=deleted)
    return to_json({"templates": [template_json(each) for each in found]})


def template_json(template: Template) -> dict[str, Any]:
    """A template as JSON has it."""
    return {
        "id": template.id,
        "name": template.name,
        "type": template.type,
        "language": template.language,
        "content": template.content,
        "description": template.description,
        "updated_at": moment(template.updated_at),
        "deleted_at": None if template.deleted_at is None else moment(template.deleted_at),
    }
