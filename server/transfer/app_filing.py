"""Which prompts are favourites in Prompt Optimizer, and which are its history.

It keeps both apart: favourites are its library, the history is what was optimised. A prompt is a favourite where it is marked as one or
came from one, and where nothing of it is a record of a history, so that nothing is in neither. It is in the history where one of its
versions is of a kind that records are. It may be both.
"""

from __future__ import annotations

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
    came_from_one = origin(prompt, FAVORITE_KEY) is not None or any(version.kind == ASSET for version in prompt.versions)
    return prompt.favorite or came_from_one or not chain_of(prompt)


def chain_of(prompt: FilePrompt) -> list[FileVersion]:
    """The prompt's versions as the history has them, oldest first; none where the prompt is not in it."""
    if not any(version.kind in RECORD_TYPES for version in prompt.versions):
        return []
    return [version for version in prompt.versions if version.text and version.kind != ASSET]


def origin(prompt: FilePrompt, kind: str) -> str | None:
    """The id of the favourite, or of the chain, that the prompt came from; None where it came from none.

    One that several came together in has its `import_key` from one of them, and the others' beside it.
    """
    source = prompt.source if isinstance(prompt.source, dict) else {}
    also = source.get("also")
    keys = [source.get("import_key"), source.get("chain"), *(also if isinstance(also, list) else ())]
    return next((key.removeprefix(kind) for key in keys if isinstance(key, str) and key.startswith(kind) and key != kind), None)


def as_uuid(name: str) -> str:
    """The id if it is a UUID, which the app wants in its history, or one that is made of it, always the same."""
    try:
        return str(UUID(name))
    except ValueError:
        return str(uuid5(NAMESPACE_URL, f"promptsync:{name}"))


def iso(milliseconds: int) -> str:
    """The time as JavaScript writes it."""
    return moment(milliseconds).isoformat(timespec="milliseconds").replace("+00:00", "Z")
