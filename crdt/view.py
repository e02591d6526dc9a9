"""A library as plain values, whatever clients have written into it, and kept up to date while it changes.

Nothing here raises for what a document holds: a field of another kind than it should be is read as its default, ids that lead nowhere or
in a circle are left out, and `problems` says where. What was read is kept until a change touches it: reading a large library takes a
thousand times as long as reading one prompt anew. A change is noted while it happens, and what it touches is forgotten at the next reading.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from typing import Any

from crdt.catalogue import Catalogue
from crdt.histories import Histories
from crdt.library import Library, Root
from crdt.plain import canonical
from crdt.reader import Problems
from crdt.rows import TEXT_FIELDS, Fact, Row, Rows
from crdt.shared import Txn, reading
from crdt.shown import Category, Context, FullPrompt, FullVersion, ModelConfig, Prompt, Tag, Template, Version, WholePrompt
from crdt.tags import TagEntry
from crdt.workbench import Workbench

ETAG_BYTES = 16
DOCUMENT_BYTES = 4
"""What a document takes in memory for each byte of the updates that were applied to it. Measured: 8.6 MB of 1,000 prompts with 3 versions
take 3.1 to 3.8 times as much, and an edit that replaces something takes no more than its update says."""
VIEW_BYTES = 58_000
"""What an empty library takes, with what observes it. Measured over 1,000 of them."""
ROW_BYTES = 8_000
"""What is kept of a prompt and its versions without their texts (measured 2.9 KB with 3 versions), and what its fields take in the document
beyond their bytes: 1,000 libraries with 20 small prompts each take 276 KB each."""


class View:
    """Reads a library. Belongs to its thread, and sees each change once the transaction that made it has ended."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self._problems = Problems()
        self._catalogue = Catalogue(library, self._problems)
        self._histories = Histories(library, self._problems)
        self._rows = Rows(library, self._problems, self._catalogue, self._histories)
        self._workbench = Workbench(library, self._problems)
        self._changed: dict[Root, set[str]] = {}
        # Observed below pycrdt's wrapper, which would keep the document alive for ever and read every event whole.
        noted = weakref.WeakMethod(self._note)
        self._subscriptions = [library.root(root).integrated.observe_deep(partial(_tell, noted, root)) for root in Root]

    def close(self) -> None:
        """See no further changes. A view that is collected has done so; but on whatever thread, and only its own may."""
        while self._subscriptions:
            self._subscriptions.pop().drop()

    @property
    def problems(self) -> list[str]:
        """What is not as the layout wants it, as far as it was met in reading: where, and what."""
        with self._reading():
            return self._problems.all()

    @property
    def nbytes(self) -> int:
        """About how much memory the document and what was read of it take."""
        return VIEW_BYTES + self.library.applied_bytes * DOCUMENT_BYTES + len(self._rows) * ROW_BYTES + self._rows.kept_bytes

    # --- prompts

    def prompt_ids(self) -> list[str]:
        """Every prompt's id, those in the bin too."""
        with self._reading() as txn:
            return self._rows.ids(txn)

    def prompts(self) -> list[Prompt]:
        """Every prompt, those in the bin too, in no order."""
        return self.shown(self.rows())

    def prompt(self, prompt_id: str) -> Prompt | None:
        """One prompt; None where there is none."""
        with self._reading() as txn:
            row = self._rows.row(prompt_id, txn)
            return self._rows.prompt(row, txn) if row is not None else None

    def full(self, prompt_id: str) -> FullPrompt | None:
        """One prompt with its texts, and an etag of it all; None where there is none."""
        with self._reading() as txn:
            row, there = self._rows.row(prompt_id, txn), self._rows.map_of(prompt_id, txn)
            if row is None or there is None:
                return None
            read = self._rows.reader(prompt_id, there, TEXT_FIELDS, txn)
            prompt = self._rows.prompt(row, txn)
            shown: dict[str, Any] = {
                "original": read.content("original"),
                "optimized": self._histories.text(prompt.current, txn) if prompt.current is not None else "",
                "examples": read.mapping("examples"),
                "media": read.list_or_none("media") or [],
            }
            versions = [entry.id for entry in self._histories.entries(prompt_id, txn)]
        state = {name: getattr(prompt, name) for name in Prompt.__slots__} | shown | {"versions": versions}
        return FullPrompt(prompt=prompt, **shown, etag=blake2b(canonical(state), digest_size=ETAG_BYTES).hexdigest())

    def whole(self, prompt_id: str) -> WholePrompt | None:
        """One prompt with all of its versions and texts, as it is written; None where there is none."""
        with self._reading() as txn:
            row, there = self._rows.row(prompt_id, txn), self._rows.map_of(prompt_id, txn)
            if row is None or there is None:
                return None
            read = self._rows.reader(prompt_id, there, TEXT_FIELDS, txn)
            tags, category = self._rows.filed(prompt_id, txn)
            return WholePrompt(
                prompt=self._rows.prompt(row, txn),
                original=read.content("original"),
                examples=read.mapping("examples"),
                media=read.list_or_none("media") or [],
                tags=tuple(sorted(tags)),
                category=category,
                uses=self._rows.used(prompt_id, txn),
                versions=self._histories.full(prompt_id, txn),
            )

    def made(self) -> list[tuple[int, str]]:
        """When and on which device each prompt's versions were made, in no order."""
        with self._reading() as txn:
            return self._histories.made(self._rows.ids(txn), txn)

    def strays(self) -> list[str]:
        """The versions whose prompt is not there: it was not made yet, or is no prompt."""
        with self._reading() as txn:
            there = set(self._rows.ids(txn))
            return sorted(entry.id for prompt_id, own in self._histories.prompts(txn).items() if prompt_id not in there for entry in own)

    def filed(self, prompt_id: str) -> tuple[tuple[str, ...], str | None]:
        """The keys of a prompt's tags and its category as they are written, before merges, and whatever has become of the category."""
        with self._reading() as txn:
            row = self._rows.row(prompt_id, txn)
            return self._rows.filed(prompt_id, txn) if row is not None else ((), None)

    def has_category(self, category_id: str) -> bool:
        """Whether there is such a category that is not in the bin."""
        with self._reading() as txn:
            return self._catalogue.category_of(category_id, txn) is not None

    def texts(self, prompt_id: str) -> tuple[str, str]:
        """The original and the text of the version that is used, kept for the next time; empty where there is none."""
        with self._reading() as txn:
            row = self._rows.row(prompt_id, txn)
            return self._rows.texts(row, txn) if row is not None else ("", "")

    def original(self, prompt_id: str) -> str:
        """What was written before anything was optimised."""
        with self._reading() as txn:
            there = self._rows.map_of(prompt_id, txn)
            return self._rows.reader(prompt_id, there, ("original",), txn).content("original") if there is not None else ""

    def text(self, version_id: str | None) -> str:
        """A version's text; empty where there is none."""
        if version_id is None:
            return ""
        with self._reading() as txn:
            return self._histories.text(version_id, txn)

    def versions(self, prompt_id: str) -> list[Version]:
        """The prompt's versions, oldest first."""
        with self._reading() as txn:
            return self._histories.versions(prompt_id, txn)

    def history(self, prompt_id: str) -> list[Version]:
        """The prompt's versions, newest first."""
        return self.versions(prompt_id)[::-1]

    def version(self, prompt_id: str, number_or_id: int | str) -> FullVersion | None:
        """One of the prompt's versions with its text, by its number or id; None where there is none such."""
        with self._reading() as txn:
            return self._histories.version(prompt_id, number_or_id, txn)

    def labels(self, prompt_id: str) -> dict[str, str]:
        """The prompt's labels and the versions that they are at."""
        prompt = self.prompt(prompt_id)
        return prompt.labels if prompt is not None else {}

    # --- for queries

    def rows(self, *facts: Fact) -> list[Row]:
        """Every prompt with these facts, those in the bin too."""
        with self._reading() as txn:
            rows = self._rows.all(txn)
            self._rows.learn(rows, facts, txn)
            return rows

    def shown(self, rows: list[Row]) -> list[Prompt]:
        """The prompts of these rows, just got."""
        with self._reading() as txn:
            return [row.prompt or self._rows.prompt(row, txn) for row in rows]

    def words(self, rows: list[Row]) -> list[str]:
        """What a search looks into, of each of the rows: title, description, texts and tags, `normalised`."""
        with self._reading() as txn:
            return [row.words if row.words is not None else self._rows.words(row, txn) for row in rows]

    # --- categories and tags

    def categories(self) -> list[Category]:
        """Every category, those in the bin too, by order and id."""
        with self._reading() as txn:
            found = self._catalogue.categories(txn)
        return sorted(found.values(), key=lambda category: (category.order, category.id))

    def tags(self) -> list[Tag]:
        """Every tag that is registered or that a prompt has, by key. Those that were merged into another are among them."""
        counts: dict[str, int] = {}
        for row in self.rows(Fact.TAGS, Fact.DELETED_AT):
            for key in row.facts[Fact.TAGS]:
                counts[key] = counts.get(key, 0) + (row.facts[Fact.DELETED_AT] is None)
        with self._reading() as txn:
            entries = self._catalogue.entries(txn)
            return [self._tag(key, counts.get(key, 0), txn) for key in sorted(entries.keys() | counts.keys())]

    def registry(self) -> dict[str, TagEntry]:
        """The tags that are registered, by key, each with what it was merged into; no circles."""
        with self._reading() as txn:
            return dict(sorted(self._catalogue.registry(txn).items()))

    def tag_label(self, tag: str) -> str:
        """How a tag is shown: by the name it was registered or merged under, else by its key."""
        with self._reading() as txn:
            return self._catalogue.label_of(self._catalogue.key_of(tag, txn), txn)

    def tag_key(self, tag: str) -> str:
        """The key that a tag is filed under, after merges: equal for its old and its new name."""
        with self._reading() as txn:
            return self._catalogue.key_of(tag, txn)

    # --- the rest

    def templates(self) -> list[Template]:
        """Every template, those in the bin too, by name and id."""
        with self._reading() as txn:
            return self._workbench.templates(txn)

    def contexts(self) -> list[Context]:
        """Every context, those in the bin too, by order and id."""
        with self._reading() as txn:
            return self._workbench.contexts(txn)

    def variables(self) -> dict[str, str]:
        """Every variable by its name."""
        with self._reading() as txn:
            return self._workbench.variables(txn)

    def preferences(self) -> dict[str, Any]:
        """What holds on all devices."""
        with self._reading() as txn:
            return self._workbench.preferences(txn)

    def device_prefs(self, device: str) -> dict[str, Any]:
        """What holds on one device."""
        with self._reading() as txn:
            return self._workbench.device_prefs(device, txn)

    def all_device_prefs(self) -> dict[str, dict[str, Any]]:
        """What holds on each device, by its id."""
        with self._reading() as txn:
            return self._workbench.all_device_prefs(txn)

    def models(self) -> list[ModelConfig]:
        """How models are called, by name and id."""
        with self._reading() as txn:
            return self._workbench.models(txn)

    def model(self, config_id: str) -> ModelConfig | None:
        """How one model is called."""
        with self._reading() as txn:
            return self._workbench.model(config_id, txn)

    # --- below

    def _tag(self, key: str, count: int, txn: Txn) -> Tag:
        entry, shown_as = self._catalogue.entries(txn).get(key), self._catalogue.key_of(key, txn)
        return Tag(
            key=key,
            label=(entry.label if entry is not None else None) or key,
            color=entry.color if entry is not None else None,
            count=count,
            created_at=entry.created_at if entry is not None else 0,
            merged_into=shown_as if shown_as != key else None,
        )

    @contextmanager
    def _reading(self) -> Iterator[Txn]:
        with reading(self.library.doc) as txn:
            if self._changed:
                changed, self._changed = self._changed, {}
                self._settle(changed, txn)
            yield txn

    def _settle(self, changed: dict[Root, set[str]], txn: Txn) -> None:
        prompts = changed.get(Root.PROMPTS, set())
        touched = prompts | self._histories.settle(changed.get(Root.VERSIONS, set()), changed.get(Root.TEXTS, set()), txn)
        touched |= self._rows.uses.settle(changed.get(Root.USES, ()), txn)
        touched |= self._rows.labels.settle(changed.get(Root.LABELS, ()), txn)
        self._rows.forget(touched)
        self._rows.changed(prompts, txn)
        if self._catalogue.settle(changed.get(Root.CATEGORIES, ()), changed.get(Root.TAGS, ()), txn):
            self._rows.refile()
        self._workbench.settle(changed, txn)

    def _note(self, root: Root, keys: set[str]) -> None:
        self._changed.setdefault(root, set()).update(keys)


def _tell(noted: weakref.WeakMethod[Any], root: Root, events: list[Any]) -> None:
    """What changed below a root, by the key there. Called by Yrs within the transaction: must not raise, and keep no event."""
    note = noted()
    if note is None:
        return
    touched: set[str] = set()
    for event in events:
        path = event.path
        touched.update((str(path[0]),) if path else getattr(event, "keys", ()))
    note(root, touched)
