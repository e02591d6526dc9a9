"""Our own format, read item by item: what is wrong with one costs nobody else anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from server.errors import MalformedFile, NewerFile
from server.transfer.bounds import MAX_ITEM_BYTES, MAX_TEXT, MOST, MOST_VERSIONS, taken
from server.transfer.json_text import TooDeep, check_depth
from server.transfer.library_file import (
    SECTIONS,
    VERSION,
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
from server.transfer.problems import SINGLE, Findings, Reason
from server.transfer.secrets import content_without_secrets, setting_without_secrets, variable_without_secret, without_secrets

I = TypeVar("I", bound=Item)  # noqa: E741  # an item

_CHEAP = (str, int, float, bool, type(None))
_LISTS: dict[str, type[Item]] = {
    "prompts": FilePrompt,
    "categories": FileCategory,
    "tags": FileTag,
    "templates": FileTemplate,
    "contexts": FileContext,
    "models": FileModel,
}
_TOP = frozenset({"format", "version", "exported_at", "name", "problems", *SECTIONS})


class NotAnItem(ValueError):
    """What stands in an item's place is none; `where` names the field."""

    def __init__(self, reason: Reason, where: str | None = None) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.where = where


class OwnFile:
    """A file of our own format, being read."""

    def __init__(self, value: Mapping[str, Any], findings: Findings, file: str = SINGLE) -> None:
        """Raises NewerFile, MalformedFile."""
        version = value.get("version")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise MalformedFile("version")
        if version > VERSION:
            raise NewerFile
        self._value = value
        self._findings = findings
        self._file = file

    def library(self) -> LibraryFile:
        """What can be taken of it."""
        for name in sorted(self._value.keys() - _TOP):
            self._findings.tell(self._file, "file", name, Reason.UNKNOWN_FIELD)
        lists: dict[str, Any] = {name: list(self._items(name, kind)) for name, kind in _LISTS.items()}
        return LibraryFile.model_construct(
            **lists,
            variables=dict(self._named("variables", self._variable)),
            preferences=dict(self._named("preferences", self._preference)),
            device_preferences=dict(self._named("device_preferences", self._of_device)),
        )

    def _items(self, section: str, kind: type[I]) -> Iterable[I]:
        raw = self._value.get(section, [])
        if not isinstance(raw, list):
            self._findings.tell(self._file, section, section, Reason.INVALID)
            return
        seen: set[str] = set()
        for number, each in enumerate(taken(raw, self._file, section, self._findings)):
            name = named(each, number)
            item = self._item(section, kind, each, name)
            if item is None:
                continue
            key = str(getattr(item, "id", None) or getattr(item, "tag", ""))
            if key in seen:
                self._findings.skip(self._file, section, name, Reason.DUPLICATE)
                continue
            seen.add(key)
            yield item

    def _item(self, section: str, kind: type[I], raw: Any, name: str) -> I | None:
        place = f"{section}/{name}"
        try:
            clean = (without_secrets if section == "models" else content_without_secrets)(raw, place, self._findings.leave_out)
        except TooDeep:
            self._findings.skip(self._file, section, name, Reason.TOO_DEEP)
            return None
        if section == "prompts" and isinstance(clean, dict) and isinstance(clean.get("versions"), list):
            clean = clean | {"versions": self._versions(clean["versions"], name)}
        return item_of(kind, clean, self._file, section, name, self._findings)

    def _versions(self, raw: list[Any], prompt: str) -> list[Any]:
        """Those that are versions; each is looked at by itself, so that one cannot cost the others."""
        findings, seen = self._findings, set[str]()
        if len(raw) > MOST_VERSIONS:
            findings.tell(self._file, "prompts", prompt, Reason.TOO_MANY, "versions")
        kept = []
        for number, each in enumerate(raw[-MOST_VERSIONS:]):
            try:
                each = self._configured(each, f"prompts/{prompt}/versions/{number}")
                version_id = checked(FileVersion, each).id
                if version_id in seen:
                    raise NotAnItem(Reason.DUPLICATE)
            except NotAnItem as error:
                findings.tell(self._file, "prompts", prompt, error.reason, f"versions.{number}")
                continue
            seen.add(version_id)
            kept.append(each)
            self._unknown(FileVersion, each, prompt)
        return kept

    def _configured(self, raw: Any, place: str) -> Any:
        """A version of which what its model was called with is read as the configuration that it is."""
        if not isinstance(raw, dict):
            return raw
        found = self._findings.leave_out
        return raw | {name: without_secrets(raw[name], f"{place}/{name}", found) for name in ("params", "usage") if name in raw}

    def _unknown(self, kind: type[Item], raw: Mapping[str, Any], prompt: str) -> None:
        for name in sorted(raw.keys() - kind.model_fields.keys()):
            self._findings.tell(self._file, "prompts", prompt, Reason.UNKNOWN_FIELD, f"versions.{name}")

    def _named(self, section: str, read: Callable[[str, Any], Any]) -> Iterable[tuple[str, Any]]:
        raw = self._value.get(section, {})
        if not isinstance(raw, dict):
            self._findings.tell(self._file, section, section, Reason.INVALID)
            return
        for name, each in taken(list(raw.items()), self._file, section, self._findings):
            try:
                value = read(name, each)
            except TooDeep:
                self._findings.skip(self._file, section, name, Reason.TOO_DEEP)
                continue
            except NotAnItem as error:
                self._findings.skip(self._file, section, name, error.reason)
                continue
            except ValueError:
                self._findings.skip(self._file, section, name, Reason.INVALID)
                continue
            if value is not None:
                yield name, value

    def _variable(self, name: str, value: Any) -> str | None:
        if not isinstance(value, str) or not name or len(value) > MAX_TEXT:
            raise ValueError("no variable")
        kept: str | None = variable_without_secret(name, value, f"variables/{name}", self._findings.leave_out)
        return kept

    def _preference(self, name: str, value: Any) -> Any:
        return setting_without_secrets(name, value, f"preferences/{name}", self._findings.leave_out)

    def _of_device(self, device: str, values: Any) -> Any:
        if not isinstance(values, dict) or not device or "/" in device:
            raise ValueError("no preferences of a device")
        if len(values) > MOST["device_preferences"]:
            raise NotAnItem(Reason.TOO_MANY)
        found = {
            name: setting_without_secrets(name, value, f"device_preferences/{device}/{name}", self._findings.leave_out)
            for name, value in values.items()
        }
        return {name: value for name, value in found.items() if value is not None}


def named(raw: Any, number: int, *names: str) -> str:
    """What an item is called in what is told of it: its id (or what else it is known by), or its place in the file."""
    for name in ("id", "tag", *names):
        if isinstance(raw, dict) and isinstance(raw.get(name), str) and raw[name]:
            return str(raw[name])
    return f"#{number + 1}"


def item_of(kind: type[I], raw: Any, file: str, section: str, name: str, findings: Findings) -> I | None:
    """The item, or None where it is none, having told why; and having told of fields that nobody knows."""
    try:
        item = checked(kind, raw)
    except NotAnItem as error:
        findings.skip(file, section, name, error.reason, error.where)
        return None
    for unknown in sorted(raw.keys() - kind.model_fields.keys()):
        findings.tell(file, section, name, Reason.UNKNOWN_FIELD, unknown)
    return item


def checked(kind: type[I], raw: Any) -> I:
    """The item. Raises NotAnItem."""
    if not isinstance(raw, dict):
        raise NotAnItem(Reason.INVALID)
    try:
        check_depth(raw)
        item = kind.model_validate(raw)
    except TooDeep:
        raise NotAnItem(Reason.TOO_DEEP) from None
    except ValidationError as error:
        location = error.errors(include_input=False, include_url=False, include_context=False)[0]["loc"]
        raise NotAnItem(Reason.INVALID, str(location[0]) if location else None) from None
    for name, value in raw.items():
        if _is_large(name, value):
            raise NotAnItem(Reason.TOO_LARGE, name)
    return item


def _is_large(name: str, value: Any) -> bool:
    if isinstance(value, str):
        return len(value) > MAX_TEXT
    if isinstance(value, _CHEAP) or name == "versions" or not value:  # versions are looked at one by one
        return False
    return len(json.dumps(value)) > MAX_ITEM_BYTES
