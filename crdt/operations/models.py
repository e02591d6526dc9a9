"""What a user does to how models are called. Never the key: the document keeps for good what was once in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crdt import kinds
from crdt.library import KEY_MODES, KEY_REF_FIELDS, Library, Root
from crdt.operations.writing import Missing, put
from crdt.pairs import by_last
from crdt.plain import writable_text


def _key_ref(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    reference = kinds.mapping(value)
    if reference.get("mode") not in KEY_MODES or not reference.keys() <= set(KEY_REF_FIELDS):
        raise ValueError("not a reference to a key")
    return reference


_KINDS: dict[str, kinds.Kind] = {
    "name": kinds.text,
    "enabled": kinds.flag,
    "provider": kinds.text,
    "model": kinds.text,
    "base_url": kinds.text,
    "request_style": kinds.text,
    "params": kinds.mapping,
    "capabilities": kinds.mapping,
    "key_ref": _key_ref,
    "created_at": kinds.time,
    "updated_at": kinds.time,
}
MODEL_REGISTERS = frozenset(_KINDS)


def set_model_fields(library: Library, config_id: str, fields: Mapping[str, Any]) -> bytes:
    """Set registers of a model's config, which is there once it has one. Raises ValueError for a field that is none, a key above all."""
    if not writable_text(config_id):
        raise ValueError("an empty id")
    values = {f"{config_id}/{name}": value for name, value in kinds.checked(fields, _KINDS).items()}
    return library.edit(lambda: put(library.root(Root.MODELS), values))


def remove_model(library: Library, config_id: str) -> bytes:
    """Remove a model's config with all its registers; one that another device sets at the same time stays. Raises Missing."""
    models = library.root(Root.MODELS)
    gone = [key for key, _ in models.items() if by_last(key)[0] == config_id]
    if not gone:
        raise Missing("no such model config")

    def change() -> None:
        for key in gone:
            del models[key]

    return library.edit(change)
