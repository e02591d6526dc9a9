"""What REST asks of the model configurations in a library's document. These functions run where the document lies.

No key comes here: the document keeps for good what was once in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crdt import operations
from crdt.operations import Missing
from crdt.plain import same
from crdt.shown import ModelConfig
from crdt.view import View
from server.errors import TooMany

MOST_CONFIGS = 200
"""Configurations of a library; past it REST makes none: they are listed whole."""
SERVER = "server"
"""The mode of a reference to a key that is kept here."""


def configs(view: View) -> list[ModelConfig]:
    """All of them, by name and id."""
    return view.models()


def config(view: View, config_id: str) -> ModelConfig | None:
    """One of them, if it is there."""
    return next((each for each in view.models() if each.id == config_id), None)


def require_room(view: View) -> None:
    """Raise TooMany where there is no room for another one."""
    if len(view.models()) >= MOST_CONFIGS:
        raise TooMany


def change(view: View, config_id: str, fields: Mapping[str, Any], now: int) -> ModelConfig:
    """Set registers of a configuration, which is made if it is not there. Raises TooMany."""
    there = config(view, config_id)
    if there is None:
        require_room(view)
    changed = {name: value for name, value in fields.items() if there is None or not same(getattr(there, name), value)}
    if there is None:
        changed["created_at"] = now
    if changed:
        operations.set_model_fields(view.library, config_id, changed | {"updated_at": now})
    return _required(view, config_id)


def refer(view: View, config_id: str, key_ref: Mapping[str, Any] | None) -> None:
    """Say where a configuration's key is; nothing where it is gone, or has its key elsewhere than here and is to have none here."""
    there = config(view, config_id)
    if there is None or same(there.key_ref, key_ref):
        return
    if key_ref is None and (there.key_ref or {}).get("mode") != SERVER:
        return
    operations.set_model_fields(view.library, config_id, {"key_ref": key_ref})


def remove(view: View, config_id: str) -> bool:
    """Take a configuration away; False where there is none."""
    try:
        operations.remove_model(view.library, config_id)
    except Missing:
        return False
    return True


def _required(view: View, config_id: str) -> ModelConfig:
    found = config(view, config_id)
    if found is None:
        raise Missing("no such model config")
    return found
