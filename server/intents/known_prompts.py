"""A library's prompts, by all that a file of another app may know them by: its own ids, and the history that a favorite was saved from."""

from __future__ import annotations

from typing import Any

from crdt.library import Root
from crdt.shown import Prompt
from crdt.view import View
from server.transfer.library_file import FilePrompt


class KnownPrompts:
    """The prompts as they were before a file comes, and what it has made since."""

    def __init__(self, view: View) -> None:
        self.prompts = {prompt.id: prompt for prompt in view.prompts()}
        self.made: set[str] = set()
        self.last_order = max((prompt.order for prompt in self.prompts.values()), default=None)
        self._roots = view.library.root(Root.PROMPTS), view.library.root(Root.VERSIONS)
        self._keys = {prompt.id: _keys(prompt.source) for prompt in self.prompts.values()}
        self._by_key = {key: prompt_id for prompt_id, keys in self._keys.items() for key in keys}
        oldest_first = sorted(self.prompts.values(), key=lambda prompt: (prompt.created_at, prompt.id), reverse=True)
        self._by_record = {record: prompt.id for prompt in oldest_first if (record := _record(prompt.source)) is not None}

    def home_of(self, prompt: FilePrompt, *, by_key: bool) -> str | None:
        """The id of the prompt in the library that the file's is; None where it is new."""
        prompts, _ = self._roots
        if prompt.id in prompts:
            return prompt.id
        if not by_key:
            return None
        known = [self._by_key[key] for key in _keys(prompt.source) if key in self._by_key]
        return known[0] if known else self._other_half(prompt)

    def _other_half(self, prompt: FilePrompt) -> str | None:
        """The history that a favorite was saved from, if it is no favorite's yet; the favorite that was saved from a history."""
        if prompt.favorite:
            found = self._owner(_record(prompt.source))
            is_free = found is not None and not any(key.startswith("fav:") for key in self._keys.get(found, ()))
            return found if is_free else None
        saved = [self._by_record[version.id] for version in prompt.versions if version.id in self._by_record]
        return saved[0] if saved else None

    def joins(self, there: Prompt, prompt: FilePrompt, *, by_key: bool) -> bool:
        """Whether the file knows the prompt by a name that it did not have."""
        return by_key and not set(_keys(prompt.source)) <= set(self._keys.get(there.id, ()))

    def joined(self, there: Prompt, prompt: FilePrompt) -> dict[str, Any]:
        """Where a prompt comes from, with the further names that the file knows it by."""
        source = dict(there.source) if isinstance(there.source, dict) else {}
        keys = list(dict.fromkeys([*self._keys.get(there.id, ()), *_keys(prompt.source)]))
        self._keys[there.id] = keys
        self._by_key |= dict.fromkeys(keys, there.id)
        return source | {"also": [key for key in keys if key != source.get("import_key")]}

    def note(self, prompt: FilePrompt) -> None:
        """That it was made."""
        self.made.add(prompt.id)
        self._keys[prompt.id] = _keys(prompt.source)

    def _owner(self, version_id: str | None) -> str | None:
        version = self._roots[1].get(version_id) if version_id is not None else None
        owner = version.get("prompt") if isinstance(version, dict) else None
        return owner if isinstance(owner, str) and owner in self.prompts else None


def _keys(source: Any) -> list[str]:
    """The names that other apps' files know a prompt by."""
    if not isinstance(source, dict):
        return []
    also = source.get("also")
    named = [source.get("import_key"), source.get("chain"), *(also if isinstance(also, list) else [])]
    return [each for each in named if isinstance(each, str)]


def _record(source: Any) -> str | None:
    record = source.get("record") if isinstance(source, dict) else None
    return record if isinstance(record, str) else None
