"""What the crdt package raises.

CrdtError
├── InvalidUpdate        bytes that are no Yjs update (v1), or one that Yrs cannot decode
├── InvalidStateVector   bytes that are no state vector
├── InvalidPresence      bytes that are no awareness message, or one that would break other clients
├── InvalidKnowledge     packed ranges that this package did not write
└── DocumentBroken       updates that decode, but that no document can hold
"""

from __future__ import annotations


class CrdtError(Exception):
    """Bytes from outside that could not be understood.

    `reason` is a short lower-case phrase that never repeats content, fit for logs and close frames; `offset` is the byte
    at which reading stopped, None where there is no such place.
    """

    def __init__(self, reason: str, offset: int | None = None) -> None:
        super().__init__(reason, offset)
        self.reason = reason
        self.offset = offset

    def __str__(self) -> str:
        return self.reason if self.offset is None else f"{self.reason} (at byte {self.offset})"


class InvalidUpdate(CrdtError):
    """Not an update of Yjs (v1 encoding) that every device could apply."""


class InvalidStateVector(CrdtError):
    """Not a state vector (v1 encoding)."""


class InvalidPresence(CrdtError):
    """Not an awareness message that every client could read."""


class InvalidKnowledge(CrdtError):
    """Not the packed form of ranges or knowledge."""


class DocumentBroken(CrdtError):
    """Yrs cannot make a document of these updates, though each of them can be read."""
