"""What a user does to the versions of a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pycrdt import Text

from crdt import kinds
from crdt.library import Library, Root
from crdt.operations.writing import Exists, IsCurrent, Missing, found, part, put, retype, take_away, unused
from crdt.plain import writable_text
from crdt.shared import get, keys, reading
from crdt.textdiff import Budget

_FIXED: dict[str, kinds.Kind] = {
    "prompt": kinds.text,
    "parent": kinds.text_or_none,
    "kind": kinds.text,
    "note": kinds.text,
    "device": kinds.text,
    "at": kinds.time,
}
_MORE: dict[str, kinds.Kind] = {
    "model": kinds.text_or_none,
    "model_name": kinds.text_or_none,
    "template": kinds.text_or_none,
    "input": kinds.text_or_none,
    "params": kinds.json,
    "usage": kinds.json,
}


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


def add_version(library: Library, prompt_id: str, version: NewVersion, *, current: bool = True) -> bytes:
    """A further version of a prompt, with its text; `current` makes it the one that is used.

    Raises Missing, Exists, ValueError for what cannot be written.
    """
    prompt = found(library, Root.PROMPTS, prompt_id)
    check_version(library, version)

    def change() -> None:
        write_version(library, prompt_id, version)
        if current:
            prompt["current"] = version.id

    return library.edit(change)


def choose_version(library: Library, prompt_id: str, version_id: str) -> bytes:
    """Use an older version again, without making a new one. Raises Missing."""
    prompt = found(library, Root.PROMPTS, prompt_id)
    _check_own(library, prompt_id, version_id)
    return library.edit(lambda: put(prompt, {"current": version_id}))


def edit_version(library: Library, version_id: str, text: str, budget: Budget | None = None) -> bytes:
    """Make a version's text this one, changing only what differs. Raises Missing, ValueError for what is no text."""
    return retype(library, part(library.root(Root.TEXTS), version_id, Text), text, budget)


def label_version(library: Library, prompt_id: str, label: str, version_id: str | None) -> bytes:
    """Move a label ("production", say) to a version; None takes it off. Raises Missing, ValueError for an empty label."""
    found(library, Root.PROMPTS, prompt_id)
    if not writable_text(label):
        raise ValueError("an empty label")
    labels, key = library.root(Root.LABELS), f"{prompt_id}/{label}"
    if version_id is None:
        return library.edit(lambda: take_away(labels, [key]))
    _check_own(library, prompt_id, version_id)
    return library.edit(lambda: put(labels, {key: version_id}))


def remove_version(library: Library, prompt_id: str, version_id: str) -> bytes:
    """Destroy a version with its text and the prompt's labels at it; what was made from it names a parent that is gone.

    For the server alone: what others type into its text meanwhile goes with it. Raises Missing, IsCurrent.
    """
    prompt = found(library, Root.PROMPTS, prompt_id)
    _check_own(library, prompt_id, version_id)
    if prompt.get("current") == version_id:
        raise IsCurrent("the version is the current one")
    labels = library.root(Root.LABELS)
    with reading(library.doc) as txn:
        own = [key for key in keys(labels.integrated, txn) if key.partition("/")[0] == prompt_id]
        gone = [key for key in own if get(labels.integrated, txn, key) == version_id]

    def change() -> None:
        take_away(library.root(Root.VERSIONS), [version_id])
        take_away(library.root(Root.TEXTS), [version_id])
        take_away(labels, gone)

    return library.edit(change)


def check_version(library: Library, version: NewVersion) -> None:
    """Raises Exists, ValueError for what cannot be written."""
    unused(library, Root.VERSIONS, version.id)
    if version.id in library.root(Root.TEXTS):
        raise Exists("there is such an entry of texts")
    _fields("", version)
    writable_text(version.text)


def write_version(library: Library, prompt_id: str, version: NewVersion) -> None:
    """Within an edit, checked before."""
    library.root(Root.VERSIONS)[version.id] = _fields(prompt_id, version)
    library.root(Root.TEXTS)[version.id] = Text(version.text)


def _fields(prompt_id: str, version: NewVersion) -> dict[str, Any]:
    written = {"prompt": prompt_id, "parent": version.parent, "kind": version.kind, "note": version.note, "device": version.device}
    return kinds.checked(version.more, _MORE) | kinds.checked(written | {"at": version.at}, _FIXED)


def _check_own(library: Library, prompt_id: str, version_id: str) -> None:
    there = library.root(Root.VERSIONS).get(version_id)
    if not isinstance(there, dict) or there.get("prompt") != prompt_id:
        raise Missing("no such version of this prompt")
