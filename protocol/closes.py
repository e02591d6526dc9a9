"""The close codes of our sockets, and what a client does about each.

y-websocket 3.1 gives up on 4400 to 4499 and retries on everything else, so 44xx is what needs somebody to act first,
and every temporary trouble lies outside that range.
"""

from enum import IntEnum


class Close(IntEnum):
    """Close codes (RFC 6455, 7.4) that a device can meet here."""

    NORMAL = 1000
    """The client asked for it."""
    GOING_AWAY = 1001
    RESTART = 1012
    """The server restarts or drains: reconnect."""
    TRY_LATER = 1013
    """This socket or its library met a temporary limit (slow reader, full queue, load error): reconnect and resync."""
    MALFORMED = 4400
    """A frame that breaks the protocol, or an update that cannot be decoded."""
    UNAUTHENTICATED = 4401
    """No token, a bad or expired one, or a session that has ended: sign in again."""
    FORBIDDEN = 4403
    """The session may not do this: a viewer that writes, or an origin that is not on the list."""
    NOT_FOUND = 4404
    """No such library, or none that this user may see."""
    TOO_LARGE = 4413
    """A frame or an update past the limit: send it by `POST /api/sync/{library}`."""
    BUSY = 4503
    """Too many openings from this address, or too many openings or sockets of this user: reconnect later."""

    @property
    def permanent(self) -> bool:
        """Whether reconnecting without acting first is useless."""
        return 4400 <= self < 4500
