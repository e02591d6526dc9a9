"""Which prompts are favourites in Prompt Optimizer, and which are its history.

It keeps both apart: favourites are its library, the history is what was optimised. A prompt is a favourite where it is marked as one or
came from one, and where nothing of it is a record of a history, so that nothing is in neither. It is in the history where one of its
versions is of a kind that records are. It may be both.
"""

from __future__ import annotations

from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from server.times import moment
from server.transfer.app_facts import RECORD_TYPES
from server.transfer.library_file import FilePrompt, FileVersion

FAVORITE_KEY, CHAIN_KEY = "fav:", "chain:"
"""What `import_key` begins with where a prompt came from a favourite, or from a chain of the history."""
ASSET = "asset"
"""The kind of versions that a favourite came with: they are in the favourite, and no part of the history."""


def is_favorite(prompt: FilePrompt) -> bool:
    """Whether the prompt is exported as a favourite."""
    came_from_one = import_key(prompt).startswith(FAVORITE_KEY) or any(version.kind == ASSET for version in prompt.versions)
    return prompt.favorite or came_from_one or not chain_of(prompt)


def chain_of(prompt: FilePrompt) -> list[FileVersion]:
    """The prompt's versions as the history has them, oldest first; none where the prompt is not in it."""
    if not any(version.kind in RECORD_TYPES for version in prompt.versions):
        return []
    return [version for version in prompt.versions if version.text and version.kind != ASSET]


def import_key(prompt: FilePrompt) -> str:
    """Where the prompt came from; empty where it was made here."""
    key: Any = prompt.source.get("import_key") if isinstance(prompt.source, dict) else None
    return key if isinstance(key, str) else ""


def chain_id_of(prompt: FilePrompt) -> str:
    """The id of the prompt's chain: the one that it came from, if it came from one."""
    named = [prompt.source.get(name) for name in ("import_key", "chain")] if isinstance(prompt.source, dict) else []
    keys = [key.removeprefix(CHAIN_KEY) for key in named if isinstance(key, str) and key.startswith(CHAIN_KEY)]
    return as_uuid(next((key for key in keys if key), prompt.id))


def as_uuid(name: str) -> str:
    """The id if it is a UUID, which the app wants in its history, or one that is made of it, always the same."""
    try:
        return str(UUID(name))
    except ValueError:
        return str(uuid5(NAMESPACE_URL, f"promptsync:{name}"))


def iso(milliseconds: int) -> str:
    """The time as JavaScript writes it."""
    return moment(milliseconds).isoformat(timespec="milliseconds").replace("+00:00", "Z")
