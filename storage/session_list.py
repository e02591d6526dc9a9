"""The sessions of one account, as its owner sees them; and ending many of them at once.

Whoever ends more than one holds the user's row (`users.lock`): a login that has not committed yet would be missed otherwise.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from storage.pool import Connection, Record

MAX_LISTED = 500
"""Sessions that are listed; of more, those that were not used for longest are left out. They end with all others, or by themselves."""
_COLUMNS = "id, device_id, device_name, platform, created_at, last_seen_at, address, user_agent, method, authenticated_at, expires_at"
_LIVE = f"""
    SELECT {_COLUMNS} FROM sessions
    WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2 AND idle_expires_at > $2 ORDER BY last_seen_at DESC, id LIMIT $3
"""  # noqa: S608  # the columns are the constant above
_REVOKE_ONE = """
    UPDATE sessions SET revoked_at = $3, revoke_reason = $4
    WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL AND expires_at > $3 AND idle_expires_at > $3 RETURNING id
"""
_REVOKE_ALL = """
    UPDATE sessions SET revoked_at = $2, revoke_reason = $3
    WHERE user_id = $1 AND revoked_at IS NULL AND id IS DISTINCT FROM $4 RETURNING id
"""
_OWNER = "SELECT user_id FROM sessions WHERE id = $1"
_ENDED_BY = "SELECT revoke_reason FROM sessions WHERE id = $1"
_TOUCH = """
    UPDATE sessions SET last_seen_at = $2, address = coalesce($3, address)
    WHERE id = $1 AND last_seen_at <= $2::timestamptz - $4::interval
"""
_AUTHENTICATED = "UPDATE sessions SET authenticated_at = greatest(authenticated_at, $2) WHERE id = $1 AND revoked_at IS NULL RETURNING id"


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSession:
    """A session that is not over: on which device, since when, and when and from where it was used last."""

    id: UUID
    device_id: UUID
    device_name: str
    platform: str
    created_at: datetime
    last_seen_at: datetime
    address: str
    user_agent: str
    method: str
    authenticated_at: datetime
    expires_at: datetime


async def live(connection: Connection, user_id: UUID, *, now: datetime) -> list[LiveSession]:
    """The user's sessions that are not over, the one used last first, at most MAX_LISTED."""
    return [_session(row) for row in await connection.fetch(_LIVE, user_id, now, MAX_LISTED)]


async def revoke_one(connection: Connection, session_id: UUID, user_id: UUID, *, now: datetime, reason: str) -> bool:
    """End this session of this user; False where the user has none such that is not over."""
    return await connection.fetchval(_REVOKE_ONE, session_id, user_id, now, reason) is not None


async def revoke_all(connection: Connection, user_id: UUID, *, now: datetime, reason: str, but: UUID | None = None) -> list[UUID]:
    """End every session of the user, `but` one; the ids of what was ended. For the holder of the user's row."""
    return [row["id"] for row in await connection.fetch(_REVOKE_ALL, user_id, now, reason, but)]


async def owner(connection: Connection, session_id: UUID) -> UUID | None:
    """Whose session it is; None where there is none."""
    user_id: UUID | None = await connection.fetchval(_OWNER, session_id)
    return user_id


async def ended_by(connection: Connection, session_id: UUID) -> str | None:
    """Why a session was ended; None where it was not, or there is none."""
    reason: str | None = await connection.fetchval(_ENDED_BY, session_id)
    return reason


async def touch(connection: Connection, session_id: UUID, *, now: datetime, address: str | None, every: timedelta) -> None:
    """Note that the session was used, and from where, unless that was noted less than `every` ago."""
    await connection.execute(_TOUCH, session_id, now, address, every)


async def note_authentication(connection: Connection, session_id: UUID, *, now: datetime) -> bool:
    """Note that the session's user has shown who it is; False where it was ended meanwhile."""
    return await connection.fetchval(_AUTHENTICATED, session_id, now) is not None


def _session(row: Record) -> LiveSession:
    return LiveSession(**{name: row[name] for name in _COLUMNS.split(", ")})
