"""A device's copy of a library by the layout, with what a client wants to know of it: its prompts, and which of them have changed."""

from __future__ import annotations

from functools import partial
from typing import Any

from crdt.copy import Copy
from crdt.library import Library, Root
from crdt.view import View


class LibraryCopy(Copy):
    """A library to be read with `crdt.view`, edited with `crdt.operations`, and synced. Belongs to one thread."""

    def __init__(self, client_id: int | None = None) -> None:
        """Without a client id it takes a random one."""
        self.library = Library(client_id)
        super().__init__(self.library.doc)
        self._prompts: set[str] = set()  # that have changed
        self._versions: set[str] = set()
        for root, noted in ((Root.PROMPTS, self._prompts), (Root.VERSIONS, self._versions), (Root.TEXTS, self._versions)):
            self.library.root(root).observe_deep(partial(_note, noted))

    def prompts(self) -> dict[str, str]:
        """By its id, the text of each prompt that is not in the bin: of the version that is used, or the original without any."""
        view = View(self.library)
        found = [prompt for prompt in view.prompts() if prompt.deleted_at is None]
        return {prompt.id: view.text(prompt.current) if prompt.current else view.original(prompt.id) for prompt in found}

    def titles(self) -> dict[str, str]:
        """By its id, the title of each prompt that is not in the bin."""
        return {prompt.id: prompt.title for prompt in View(self.library).prompts() if prompt.deleted_at is None}

    def changes(self) -> tuple[set[str], set[str]]:
        """The prompts that were written, and those that were deleted, since this was last asked: by their titles, or ids without one."""
        touched = self._prompts.union(*map(self._prompt_of, self._versions))
        self._prompts.clear()
        self._versions.clear()
        written, deleted, view = set[str](), set[str](), View(self.library)
        for prompt_id in touched:
            prompt = view.prompt(prompt_id)
            is_there = prompt is not None and prompt.deleted_at is None
            (written if is_there else deleted).add((prompt.title if prompt is not None else "") or prompt_id)
        return written, deleted

    def _prompt_of(self, version_id: str) -> set[str]:
        """The prompt that a version is of; none where the version does not say."""
        version = self.library.root(Root.VERSIONS).get(version_id)
        prompt_id = version.get("prompt") if isinstance(version, dict) else None
        return {prompt_id} if isinstance(prompt_id, str) else set()


def _note(noted: set[str], events: list[Any]) -> None:
    """The keys of a root under which something has changed. Looked up later: nothing may be read while the document is being changed."""
    for event in events:
        noted.update([str(event.path[0])] if event.path else event.keys)
