"""Prompt Optimizer's files, taken apart into their items: app data in both forms, favorites, a template, the desktop's store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from server.transfer.app_parts import NOTHING, AppParts
from server.transfer.detect import APP_SECTIONS, Kind
from server.transfer.problems import SINGLE, Reason

_OLD_SETTINGS = {
    "theme-id": "app:settings:ui:theme-id",
    "preferred-language": "app:settings:ui:preferred-language",
    "builtin-template-language": "app:settings:ui:builtin-template-language",
}
_VARIABLES = "variableManager.storage"
_DRAFTS = "session/v1/"
_MARKS = frozenset({"favorite_stats", "favorite_categories_initialized"})
_MODEL_ID = frozenset({"key"})
"""The legacy models' name for their id: no secret, whatever it is called."""


def take_apart(kind: Kind, value: Mapping[str, Any], parts: AppParts, file: str = SINGLE) -> None:
    """Add the items of a file of this kind to the parts."""
    match kind:
        case Kind.APP_DATA:
            _app_data(value["data"], parts, file)
        case Kind.OLD_APP_DATA:
            _app_data(value, parts, file)
        case Kind.FAVORITES:
            _favorites(value, parts, file)
        case Kind.TEMPLATE:
            parts.add(parts.templates, file, "templates", [value])
        case Kind.DESKTOP:
            _desktop(value, parts, file)


def _app_data(data: Mapping[str, Any], parts: AppParts, file: str) -> None:
    found: dict[str, Any] = {}
    for name, kind in APP_SECTIONS.items():
        section = data.get(name)
        if isinstance(section, kind) or (name in ("contexts", "models", "imageModels") and isinstance(section, list | dict)):
            found[name] = section
        elif section is not None:
            parts.findings.tell(file, name, name, Reason.INVALID)
    for name in sorted(data.keys() - APP_SECTIONS.keys()):
        parts.findings.tell(file, "file", name, Reason.UNKNOWN_FIELD)
    parts.add(parts.history, file, "prompts", found.get("history", []))
    _models(parts, file, found.get("models", []), found.get("imageModels", []))
    parts.add(parts.templates, file, "templates", found.get("userTemplates", []))
    for name, value in found.get("userSettings", {}).items():
        _setting(name, value, parts, file)
    _contexts(found.get("contexts", []), parts, file)


def _favorites(value: Mapping[str, Any], parts: AppParts, file: str) -> None:
    for name, into in (("favorites", parts.favorites), ("categories", parts.categories)):
        section = value.get(name, [])
        if isinstance(section, list):
            parts.add(into, file, "prompts" if name == "favorites" else name, section)
        else:
            parts.findings.tell(file, name, name, Reason.INVALID)
    tags = value.get("tags", [])
    if isinstance(tags, list):
        parts.add_tags(file, tags)
    else:
        parts.findings.tell(file, "tags", "tags", Reason.INVALID)


def _desktop(stores: Mapping[str, Any], parts: AppParts, file: str) -> None:
    """Each value is JSON in a string."""
    found: dict[str, Any] = {}
    for name, text in stores.items():
        value, is_json = _json(text)
        if is_json:
            found[name] = value
        elif text == NOTHING or name.startswith("pref:"):
            found[name] = text
        elif name not in _MARKS:
            parts.findings.tell(file, name, name, Reason.MALFORMED)
    sections = {"history": "prompt_history", "userTemplates": "user-templates", "models": "models", "imageModels": "image-models"}
    data = {ours: found[theirs] for ours, theirs in sections.items() if theirs in found}
    if "ctx:store" in found:
        data["contexts"] = found["ctx:store"]
    _app_data(data, parts, file)
    favorites = {"favorites": "favorites", "favorite_categories": "categories", "favorite_tags": "tags"}
    _favorites({ours: found[theirs] for theirs, ours in favorites.items() if theirs in found}, parts, file)
    for name, value in found.items():
        if name.startswith("pref:"):
            _setting(name.removeprefix("pref:"), value, parts, file)
        elif name not in {*sections.values(), *favorites, *_MARKS, "ctx:store"}:
            parts.findings.tell(file, "file", name, Reason.UNKNOWN_FIELD)


def _models(parts: AppParts, file: str, texts: Any, images: Any) -> None:
    parts.add(parts.models, file, "models", _listed(texts), plain=_MODEL_ID)
    parts.add(parts.image_models, file, "models", _listed(images), plain=_MODEL_ID)


def _setting(name: str, value: Any, parts: AppParts, file: str) -> None:
    name = _OLD_SETTINGS.get(name, name)
    if name.startswith(_DRAFTS):
        parts.findings.skip(file, "preferences", name, Reason.NOTHING_IN_IT if value == NOTHING else Reason.NOT_SYNCED)
    elif name == _VARIABLES and value != NOTHING:
        stored, _ = _json(value)
        if isinstance(stored, dict) and "customVariables" in stored:
            parts.add_variables(file, stored["customVariables"])
        else:
            parts.findings.skip(file, "preferences", name, Reason.INVALID)
    else:
        parts.add_setting(file, name, value)


def _contexts(bundle: Any, parts: AppParts, file: str) -> None:
    found = bundle.get("contexts", []) if isinstance(bundle, dict) else bundle
    if not isinstance(found, list | dict):
        parts.findings.tell(file, "contexts", "contexts", Reason.INVALID)
        return
    parts.add(parts.contexts, file, "contexts", _listed(found))


def _listed(section: Any) -> list[Any]:
    """A section's items as a list; the app's stores have some by their ids."""
    if isinstance(section, dict):
        return [({"id": name} | value) if isinstance(value, dict) else value for name, value in section.items()]
    return list(section)


def _json(value: Any) -> tuple[Any, bool]:
    """A string's JSON, and whether it is some; other values are it already."""
    if not isinstance(value, str):
        return value, True
    try:
        return json.loads(value), True
    except (ValueError, RecursionError):
        return None, False
