"""Which versions each prompt has: the flat root of all versions, sorted out once and then kept up to date."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from crdt.library import VERSION_FIELDS, Library, Root
from crdt.reader import Problems, Reader, number_in
from crdt.shared import Txn, YText, get, keys
from crdt.shown import FullVersion, Version


class Entry(NamedTuple):
    """What a list of prompts needs of a version. They compare as versions are numbered: by time and id, which are different."""

    at: int
    id: str
    model: str | None


class Histories:
    """The versions of each prompt. What a list needs is kept; the versions themselves are read when asked for."""

    def __init__(self, library: Library, problems: Problems) -> None:
        self._versions = library.root(Root.VERSIONS).integrated
        self._texts = library.root(Root.TEXTS).integrated
        self._problems = problems
        self._prompt_of: dict[str, str] | None = None
        self._entries: dict[str, list[Entry]] = {}

    def entries(self, prompt_id: str, txn: Txn) -> list[Entry]:
        """Oldest first."""
        self._sort_out(txn)
        return self._entries.get(prompt_id, [])

    def versions(self, prompt_id: str, txn: Txn) -> list[Version]:
        """Oldest first."""
        return [self._version(entry, prompt_id, number, txn) for number, entry in enumerate(self.entries(prompt_id, txn), 1)]

    def version(self, prompt_id: str, number_or_id: int | str, txn: Txn) -> FullVersion | None:
        """One of the prompt's versions, by its number or id; None where there is none such."""
        for number, entry in enumerate(self.entries(prompt_id, txn), 1):
            if number_or_id in (number, entry.id) and not isinstance(number_or_id, bool):
                return self._full(entry, prompt_id, number, txn)
        return None

    def full(self, prompt_id: str, txn: Txn) -> list[FullVersion]:
        """All of the prompt's versions with their texts, oldest first."""
        return [self._full(entry, prompt_id, number, txn) for number, entry in enumerate(self.entries(prompt_id, txn), 1)]

    def made(self, prompts: Iterable[str], txn: Txn) -> list[tuple[int, str]]:
        """When and on which device each version of these prompts was made: much faster than reading them."""
        found = []
        for prompt_id in prompts:
            for entry in self.entries(prompt_id, txn):
                device = get(self._versions, txn, entry.id).get("device")
                found.append((entry.at, device if isinstance(device, str) else ""))
        return found

    def prompts(self, txn: Txn) -> dict[str, list[Entry]]:
        """Every prompt that versions name, whether it is there or not, and those versions."""
        self._sort_out(txn)
        return self._entries

    def text(self, version_id: str, txn: Txn) -> str:
        """A version's text; empty where there is none."""
        place = f"texts/{version_id}"
        read = Reader({version_id: get(self._texts, txn, version_id)}, "texts", lambda what: self._problems.note(place, what), txn)
        return read.content(version_id)

    def settle(self, versions: Collection[str], texts: Iterable[str], txn: Txn) -> set[str]:
        """Read anew these versions and texts. The prompts that they belong and belonged to."""
        for version_id in versions:
            self._problems.forget(f"versions/{version_id}")
        touched: set[str] = set()
        if self._prompt_of is not None:
            touched = self._forget(versions, self._prompt_of) | self._take(versions, self._prompt_of, txn)
        for version_id in texts:
            self._problems.forget(f"texts/{version_id}")
            if self._prompt_of is not None and version_id in self._prompt_of:
                touched.add(self._prompt_of[version_id])
        return touched

    def _sort_out(self, txn: Txn) -> None:
        if self._prompt_of is None:
            self._prompt_of = {}
            self._take(keys(self._versions, txn), self._prompt_of, txn)

    def _forget(self, versions: Collection[str], prompt_of: dict[str, str]) -> set[str]:
        gone = set(versions)
        touched = {prompt_of.pop(version_id) for version_id in gone & prompt_of.keys()}
        for prompt_id in touched:
            left = [entry for entry in self._entries.pop(prompt_id) if entry.id not in gone]
            if left:
                self._entries[prompt_id] = left
        return touched

    def _take(self, versions: Iterable[str], prompt_of: dict[str, str], txn: Txn) -> set[str]:
        touched = set()
        for version_id in versions:
            value = get(self._versions, txn, version_id)
            if value is None:
                continue
            prompt_id = value.get("prompt") if isinstance(value, dict) else None
            if not isinstance(prompt_id, str):
                place = f"versions/{version_id}"
                self._problems.note(place, f"{place}: not a version of any prompt")
                continue
            model = value.get("model")
            prompt_of[version_id] = prompt_id
            entry = Entry(number_in(value.get("at")) or 0, version_id, model if isinstance(model, str) else None)
            self._entries.setdefault(prompt_id, []).append(entry)
            touched.add(prompt_id)
        for prompt_id in touched:
            self._entries[prompt_id].sort()
        return touched

    def _full(self, entry: Entry, prompt_id: str, number: int, txn: Txn) -> FullVersion:
        read = self._reader(entry.id, txn)
        return FullVersion(
            version=self._version(entry, prompt_id, number, txn),
            text=self.text(entry.id, txn),
            input=read.text_or_none("input"),
            params=read.plain("params"),
            usage=read.plain("usage"),
        )

    def _version(self, entry: Entry, prompt_id: str, number: int, txn: Txn) -> Version:
        read = self._reader(entry.id, txn)
        text = get(self._texts, txn, entry.id)
        return Version(
            id=entry.id,
            prompt=prompt_id,
            number=number,
            parent=read.text_or_none("parent"),
            kind=read.text("kind"),
            note=read.text("note"),
            model=read.text_or_none("model"),
            model_name=read.text_or_none("model_name"),
            template=read.text_or_none("template"),
            device=read.text("device"),
            at=read.time("at"),
            bytes=text.len(txn) if isinstance(text, YText) else 0,
        )

    def _reader(self, version_id: str, txn: Txn) -> Reader:
        place = f"versions/{version_id}"
        value = get(self._versions, txn, version_id)
        values = {name: value.get(name) for name in VERSION_FIELDS} if isinstance(value, dict) else {}
        return Reader(values, place, lambda what: self._problems.note(place, what), txn)
