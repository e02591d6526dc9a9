"""Where an account is signed in from: what tells its owner's devices and addresses from a stranger's."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from storage.pool import Connection

MOST_ORIGINS = 200
"""Sessions of one account that are looked at, the last seen first: a look costs the same whoever asks, and somebody with more devices
than that is a stranger on the others, who waits when the account is guessed at."""

_OF_ACCOUNT = """
    SELECT s.device_id, s.address FROM sessions s JOIN users u ON u.id = s.user_id
    WHERE u.email_key = $1 AND s.last_seen_at > $2 ORDER BY s.last_seen_at DESC LIMIT $3
"""


@dataclass(frozen=True, slots=True)
class Origin:
    """A device, and the address that it was last seen at."""

    device_id: UUID
    address: str


async def of_account(connection: Connection, email_key: str, *, since: datetime) -> list[Origin]:
    """The origins of this account's sessions, also of those that have ended; none where there is no such account."""
    return [Origin(row["device_id"], row["address"]) for row in await connection.fetch(_OF_ACCOUNT, email_key, since, MOST_ORIGINS)]
