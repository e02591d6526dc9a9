"""What a user does to the registry of tags. Which prompt has a tag is in the prompt, under the key that it was given at the time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from crdt import kinds
from crdt.library import Library, Root
from crdt.operations.writing import Missing, put
from crdt.plain import writable_text
from crdt.shared import YMap, get, keys, reading
from crdt.tags import Registry, tag_key, tag_label


def register_tag(library: Library, tag: str, *, at: int, color: str | None = None) -> bytes:
    """Have a tag that no prompt needs to have, shown as it is written here; one that is there keeps what it has. Raises ValueError."""
    entry: dict[str, Any] = {"label": tag_label(tag), "created_at": kinds.time(at)} | _color(color)
    key, registry = tag_key(tag), Registry(library)
    if key in registry.entries:
        return library.edit(lambda: None)
    return _write(library, {key: entry})


def register_tags(library: Library, tags: Iterable[str], *, at: int) -> bytes:
    """The same for many, each looked up by its key alone. Raises ValueError for one without a character."""
    there, at = library.root(Root.TAGS), kinds.time(at)
    wanted: dict[str, str] = {}
    for tag in tags:
        wanted.setdefault(tag_key(tag), tag_label(tag))  # as it was written first
    return _write(library, {key: {"label": label, "created_at": at} for key, label in wanted.items() if key not in there})


def restore_tag(library: Library, tag: str, label: str, *, at: int, color: str | None = None, merged_into: str | None = None) -> bytes:
    """An entry as it was in another registry; one that is there keeps what it has. Raises ValueError."""
    key, there = tag_key(tag), library.root(Root.TAGS)
    entry = {"label": tag_label(label), "created_at": kinds.time(at)} | _color(color)
    if merged_into is not None and tag_key(merged_into) != key:
        entry["merged_into"] = tag_key(merged_into)
    return _write(library, {key: entry} if key not in there else {})


def rename_tag(library: Library, tag: str, name: str, *, at: int) -> bytes:
    """Show a tag under another name, or the same in another case. A tag that has the name already is merged with it.

    Prompts keep the old key and show the new name, also those that a device files while it is offline. Raises Missing, ValueError for an
    empty name.
    """
    registry, label, new, at = Registry(library), tag_label(name), tag_key(name), kinds.time(at)
    old = _known(library, registry, tag)
    entry = registry.raw(old)
    there = {"color": entry.get("color"), "created_at": at} | registry.raw(new)
    written = {new: _rooted(there | {"label": label})}
    if new != old:
        written[old] = _merged(entry, old, new, at)
    return _write(library, written)


def merge_tags(library: Library, tags: Collection[str], into: str, *, at: int) -> bytes:
    """Show some tags as one of them, or as another one. Where that was merged into one of them before, it is now the other way round.

    Raises Missing for a tag that nobody has, ValueError for an empty name.
    """
    registry, target, at = Registry(library), tag_key(into), kinds.time(at)
    sources = {_known(library, registry, tag) for tag in tags} | {tag_key(tag) for tag in tags}
    target = _end(registry, target, sources - {target})
    label = tag_label(into) if target == tag_key(into) else target
    written = {target: _rooted({"label": label, "created_at": at} | registry.raw(target))}
    for source in sorted(sources - {target}):
        written[source] = _merged(registry.raw(source), source, target, at)
    return _write(library, written)


def set_tag_color(library: Library, tag: str, color: str | None, *, at: int) -> bytes:
    """Give a tag a colour, or none. Raises Missing."""
    registry, at, chosen = Registry(library), kinds.time(at), kinds.text_or_none(color)
    key = _known(library, registry, tag)
    return _write(library, {key: _rooted({"label": key, "created_at": at} | registry.raw(key) | {"color": chosen})})


def delete_tag(library: Library, tag: str) -> bytes:
    """Take a tag off all prompts and out of the registry, with all that was merged into it. Raises Missing.

    Where a device that is offline files a prompt under it meanwhile, it is there again.
    """
    registry = Registry(library)
    key = _known(library, registry, tag)
    entries = [name for name in registry.entries if registry.shown_as(name) == key]
    held = [(prompt_id, name) for prompt_id, names in _held(library) for name in names if registry.shown_as(name) == key]

    def change() -> None:
        for prompt_id, name in held:
            del library.root(Root.PROMPTS)[prompt_id]["tags"][name]
        for name in entries:
            del library.root(Root.TAGS)[name]

    return library.edit(change)


def _write(library: Library, entries: Mapping[str, Any]) -> bytes:
    return library.edit(lambda: put(library.root(Root.TAGS), entries))


def _known(library: Library, registry: Registry, tag: str) -> str:
    """The key that the tag is shown as. Raises Missing where it is neither registered nor any prompt's."""
    key = registry.shown_as(tag)
    if key not in registry.entries and not any(registry.shown_as(name) == key for _, names in _held(library) for name in names):
        raise Missing("no such tag")
    return key


def _held(library: Library) -> list[tuple[str, list[str]]]:
    """The keys of each prompt's tags."""
    prompts, held = library.root(Root.PROMPTS).integrated, []
    with reading(library.doc) as txn:
        for prompt_id in keys(prompts, txn):
            there = get(prompts, txn, prompt_id)
            tags = get(there, txn, "tags") if isinstance(there, YMap) else None
            if isinstance(tags, YMap):
                held.append((prompt_id, keys(tags, txn)))
    return held


def _end(registry: Registry, target: str, sources: set[str]) -> str:
    """What the target is shown as; the target itself where that leads through what is to be merged into it, or in a circle."""
    seen: set[str] = set()
    at = target
    while at not in sources and at not in seen:
        seen.add(at)
        entry = registry.entries.get(at)
        if entry is None or entry.merged_into is None:
            return at
        at = entry.merged_into
    return target


def _rooted(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != "merged_into" and (name != "color" or value is not None)}


def _merged(entry: dict[str, Any], key: str, into: str, at: int) -> dict[str, Any]:
    return {"label": key, "created_at": at} | entry | {"merged_into": into}


def _color(color: str | None) -> dict[str, Any]:
    return {} if color is None else {"color": writable_text(color)}
