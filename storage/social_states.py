"""Sign-ins that have gone to another provider's page and are awaited back, each once."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from storage.identities import Provider
from storage.pool import Connection

_INSERT = """
    INSERT INTO social_states (state_hash, provider, cookie_hash, user_id, session_id, created_at, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
_TAKE = """
    DELETE FROM social_states WHERE state_hash = $1 AND provider = $2 AND cookie_hash = $3 AND expires_at > $4 RETURNING user_id, session_id
"""
_PURGE = """
    DELETE FROM social_states WHERE state_hash = ANY(ARRAY(
        SELECT state_hash FROM social_states WHERE expires_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED
    )) RETURNING 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewState:
    """What is kept of a sign-in: SHA-256 of its state and of the browser's cookie. With a user, the user's session links an identity."""

    state_hash: bytes = field(repr=False)
    provider: Provider
    cookie_hash: bytes = field(repr=False)
    user_id: UUID | None = None
    session_id: UUID | None = None
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenState:
    """Who links, and in which session; None where somebody signs in."""

    user_id: UUID | None
    session_id: UUID | None


async def create(connection: Connection, state: NewState) -> None:
    """Store a state that was just drawn."""
    await connection.execute(
        _INSERT,
        state.state_hash,
        state.provider,
        state.cookie_hash,
        state.user_id,
        state.session_id,
        state.created_at,
        state.expires_at,
    )


async def take(connection: Connection, provider: Provider, *, state_hash: bytes, cookie_hash: bytes, now: datetime) -> TakenState | None:
    """Use a state up; None if there is none, it is another provider's or browser's, or its time is over."""
    row = await connection.fetchrow(_TAKE, state_hash, provider, cookie_hash, now)
    return None if row is None else TakenState(user_id=row["user_id"], session_id=row["session_id"])


async def purge_step(connection: Connection, expired_before: datetime, limit: int) -> bool:
    """Delete states whose time was over before then, at most `limit`; whether there may be more."""
    return len(await connection.fetch(_PURGE, expired_before, limit)) == limit
