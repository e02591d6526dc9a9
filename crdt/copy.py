"""A device's copy of a document: what a client syncs (`server/client/document.py`), whatever is in it."""

from __future__ import annotations

from typing import Any

from pycrdt import Doc

from crdt.updates import EMPTY_STATE_VECTOR, Inspected, decode_state_vector, diff, inspect, merge


class Copy:
    """A document, and the updates that still wait for what they build on. Belongs to one thread."""

    def __init__(self, doc: Doc[Any]) -> None:
        self._doc = doc
        self._waiting: list[tuple[Inspected, bytes]] = []  # Yrs keeps them too, but get_update leaves them out

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

    def dump(self) -> bytes:
        """Everything the device has, waiting updates included, as one update."""
        return self.missing(EMPTY_STATE_VECTOR)


def _integrated(inspected: Inspected, state: dict[int, int]) -> bool:
    """Whether a document of that state has applied the update: its structs, and its deletions of structs it has."""
    for flat in (inspected.held, inspected.deleted):
        for place in range(0, len(flat), 3):
            if flat[place + 2] > state.get(flat[place], 0):
                return False
    return True
