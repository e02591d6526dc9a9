"""What a user does to a library: one function an intent, which returns the update that it made.

Each writes as little as says it: a register, a key of a map, or the changed part of a text. Ids, times and devices are the caller's. What
is written to and is not there, or is of another kind than it should be, is `Missing`, whatever clients have written.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from pycrdt import Map, Text

from crdt.errors import CrdtError
from crdt.library import CATEGORY_FIELDS, PROMPT_FIELDS, Library, Mode, Root
from crdt.tags import normalise_tag
from crdt.textdiff import edits

REGISTERS = frozenset(PROMPT_FIELDS) - {"original", "tags", "examples", "current", "created_at", "created_by", "deleted_at"}
"""The prompt's fields that `set_fields` may set: whole values, of which one survives where two devices set the same field."""
CATEGORY_REGISTERS = frozenset(CATEGORY_FIELDS) - {"created_at", "deleted_at"}


class Missing(CrdtError):
    """There is no such prompt, version, category or text in this library."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVersion:
    """A version as its maker writes it, once: `kind` is what made it (optimize, iterate, edit, restore, …), times in ms since 1970."""

    id: str
    text: str
    kind: str
    at: int
    device: str
    parent: str | None = None
    note: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Any of the further VERSION_FIELDS: model, model_name, template, input, params, usage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPrompt:
    """A prompt as it is made. `version` is its first one, if it has been optimised already."""

    id: str
    title: str
    created_at: int
    device: str
    order: str
    original: str = ""
    description: str = ""
    tags: Collection[str] = ()
    category: str | None = None
    mode: Mode = Mode.BASIC_SYSTEM
    version: NewVersion | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    """Any of the other registers: variables, messages, favorite, pinned, media, source."""


# --- prompts


def create_prompt(library: Library, prompt: NewPrompt) -> bytes:
    """A new prompt, made whole: nobody sets its containers again."""
    fields: dict[str, Any] = {
        "title": prompt.title,
        "description": prompt.description,
        "original": Text(prompt.original),
        "current": prompt.version.id if prompt.version is not None else None,
        "tags": Map({normalise_tag(tag): True for tag in prompt.tags}),
        "category": prompt.category,
        "mode": prompt.mode.value,
        "variables": {},
        "messages": None,
        "favorite": False,
        "pinned": False,
        "order": prompt.order,
        "examples": Map({}),
        "media": [],
        "source": None,
        "created_at": prompt.created_at,
        "touched_at": prompt.created_at,
        "deleted_at": None,
        "created_by": prompt.device,
    }

    def change() -> None:
        library.root(Root.PROMPTS)[prompt.id] = Map(fields | {name: prompt.more[name] for name in REGISTERS & prompt.more.keys()})
        if prompt.version is not None:
            _write_version(library, prompt.id, prompt.version)

    return library.edit(change)


def set_fields(library: Library, prompt_id: str, fields: Mapping[str, Any]) -> bytes:
    """Set registers of a prompt; those that have the value already are left alone. Raises Missing, ValueError for a field that is none."""
    return _set(library, _map(library, Root.PROMPTS, prompt_id), fields, REGISTERS)


def add_tags(library: Library, prompt_id: str, tags: Collection[str]) -> bytes:
    """File a prompt under further tags. Raises Missing."""
    there = _part(_map(library, Root.PROMPTS, prompt_id), "tags", Map)

    def change() -> None:
        for tag in sorted({normalise_tag(tag) for tag in tags}):
            if there.get(tag) is not True:
                there[tag] = True

    return library.edit(change)


def remove_tags(library: Library, prompt_id: str, tags: Collection[str]) -> bytes:
    """Take tags off a prompt; where another device adds one at the same time it stays. Raises Missing."""
    there = _part(_map(library, Root.PROMPTS, prompt_id), "tags", Map)

    def change() -> None:
        for tag in sorted({normalise_tag(tag) for tag in tags}):
            if tag in there:
                del there[tag]

    return library.edit(change)


def edit_original(library: Library, prompt_id: str, text: str) -> bytes:
    """Make the original text this one, changing only what differs. Raises Missing."""
    return _retype(library, _part(_map(library, Root.PROMPTS, prompt_id), "original", Text), text)


def count_use(library: Library, prompt_id: str, device: str) -> bytes:
    """Count that a device has used the prompt once more. Raises Missing."""
    _map(library, Root.PROMPTS, prompt_id)
    uses, key = library.root(Root.USES), f"{prompt_id}/{device}"
    before = uses.get(key)
    return library.edit(lambda: uses.__setitem__(key, int(before) + 1 if isinstance(before, int | float) else 1))


def delete_prompt(library: Library, prompt_id: str, at: int) -> bytes:
    """Put a prompt into the bin: what others edit in it meanwhile stays readable there. Raises Missing."""
    return _mark(library, Root.PROMPTS, prompt_id, at)


def restore_prompt(library: Library, prompt_id: str) -> bytes:
    """Take a prompt out of the bin. Raises Missing."""
    return _mark(library, Root.PROMPTS, prompt_id, None)


def purge_prompt(library: Library, prompt_id: str) -> bytes:
    """Destroy a prompt with its versions, texts, labels and uses. Raises Missing."""
    prompts = library.root(Root.PROMPTS)
    if prompt_id not in prompts:
        raise Missing(f"no prompt {prompt_id}")
    versions = library.root(Root.VERSIONS)
    gone = [key for key, version in versions.items() if isinstance(version, dict) and version.get("prompt") == prompt_id]

    def change() -> None:
        del prompts[prompt_id]
        for root, keys in ((Root.VERSIONS, gone), (Root.TEXTS, gone)):
            for key in keys:
                library.root(root).pop(key, None)
        for root in (Root.LABELS, Root.USES):
            for key in [key for key, _ in library.root(root).items() if key.startswith(f"{prompt_id}/")]:
                del library.root(root)[key]

    return library.edit(change)


# --- versions


def add_version(library: Library, prompt_id: str, version: NewVersion, *, current: bool = True) -> bytes:
    """A further version of a prompt, with its text; `current` makes it the one that is used. Raises Missing."""
    prompt = _map(library, Root.PROMPTS, prompt_id)

    def change() -> None:
        _write_version(library, prompt_id, version)
        if current:
            prompt["current"] = version.id

    return library.edit(change)


def choose_version(library: Library, prompt_id: str, version_id: str) -> bytes:
    """Use an older version again, without making a new one. Raises Missing."""
    prompt = _map(library, Root.PROMPTS, prompt_id)
    if _version(library, version_id).get("prompt") != prompt_id:
        raise Missing(f"version {version_id} is not of prompt {prompt_id}")
    return library.edit(lambda: prompt.__setitem__("current", version_id))


def edit_version(library: Library, version_id: str, text: str) -> bytes:
    """Make a version's text this one, changing only what differs. Raises Missing."""
    return _retype(library, _text(library, version_id), text)


def label_version(library: Library, prompt_id: str, label: str, version_id: str | None) -> bytes:
    """Move a label ("production", say) to a version; None takes it off. Raises Missing."""
    _map(library, Root.PROMPTS, prompt_id)
    labels, key = library.root(Root.LABELS), f"{prompt_id}/{label}"
    if version_id is None:
        return library.edit(lambda: labels.pop(key, None))
    if _version(library, version_id).get("prompt") != prompt_id:
        raise Missing(f"version {version_id} is not of prompt {prompt_id}")
    return library.edit(lambda: labels.__setitem__(key, version_id))


# --- categories


def create_category(library: Library, category_id: str, *, name: str, order: str, at: int, more: Mapping[str, Any] | None = None) -> bytes:
    """A new category. `more`: description, color, parent."""
    fields = {"name": name, "description": "", "color": None, "parent": None, "order": order, "created_at": at, "deleted_at": None}
    fields |= {key: value for key, value in (more or {}).items() if key in CATEGORY_REGISTERS}
    return library.edit(lambda: library.root(Root.CATEGORIES).__setitem__(category_id, Map(fields)))


def set_category_fields(library: Library, category_id: str, fields: Mapping[str, Any]) -> bytes:
    """Set registers of a category. Raises Missing, ValueError for a field that is none."""
    return _set(library, _map(library, Root.CATEGORIES, category_id), fields, CATEGORY_REGISTERS)


def delete_category(library: Library, category_id: str, at: int) -> bytes:
    """Put a category into the bin; prompts that name it show as having none. Raises Missing."""
    return _mark(library, Root.CATEGORIES, category_id, at)


def restore_category(library: Library, category_id: str) -> bytes:
    """Take a category out of the bin: the prompts that name it are in it again. Raises Missing."""
    return _mark(library, Root.CATEGORIES, category_id, None)


# --- below


def _write_version(library: Library, prompt_id: str, version: NewVersion) -> None:
    written = {"prompt": prompt_id, "parent": version.parent, "kind": version.kind, "note": version.note, "device": version.device}
    library.root(Root.VERSIONS)[version.id] = dict(version.more) | written | {"at": version.at}
    library.root(Root.TEXTS)[version.id] = Text(version.text)


def _set(library: Library, there: Map[Any], fields: Mapping[str, Any], allowed: Collection[str]) -> bytes:
    if unknown := fields.keys() - allowed:
        raise ValueError(f"not to be set: {', '.join(sorted(unknown))}")

    def change() -> None:
        for name, value in fields.items():
            if name not in there or there[name] != value:
                there[name] = value

    return library.edit(change)


def _mark(library: Library, root: Root, key: str, at: int | None) -> bytes:
    # A value, never the key's removal: setting beats removing where they meet, so a removal could not undo a deletion.
    there = _map(library, root, key)
    return library.edit(lambda: there.__setitem__("deleted_at", at))


def _retype(library: Library, text: Text, wanted: str) -> bytes:
    def change() -> None:
        for edit in edits(str(text), wanted):
            if edit.delete:
                del text[edit.start : edit.start + edit.delete]
            if edit.insert:
                text.insert(edit.start, edit.insert)

    return library.edit(change)


def _map(library: Library, root: Root, key: str) -> Map[Any]:
    found = library.root(root).get(key)
    if not isinstance(found, Map):
        raise Missing(f"no {root.value} {key}")
    return found


def _part(there: Map[Any], name: str, kind: type[Any]) -> Any:
    found = there.get(name)
    if not isinstance(found, kind):
        raise Missing(f"{name} is not there, or is no {kind.__name__}")
    return found


def _version(library: Library, version_id: str) -> dict[str, Any]:
    found = library.root(Root.VERSIONS).get(version_id)
    if not isinstance(found, dict):
        raise Missing(f"no version {version_id}")
    return found


def _text(library: Library, version_id: str) -> Text:
    found = library.root(Root.TEXTS).get(version_id)
    if not isinstance(found, Text):
        raise Missing(f"no text of version {version_id}")
    return found
