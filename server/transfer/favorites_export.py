"""A library as Prompt Optimizer's favourites, version 1.0: categories and tags, and each prompt with all of its versions as an asset."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from pydantic_core import to_json

from crdt.chains import ends
from server.transfer.app_facts import FAVORITE_BYTES, FAVORITES_BYTES, MODES
from server.transfer.app_filing import FAVORITE_KEY, as_uuid, chain_of, is_favorite, iso, origin
from server.transfer.library_file import FileCategory, FilePrompt, FileTag, FileVersion, LibraryFile

FAVORITES_VERSION = "1.0"
ASSET_SCHEMA = "prompt-model/v1"
VARIABLE_NAME = re.compile(r"(?![0-9#/^!>&])(?!(?:__proto__|prototype|constructor)$)[^\s{}]{1,50}")
VARIABLE_TYPES = frozenset({"string", "number", "boolean", "enum"})
IMAGE_DATA = "data:image"
"""What an image within a text begins with: the app takes no favourite with one outside of its text."""


def favorites_json(file: LibraryFile) -> tuple[bytes, list[str]]:
    """The favourites as JSON, and what is left out for the app's bounds."""
    data, lost = favorites_data(file)
    return to_json(data, indent=2), lost


def favorites_data(file: LibraryFile, elsewhere: Collection[str] | None = None) -> tuple[dict[str, Any], list[str]]:
    """The favourites, newest first, and what is left out for the app's bounds.

    Where some prompts are `elsewhere`, those that are not become favourites too.
    """
    categories = [category for category in file.categories if category.deleted_at is None]
    filing = _Filing(categories, file.tags)
    live = (prompt for prompt in file.prompts if prompt.deleted_at is None)
    wanted = [prompt for prompt in live if is_favorite(prompt) or (elsewhere is not None and prompt.id not in elsewhere)]
    favorites, lost = _bounded([_Favorite(prompt, filing) for prompt in wanted])
    return {
        "version": FAVORITES_VERSION,
        "exportDate": iso(file.exported_at),
        "favorites": favorites,
        "categories": _categories(categories),
        "tags": sorted({filing.label(tag.tag) for tag in file.tags}),
    }, lost


def _bounded(found: Iterable[_Favorite]) -> tuple[list[dict[str, Any]], list[str]]:
    kept, lost, total = [], [], 0
    for favorite in sorted(found, key=lambda each: (-each.updated_at, each.prompt.id)):
        place = f"prompts/{favorite.prompt.id}"
        if not favorite.content:
            lost.append(f"{place}: no favourite, since it has no text")
            continue
        made = favorite.made(favorite.prompt.versions)
        size = len(to_json(made))
        if size > FAVORITE_BYTES and len(favorite.prompt.versions) > 1:
            lost.append(f"{place}: as a favourite only with its current version, since it takes more than {FAVORITE_BYTES} bytes")
            made = favorite.made([version for version in favorite.prompt.versions if version.id == favorite.prompt.current])
            size = len(to_json(made))
        if size > FAVORITE_BYTES or total + size > FAVORITES_BYTES:
            lost.append(f"{place}: no favourite, since the app takes {FAVORITE_BYTES} bytes of one and {FAVORITES_BYTES} of all")
            continue
        total += size
        kept.append(made)
    return kept, lost


class _Filing:
    """What prompts are filed under, as it is shown."""

    def __init__(self, categories: Sequence[FileCategory], tags: Sequence[FileTag]) -> None:
        self.categories = frozenset(category.id for category in categories)
        self._labels = {tag.tag: tag.label for tag in tags}
        self._ends = ends({tag.tag: tag.merged_into for tag in tags if tag.merged_into is not None})

    def label(self, tag: str) -> str:
        key = self._ends.get(tag, tag)
        return self._labels.get(key) or key


class _Favorite:
    """A prompt on its way to a favourite."""

    def __init__(self, prompt: FilePrompt, filing: _Filing) -> None:
        self.prompt = prompt
        self._mode = MODES[prompt.mode]
        self.id = origin(prompt, FAVORITE_KEY) or prompt.id
        self._current = next((version for version in prompt.versions if version.id == prompt.current), None)
        self.content = (self._current.text if self._current is not None else "") or prompt.original or _said(prompt.messages)
        self.updated_at = max([prompt.touched_at, prompt.created_at, *(version.at for version in prompt.versions)])
        self._chain = chain_of(prompt)
        self._records = frozenset(version.id for version in self._chain)
        shown = {
            "title": prompt.title or self.content[:50],
            "description": prompt.description or None,
            "category": prompt.category if prompt.category in filing.categories else None,
            "tags": sorted({filing.label(tag) for tag in prompt.tags}),
        }
        self._shown = {name: value for name, value in shown.items() if value is not None}

    def made(self, versions: Sequence[FileVersion]) -> dict[str, Any]:
        """The favourite, with these versions."""
        prompt, mode = self.prompt, self._mode
        kinds = {"functionMode": mode.function, "optimizationMode": mode.optimization, "imageSubMode": mode.image}
        variables, examples = _variables(prompt.variables), [_Example(name, value) for name, value in prompt.examples.items()]
        return {
            **self._shown,
            "content": self.content,
            **{name: value for name, value in kinds.items() if value is not None},
            "metadata": {
                **self._made_by(self._current),
                **self._media(),
                "reproducibility": {"variables": variables, "examples": [example.reproducible() for example in examples]},
                "promptAsset": self._asset(versions, variables, examples),
            },
            "id": self.id,
            "createdAt": prompt.created_at,
            "updatedAt": self.updated_at,
            "useCount": sum(prompt.uses.values()),
        }

    def _made_by(self, version: FileVersion | None) -> dict[str, Any]:
        found = {
            "originalContent": self.prompt.original,
            "sourceHistoryId": as_uuid(self._chain[-1].id) if self._chain else None,
            "modelKey": version.model if version else None,
            "modelName": version.model_name if version else None,
            "templateId": version.template if version else None,
        }
        return {name: value for name, value in found.items() if value}

    def _media(self) -> dict[str, Any]:
        urls = [each for each in self.prompt.media if isinstance(each, str) and each.startswith(("http://", "https://"))]
        ids = media_ids(self.prompt)
        if not urls and not ids:
            return {}
        return {"media": ({"coverAssetId": ids[0]} if ids else {"coverUrl": urls[0]}) | {"assetIds": ids, "urls": urls}}

    def _asset(self, versions: Sequence[FileVersion], variables: list[dict[str, Any]], examples: Sequence[_Example]) -> dict[str, Any]:
        prompt, mode, source = self.prompt, self._mode, {"kind": "favorite", "id": self.id}
        written = [self._version(version, number) for number, version in enumerate(versions, 1)]
        if not written:
            written = [self._version(FileVersion(id=prompt.id, text=self.content, at=prompt.created_at), 1)]
        current: str = next((version["id"] for version in written if version["id"] == prompt.current), written[-1]["id"])
        return {
            "schemaVersion": ASSET_SCHEMA,
            "id": f"favorite:{self.id}",
            **self._shown,
            "contract": {"modeKey": mode.key, "variables": variables, "family": mode.family, "subMode": mode.sub_mode},
            "currentVersionId": current,
            "versions": written,
            "examples": [example.of_asset(current) | {"source": source} for example in examples],
            "source": source,
            "createdAt": prompt.created_at,
            "updatedAt": self.updated_at,
        }

    def _version(self, version: FileVersion, number: int) -> dict[str, Any]:
        return {
            "id": version.id,
            "version": number,
            "title": self._shown["title"],
            "content": self._content(version.text),
            "createdAt": version.at,
            "updatedAt": version.at,
            "source": {"kind": "history", "id": as_uuid(version.id)}
            if version.id in self._records
            else {"kind": "favorite", "id": self.id},
            "metadata": self._made_by(version),
        }

    def _content(self, text: str) -> dict[str, Any]:
        messages = self.prompt.messages or []
        is_conversation = bool(messages) and all(_text(_map(each).get("role")) and "content" in each for each in messages)
        if self._mode.sub_mode == "conversation" and is_conversation and len(self.prompt.versions) < 2:
            return {"kind": "messages", "messages": messages}
        return {"kind": "image-prompt" if self._mode.image else "text", "text": text}


class _Example:
    """An example, in whichever of the app's two forms it was kept, or as somebody else has written it."""

    def __init__(self, name: str, value: Any) -> None:
        given = value if isinstance(value, dict) else {"text": value} if isinstance(value, str) else {"metadata": {"value": value}}
        asked, told = _map(given.get("input")), _map(given.get("output"))
        self._id = name
        self._based_on = given.get("basedOnVersionId")
        self._text = _text(asked.get("text")) or _text(given.get("text"))
        self._parameters = {
            key: each if isinstance(each, str) else to_json(each).decode()
            for key, each in (_map(asked.get("parameters")) or _map(given.get("parameters"))).items()
        }
        self._output = _text(told.get("text")) or _text(given.get("outputText"))
        known = {"id", "input", "output", "text", "parameters", "outputText", "basedOnVersionId", "source"}
        self._more = {key: each for key, each in given.items() if key not in known and IMAGE_DATA not in to_json(each).decode()}

    def reproducible(self) -> dict[str, Any]:
        """As a favourite's `reproducibility` has it."""
        parts = {"text": self._text, "parameters": self._parameters, "outputText": self._output}
        return {"id": self._id} | {name: part for name, part in parts.items() if part}

    def of_asset(self, current: str) -> dict[str, Any]:
        """As an asset has it."""
        asked = {"text": self._text, "parameters": self._parameters}
        return {
            "id": self._id,
            "basedOnVersionId": self._based_on if isinstance(self._based_on, str) else current,
            "input": {name: part for name, part in asked.items() if part},
            "output": {"text": self._output} if self._output else {},
            **({"metadata": self._more} if self._more else {}),
        }


def media_ids(prompt: FilePrompt) -> list[str]:
    """The images that the prompt names, which are in no file of ours."""
    return [each for each in prompt.media if isinstance(each, str) and each and not each.startswith(("http://", "https://", IMAGE_DATA))]


def _categories(categories: Iterable[FileCategory]) -> list[dict[str, Any]]:
    """The app's categories, whose names are unique."""
    made: list[dict[str, Any]] = []
    taken: set[str] = set()
    ordered = sorted(categories, key=lambda category: (category.order, category.id))
    ids = {category.id for category in ordered}
    for place, category in enumerate(ordered):
        name, number = category.name or category.id, 2
        while name in taken:
            name, number = f"{category.name or category.id} ({number})", number + 1
        taken.add(name)
        optional = {
            "description": category.description or None,
            "parentId": category.parent if category.parent in ids else None,
            "color": category.color,
        }
        made.append(
            {"name": name}
            | {key: value for key, value in optional.items() if value is not None}
            | {"sortOrder": place, "id": category.id, "createdAt": category.created_at}
        )
    return made


def _variables(variables: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The variables that the app can name: a value is their default, unless it describes a variable as the app does."""
    return [_variable(name, value) for name, value in variables.items() if VARIABLE_NAME.fullmatch(name)]


def _variable(name: str, value: Any) -> dict[str, Any]:
    given = value if isinstance(value, dict) and value.keys() & {"type", "required", "defaultValue", "options"} else {"defaultValue": value}
    default = given.get("defaultValue")
    kind = given.get("type") if given.get("type") in VARIABLE_TYPES else _kind(default)
    made = {"name": name, "type": kind, "required": given.get("required") is True}
    if _text(given.get("description")):
        made["description"] = given["description"]
    if default is not None:
        made["defaultValue"] = default if isinstance(default, str) else to_json(default).decode()
    options = given.get("options")
    return made | {"options": [each for each in options if isinstance(each, str)] if isinstance(options, list) else []}


def _kind(value: Any) -> str:
    return "boolean" if isinstance(value, bool) else "number" if isinstance(value, int | float) else "string"


def _said(messages: list[Any] | None) -> str:
    """What a conversation says, as one text."""
    return "\n\n".join(text for each in messages or [] if (text := _text(_map(each).get("content"))))


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
