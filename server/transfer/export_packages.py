"""The files of an export: our own form, as JSON and packed, and Prompt Optimizer's two packages."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

from server.times import moment
from server.transfer.app_export import app_data, history_of
from server.transfer.app_filing import iso
from server.transfer.favorites_export import favorites_data, media_ids
from server.transfer.library_file import LibraryFile

BACKUP_SCHEMA = "prompt-optimizer/app-backup/v1"
FAVORITES_SCHEMA = "prompt-optimizer/favorites-package/v1"
LIBRARY_NAME, APP_NAME, FAVORITES_NAME, MANIFEST_NAME = "library.json", "app-data.json", "favorites.json", "manifest.json"
COMPRESSION = 6
"""Of deflate: 7 MB of prompts take 0.3 s; the next steps take twice as long for a hundredth less."""
FIRST_YEAR, LAST_YEAR = 1980, 2107
"""What the dates in a zip file can say."""

README = """\
A prompt library, exported by promptsync.

library.json has all of it: prompts with every version, those in the bin too, categories, tags, templates, contexts, variables,
preferences, and how models are called. It is JSON in UTF-8, of the format "promptsync/library"; docs/library-file.md of promptsync
describes it.

There are no keys, tokens and passwords in it: enter those again where you import it. What could not be exported is told in its
"problems". Images are not part of it.
"""


def library_json(file: LibraryFile) -> tuple[bytes, list[str]]:
    """Our own form."""
    return file.model_dump_json(indent=1).encode(), []


def library_zip(file: LibraryFile) -> tuple[bytes, list[str]]:
    """Our own form, packed."""
    content, lost = library_json(file)
    return _zip(file, {LIBRARY_NAME: content, "README.txt": README.encode()}), lost


def backup_zip(file: LibraryFile) -> tuple[bytes, list[str]]:
    """Prompt Optimizer's full backup: what the history has no room for are favourites. The images that these name are told as missing."""
    history = history_of(file)
    favorites, lost = favorites_data(file, elsewhere=history.prompts)
    manifest = {
        "schemaVersion": BACKUP_SCHEMA,
        "createdAt": iso(file.exported_at),
        "appDataPath": APP_NAME,
        "favoritesPath": FAVORITES_NAME,
        "resources": [],
        "missingResources": [{"kind": "image", "store": "favoriteImages", "id": each} for each in _images(file, favorites)],
        "resourceCounts": {"imageCache": 0, "favoriteImages": 0},
        "includedSections": ["appData", "favorites"],
    }
    return _packed(file, {MANIFEST_NAME: manifest, APP_NAME: app_data(file, history), FAVORITES_NAME: favorites}), [*history.lost, *lost]


def favorites_zip(file: LibraryFile) -> tuple[bytes, list[str]]:
    """Prompt Optimizer's package of favourites. The images that they name are told as missing."""
    favorites, lost = favorites_data(file)
    manifest = {
        "schemaVersion": FAVORITES_SCHEMA,
        "createdAt": iso(file.exported_at),
        "favoriteCount": len(favorites["favorites"]),
        "resourceCount": 0,
        "resources": [],
        "missingResourceIds": _images(file, favorites),
    }
    return _packed(file, {FAVORITES_NAME: favorites, MANIFEST_NAME: manifest}), lost


def _images(file: LibraryFile, favorites: Mapping[str, Any]) -> list[str]:
    written = {each for favorite in favorites["favorites"] for each in favorite["metadata"].get("media", {}).get("assetIds", ())}
    return sorted({each for prompt in file.prompts for each in media_ids(prompt)} & written)


def _packed(file: LibraryFile, parts: Mapping[str, Any]) -> bytes:
    return _zip(file, {name: to_json(part, indent=2) for name, part in parts.items()})


def _zip(file: LibraryFile, contents: Mapping[str, bytes]) -> bytes:
    at = moment(file.exported_at)
    year = min(max(at.year, FIRST_YEAR), LAST_YEAR)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED, compresslevel=COMPRESSION) as package:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(name, (year, at.month, at.day, at.hour, at.minute, at.second))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o600 << 16
            package.writestr(entry, content, compresslevel=COMPRESSION)
    return written.getvalue()
