"""What may be said when: the states of a `promptsync.v1` socket and of each channel on it, seen from the server."""

from enum import Enum

from protocol.messages import CloseChannel, Hello, Open, Part, Ping, Presence, Push, StatusAsked


class State(Enum):
    """A socket."""

    GREETING = "greeting"
    """Nothing is trusted yet: only hello may come."""
    READY = "ready"
    """The peer is known and may open libraries."""
    CLOSED = "closed"
    """For good."""


class ChannelState(Enum):
    """A channel."""

    ABSENT = "absent"
    OPEN = "open"
    """From `open` on: what is sent before it was answered waits."""


TRANSITIONS: dict[tuple[State, type], State] = {
    (State.GREETING, Hello): State.READY,
    (State.READY, Open): State.READY,
    (State.READY, Part): State.READY,
    (State.READY, Push): State.READY,
    (State.READY, Presence): State.READY,
    (State.READY, StatusAsked): State.READY,
    (State.READY, CloseChannel): State.READY,
    (State.READY, Ping): State.READY,
}
"""Any other message closes the socket with 4400."""

CHANNEL_TRANSITIONS: dict[tuple[ChannelState, type], ChannelState] = {
    (ChannelState.ABSENT, Open): ChannelState.OPEN,
    (ChannelState.OPEN, Part): ChannelState.OPEN,
    (ChannelState.OPEN, Push): ChannelState.OPEN,
    (ChannelState.OPEN, Presence): ChannelState.OPEN,
    (ChannelState.OPEN, StatusAsked): ChannelState.OPEN,
    (ChannelState.OPEN, CloseChannel): ChannelState.ABSENT,
}
"""Opening an open channel closes the socket with 4400. Anything else on an absent one is answered with the error `channel_closed`:
the server may just have closed it."""
