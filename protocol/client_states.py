"""What may come when: the states of a `promptsync.v1` socket and of each library on it, seen from the client."""

from enum import Enum

from protocol.messages import Ack, Closed, Error, Opened, Part, Pong, Presence, Status, Synced, Update, Welcome


class ClientState(Enum):
    """A socket."""

    OFFLINE = "offline"
    """There is none: nothing may come."""
    GREETING = "greeting"
    """Hello is on its way: only welcome may come."""
    READY = "ready"
    """We are known, and are told of our libraries."""


class LibraryState(Enum):
    """A library."""

    SHUT = "shut"
    """It has no channel; what comes on the one that it had is left alone."""
    OPENING = "opening"
    """Open is on its way."""
    CATCHING_UP = "catching up"
    """It is open, and what we lack is on its way. We may push."""
    SYNCED = "synced"
    """We have everything, and hear of more."""
    CLOSING = "closing"
    """Close is on its way: of what still comes only answers to pushes count."""


TRANSITIONS: dict[tuple[ClientState, type], ClientState] = {
    (ClientState.GREETING, Welcome): ClientState.READY,
    (ClientState.READY, Opened): ClientState.READY,
    (ClientState.READY, Part): ClientState.READY,
    (ClientState.READY, Synced): ClientState.READY,
    (ClientState.READY, Ack): ClientState.READY,
    (ClientState.READY, Update): ClientState.READY,
    (ClientState.READY, Presence): ClientState.READY,
    (ClientState.READY, Status): ClientState.READY,
    (ClientState.READY, Error): ClientState.READY,
    (ClientState.READY, Closed): ClientState.READY,
    (ClientState.READY, Pong): ClientState.READY,
}
"""Any other message is the server's mistake."""

LIBRARY_TRANSITIONS: dict[tuple[LibraryState, type], LibraryState] = {
    (LibraryState.OPENING, Opened): LibraryState.CATCHING_UP,
    (LibraryState.OPENING, Error): LibraryState.OPENING,
    (LibraryState.OPENING, Closed): LibraryState.SHUT,
    (LibraryState.CATCHING_UP, Part): LibraryState.CATCHING_UP,
    (LibraryState.CATCHING_UP, Synced): LibraryState.SYNCED,
    (LibraryState.CATCHING_UP, Ack): LibraryState.CATCHING_UP,
    (LibraryState.CATCHING_UP, Update): LibraryState.CATCHING_UP,
    (LibraryState.CATCHING_UP, Presence): LibraryState.CATCHING_UP,
    (LibraryState.CATCHING_UP, Status): LibraryState.CATCHING_UP,
    (LibraryState.CATCHING_UP, Error): LibraryState.CATCHING_UP,
    (LibraryState.CATCHING_UP, Closed): LibraryState.SHUT,
    (LibraryState.SYNCED, Part): LibraryState.SYNCED,
    (LibraryState.SYNCED, Ack): LibraryState.SYNCED,
    (LibraryState.SYNCED, Update): LibraryState.SYNCED,
    (LibraryState.SYNCED, Presence): LibraryState.SYNCED,
    (LibraryState.SYNCED, Status): LibraryState.SYNCED,
    (LibraryState.SYNCED, Error): LibraryState.SYNCED,
    (LibraryState.SYNCED, Closed): LibraryState.SHUT,
    (LibraryState.CLOSING, Opened): LibraryState.CLOSING,
    (LibraryState.CLOSING, Part): LibraryState.CLOSING,
    (LibraryState.CLOSING, Synced): LibraryState.CLOSING,
    (LibraryState.CLOSING, Ack): LibraryState.CLOSING,
    (LibraryState.CLOSING, Update): LibraryState.CLOSING,
    (LibraryState.CLOSING, Presence): LibraryState.CLOSING,
    (LibraryState.CLOSING, Status): LibraryState.CLOSING,
    (LibraryState.CLOSING, Error): LibraryState.CLOSING,
    (LibraryState.CLOSING, Closed): LibraryState.SHUT,
}
"""Any other message is the server's mistake."""
