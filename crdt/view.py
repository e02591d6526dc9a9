"""A library as plain values, whatever clients have written into it.

Nothing here raises for what a document holds: a field of another kind than it should be is read as its default, ids that lead nowhere or
in a circle are left out, and `problems` says where. Fields are read one by one when asked for: reading everything of a large library takes
fifteen times as long as a list needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from pycrdt import Map, Text

from crdt.library import Library, Mode, Root
from crdt.operations import normalise_tag
from crdt.reader import Reader, number_in

MOST_PROBLEMS = 1_000
"""Problems that are listed; of a library with more, the first ones found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A version of a prompt; `number` counts them from 1, by time and id."""

    id: str
    prompt: str
    number: int
    parent: str | None
    kind: str
    note: str
    model: str | None
    model_name: str | None
    template: str | None
    device: str
    at: int
    bytes: int
    """Of its text, in UTF-8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt without its texts."""

    id: str
    title: str
    description: str
    tags: tuple[str, ...]
    """As they are shown, sorted; merged ones under their new name."""
    category: str | None
    """None also where the category it names is gone."""
    mode: Mode
    favorite: bool
    pinned: bool
    order: str
    variables: dict[str, Any]
    messages: list[Any] | None
    source: Any
    current: str | None
    """The version that is used: the newest where the one it names is not there."""
    model: str | None
    uses: int
    created_at: int
    touched_at: int
    updated_at: int
    """The newest of `touched_at` and its versions' times."""
    deleted_at: int | None
    created_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """A category; `parent` is None also where following parents would lead in a circle."""

    id: str
    name: str
    description: str
    color: str | None
    parent: str | None
    order: str
    created_at: int
    deleted_at: int | None


class View:
    """Reads a library. Valid until the library changes: make another one then."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self._found: dict[str, None] = {}

    @property
    def nbytes(self) -> int:
        """About what the document and this view take of memory, in bytes."""
        return 10 * len(self.library.content())

    @property
    def problems(self) -> list[str]:
        """What is not as the layout wants it, as far as it was met in reading: where, and what."""
        return list(self._found)

    # --- prompts

    def prompt_ids(self) -> list[str]:
        """Every prompt's id, those in the bin too."""
        return [key for key, value in self.library.root(Root.PROMPTS).items() if self._is(value, Map, f"prompts/{key}")]

    def prompts(self) -> Iterator[Prompt]:
        """Every prompt, those in the bin too, in no order."""
        for prompt_id in self.prompt_ids():
            prompt = self.prompt(prompt_id)
            if prompt is not None:
                yield prompt

    def prompt(self, prompt_id: str) -> Prompt | None:
        """One prompt; None where there is none."""
        there = self.library.root(Root.PROMPTS).get(prompt_id)
        if not isinstance(there, Map):
            return None
        read = Reader(there, f"prompts/{prompt_id}", self._problem)
        versions = self.versions(prompt_id)
        current = self._current(read.text_or_none("current"), versions)
        touched = read.time("touched_at")
        return Prompt(
            id=prompt_id,
            title=read.text("title"),
            description=read.text("description"),
            tags=self._tags_of(there, prompt_id),
            category=self._category_of(read.text_or_none("category")),
            mode=self._mode(read.text("mode", Mode.BASIC_SYSTEM.value), prompt_id),
            favorite=read.flag("favorite"),
            pinned=read.flag("pinned"),
            order=read.text("order"),
            variables=read.mapping("variables"),
            messages=read.list_or_none("messages"),
            source=read.plain("source"),
            current=current.id if current is not None else None,
            model=current.model if current is not None else None,
            uses=self._uses.get(prompt_id, 0),
            created_at=read.time("created_at"),
            touched_at=touched,
            updated_at=max([touched, *(version.at for version in versions)]),
            deleted_at=read.time_or_none("deleted_at"),
            created_by=read.text("created_by"),
        )

    def original(self, prompt_id: str) -> str:
        """What was written before anything was optimised."""
        there = self.library.root(Root.PROMPTS).get(prompt_id)
        value = there.get("original") if isinstance(there, Map) else None
        return self._content(value, f"prompts/{prompt_id}/original")

    def text(self, version_id: str | None) -> str:
        """A version's text; empty where there is none."""
        if version_id is None:
            return ""
        return self._content(self.library.root(Root.TEXTS).get(version_id), f"texts/{version_id}")

    def versions(self, prompt_id: str) -> list[Version]:
        """The prompt's versions, oldest first."""
        return self._versions.get(prompt_id, [])

    def labels(self, prompt_id: str) -> dict[str, str]:
        """The prompt's labels and the versions that they are at."""
        start, known = f"{prompt_id}/", {version.id for version in self.versions(prompt_id)}
        labels = self.library.root(Root.LABELS).items()
        return {key.removeprefix(start): value for key, value in labels if key.startswith(start) and value in known}

    # --- categories and tags

    def categories(self) -> list[Category]:
        """Every category, those in the bin too, by order and id."""
        return sorted(self._categories.values(), key=lambda category: (category.order, category.id))

    def tag_label(self, tag: str) -> str:
        """How a tag is shown: by the name it was registered or merged under, else by its key."""
        key = self._merged(normalise_tag(tag))
        entry = self.library.root(Root.TAGS).get(key)
        label = entry.get("label") if isinstance(entry, dict) else None
        return label if isinstance(label, str) and label else key

    # --- below

    @cached_property
    def _versions(self) -> dict[str, list[Version]]:
        found: dict[str, list[tuple[int, str, dict[str, Any]]]] = {}
        for key, value in self.library.root(Root.VERSIONS).items():
            prompt = value.get("prompt") if isinstance(value, dict) else None
            if not isinstance(prompt, str):
                self._problem(f"versions/{key}: not a version of any prompt")
                continue
            found.setdefault(prompt, []).append((number_in(value.get("at")) or 0, key, value))
        return {prompt: self._numbered(prompt, sorted(each, key=lambda one: one[:2])) for prompt, each in found.items()}

    def _numbered(self, prompt: str, found: list[tuple[int, str, dict[str, Any]]]) -> list[Version]:
        texts = self.library.root(Root.TEXTS)
        versions = []
        for number, (at, key, value) in enumerate(found, 1):
            read = Reader(value, f"versions/{key}", self._problem)
            text = texts.get(key)
            versions.append(
                Version(
                    id=key,
                    prompt=prompt,
                    number=number,
                    parent=read.text_or_none("parent"),
                    kind=read.text("kind"),
                    note=read.text("note"),
                    model=read.text_or_none("model"),
                    model_name=read.text_or_none("model_name"),
                    template=read.text_or_none("template"),
                    device=read.text("device"),
                    at=at,
                    bytes=len(text) if isinstance(text, Text) else 0,
                )
            )
        return versions

    @cached_property
    def _uses(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for key, value in self.library.root(Root.USES).items():
            number = number_in(value)
            if number is None:
                self._problem(f"uses/{key}: not a number")
            else:
                prompt = key.partition("/")[0]
                found[prompt] = found.get(prompt, 0) + number
        return found

    @cached_property
    def _categories(self) -> dict[str, Category]:
        found = {}
        for key, value in self.library.root(Root.CATEGORIES).items():
            if self._is(value, Map, f"categories/{key}"):
                read = Reader(value, f"categories/{key}", self._problem)
                found[key] = Category(
                    id=key,
                    name=read.text("name"),
                    description=read.text("description"),
                    color=read.text_or_none("color"),
                    parent=read.text_or_none("parent"),
                    order=read.text("order"),
                    created_at=read.time("created_at"),
                    deleted_at=read.time_or_none("deleted_at"),
                )
        return {key: self._rooted(category, found) for key, category in found.items()}

    def _rooted(self, category: Category, found: dict[str, Category]) -> Category:
        """The category without a parent that is not there; a circle of parents is broken at its smallest id."""
        circle, at = [category.id], category.parent
        while at in found and at not in circle:
            circle.append(at)
            at = found[at].parent
        leads_back = at == category.id and category.id == min(circle)
        if category.parent is None or (category.parent in found and not leads_back):
            return category
        self._problem(f"categories/{category.id}: its parents " + ("lead in a circle" if leads_back else "are not there"))
        return replace(category, parent=None)

    def _category_of(self, category_id: str | None) -> str | None:
        category = self._categories.get(category_id) if category_id is not None else None
        return category.id if category is not None and category.deleted_at is None else None

    def _tags_of(self, prompt: Map[Any], prompt_id: str) -> tuple[str, ...]:
        tags = prompt.get("tags")
        if not self._is(tags, Map, f"prompts/{prompt_id}/tags") or tags is None:
            return ()
        return tuple(sorted({self.tag_label(tag) for tag, value in tags.items() if value is True}))

    def _merged(self, tag: str) -> str:
        registry, seen = self.library.root(Root.TAGS), {tag}
        while isinstance(entry := registry.get(tag), dict) and isinstance(into := entry.get("merged_into"), str):
            into = normalise_tag(into)
            if into in seen:
                self._problem(f"tags/{tag}: merged in a circle")
                return min(seen)
            seen.add(into)
            tag = into
        return tag

    def _current(self, version_id: str | None, versions: list[Version]) -> Version | None:
        named = next((version for version in versions if version.id == version_id), None)
        return named or (versions[-1] if versions else None)

    def _mode(self, value: str, prompt_id: str) -> Mode:
        try:
            return Mode(value)
        except ValueError:
            self._problem(f"prompts/{prompt_id}/mode: unknown")
            return Mode.BASIC_SYSTEM

    def _content(self, value: object, place: str) -> str:
        if isinstance(value, str):  # a client that knew no better
            self._problem(f"{place}: a string, not a text")
            return value
        return str(value) if self._is(value, Text, place) else ""

    def _is(self, value: object, kind: type[Any], place: str) -> bool:
        if isinstance(value, kind):
            return True
        self._problem(f"{place}: {'missing' if value is None else f'not a {kind.__name__}'}")
        return False

    def _problem(self, problem: str) -> None:
        if len(self._found) < MOST_PROBLEMS:
            self._found[problem] = None
