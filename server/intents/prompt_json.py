"""Prompts as JSON has them. They are put into it where the document lies: it is sent on as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from crdt.shown import FullPrompt, Version
from server.times import moment

TEXTS = frozenset({"original_text", "optimized_text"})
HISTORY = "optimization_history"
USUAL = TEXTS | {
    "id", "user_id", "title", "description", "tags", "category", "favorite", "pinned", "mode", "order", "uses", "model_used", "variables",
    "version_id", "created_at", "updated_at", "deleted_at",
}  # fmt: skip
"""The fields that are answered with unless some are chosen."""
FIELDS = USUAL | {HISTORY}
"""Those that may be chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A prompt; with its versions, newest first, and where its labels are, if they were asked for."""

    state: FullPrompt
    history: Sequence[Version] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    problems: Sequence[str] = ()


def chosen(fields: str | None) -> frozenset[str]:
    """Which fields are answered with; the id always is."""
    return USUAL if fields is None else frozenset(fields.split(",")) | {"id"}


def prompt_json(shown: Shown, owner_id: UUID, fields: frozenset[str]) -> dict[str, Any]:
    """A prompt as JSON has it."""
    state, prompt = shown.state, shown.state.prompt
    whole = {
        "id": prompt.id,
        "user_id": owner_id,
        "title": prompt.title,
        "description": prompt.description,
        "original_text": state.original,
        "optimized_text": state.optimized,
        "tags": prompt.tags,
        "category": prompt.category,
        "favorite": prompt.favorite,
        "pinned": prompt.pinned,
        "mode": prompt.mode,
        "order": prompt.order,
        "uses": prompt.uses,
        "model_used": prompt.model,
        "variables": dict(sorted(prompt.variables.items())),  # Yrs has an order of its own in every process
        "version_id": prompt.current,
        "created_at": moment(prompt.created_at),
        "updated_at": moment(prompt.updated_at),
        "deleted_at": None if prompt.deleted_at is None else moment(prompt.deleted_at),
    }
    answered = whole if fields >= USUAL else {name: value for name, value in whole.items() if name in fields}
    if HISTORY in fields:
        answered[HISTORY] = [version_json(version, prompt.current, shown.labels) for version in shown.history]
    if shown.problems:
        answered["problems"] = shown.problems
    return answered


def version_json(version: Version, current: str | None, labels: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A version as JSON has it."""
    return {
        "id": version.id,
        "version": version.number,
        "current": version.id == current,
        "parent": version.parent,
        "kind": version.kind,
        "note": version.note,
        "model": version.model,
        "model_name": version.model_name,
        "template": version.template,
        "device": version.device,
        "created_at": moment(version.at),
        "size": version.bytes,
        "labels": sorted(label for label, version_id in (labels or {}).items() if version_id == version.id),
    }
