"""Any file that can be imported, as one of our own format and what is to be told of it. Pure: bytes in, values out."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from server.errors import MalformedFile, UnknownFile, UnsupportedEncoding
from server.transfer.app_file import take_apart
from server.transfer.app_library import library_of
from server.transfer.app_parts import AppParts
from server.transfer.bounds import SLICE_PARTS, SLICE_PROMPTS, SLICE_VERSIONS, bounded, parts_of
from server.transfer.detect import Kind, is_zip, kind_of
from server.transfer.fields import Ids
from server.transfer.json_text import json_in
from server.transfer.library_file import FilePrompt, LibraryFile
from server.transfer.own_file import OwnFile
from server.transfer.package import Package
from server.transfer.problems import SINGLE, Findings, Reason

MANIFEST, LIBRARY = "manifest.json", "library.json"
BEGINNING_BYTES = 4 << 10
"""White space before the value, at most. Past it the file is unknown."""
_SCHEMAS = {"prompt-optimizer/app-backup/v1": Kind.BACKUP, "prompt-optimizer/favorites-package/v1": Kind.FAVORITES_PACKAGE}
_USUAL = {"appDataPath": "app-data.json", "favoritesPath": "favorites.json"}
"""What the manifest names them by, and what they are called where it does not."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file holds, and what is told of it."""

    kind: Kind
    library: LibraryFile
    findings: Findings

    @property
    def is_foreign(self) -> bool:
        """Whether it is another app's: then its ids are made here, and its categories may be ours by another id."""
        return self.kind not in (Kind.LIBRARY, Kind.LIBRARY_PACKAGE)


def read(data: bytes, library_id: UUID, now: int) -> Reading:
    """The file as a library; `library_id` is the one that it is read for, `now` (ms) the time of what has none.

    Raises:
        UnknownFile: it is none of those that are read.
        NewerFile, MalformedFile, UnsupportedEncoding, TooManyValues, UnsafePackage: it is, and cannot be.
    """
    reading = _read(data, library_id, now)
    return replace(reading, library=bounded(reading.library, reading.findings))


def sliced(reading: Reading) -> list[Reading]:
    """The reading in slices of so much as is brought in at once: all but prompts, and what is told, with the first of them."""
    slices: list[list[FilePrompt]] = [[]]
    versions = parts = 0
    for prompt in reading.library.prompts:
        versions += len(prompt.versions)
        parts += parts_of(prompt)
        if slices[-1] and (len(slices[-1]) == SLICE_PROMPTS or versions > SLICE_VERSIONS or parts > SLICE_PARTS):
            slices.append([])
            versions, parts = len(prompt.versions), parts_of(prompt)
        slices[-1].append(prompt)
    first, *more = slices
    rest = LibraryFile(categories=reading.library.categories)  # by which prompts find theirs
    return [
        replace(reading, library=reading.library.model_copy(update={"prompts": first})),
        *(Reading(reading.kind, rest.model_copy(update={"prompts": each}), Findings()) for each in more),
    ]


def _read(data: bytes, library_id: UUID, now: int) -> Reading:
    findings = Findings()
    if is_zip(data):
        return _Packed(Package(data), findings, library_id, now).reading()
    _check_beginning(data)
    value = _json(data, SINGLE, findings)
    kind = kind_of(value)
    if kind is None:
        raise UnknownFile
    if kind is Kind.LIBRARY:
        return Reading(kind, OwnFile(value, findings).library(), findings)
    parts = AppParts(findings)
    take_apart(kind, value, parts)
    return Reading(kind, library_of(parts, Ids(library_id), now), findings)


def _check_beginning(data: bytes) -> None:
    """Raises UnknownFile for what cannot be JSON with something in it: a picture, a table. Other encodings are told later."""
    begins = data[:BEGINNING_BYTES].removeprefix(BOM_UTF8).lstrip()
    if data and not begins.startswith((b"{", b"[")) and b"\0" not in data[:4]:
        raise UnknownFile


class _Packed:
    """A package, being read."""

    def __init__(self, package: Package, findings: Findings, library_id: UUID, now: int) -> None:
        self._package = package
        self._findings = findings
        self._library_id = library_id
        self._now = now

    def reading(self) -> Reading:
        """Raises as `read` does."""
        self._findings.resources = self._package.resources
        if LIBRARY in self._package:
            value = _json(self._package.read(LIBRARY), LIBRARY, self._findings)
            if kind_of(value) is not Kind.LIBRARY:
                raise UnknownFile
            return Reading(Kind.LIBRARY_PACKAGE, OwnFile(value, self._findings, LIBRARY).library(), self._findings)
        return self._of_app()

    def _of_app(self) -> Reading:
        manifest = self._manifest()
        kind = _SCHEMAS.get(str(manifest.get("schemaVersion")))
        parts = AppParts(self._findings)
        names = self._names(manifest)
        failures = [failure for name in names if (failure := self._take(name, parts)) is not None]
        if names and len(failures) < len(names):
            library = library_of(parts, Ids(self._library_id), self._now)
            return Reading(kind or Kind.BACKUP, library, self._findings)
        raise failures[0] if failures else UnknownFile()

    def _manifest(self) -> Mapping[str, Any]:
        """What it says of itself; without it, the names that are usual tell."""
        if MANIFEST not in self._package:
            return {}
        try:
            manifest = _json(self._package.read(MANIFEST), MANIFEST, self._findings)
        except (MalformedFile, UnsupportedEncoding):
            self._findings.tell(MANIFEST, "file", MANIFEST, Reason.MALFORMED)
            return {}
        return manifest if isinstance(manifest, dict) else {}

    def _names(self, manifest: Mapping[str, Any]) -> list[str]:
        """The files that are to be read."""
        found = []
        for field, usual in _USUAL.items():
            named = manifest.get(field)
            name = named if isinstance(named, str) else usual
            if name in self._package:
                found.append(name)
            elif isinstance(named, str):
                self._findings.tell(MANIFEST, "file", name, Reason.MISSING_FILE)
        return found

    def _take(self, name: str, parts: AppParts) -> Exception | None:
        """Take a file of the package in; what is wrong with it is told, and costs the others nothing."""
        try:
            value = _json(self._package.read(name), name, self._findings)
        except (MalformedFile, UnsupportedEncoding) as error:
            self._findings.tell(name, "file", name, Reason.MALFORMED if isinstance(error, MalformedFile) else Reason.ENCODING)
            return error
        kind = kind_of(value)
        if kind is None or kind is Kind.LIBRARY:
            self._findings.tell(name, "file", name, Reason.UNKNOWN_FILE)
            return UnknownFile()
        take_apart(kind, value, parts, name)
        return None


def _json(data: bytes, file: str, findings: Findings) -> Any:
    value, repaired = json_in(data)
    if repaired:
        findings.tell(file, "file", file, Reason.REPAIRED_TEXT)
    return value
