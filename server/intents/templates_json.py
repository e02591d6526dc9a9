"""Templates as JSON has them. A list is put into it where the document lies, and is sent on as it is."""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json

from crdt.shown import Template
from crdt.view import View
from server.ai.builtin_templates import BUILTIN
from server.intents import workbench
from server.times import moment


def templates(view: View, *, type: str | None, language: str | None, deleted: bool) -> bytes:
    """The list that `workbench.templates` has."""
    found = workbench.templates(view, type=type, language=language, deleted=deleted)
    return to_json({"templates": [template_json(each) for each in found]})


def builtin_templates(*, type: str | None, language: str | None) -> list[dict[str, Any]]:
    """The server's own that fit: `zh-CN` is Chinese, too."""
    spoken = None if language is None else language.lower().partition("-")[0]
    return [
        {
            "id": each.id,
            "name": each.name,
            "type": each.type,
            "language": each.language,
            "content": [message._asdict() for message in each.content],
            "description": each.description,
            "updated_at": None,
            "deleted_at": None,
        }
        for each in BUILTIN
        if type in (None, each.type) and spoken in (None, each.language)
    ]


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
