"""A library as it was at a restore point: what would change, and the edit that changes it. These functions run where the document lies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from crdt import reverting
from crdt.library import Library, Root
from crdt.panics import told_as_broken
from crdt.reader import number_in
from crdt.reverting import Kind, Step
from crdt.view import View

MOST_LISTED = 200
"""Prompts that an answer names of each kind; how many there are it says in any case."""
OTHERS = (Root.CATEGORIES, Root.TEMPLATES, Root.CONTEXTS, Root.TAGS, Root.MODELS, Root.VARIABLES, Root.PREFS)
"""Sections of which only is said how many of their entries change."""


@dataclass(frozen=True, slots=True)
class Named:
    """A prompt."""

    id: str
    title: str


@dataclass(slots=True)
class Some:
    """Prompts, of which the first are named."""

    count: int = 0
    prompts: list[Named] = field(default_factory=list)

    def add(self, prompt: Named) -> None:
        """Count one more."""
        self.count += 1
        if len(self.prompts) < MOST_LISTED:
            self.prompts.append(prompt)


@dataclass(slots=True)
class Changes:
    """What a restore changes."""

    brought_back: Some = field(default_factory=Some)
    """Out of the bin, or made again."""
    binned: Some = field(default_factory=Some)
    changed: Some = field(default_factory=Some)
    others: dict[str, int] = field(default_factory=dict)
    """How many entries of the other sections."""


def preview(view: View, past: bytes, now: int) -> Mapping[str, Any]:
    """What a restore would change: `past` is all that the library was, as one update; `now` in ms since 1970. Raises DocumentBroken."""
    before = _opened(past)
    return asdict(_changes(reverting.steps(view.library, before, now), view, View(before)))


def restore(view: View, past: bytes, now: int) -> Mapping[str, Any]:
    """Make the library what it was, and what that has changed; see `preview`."""
    before = _opened(past)
    steps = reverting.steps(view.library, before, now)
    changes = _changes(steps, view, View(before))
    reverting.take(view.library, steps)
    return asdict(changes)


def _opened(past: bytes) -> Library:
    library = Library()
    with told_as_broken():
        library.take(past)
    return library


def _changes(steps: Iterable[Step], now: View, past: View) -> Changes:
    changes, touched, binned, back = Changes(), dict[str, None](), set[str](), set[str]()
    entries: dict[str, set[str]] = {}
    for step in steps:
        for prompt_id in _prompts_of(step, past):
            touched[prompt_id] = None
        if step.root in OTHERS:
            # a field of a model is an entry of its own
            entries.setdefault(step.root.value, set()).add(step.path[0].split("/")[0] if step.root is Root.MODELS else step.path[0])
        if step.root is Root.PROMPTS and step.kind is Kind.SET and step.path[1:] in ((), ("deleted_at",)):
            (binned if step.path[1:] and number_in(step.value) is not None else back).add(step.path[0])
    for prompt_id in touched:
        kind = changes.binned if prompt_id in binned else changes.brought_back if prompt_id in back else changes.changed
        kind.add(Named(prompt_id, _title(prompt_id, past, now)))
    changes.others = {section: len(found) for section, found in sorted(entries.items())}
    return changes


def _prompts_of(step: Step, past: View) -> list[str]:
    """The prompt that a step is about, where it is about one that is shown."""
    key = step.path[0]
    if step.root is Root.PROMPTS:
        return [key]
    if step.root in (Root.LABELS, Root.USES):
        return [key.split("/")[0]]
    if step.root in (Root.VERSIONS, Root.TEXTS):
        version = past.library.root(Root.VERSIONS).get(key)
        prompt_id = version.get("prompt") if isinstance(version, dict) else None
        return [prompt_id] if isinstance(prompt_id, str) else []
    return []


def _title(prompt_id: str, *views: View) -> str:
    return next((prompt.title for view in views if (prompt := view.prompt(prompt_id)) is not None), "")
