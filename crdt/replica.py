"""One device's copy of a document of texts, as the simulation, the benchmarks and the tests keep it.

Its layout is the least there is: a root map "notes" of texts, which that of a library (`crdt/library.py`) leaves alone. A server has no use
for it: rooms hold no documents.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pycrdt import Doc, Map, Text

from crdt.copy import Copy
from crdt.own_update import update_of

ROOT = "notes"


class Replica(Copy):
    """A copy with texts by name, called prompts. Edits return the update that they made, for the server."""

    def __init__(self, client_id: int | None = None) -> None:
        """Without a client id it takes a random one."""
        doc: Doc[Any] = Doc() if client_id is None else Doc(client_id=client_id)
        super().__init__(doc)
        self._prompts: Map[Text] = doc.get(ROOT, type=Map)

    @classmethod
    def load(cls, dump: bytes, client_id: int | None = None) -> Replica:
        """A replica from what `dump` returned. Raises InvalidUpdate."""
        replica = cls(client_id)
        replica.apply(dump)
        return replica

    def prompts(self) -> dict[str, str]:
        """The text of each prompt by its id."""
        return {key: str(text) for key, text in self._prompts.items()}

    def write_prompt(self, prompt_id: str, text: str) -> bytes:
        """Make the prompt, or replace it as a whole."""
        return self._edit(lambda: self._prompts.__setitem__(prompt_id, Text(text)))

    def delete_prompt(self, prompt_id: str) -> bytes:
        """Delete the prompt. Raises KeyError where there is none."""
        self._text(prompt_id)
        return self._edit(lambda: self._prompts.__delitem__(prompt_id))

    def edit_text(self, prompt_id: str, index: int, insert: str = "", delete: int = 0) -> bytes:
        """At a place in the prompt's text, delete characters and then insert some. Places are those of a Python string.

        Raises KeyError where there is no such prompt, IndexError where the text has no such place.
        """
        text = self._text(prompt_id)
        current = str(text)
        if not 0 <= index <= index + delete <= len(current):
            raise IndexError(f"{index} to {index + delete} in a text of {len(current)} characters")
        start = len(current[:index].encode())  # Yrs counts UTF-8 bytes, and damages a character when cut inside it
        end = start + len(current[index : index + delete].encode())

        def change() -> None:
            if end > start:
                del text[start:end]
            if insert:
                text.insert(start, insert)

        return self._edit(change)

    def _text(self, prompt_id: str) -> Text:
        if prompt_id not in self._prompts:
            raise KeyError(prompt_id)
        return self._prompts[prompt_id]

    def _edit(self, change: Callable[[], None]) -> bytes:
        return update_of(self._doc, change)
