"""What a document must offer to be synced. `crdt.library_copy.LibraryCopy` does; any Yjs document can."""

from typing import Protocol

from crdt.errors import InvalidStateVector
from crdt.updates import decode_state_vector
from protocol.client import Place
from server.client.records import Kept


class Document(Protocol):
    """A Yjs document, in the v1 encodings."""

    def state_vector(self) -> bytes:
        """What it holds."""
        ...

    def missing(self, state_vector: bytes) -> bytes:
        """One update with what a peer of that state vector lacks, all deletions among it."""
        ...

    def apply(self, update: bytes) -> None:
        """Take an update in, in any order and any number of times. What it raises ends the client."""
        ...


def trusted(kept: Kept | None, document: Document) -> Place | None:
    """The place that was kept, unless the document holds less than it did then: what it lacks would never be sent again."""
    if kept is None:
        return None
    try:
        before, now = decode_state_vector(kept.vector), decode_state_vector(document.state_vector())
    except InvalidStateVector:
        return None
    return kept.place if before and all(now.get(client, 0) >= clock for client, clock in before.items()) else None
