"""Refresh tokens and the rule of their rotation. No clock, no database.

A token is base64url(version | session id | counter | MAC under the session's own key | checksum). The database keeps the counter and
the sealed key only: nothing there can be replayed, the same counter always gives the same token (so that devices that race, or whose
answer was lost, converge), and random text is refused by its checksum before any question to the database.

The rule follows RFC 9700, 4.14.2: one generation is good, and the one before it only for a short grace, or until its successor is
first *used*. So a device whose answer was lost for three days still recovers, while a copied token ends the session as soon as both
its holders have gone on.
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from uuid import UUID

from auth.errors import InvalidRefreshToken

KEY_BYTES = 32
MAX_TOKEN_CHARACTERS = 96

_VERSION = 2
_ID_BYTES = 16
_MAC_BYTES = 16
_CHECKSUM_BYTES = 4
_MAX_COUNTER = (1 << 63) - 1
_PURPOSE = b"promptsync refresh token\0"


@dataclass(frozen=True, slots=True)
class Presented:
    """A token that is well-formed, and not yet known to be ours."""

    session_id: UUID
    counter: int
    mac: bytes = field(repr=False)

    def is_genuine(self, key: bytes) -> bool:
        """Whether the session's key made it."""
        return hmac.compare_digest(self.mac, _mac(self.session_id, self.counter, key))


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a session's row says about its refresh token."""

    counter: int
    rotated_at: datetime
    current_used: bool
    ended: bool


class Verdict(Enum):
    """What becomes of a genuine token."""

    ROTATE = "rotate"  # the current one: the counter rises by one
    REPEAT = "repeat"  # the one before: the current one is given again, and nothing changes
    REUSED = "reused"  # an older one, or the one before after its successor was used: the session ends
    AHEAD = "ahead"  # of a generation that this database has not given out: it was put back to an earlier time
    ENDED = "ended"  # the session is over


def decide(standing: Standing, presented_counter: int, *, now: datetime, grace: timedelta) -> Verdict:
    """What becomes of a genuine token with that counter."""
    if standing.ended:
        return Verdict.ENDED
    behind = standing.counter - presented_counter
    if behind == 0:
        return Verdict.ROTATE
    if behind < 0:
        return Verdict.AHEAD
    if behind == 1 and (not standing.current_used or now - standing.rotated_at <= grace):
        return Verdict.REPEAT
    return Verdict.REUSED


def make(session_id: UUID, counter: int, key: bytes) -> str:
    """The refresh token of that generation: always the same text for the same three."""
    signed = _signed(session_id, counter) + _mac(session_id, counter, key)
    return base64.urlsafe_b64encode(signed + _checksum(signed)).rstrip(b"=").decode()


def parse(token: str) -> Presented:
    """Read a token without knowing its key.

    Raises:
        InvalidRefreshToken: it is not in the one form that `make` gives.
    """
    if len(token) > MAX_TOKEN_CHARACTERS or not token.isascii():
        raise InvalidRefreshToken
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise InvalidRefreshToken from error
    signed, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
    if len(signed) <= 1 + _ID_BYTES + _MAC_BYTES or not hmac.compare_digest(checksum, _checksum(signed)) or signed[0] != _VERSION:
        raise InvalidRefreshToken
    session_id = UUID(bytes=signed[1 : 1 + _ID_BYTES])
    counter = _decode_counter(signed[1 + _ID_BYTES : -_MAC_BYTES])
    # One text a token: spare bits of base64 or a padded number would make a second spelling.
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != token.encode():
        raise InvalidRefreshToken
    return Presented(session_id, counter, signed[-_MAC_BYTES:])


def _signed(session_id: UUID, counter: int) -> bytes:
    return bytes([_VERSION]) + session_id.bytes + _encode_counter(counter)


def _mac(session_id: UUID, counter: int, key: bytes) -> bytes:
    return hmac.digest(key, _PURPOSE + _signed(session_id, counter), "sha256")[:_MAC_BYTES]


def _checksum(signed: bytes) -> bytes:
    return hashlib.sha256(signed).digest()[:_CHECKSUM_BYTES]


def _encode_counter(counter: int) -> bytes:
    encoded = bytearray()
    while counter > 0x7F:
        encoded.append(counter & 0x7F | 0x80)
        counter >>= 7
    encoded.append(counter)
    return bytes(encoded)


def _decode_counter(encoded: bytes) -> int:
    counter = sum((byte & 0x7F) << (7 * index) for index, byte in enumerate(encoded))
    if counter > _MAX_COUNTER or _encode_counter(counter) != encoded:
        raise InvalidRefreshToken
    return counter
