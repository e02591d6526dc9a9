"""What REST asks of a library's document about its share links. These functions run where the document lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from pydantic_core import to_json

from crdt.library import Mode
from crdt.operations import Missing
from crdt.shown import FullPrompt
from crdt.view import View
from server.errors import InBin, UnknownReference
from server.transfer.secrets import variable_without_secret

SCHEMA = "prompt-garden.prompt.v1"
ROLES = frozenset({"system", "user", "assistant", "tool"})
"""Who speaks in a conversation, as its readers know it."""
_KINDS: Mapping[str, type] = {"description": str, "type": str, "required": bool, "defaultValue": str}
"""What may be told of a variable besides its name and options, and of which kind it has to be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a link leads to, as it is now: None for the title and the mode of what is gone."""

    title: str | None
    mode: Mode | None
    in_bin: bool


def target(view: View, prompt_id: str, version_id: str | None) -> Target:
    """What a link to this version, or without one to the prompt, would lead to. Raises Missing, InBin, UnknownReference."""
    (found,) = targets(view, [(prompt_id, None)])
    if found.title is None:
        raise Missing("no such prompt")
    if found.in_bin:
        raise InBin
    if version_id is not None and view.version(prompt_id, version_id) is None:
        raise UnknownReference("version")
    return found


def targets(view: View, named: Sequence[tuple[str, str | None]]) -> list[Target]:
    """What links to these prompts, and versions of them, lead to."""
    return [_target(view, prompt_id, version_id) for prompt_id, version_id in named]


def _target(view: View, prompt_id: str, version_id: str | None) -> Target:
    prompt = view.prompt(prompt_id)
    if prompt is None or (version_id is not None and view.version(prompt_id, version_id) is None):
        return Target(title=None, mode=None, in_bin=False)
    return Target(title=prompt.title, mode=prompt.mode, in_bin=prompt.deleted_at is not None)


def source(view: View, prompt_id: str, version_id: str | None, code: str) -> bytes:
    """A shared prompt for whoever has the code, as JSON: what it says and how it is filed, and nothing that tells whose it is.

    Raises Missing, also for what is in the bin.
    """
    state = view.full(prompt_id)
    version = view.version(prompt_id, version_id) if version_id is not None else None
    if state is None or state.prompt.deleted_at is not None or (version_id is not None and version is None):
        raise Missing("nothing that is shared")
    prompt = state.prompt
    content = _content(state) if version is None else {"format": "text", "text": version.text}
    return to_json(
        {
            "schema": SCHEMA,
            "schemaVersion": 1,
            "importCode": code,
            "optimizerTarget": {"subModeKey": prompt.mode},
            "prompt": content,
            "variables": [_without_secret(_variable(name, value)) for name, value in sorted(prompt.variables.items())],
            "meta": {
                "title": prompt.title,
                "description": prompt.description,
                "tags": prompt.tags,
                **({} if prompt.category is None else {"categoryKey": _category(view, prompt.category)}),
            },
        }
    )


def _content(state: FullPrompt) -> dict[str, Any]:
    """The conversation where it is a prompt of the one mode that has some, else the text that is used."""
    messages = [each for each in map(_message, state.prompt.messages or ()) if each is not None]
    if messages and state.prompt.mode is Mode.PRO_MULTI:
        return {"format": "messages", "messages": messages}
    return {"format": "text", "text": state.optimized or state.original}


def _message(message: Any) -> dict[str, str] | None:
    """Who says what; None for what cannot be said, which readers refuse together with all others."""
    role, content = (message.get("role"), message.get("content")) if isinstance(message, dict) else (None, None)
    if not isinstance(role, str) or role not in ROLES or not isinstance(content, str) or not content:
        return None
    return {"role": role, "content": content}


def _variable(name: str, value: Any) -> dict[str, Any]:
    """A variable as it is declared, or with its value as the default where it has only that."""
    match value:
        case dict():
            options = value.get("options")
            told = {field: value[field] for field, kind in _KINDS.items() if isinstance(value.get(field), kind)}
            if isinstance(options, list):
                told["options"] = [option for option in options if isinstance(option, str)]
            return {"name": name} | told
        case bool():
            return {"name": name, "type": "boolean", "defaultValue": "true" if value else "false"}
        case int() | float() if isfinite(value):
            return {"name": name, "type": "number", "defaultValue": str(value)}
        case str():
            return {"name": name, "type": "string", "defaultValue": value}
    return {"name": name}


def _without_secret(variable: dict[str, Any]) -> dict[str, Any]:
    """The variable without its default where that is a secret beyond doubt: what it is called is shared, not what it was filled in with."""
    default = variable_without_secret(variable["name"], variable.get("defaultValue"), "", lambda *_: None)
    return variable if default is not None else {name: part for name, part in variable.items() if name != "defaultValue"}


def _category(view: View, category_id: str) -> str:
    """What a category is called: its id is nobody's business, and readers take the key for the name."""
    return next((category.name for category in view.categories() if category.id == category_id), "")
