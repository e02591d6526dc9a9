"""One device's copy of a library, as the demo, the simulation and the benchmarks keep it.

The schema is the least there is: a root map "prompts" of texts. A server has no use for it: rooms hold no documents.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pycrdt import Doc, Map, Text

from crdt.own_update import update_of
from crdt.updates import EMPTY_STATE_VECTOR, Inspected, decode_state_vector, diff, inspect, merge

ROOT = "prompts"


class Replica:
    """A document with its prompts, and the updates that still wait for what they build on.

    Without a client id it takes a random one. Belongs to one thread. Edits return the update that they made, for the server.
    """

    def __init__(self, client_id: int | None = None) -> None:
        self._doc: Doc[Any] = Doc() if client_id is None else Doc(client_id=client_id)
        self._prompts: Map[Text] = self._doc.get(ROOT, type=Map)
        self._waiting: list[tuple[Inspected, bytes]] = []  # Yrs keeps them too, but get_update leaves them out

    @classmethod
    def load(cls, dump: bytes, client_id: int | None = None) -> Replica:
        """A replica from what `dump` returned. Raises InvalidUpdate."""
        replica = cls(client_id)
        replica.apply(dump)
        return replica

    def dump(self) -> bytes:
        """Everything the device has, waiting updates included, as one update."""
        return self.missing(EMPTY_STATE_VECTOR)

    @property
    def client_id(self) -> int:
        """The id this device writes as."""
        return int(self._doc.client_id)

    @property
    def waiting(self) -> int:
        """How many updates wait for others to arrive."""
        return len(self._waiting)

    def state_vector(self) -> bytes:
        """What is integrated, as step 1 of the sync protocol sends it."""
        return self._doc.get_state()

    def apply(self, update: bytes) -> None:
        """Take an update in, in any order and any number of times. Raises InvalidUpdate, having changed nothing."""
        inspected = inspect(update)
        self._doc.apply_update(update)
        self._waiting.append((inspected, update))
        state = decode_state_vector(self._doc.get_state())
        self._waiting = [entry for entry in self._waiting if not _integrated(entry[0], state)]

    def missing(self, state_vector: bytes) -> bytes:
        """What a peer with that state vector lacks, as step 2 of a stock client sends it: deletions and waiting updates included."""
        own = self._doc.get_update(state_vector)
        return merge([own, *(diff(update, state_vector) for _, update in self._waiting)]) if self._waiting else own

    def observe(self, told: Callable[[set[str], set[str]], None]) -> None:
        """Call `told` after each change with the ids of the prompts that it wrote and of those that it deleted."""

        def sort(events: list[Any]) -> None:
            written: set[str] = set()
            deleted: set[str] = set()
            for event in events:
                if event.path:
                    written.add(str(event.path[0]))
                    continue
                for prompt_id, change in event.keys.items():
                    (deleted if change["action"] == "delete" else written).add(prompt_id)
            told(written - deleted, deleted)

        self._prompts.observe_deep(sort)

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


def _integrated(inspected: Inspected, state: dict[int, int]) -> bool:
    """Whether a document of that state has applied the update: its structs, and its deletions of structs it has."""
    for flat in (inspected.held, inspected.deleted):
        for place in range(0, len(flat), 3):
            if flat[place + 2] > state.get(flat[place], 0):
                return False
    return True
