"""Prompts as lists find, order and show them: each fact is read once, when somebody asks for it, and kept until a change touches it.

A list of fifty out of a thousand prompts looks at two or three facts of each, and shows the fifty: reading all of every prompt first takes
four times as long.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

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


class Fact(StrEnum):
    """What queries ask of a prompt before they show it."""

    TAGS = "tags"
    CATEGORY = "category"
    FAVORITE = "favorite"
    PINNED = "pinned"
    MODE = "mode"
    MODEL = "model"
    TITLE = "title"
    ORDER = "order"
    USES = "uses"
    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"
    DELETED_AT = "deleted_at"


@dataclass(slots=True)
class Row:
    """What is known of a prompt so far."""

    id: str
    facts: dict[Fact, Any] = field(default_factory=dict)
    """Those that were asked for. TAGS are keys, after merges, as a frozenset; the others are as `Prompt` has them."""
    prompt: Prompt | None = None
    """As a list shows it; None until it is asked for."""
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
        if row is None and self.map_of(prompt_id, txn) is not None:
            row = self._rows[prompt_id] = Row(prompt_id)
        return row

    def learn(self, rows: Iterable[Row], facts: Iterable[Fact], txn: Txn) -> None:
        """Have these facts of these rows, which are there."""
        wanted = frozenset(facts)
        names = [name for name in (_READING[fact][0] for fact in wanted) if name is not None]
        for row in rows:
            if wanted <= row.facts.keys():
                continue
            read = self._reader(row.id, names, txn)
            for fact in wanted:
                if fact not in row.facts:
                    row.facts[fact] = _READING[fact][1](self, row.id, read, txn)

    def prompt(self, row: Row, txn: Txn) -> Prompt:
        """The prompt of a row, as a list shows it."""
        if row.prompt is None:
            row.prompt = self._read(row.id, txn)
        return row.prompt

    def filed(self, prompt_id: str, txn: Txn) -> tuple[tuple[str, ...], str | None]:
        """Tags and category as they are written."""
        read = self._reader(prompt_id, ("tags", "category"), txn)
        return self._tags(read, txn), read.text_or_none("category")

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

    def refile(self) -> None:
        """Tags or categories have changed: prompts are filed anew under what they are now."""
        for row in self._rows.values():
            row.prompt = None
            row.facts.pop(Fact.TAGS, None)
            row.facts.pop(Fact.CATEGORY, None)
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
            read = self._reader(row.id, ("original", "current"), txn)
            current = self._current(row.id, read, txn)
            row.texts = read.content("original"), self._histories.text(current.id, txn) if current is not None else ""
            self.kept_bytes += sum(map(sys.getsizeof, row.texts))
        return row.texts

    def words(self, row: Row, txn: Txn) -> str:
        """Everything that a search looks into: title, description, both texts and tags, normalised."""
        if row.words is None:
            prompt = self.prompt(row, txn)
            row.words = normalised("\n".join((prompt.title, prompt.description, *self.texts(row, txn), *prompt.tags)))
            self.kept_bytes += sys.getsizeof(row.words)
        return row.words

    def _forget_words(self, row: Row) -> None:
        if row.words is not None:
            self.kept_bytes -= sys.getsizeof(row.words)
            row.words = None

    def _reader(self, prompt_id: str, names: Iterable[str], txn: Txn) -> Reader:
        there = self.map_of(prompt_id, txn)
        assert there is not None  # noqa: S101  # a row is kept no longer than its prompt is there
        return self.reader(prompt_id, there, names, txn)

    def _current(self, prompt_id: str, read: Reader, txn: Txn) -> Entry | None:
        return _current(read.text_or_none("current"), self._histories.entries(prompt_id, txn))

    def _read(self, prompt_id: str, txn: Txn) -> Prompt:
        read = self._reader(prompt_id, _FIELDS, txn)
        entries = self._histories.entries(prompt_id, txn)
        current = self._current(prompt_id, read, txn)
        return Prompt(
            id=prompt_id,
            title=read.text("title"),
            description=read.text("description"),
            tags=self._catalogue.shown(self._tags(read, txn), txn).labels,
            category=self._catalogue.category_of(read.text_or_none("category"), txn),
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
            touched_at=read.time("touched_at"),
            updated_at=_updated_at(read, entries),
            deleted_at=read.time_or_none("deleted_at"),
            created_by=read.text("created_by"),
        )

    def _model(self, prompt_id: str, read: Reader, txn: Txn) -> str | None:
        current = self._current(prompt_id, read, txn)
        return current.model if current is not None else None

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


def _updated_at(read: Reader, entries: list[Entry]) -> int:
    touched = read.time("touched_at")
    return max(touched, entries[-1].at) if entries else touched


_Take = Callable[[Rows, str, Reader, Txn], Any]

_READING: dict[Fact, tuple[str | None, _Take]] = {
    Fact.TAGS: ("tags", lambda rows, _, read, txn: rows._catalogue.shown(rows._tags(read, txn), txn).keys),
    Fact.CATEGORY: ("category", lambda rows, _, read, txn: rows._catalogue.category_of(read.text_or_none("category"), txn)),
    Fact.FAVORITE: ("favorite", lambda rows, _, read, txn: read.flag("favorite")),
    Fact.PINNED: ("pinned", lambda rows, _, read, txn: read.flag("pinned")),
    Fact.MODE: ("mode", lambda rows, _, read, txn: rows._mode(read)),
    Fact.MODEL: ("current", lambda rows, prompt_id, read, txn: rows._model(prompt_id, read, txn)),
    Fact.TITLE: ("title", lambda rows, _, read, txn: read.text("title")),
    Fact.ORDER: ("order", lambda rows, _, read, txn: read.text("order")),
    Fact.USES: (None, lambda rows, prompt_id, _, txn: sum(rows.used(prompt_id, txn).values())),
    Fact.CREATED_AT: ("created_at", lambda rows, _, read, txn: read.time("created_at")),
    Fact.UPDATED_AT: ("touched_at", lambda rows, prompt_id, read, txn: _updated_at(read, rows._histories.entries(prompt_id, txn))),
    Fact.DELETED_AT: ("deleted_at", lambda rows, _, read, txn: read.time_or_none("deleted_at")),
}
"""The field that a fact is read from, and how."""


def normalised(text: str) -> str:
    """The text as searches compare it: whatever its case, full-width or composed forms."""
    return unicodedata.normalize("NFKC", text).casefold()


def _entry(prompt_id: str) -> str:
    # A place of its own: what is found when prompts are counted is not read again with each prompt.
    return f"prompts: {prompt_id}"


def _current(version_id: str | None, entries: list[Entry]) -> Entry | None:
    named = next((entry for entry in entries if entry.id == version_id), None)
    return named or (entries[-1] if entries else None)
