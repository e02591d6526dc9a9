"""What a `ClientSession` says has happened, by library instead of channel. Nothing here needs an answer unless it says so."""

from dataclasses import dataclass, field
from typing import TypeAlias
from uuid import UUID

from protocol.messages import Pong, Welcome


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryOpened:
    """A library is open. Push what `vector` lacks of the document; what was pushed before and not acknowledged goes out again by itself."""

    library: UUID
    role: str
    epoch: int
    head: int
    vector: bytes
    anew: bool
    """The epoch is another than the one we knew, or we knew none: what was acknowledged before may be gone."""


@dataclass(frozen=True, slots=True)
class Received:
    """An update to apply: somebody else's, or with `catching_up` everything that we lacked up to `seq`."""

    library: UUID
    seq: int
    update: bytes = field(repr=False)
    catching_up: bool


@dataclass(frozen=True, slots=True)
class Saved:
    """The push `number` is committed and out of the queue. `new`: as `seq`; else nothing in it was new."""

    library: UUID
    number: int
    update: bytes = field(repr=False)
    seq: int
    new: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """The push `number` will never be stored, and is out of the queue: its update is the application's to deal with."""

    library: UUID
    number: int
    update: bytes = field(repr=False)
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Postponed:
    """The push `number` cannot be stored now and stays in the queue.

    It goes out again when the library is opened the next time (`until_opened`, for codes that are unknown here); or the library pushes
    nothing until `retry`: call it after a while.
    """

    library: UUID
    number: int
    code: str
    reason: str
    until_opened: bool


@dataclass(frozen=True, slots=True)
class LibraryClosed:
    """A library is not open any more. Unless it is `permanent` or we closed it (1000), `open` it again after a while."""

    library: UUID
    code: int
    reason: str

    @property
    def permanent(self) -> bool:
        """Whether opening it again is useless before somebody acts."""
        return 4400 <= self.code < 4500


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusHeard:
    """How the library stands. With `ask` push what `vector` lacks of the document, then call `answer`."""

    library: UUID
    head: int
    epoch: int
    vector: bytes
    unsaved: int
    storing: bool
    ask: bool


@dataclass(frozen=True, slots=True)
class PresenceHeard:
    """Who is here (a y-protocols awareness update)."""

    library: UUID
    entries: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """Something other than a push failed, and only that: in a library, or on the socket."""

    library: UUID | None
    code: str
    reason: str


LibraryEvent: TypeAlias = LibraryOpened | Received | Saved | Refused | Postponed | LibraryClosed | StatusHeard | PresenceHeard
Event: TypeAlias = Welcome | LibraryEvent | Failed | Pong
