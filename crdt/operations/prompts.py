"""What a user does to a prompt."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pycrdt import Map, Text

from crdt import kinds
from crdt.library import Library, Mode, Root
from crdt.operations.versions import NewVersion, check_version, write_version
from crdt.operations.writing import Exists, Missing, found, mark_deleted, mark_restored, part, put, retype, take_away, unused
from crdt.plain import writable_text
from crdt.reader import number_in
from crdt.shared import get, keys, reading
from crdt.tags import Registry, tag_key
from crdt.textdiff import Budget

_KINDS: dict[str, kinds.Kind] = {
    "title": kinds.text,
    "description": kinds.text,
    "category": kinds.text_or_none,
    "mode": kinds.mode,
    "variables": kinds.mapping,
    "messages": kinds.listing_or_none,
    "favorite": kinds.flag,
    "pinned": kinds.flag,
    "order": kinds.text,
    "media": kinds.listing,
    "source": kinds.json,
    "touched_at": kinds.time,
}
REGISTERS = frozenset(_KINDS)
"""The prompt's fields that `set_fields` may set: whole values, of which one survives where two devices set the same field."""


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
    """Any of the other registers: variables, messages, favorite, pinned, media, source, touched_at."""
    history: Sequence[NewVersion] = ()
    """Further versions, which are not used: of a prompt that comes from elsewhere with its past."""
    examples: Mapping[str, Any] = field(default_factory=dict)
    deleted_at: int | None = None


def create_prompt(library: Library, prompt: NewPrompt) -> bytes:
    """A new prompt, made whole: nobody sets its containers again. Raises Exists, ValueError for what cannot be written."""
    prompt_id = unused(library, Root.PROMPTS, prompt.id)
    if "/" in prompt_id:
        raise ValueError("a slash in a prompt's id")  # it ends the id in the keys of labels and uses
    registers: dict[str, Any] = {
        "title": prompt.title,
        "description": prompt.description,
        "category": prompt.category,
        "mode": prompt.mode,
        "variables": {},
        "messages": None,
        "favorite": False,
        "pinned": False,
        "order": prompt.order,
        "media": [],
        "source": None,
        "touched_at": prompt.created_at,
    }
    fields: dict[str, Any] = kinds.checked(registers | dict(prompt.more), _KINDS)
    deleted_at = None if prompt.deleted_at is None else kinds.time(prompt.deleted_at)
    fields |= {
        "current": None,
        "deleted_at": deleted_at,
        "created_at": kinds.time(prompt.created_at),
        "created_by": writable_text(prompt.device),
    }
    original, tags = writable_text(prompt.original), [tag_key(tag) for tag in prompt.tags]
    examples = kinds.mapping(prompt.examples)
    versions = [*prompt.history, *([prompt.version] if prompt.version is not None else [])]
    for version in versions:
        check_version(library, version)
    if len({version.id for version in versions}) < len(versions):
        raise Exists("two versions of one id")
    if prompt.version is not None:
        fields["current"] = prompt.version.id

    def change() -> None:
        containers = {"original": Text(original), "tags": Map(dict.fromkeys(tags, True)), "examples": Map(examples)}
        library.root(Root.PROMPTS)[prompt_id] = Map(fields | containers)
        for version in versions:
            write_version(library, prompt_id, version)

    return library.edit(change)


def set_fields(library: Library, prompt_id: str, fields: Mapping[str, Any]) -> bytes:
    """Set registers of a prompt; those that have the value already are left alone. Raises Missing, ValueError for a field that is none."""
    there, values = found(library, Root.PROMPTS, prompt_id), kinds.checked(fields, _KINDS)
    return library.edit(lambda: put(there, values))


def add_tags(library: Library, prompt_id: str, tags: Collection[str]) -> bytes:
    """File a prompt under further tags. Raises Missing, ValueError for an empty tag."""
    there = part(found(library, Root.PROMPTS, prompt_id), "tags", Map)
    wanted = sorted({tag_key(tag) for tag in tags})
    return library.edit(lambda: put(there, dict.fromkeys(wanted, True)))


def remove_tags(library: Library, prompt_id: str, tags: Collection[str]) -> bytes:
    """Take tags off a prompt, by whatever name it has them; where another device adds one at the same time it stays. Raises Missing."""
    there = part(found(library, Root.PROMPTS, prompt_id), "tags", Map)
    registry = Registry(library)
    unwanted = {registry.shown_as(tag) for tag in tags}
    gone = [tag for tag in there.keys() if registry.shown_as(tag) in unwanted]  # noqa: SIM118  # iterating over a Map gives no strings to mypy
    return library.edit(lambda: take_away(there, gone))


def set_tags(library: Library, prompt_id: str, tags: Collection[str]) -> bytes:
    """File a prompt under these tags and no others, where it has one by whatever name. Raises Missing, ValueError for an empty tag."""
    there = part(found(library, Root.PROMPTS, prompt_id), "tags", Map)
    registry = Registry(library)
    wanted = {registry.shown_as(key): key for key in sorted({tag_key(tag) for tag in tags}, reverse=True)}
    has = {tag: registry.shown_as(tag) for tag in there.keys() if there[tag] is True}  # noqa: SIM118
    gone = [tag for tag, shown in has.items() if shown not in wanted]
    new = [key for shown, key in wanted.items() if shown not in has.values()]

    def change() -> None:
        take_away(there, gone)
        put(there, dict.fromkeys(new, True))

    return library.edit(change)


def change_tags(library: Library, prompt_id: str, *, add: Collection[str], remove: Collection[str]) -> bytes:
    """Write these keys and take those away, as they stand in the prompt. Raises Missing, ValueError for an empty tag."""
    there = part(found(library, Root.PROMPTS, prompt_id), "tags", Map)
    new, gone = dict.fromkeys(sorted({tag_key(tag) for tag in add}), True), [key for key in remove if key in there]

    def change() -> None:
        take_away(there, gone)
        put(there, new)

    return library.edit(change)


def edit_original(library: Library, prompt_id: str, text: str, budget: Budget | None = None) -> bytes:
    """Make the original text this one, changing only what differs. Raises Missing, ValueError for what is no text."""
    return retype(library, part(found(library, Root.PROMPTS, prompt_id), "original", Text), text, budget)


def count_use(library: Library, prompt_id: str, device: str) -> bytes:
    """Count that a device has used the prompt once more. Raises Missing."""
    found(library, Root.PROMPTS, prompt_id)
    uses, key = library.root(Root.USES), f"{prompt_id}/{writable_text(device)}"
    before = number_in(uses.get(key)) or 0
    return library.edit(lambda: uses.__setitem__(key, before + 1))


def raise_uses(library: Library, prompt_id: str, uses: Mapping[str, int]) -> bytes:
    """Count what devices are known to have used the prompt elsewhere: a count that is higher here stays. Raises Missing, ValueError."""
    found(library, Root.PROMPTS, prompt_id)
    there = library.root(Root.USES)
    wanted = {f"{prompt_id}/{writable_text(device)}": kinds.time(count) for device, count in kinds.mapping(uses).items()}
    return library.edit(lambda: put(there, {key: count for key, count in wanted.items() if count > (number_in(there.get(key)) or 0)}))


def add_examples(library: Library, prompt_id: str, examples: Mapping[str, Any]) -> bytes:
    """Further examples of a prompt; those whose ids are there stay as they are. Raises Missing, ValueError."""
    there, wanted = part(found(library, Root.PROMPTS, prompt_id), "examples", Map), kinds.mapping(examples)
    return library.edit(lambda: put(there, {name: value for name, value in wanted.items() if name not in there}))


def delete_prompt(library: Library, prompt_id: str, at: int) -> bytes:
    """Put a prompt into the bin: what others edit in it meanwhile stays readable there. Raises Missing."""
    return mark_deleted(library, Root.PROMPTS, prompt_id, at)


def restore_prompt(library: Library, prompt_id: str) -> bytes:
    """Take a prompt out of the bin. Raises Missing."""
    return mark_restored(library, Root.PROMPTS, prompt_id)


def purge_prompt(library: Library, prompt_id: str) -> bytes:
    """Destroy a prompt with its versions, texts, labels and uses. Raises Missing."""
    return purge_prompts(library, [prompt_id])


def purge_prompts(library: Library, prompt_ids: Collection[str]) -> bytes:
    """Destroy several: what is theirs is looked for once. Raises Missing."""
    purged = frozenset(prompt_ids)
    if any(prompt_id not in library.root(Root.PROMPTS) for prompt_id in purged):
        raise Missing("no such entry of prompts")
    with reading(library.doc) as txn:
        versions = library.root(Root.VERSIONS).integrated
        values = {key: get(versions, txn, key) for key in keys(versions, txn)}
        own = [key for key, value in values.items() if isinstance(value, dict) and _is_any(value.get("prompt"), purged)]
        gone = {Root.PROMPTS: sorted(purged), Root.VERSIONS: own}
        gone[Root.TEXTS] = [key for key in own if key in library.root(Root.TEXTS)]
        for root in (Root.LABELS, Root.USES):
            gone[root] = [key for key in keys(library.root(root).integrated, txn) if key.partition("/")[0] in purged]

    def change() -> None:
        for root, each in gone.items():
            take_away(library.root(root), each)

    return library.edit(change)


def _is_any(value: object, ids: frozenset[str]) -> bool:
    return isinstance(value, str) and value in ids


def check_prompt(library: Library, prompt_id: str, *, original: bool = False, tags: bool = False, version: str | None = None) -> None:
    """Make sure that these parts of a prompt can be edited, before the first of several edits. Raises Missing, as those would."""
    there = found(library, Root.PROMPTS, prompt_id)
    if original:
        part(there, "original", Text)
    if tags:
        part(there, "tags", Map)
    if version is not None:
        part(library.root(Root.TEXTS), version, Text)
