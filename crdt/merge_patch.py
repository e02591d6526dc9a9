"""JSON merge patches (RFC 7396): a part of a value, of which null means that it goes."""

from __future__ import annotations

from typing import Any


def merged(target: Any, patch: Any) -> Any:
    """What the patch makes of the target, which is left as it is."""
    if not isinstance(patch, dict):
        return patch
    made = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            made.pop(name, None)
        else:
            made[name] = merged(made.get(name), value)
    return made
