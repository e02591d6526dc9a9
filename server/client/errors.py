"""What the client raises.

ClientError
├── ClosedForGood   the server refused in a way that reconnecting does not mend: `code` says what to do about it
├── PushRefused     updates that will never be stored
├── QueueFull       more is unsaved than may be
├── QueueBusy       another process uses the folder of the queue
└── QueueBroken     a file in that folder is none of ours
"""

from uuid import UUID

from protocol.client_events import Refused


class ClientError(Exception):
    """What an application has to deal with."""


class ClosedForGood(ClientError):
    """Closed with 44xx (`protocol/README.md`): sign in again, forget the library, mend the client. `library` is None where all are."""

    def __init__(self, code: int, reason: str, library: UUID | None = None) -> None:
        super().__init__(f"closed with {code}: {reason}")
        self.code = code
        self.reason = reason
        self.library = library


class PushRefused(ClientError):
    """The server will never store these updates. They stay in the library's `refused`, and in the queue's file, until dismissed."""

    def __init__(self, refused: tuple[Refused, ...]) -> None:
        super().__init__(f"{len(refused)} refused, the first with {refused[0].code}: {refused[0].reason}")
        self.refused = refused


class QueueFull(ClientError):
    """The queue of unsaved updates is as large as it may be; this one is not in it."""


class QueueBusy(ClientError):
    """Another process uses this folder."""


class QueueBroken(ClientError):
    """The file is not a queue."""
