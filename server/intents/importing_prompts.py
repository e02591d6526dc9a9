"""A file's prompts brought into a library: made with their past, or given what they lack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crdt import operations as ops
from crdt.library import Root
from crdt.operations import NewPrompt, NewVersion
from crdt.order import spread
from crdt.reader import MAX_TIME
from crdt.shown import Prompt, Version
from crdt.view import View
from server.intents.known_prompts import KnownPrompts
from server.intents.tally import NotTaken, Tally
from server.transfer.fields import made_title
from server.transfer.library_file import FilePrompt, FileVersion
from server.transfer.problems import Reason
from server.transfer.reading import Reading

BROUGHT = "import"
"""The device of what a file does not name one for."""
_VERSION_MORE = ("model", "model_name", "template", "input", "params", "usage")
_PROMPT_MORE = ("variables", "messages", "favorite", "pinned", "media", "source", "touched_at")


class BringingPrompts:
    """The prompts of one file on their way into one library."""

    def __init__(self, view: View, reading: Reading, tally: Tally, now: int) -> None:
        self._view = view
        self._library = view.library
        self._reading = reading
        self._tally = tally
        self._now = now
        self._known = KnownPrompts(view)
        self._categories: Mapping[str, str] = {}

    def all(self, categories: Mapping[str, str]) -> None:
        """Bring them in; `categories` are the library's ids of the file's. Within an edit."""
        self._categories = categories
        prompts = self._reading.library.prompts
        written = [tag for prompt in prompts for tag in _tags(prompt)]
        ops.register_tags(self._library, written, at=self._now)  # how they are written; what the registry has said of some is there already
        for prompt, place in zip(prompts, spread(self._known.last_order, len(prompts)), strict=True):
            self._tally.take("prompts", prompt.id, self._prompt, prompt, prompt.order or place)

    def _prompt(self, prompt: FilePrompt, order: str) -> str:
        home = self._known.home_of(prompt, by_key=self._reading.is_foreign)
        if home is None:
            self._create(prompt, order)
            return "created"
        there = self._known.prompts.get(home)
        if there is None:
            if home in self._known.made:
                return "unchanged"  # the file has it twice, under two names
            raise NotTaken(Reason.DAMAGED)
        return "merged" if self._merge(there, prompt) else "unchanged"

    def _create(self, prompt: FilePrompt, order: str) -> None:
        versions = [_new(version) for version in prompt.versions if self._is_free(version, prompt)]
        current = next((version for version in versions if version.id == prompt.current), None)
        ops.create_prompt(
            self._library,
            NewPrompt(
                id=prompt.id,
                title=prompt.title,
                created_at=prompt.created_at,
                device=prompt.created_by or BROUGHT,
                order=order,
                original=prompt.original,
                description=prompt.description,
                tags=_tags(prompt),
                category=self._category_of(prompt),
                mode=prompt.mode,
                version=current,
                history=[version for version in versions if version is not current],
                examples=prompt.examples,
                deleted_at=prompt.deleted_at,
                more={name: getattr(prompt, name) for name in _PROMPT_MORE},
            ),
        )
        self._known.note(prompt)
        self._label(prompt.id, prompt)
        ops.raise_uses(self._library, prompt.id, _counts(prompt))

    def _merge(self, there: Prompt, prompt: FilePrompt) -> bool:
        """Give a prompt what it lacks of the file's; whether there was anything."""
        joins = self._known.joins(there, prompt, by_key=self._reading.is_foreign)
        changed = self._add_versions(there, prompt) or joins
        if joins:
            self._join(there, prompt)
        shown = {self._view.tag_key(key) for key in self._view.filed(there.id)[0]}
        if tags := [tag for tag in _tags(prompt) if self._view.tag_key(tag) not in shown]:
            ops.add_tags(self._library, there.id, tags)
            changed = True
        full = self._view.full(there.id)
        if full is not None and prompt.examples.keys() - full.examples.keys():
            ops.add_examples(self._library, there.id, prompt.examples)
            changed = True
        uses = self._library.root(Root.USES)
        raised = {device: count for device, count in _counts(prompt).items() if count > _count(uses.get(f"{there.id}/{device}"))}
        if raised:
            ops.raise_uses(self._library, there.id, raised)
            changed = True
        if self._label(there.id, prompt):
            changed = True
        for name in ("title", "description"):
            if not changed and prompt.id == there.id and getattr(prompt, name) not in ("", getattr(there, name)):
                self._tally.tell("prompts", prompt.id, Reason.KEPT_OURS, name)
        return changed

    def _join(self, there: Prompt, prompt: FilePrompt) -> None:
        """A favorite meets its history, or the other way round: they came in different files, and are one prompt from now on."""
        fields: dict[str, Any] = {"source": self._known.joined(there, prompt)}
        if prompt.favorite and not there.favorite:
            fields["favorite"] = True
            if there.title == made_title(self._view.original(there.id)):
                fields["title"] = prompt.title
            fields |= {name: getattr(prompt, name) for name in ("description", "variables", "messages") if not getattr(there, name)}
            if self._view.filed(there.id)[1] is None:
                fields["category"] = self._category_of(prompt)
            current = self._view.version(there.id, there.current) if there.current is not None else None
            if prompt.current is not None and current is not None and _is_as_it_came(there, current.version):
                ops.choose_version(self._library, there.id, prompt.current)
        ops.set_fields(self._library, there.id, fields)

    def _add_versions(self, there: Prompt, prompt: FilePrompt) -> bool:
        """Add those that are not there. The one that is used stays, if there is one."""
        new = [version for version in prompt.versions if self._is_free(version, prompt, there.id)]
        for version in new:
            ops.add_version(self._library, there.id, _new(version), current=there.current is None and version.id == prompt.current)
        return bool(new)

    def _is_free(self, version: FileVersion, prompt: FilePrompt, home: str | None = None) -> bool:
        """Whether the version is to be made: it is not there, in this prompt or, which is told, in another."""
        there = self._library.root(Root.VERSIONS).get(version.id)
        if there is None and version.id not in self._library.root(Root.TEXTS):
            return True
        if home is None or self._owner(version.id) != home:
            self._tally.tell("prompts", prompt.id, Reason.ID_TAKEN, version.id)
        return False

    def _owner(self, version_id: str) -> str | None:
        version = self._library.root(Root.VERSIONS).get(version_id)
        owner = version.get("prompt") if isinstance(version, dict) else None
        return owner if isinstance(owner, str) else None

    def _label(self, prompt_id: str, prompt: FilePrompt) -> bool:
        labels = self._library.root(Root.LABELS)
        new = {
            label: version_id
            for label, version_id in prompt.labels.items()
            if label and f"{prompt_id}/{label}" not in labels and self._owner(version_id) == prompt_id
        }
        for label, version_id in new.items():
            ops.label_version(self._library, prompt_id, label, version_id)
        return bool(new)

    def _category_of(self, prompt: FilePrompt) -> str | None:
        return None if prompt.category is None else self._categories.get(prompt.category, prompt.category)


def _is_as_it_came(there: Prompt, current: Version) -> bool:
    """Whether nobody has made, chosen or edited a version since the history came: its last one is used, and was the last touch."""
    return current.device == BROUGHT and there.touched_at == current.at


def _new(version: FileVersion) -> NewVersion:
    more = {name: value for name in _VERSION_MORE if (value := getattr(version, name)) is not None}
    return NewVersion(
        id=version.id,
        text=version.text,
        kind=version.kind,
        at=version.at,
        device=version.device or BROUGHT,
        parent=version.parent,
        note=version.note,
        more=more,
    )


def _tags(prompt: FilePrompt) -> list[str]:
    return [tag for tag in prompt.tags if tag.strip()]


def _counts(prompt: FilePrompt) -> dict[str, int]:
    return {device: count for device, count in prompt.uses.items() if 0 < count <= MAX_TIME}


def _count(value: Any) -> float:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0
