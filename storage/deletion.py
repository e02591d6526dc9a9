"""What deleting an account destroys at once, and what is left to a job.

At once, in one short transaction: whatever names a person, whatever signs somebody in, and the data keys of the user and of the user's
libraries, so that nothing in the database opens what is sealed here or in an older dump. Its rows go by a job, the user's last of all.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from storage.pool import Connection

# In the order of their ids, like everybody who locks several libraries. No update can be stored in one after that.
_LOCK_LIBRARIES = "SELECT id FROM libraries WHERE owner_id = $1 AND deleted_at IS NULL ORDER BY id FOR NO KEY UPDATE"
_DESTROY_LIBRARIES = "UPDATE libraries SET deleted_at = $2, wrapped_key = NULL, key_id = NULL WHERE id = ANY($1)"
# Sessions keep their rows, so that their tokens are told that they have ended.
_END_SESSIONS = """
    UPDATE sessions SET revoked_at = coalesce(revoked_at, $2), revoke_reason = coalesce(revoke_reason, $3), refresh_key = '',
        device_name = '', platform = '', user_agent = '', address = ''
    WHERE user_id = $1 RETURNING id
"""
_FORGET = (
    "DELETE FROM members WHERE user_id = $1",
    "DELETE FROM shares WHERE created_by = $1",
    "DELETE FROM identities WHERE user_id = $1",
    "DELETE FROM social_states WHERE user_id = $1",
    "DELETE FROM mails WHERE user_id = $1 OR lower(address) = (SELECT lower(email) FROM users WHERE id = $1)",
    "DELETE FROM idempotency_keys WHERE user_id = $1",
    "DELETE FROM model_secrets WHERE user_id = $1",
)
_EMPTY = """
    UPDATE users SET email = NULL, email_key = NULL, email_verified_at = NULL, name = '', password_hash = NULL, wrapped_key = NULL,
        key_id = NULL, last_login_at = NULL, role = 'user', deleted_at = $2, disabled_at = coalesce(disabled_at, $2)
    WHERE id = $1 AND deleted_at IS NULL
"""
_LIBRARIES = "SELECT id FROM libraries WHERE owner_id = $1 ORDER BY id LIMIT $2"
_REMOVE = "DELETE FROM users WHERE id = $1 AND deleted_at IS NOT NULL"
_MARKED = "SELECT id FROM users WHERE deleted_at IS NOT NULL AND id > $1 ORDER BY id LIMIT $2"
_IS_MARKED = "SELECT 1 FROM users WHERE id = $1 AND deleted_at IS NOT NULL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Destroyed:
    """What has ended with an account, to be told to those who have it open."""

    sessions: tuple[UUID, ...]
    libraries: tuple[UUID, ...]


async def destroy(connection: Connection, user_id: UUID, *, now: datetime, reason: str) -> Destroyed:
    """Destroy an account but for its bare rows, and the libraries that it owns. For the holder of its row."""
    libraries = await destroy_libraries(connection, user_id, now=now)
    sessions = [row["id"] for row in await connection.fetch(_END_SESSIONS, user_id, now, reason)]
    for statement in _FORGET:
        await connection.execute(statement, user_id)
    await connection.execute(_EMPTY, user_id, now)
    return Destroyed(sessions=tuple(sessions), libraries=libraries)


async def destroy_libraries(connection: Connection, user_id: UUID, *, now: datetime) -> tuple[UUID, ...]:
    """Mark the libraries that the user owns as deleted and destroy their data keys: the ids of those that were not."""
    libraries = [row["id"] for row in await connection.fetch(_LOCK_LIBRARIES, user_id)]
    await connection.execute(_DESTROY_LIBRARIES, libraries, now)
    return tuple(libraries)


async def is_marked(connection: Connection, user_id: UUID) -> bool:
    """Whether the account was deleted and its row is still there."""
    return await connection.fetchval(_IS_MARKED, user_id) is not None


async def libraries_left(connection: Connection, user_id: UUID, limit: int) -> list[UUID]:
    """The libraries that the user owned and that are not purged yet, at most `limit`."""
    return [row["id"] for row in await connection.fetch(_LIBRARIES, user_id, limit)]


async def remove(connection: Connection, user_id: UUID) -> None:
    """Remove the row of a deleted account, with whatever hangs on it; an account that is not deleted is left alone.

    Its libraries must be gone: the schema sees to that.
    """
    await connection.execute(_REMOVE, user_id)


async def deleted_after(connection: Connection, user_id: UUID, limit: int) -> list[UUID]:
    """The next deleted accounts whose rows are still there, in the order of their ids."""
    return [row["id"] for row in await connection.fetch(_MARKED, user_id, limit)]
