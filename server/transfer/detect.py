"""What kind of file it is, by what is in it: names and types of files say little."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from server.transfer.library_file import FORMAT

ZIP_MARKS = (b"PK\x03\x04", b"PK\x05\x06")
"""What a zip begins with: its first entry, or the end of one without any."""


class Kind(StrEnum):
    """What a file is; the names are stable."""

    LIBRARY = "promptsync/library"
    APP_DATA = "prompt-optimizer/app-data"
    OLD_APP_DATA = "prompt-optimizer/app-data-old"
    FAVORITES = "prompt-optimizer/favorites"
    TEMPLATE = "prompt-optimizer/template"
    DESKTOP = "prompt-optimizer/desktop"
    LIBRARY_PACKAGE = "promptsync/library-package"
    BACKUP = "prompt-optimizer/app-backup"
    FAVORITES_PACKAGE = "prompt-optimizer/favorites-package"


APP_SECTIONS: dict[str, type] = {
    "history": list,
    "models": list,
    "imageModels": list,
    "userTemplates": list,
    "userSettings": dict,
    "contexts": dict,
}
_ITS_OWN = frozenset({"imageModels", "userTemplates", "userSettings"})
"""Sections that other apps' files do not have."""
DESKTOP_STORES = frozenset(
    {"prompt_history", "models", "image-models", "user-templates", "favorites", "favorite_categories", "favorite_tags", "ctx:store"}
)


def is_zip(data: bytes) -> bool:
    """Whether the bytes begin as a zip does."""
    return data.startswith(ZIP_MARKS)


def kind_of(value: Any) -> Kind | None:
    """What kind of file the JSON value is; None for another app's."""
    if not isinstance(value, dict):
        return None
    if value.get("format") == FORMAT:
        return Kind.LIBRARY
    if _is_desktop(value):
        return Kind.DESKTOP
    if isinstance(value.get("favorites"), list) and ({"version", "exportDate", "categories", "tags"} & value.keys()):
        return Kind.FAVORITES
    if "version" in value and _has_sections(value.get("data")):
        return Kind.APP_DATA
    if _has_sections(value) and (value.keys() <= APP_SECTIONS.keys() or value.keys() & _ITS_OWN):
        return Kind.OLD_APP_DATA
    if isinstance(value.get("name"), str) and isinstance(value.get("content"), str | list) and _is_template(value.get("metadata")):
        return Kind.TEMPLATE
    return None


def _has_sections(value: Any) -> bool:
    return isinstance(value, dict) and any(isinstance(value.get(name), kind) for name, kind in APP_SECTIONS.items())


def _is_desktop(value: dict[str, Any]) -> bool:
    return any(isinstance(each, str) and (name in DESKTOP_STORES or name.startswith("pref:")) for name, each in value.items())


def _is_template(metadata: Any) -> bool:
    return isinstance(metadata, dict) and isinstance(metadata.get("templateType"), str)
