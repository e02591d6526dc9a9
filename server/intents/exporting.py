"""A library as a file: read where its document lies, and sent on as the bytes that the client gets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from crdt.contents import MAX_DEPTH
from crdt.shown import FullVersion, ModelConfig, WholePrompt
from crdt.view import View
from server.errors import DocumentTooLarge
from server.transfer import app_export, export_packages, favorites_export
from server.transfer.library_file import (
    MOST_PROBLEMS,
    FileCategory,
    FileContext,
    FileModel,
    FilePrompt,
    FileTag,
    FileTemplate,
    FileVersion,
    Item,
    LibraryFile,
)
from server.transfer.secrets import content_without_secrets, setting_without_secrets, variable_without_secret, without_secrets

MAX_EXPORT_BYTES = 128 << 20
"""Bytes of an export: twice the largest document that REST opens, since JSON escapes and Prompt Optimizer's forms hold texts twice. Past
it: 413, devices sync as ever."""
_PLAIN = frozenset({"id", "name", "provider", "model", "request_style"})
"""Fields of a model that are no secret, whatever they are like."""
_MODEL_TIMES = frozenset({"created_at", "updated_at"})
"""Fields of a model that files of ours do not have: it is made anew where it is imported."""
MAX_ID = 200
"""Characters of an id in a file; what has a longer one, or an empty one, is left out."""

T = TypeVar("T", bound=Item)


class Format(StrEnum):
    """What a library is exported as. `docs/library-file.md` says what is in which."""

    LIBRARY = "library"
    LIBRARY_ZIP = "library.zip"
    APP = "app"
    FAVORITES = "favorites"
    BACKUP_ZIP = "backup.zip"
    FAVORITES_ZIP = "favorites.zip"


class Exported(NamedTuple):
    """The content of the file, and of how many things that are not in it it could be told."""

    content: bytes
    left_out: int


def export(view: View, *, format: Format, name: str, now: int) -> Exported:
    """The library in this format. Raises DocumentTooLarge."""
    file = library_file(view, name=name, now=now)
    content, lost = _WRITERS[format](file)
    if len(content) > MAX_EXPORT_BYTES:
        raise DocumentTooLarge
    return Exported(content, len(file.problems) + len(lost))


def library_file(view: View, *, name: str, now: int) -> LibraryFile:
    """Everything that is in the library but secrets, the bin too. What is damaged is left out, and told in `problems`."""
    reading = _Reading()
    prompts = [reading.prompt(whole) for whole in map(view.whole, sorted(view.prompt_ids())) if whole is not None]
    for version_id in view.strays():
        reading.note(f"versions/{version_id}: its prompt is not there")
    parts: dict[str, Any] = {
        "prompts": [prompt for prompt in prompts if prompt is not None],
        "categories": reading.categories(view),
        "tags": reading.tags(view),
        "templates": reading.templates(view),
        "contexts": reading.contexts(view),
        "models": reading.models(view),
        "variables": reading.variables(view),
        "preferences": reading.preferences("prefs", view.preferences()),
        "device_preferences": reading.device_preferences(view),
    }
    problems = sorted({*reading.problems, *view.problems})[:MOST_PROBLEMS]
    return LibraryFile(name=name, exported_at=now, **parts, problems=problems)


class _Reading:
    """Makes the parts of a file, and notes what cannot be in one."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def note(self, problem: str) -> None:
        self.problems.append(problem)

    def prompt(self, whole: WholePrompt) -> FilePrompt | None:
        prompt, place = whole.prompt, f"prompts/{whole.prompt.id}"
        versions = [version for version in map(self._version, whole.versions) if version is not None]
        there = {version.id for version in versions}
        current = prompt.current if prompt.current in there else versions[-1].id if versions else None
        labels = {label: version for label, version in prompt.labels.items() if label and version in there}
        return self._part(
            FilePrompt,
            place,
            id=prompt.id,
            title=prompt.title,
            description=prompt.description,
            original=whole.original,
            mode=prompt.mode,
            tags=list(whole.tags),
            category=self._id(f"{place}/category", whole.category),
            favorite=prompt.favorite,
            pinned=prompt.pinned,
            order=prompt.order,
            variables=self._written(f"{place}/variables", prompt.variables),
            messages=self._written(f"{place}/messages", prompt.messages),
            examples=self._written(f"{place}/examples", whole.examples),
            media=in_order(whole.media),
            source=self._written(f"{place}/source", prompt.source),
            current=current,
            versions=versions,
            labels=dict(sorted(labels.items())),
            uses=dict(sorted((device, count) for device, count in whole.uses.items() if device)),
            created_at=prompt.created_at,
            touched_at=prompt.touched_at,
            deleted_at=prompt.deleted_at,
            created_by=prompt.created_by,
        )

    def _version(self, full: FullVersion) -> FileVersion | None:
        version, place = full.version, f"versions/{full.version.id}"
        return self._part(
            FileVersion,
            place,
            id=version.id,
            text=full.text,
            parent=self._id(f"{place}/parent", version.parent),
            kind=version.kind,
            note=version.note,
            device=version.device,
            at=version.at,
            model=version.model,
            model_name=version.model_name,
            template=version.template,
            input=full.input,
            params=self._map(f"{place}/params", full.params),
            usage=self._map(f"{place}/usage", full.usage),
        )

    def categories(self, view: View) -> list[FileCategory]:
        return self._parts(
            (FileCategory, f"categories/{each.id}", _fields(each) | {"parent": self._id(f"categories/{each.id}/parent", each.parent)})
            for each in sorted(view.categories(), key=lambda category: category.id)
        )

    def tags(self, view: View) -> list[FileTag]:
        return self._parts(
            (FileTag, f"tags/{key}", entry._asdict() | {"tag": key, "label": entry.label or key}) for key, entry in view.registry().items()
        )

    def templates(self, view: View) -> list[FileTemplate]:
        return self._parts(
            (FileTemplate, place, _fields(each) | {"content": self._content(f"{place}/content", each.content)})
            for each, place in _placed("templates", view.templates())
        )

    def contexts(self, view: View) -> list[FileContext]:
        return self._parts(
            (FileContext, place, self._written(place, _fields(each))) for each, place in _placed("contexts", view.contexts())
        )

    def models(self, view: View) -> list[FileModel]:
        return self._parts(
            (FileModel, place, {"id": each.id} | without_secrets(_model_fields(each), place, self._cut, plain=_PLAIN, depth=MAX_DEPTH))
            for each, place in _placed("models", view.models())
        )

    def variables(self, view: View) -> dict[str, str]:
        found = {name: variable_without_secret(name, text, f"variables/{name}", self._cut) for name, text in view.variables().items()}
        return {name: text for name, text in found.items() if text is not None}

    def preferences(self, place: str, values: Mapping[str, Any]) -> dict[str, Any]:
        found = {name: setting_without_secrets(name, each, f"{place}/{name}", self._cut, depth=MAX_DEPTH) for name, each in values.items()}
        return in_order(_there(found))  # type: ignore[no-any-return]  # of the same kind

    def device_preferences(self, view: View) -> dict[str, dict[str, Any]]:
        found = {}
        for device, values in view.all_device_prefs().items():
            if not device or "" in values:
                self.note(f"device_prefs: {device}: not a device's preference")
            kept = self.preferences(f"device_prefs/{device}", {name: value for name, value in values.items() if device and name})
            if kept:
                found[device] = kept
        return found

    def _cut(self, place: str, kind: str) -> None:
        self.note(f"{place}: left out, since it looks like a secret ({kind})")

    def _written(self, place: str, value: Any) -> Any:
        """What somebody has written."""
        return in_order(content_without_secrets(value, place, self._cut, depth=MAX_DEPTH))

    def _map(self, place: str, value: Any) -> dict[str, Any] | None:
        if value is None or isinstance(value, dict):
            return in_order(without_secrets(value, place, self._cut, depth=MAX_DEPTH))  # type: ignore[no-any-return]  # of the same kind
        self.note(f"{place}: not a map")
        return None

    def _content(self, place: str, value: Any) -> Any:
        if isinstance(value, str | list):
            return self._written(place, value)
        if value is not None:
            self.note(f"{place}: not a text, and no list of messages")
        return ""

    def _id(self, place: str, value: str | None) -> str | None:
        if value is None or 0 < len(value) <= MAX_ID:
            return value
        self.note(f"{place}: not an id")
        return None

    def _parts(self, parts: Iterable[tuple[type[T], str, Mapping[str, Any]]]) -> list[T]:
        made = (self._part(kind, place, **fields) for kind, place, fields in parts)
        return [each for each in made if each is not None]

    def _part(self, kind: type[T], place: str, /, **fields: Any) -> T | None:
        try:
            return kind(**fields)
        except ValidationError as error:
            where = ", ".join(sorted({str(each["loc"][0]) for each in error.errors(include_url=False, include_input=False) if each["loc"]}))
            self.note(f"{place}: cannot be in a file ({where})")
            return None


def in_order(value: Any) -> Any:
    """The value with the members of its maps by their names: Yrs has an order of its own in every process."""
    if isinstance(value, dict):
        return {name: in_order(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [in_order(each) for each in value]
    return value


def _there(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are something: null is what is not there, or cannot be read."""
    return {name: value for name, value in values.items() if value is not None}


def _placed(root: str, items: Iterable[Any]) -> Iterable[tuple[Any, str]]:
    """What is in the root, by id, and where each is."""
    return ((each, f"{root}/{each.id}") for each in sorted(items, key=lambda item: item.id))


def _fields(shown: Any) -> dict[str, Any]:
    return {name: in_order(getattr(shown, name)) for name in type(shown).__slots__ if name != "key_ref"}


def _model_fields(shown: ModelConfig) -> dict[str, Any]:
    return {name: value for name, value in _fields(shown).items() if name not in _MODEL_TIMES}


_WRITERS: Mapping[Format, Callable[[LibraryFile], tuple[bytes, list[str]]]] = {
    Format.LIBRARY: export_packages.library_json,
    Format.LIBRARY_ZIP: export_packages.library_zip,
    Format.APP: app_export.app_json,
    Format.FAVORITES: favorites_export.favorites_json,
    Format.BACKUP_ZIP: export_packages.backup_zip,
    Format.FAVORITES_ZIP: export_packages.favorites_zip,
}
