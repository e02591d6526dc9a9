"""Prompts as a list shows them, each read once and kept until a change touches it."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace

from crdt.catalogue import Catalogue
from crdt.histories import Entry, Histories
from crdt.library import PROMPT_FIELDS, Library, Mode, Root
from crdt.pairs import Pairs
from crdt.reader import Problems, Reader, number_in
from crdt.shared import Txn, YMap, get, keys
from crdt.shown import Prompt

TEXT_FIELDS = ("original", "examples", "media")
"""Read only where a prompt is shown alone."""
_FIELDS = tuple(name for name in PROMPT_FIELDS if name not in TEXT_FIELDS)
_MODES = {mode.value: mode for mode in Mode}


@dataclass(slots=True)
class Row:
    """A prompt, and what queries need of it."""

    prompt: Prompt
    keys: frozenset[str]
    """Of its tags, after merges."""
    filed: tuple[tuple[str, ...], str | None]
    """Tags and category as they are written."""
    texts: tuple[str, str] | None = None
    """The original and that of the version that is used; None until they are asked for."""
    words: str | None = None
    """Everything that a search looks into, normalised; None until the first search."""


class Rows:
    """The rows of all prompts."""

    def __init__(self, library: Library, problems: Problems, catalogue: Catalogue, histories: Histories) -> None:
        self._prompts = library.root(Root.PROMPTS).integrated
        self._problems = problems
        self._catalogue = catalogue
        self._histories = histories
        self.uses = Pairs(Root.USES, library.root(Root.USES).integrated, problems)
        self.labels = Pairs(Root.LABELS, library.root(Root.LABELS).integrated, problems)
        self._ids: dict[str, None] | None = None
        self._rows: dict[str, Row] = {}
        self.kept_bytes = 0
        """Memory that the texts and words of rows take."""

    def __len__(self) -> int:
        return len(self._rows)

    def ids(self, txn: Txn) -> list[str]:
        """Every prompt's, those in the bin too."""
        if self._ids is None:
            self._ids = {}
            for prompt_id in keys(self._prompts, txn):
                if self.map_of(prompt_id, txn) is not None:
                    self._ids[prompt_id] = None
        return list(self._ids)

    def all(self, txn: Txn) -> list[Row]:
        """Of every prompt, those in the bin too, in no order."""
        known = self._rows
        rows = (known.get(prompt_id) or self.row(prompt_id, txn) for prompt_id in self.ids(txn))
        return [row for row in rows if row is not None]

    def row(self, prompt_id: str, txn: Txn) -> Row | None:
        """Of one prompt; None where there is none."""
        row = self._rows.get(prompt_id)
        if row is None and (there := self.map_of(prompt_id, txn)) is not None:
            row = self._rows[prompt_id] = self._read(prompt_id, there, txn)
        return row

    def map_of(self, prompt_id: str, txn: Txn) -> YMap | None:
        there = get(self._prompts, txn, prompt_id)
        if isinstance(there, YMap):
            return there
        if there is not None:
            self._problems.note(_entry(prompt_id), f"prompts/{prompt_id}: not a Map")
        return None

    def reader(self, prompt_id: str, there: YMap, names: Iterable[str], txn: Txn) -> Reader:
        place = f"prompts/{prompt_id}"
        return Reader.of(there, names, place, lambda what: self._problems.note(place, what), txn)

    def changed(self, prompts: Iterable[str], txn: Txn) -> None:
        """Some prompts may have come or gone."""
        for prompt_id in prompts:
            self._problems.forget(_entry(prompt_id))
            if self._ids is None:
                continue
            self._ids.pop(prompt_id, None)
            if self.map_of(prompt_id, txn) is not None:
                self._ids[prompt_id] = None

    def forget(self, prompts: Iterable[str]) -> None:
        """These are read anew."""
        for prompt_id in prompts:
            self._problems.forget(f"prompts/{prompt_id}")
            row = self._rows.pop(prompt_id, None)
            if row is not None:
                self._forget_words(row)
                self.kept_bytes -= sum(map(sys.getsizeof, row.texts or ()))

    def refile(self, txn: Txn) -> None:
        """Tags or categories have changed: show the prompts under what they are now."""
        for row in self._rows.values():
            tags, category = row.filed
            shown, category = self._catalogue.shown(tags, txn), self._catalogue.category_of(category, txn)
            row.keys = shown.keys
            if (shown.labels, category) != (row.prompt.tags, row.prompt.category):
                row.prompt = replace(row.prompt, tags=shown.labels, category=category)
                self._forget_words(row)

    def used(self, prompt_id: str, txn: Txn) -> dict[str, int]:
        """How often each device has used the prompt."""
        counts: dict[str, int] = {}
        for device, value in self.uses.of(prompt_id, txn).items():
            number = number_in(value)
            if number is None:
                self._problems.note(f"prompts/{prompt_id}", f"uses/{prompt_id}/{device}: not a number")
            else:
                counts[device] = number
        return counts

    def texts(self, row: Row, txn: Txn) -> tuple[str, str]:
        """The original, and the text of the version that is used: empty before there is one."""
        if row.texts is None:
            prompt, there = row.prompt, self.map_of(row.prompt.id, txn)
            original = self.reader(prompt.id, there, ("original",), txn).content("original") if there is not None else ""
            row.texts = original, self._histories.text(prompt.current, txn) if prompt.current is not None else ""
            self.kept_bytes += sum(map(sys.getsizeof, row.texts))
        return row.texts

    def words(self, row: Row, txn: Txn) -> str:
        """Everything that a search looks into: title, description, both texts and tags, normalised."""
        if row.words is None:
            prompt = row.prompt
            row.words = normalised("\n".join((prompt.title, prompt.description, *self.texts(row, txn), *prompt.tags)))
            self.kept_bytes += sys.getsizeof(row.words)
        return row.words

    def _forget_words(self, row: Row) -> None:
        if row.words is not None:
            self.kept_bytes -= sys.getsizeof(row.words)
            row.words = None

    def _read(self, prompt_id: str, there: YMap, txn: Txn) -> Row:
        read = self.reader(prompt_id, there, _FIELDS, txn)
        entries = self._histories.entries(prompt_id, txn)
        current = _current(read.text_or_none("current"), entries)
        tags, category = self._tags(read, txn), read.text_or_none("category")
        shown = self._catalogue.shown(tags, txn)
        touched = read.time("touched_at")
        prompt = Prompt(
            id=prompt_id,
            title=read.text("title"),
            description=read.text("description"),
            tags=shown.labels,
            category=self._catalogue.category_of(category, txn),
            mode=self._mode(read),
            favorite=read.flag("favorite"),
            pinned=read.flag("pinned"),
            order=read.text("order"),
            variables=read.mapping("variables"),
            messages=read.list_or_none("messages"),
            source=read.plain("source"),
            current=current.id if current is not None else None,
            model=current.model if current is not None else None,
            versions=len(entries),
            labels=self._labels(prompt_id, entries, txn),
            uses=sum(self.used(prompt_id, txn).values()),
            created_at=read.time("created_at"),
            touched_at=touched,
            updated_at=max(touched, entries[-1].at) if entries else touched,
            deleted_at=read.time_or_none("deleted_at"),
            created_by=read.text("created_by"),
        )
        return Row(prompt, shown.keys, (tags, category))

    def _tags(self, read: Reader, txn: Txn) -> tuple[str, ...]:
        there = read.value("tags")
        if not isinstance(there, YMap):
            read.wrong("tags", "a Map")
            return ()
        return tuple(tag for tag in keys(there, txn) if get(there, txn, tag) is True)

    def _mode(self, read: Reader) -> Mode:
        value = read.text("mode", Mode.BASIC_SYSTEM.value)
        if value not in _MODES:
            read.wrong("mode", "known")
        return _MODES.get(value, Mode.BASIC_SYSTEM)

    def _labels(self, prompt_id: str, entries: list[Entry], txn: Txn) -> dict[str, str]:
        labels = self.labels.of(prompt_id, txn)
        if not labels:
            return {}
        known = {entry.id for entry in entries}
        return {label: version for label, version in labels.items() if isinstance(version, str) and version in known}


def normalised(text: str) -> str:
    """The text as searches compare it: whatever its case, full-width or composed forms."""
    return unicodedata.normalize("NFKC", text).casefold()


def _entry(prompt_id: str) -> str:
    # A place of its own: what is found when prompts are counted is not read again with each prompt.
    return f"prompts: {prompt_id}"


def _current(version_id: str | None, entries: list[Entry]) -> Entry | None:
    named = next((entry for entry in entries if entry.id == version_id), None)
    return named or (entries[-1] if entries else None)
