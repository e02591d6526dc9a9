"""What a document must offer to be synced. `crdt.replica.Replica` does; any Yjs document can."""

from typing import Protocol


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
