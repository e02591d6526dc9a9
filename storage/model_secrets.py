"""What models are called with: one sealed row for each of a user's configurations. What is in it is the business of `auth.vault`.

Who writes holds the user's row (`users.lock_with_key`), so a configuration's secret is replaced as a whole, and its rows can be counted.
"""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from storage.cipher import DataKey, user_key_place
from storage.errors import SealBroken
from storage.keyring import Keyring
from storage.pool import Connection, Record

_COLUMNS = "id, config_id, origin, sealed, created_at, last_used_at, checked_at, status"
_ALL = f"SELECT {_COLUMNS} FROM model_secrets WHERE user_id = $1 ORDER BY config_id"  # noqa: S608  # constants only
_ONE = f"SELECT {_COLUMNS} FROM model_secrets WHERE user_id = $1 AND config_id = $2"  # noqa: S608  # constants only
_WITH_KEY = f"""
    SELECT s.*, u.key_id, u.wrapped_key FROM (SELECT user_id, {_COLUMNS} FROM model_secrets WHERE user_id = $1 AND config_id = $2) s
    JOIN users u ON u.id = s.user_id
"""  # noqa: S608  # constants only
_KEY = "SELECT key_id, wrapped_key FROM users WHERE id = $1 AND wrapped_key IS NOT NULL"
_COUNT = "SELECT count(*) FROM model_secrets WHERE user_id = $1 AND config_id <> $2"
_PUT = f"""
    INSERT INTO model_secrets (id, user_id, config_id, origin, sealed, created_at, checked_at, status)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (user_id, config_id) DO UPDATE SET id = excluded.id, origin = excluded.origin, sealed = excluded.sealed,
        created_at = excluded.created_at, last_used_at = NULL, checked_at = excluded.checked_at, status = excluded.status
    RETURNING {_COLUMNS}
"""  # noqa: S608  # constants only
_REMOVE = "DELETE FROM model_secrets WHERE user_id = $1 AND config_id = $2 RETURNING 1"
_CHECKED = "UPDATE model_secrets SET checked_at = $3, status = $4 WHERE user_id = $1 AND id = $2"
_USED = """
    UPDATE model_secrets SET last_used_at = $3
    WHERE user_id = $1 AND config_id = $2 AND (last_used_at IS NULL OR last_used_at < $4)
"""
_UNREADABLE = "UPDATE model_secrets SET status = $3 WHERE user_id = $1 AND config_id = $2 AND status <> $3 RETURNING 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row as it stands."""

    id: UUID
    config_id: str
    origin: str
    sealed: bytes = field(repr=False)
    created_at: datetime
    last_used_at: datetime | None
    checked_at: datetime | None
    status: str


async def user_key(connection: Connection, keyring: Keyring, user_id: UUID) -> DataKey | None:
    """The user's data key; None where the user is gone, and the key with the user. Raises SealBroken, WrongKeys."""
    row = await connection.fetchrow(_KEY, user_id)
    return keyring.unwrap(row["key_id"], row["wrapped_key"], user_key_place(user_id)) if row else None


async def of_user(connection: Connection, user_id: UUID) -> list[Row]:
    """All of the user's rows, by configuration."""
    return [_row(row) for row in await connection.fetch(_ALL, user_id)]


async def get(connection: Connection, user_id: UUID, config_id: str) -> Row | None:
    """The row of one configuration."""
    row = await connection.fetchrow(_ONE, user_id, config_id)
    return _row(row) if row else None


async def get_with_key(connection: Connection, keyring: Keyring, user_id: UUID, config_id: str) -> tuple[Row, DataKey | None] | None:
    """The row of one configuration, and the user's data key as `user_key` has it, but None too where its wrapping does not open."""
    row = await connection.fetchrow(_WITH_KEY, user_id, config_id)
    if row is None:
        return None
    try:
        key = keyring.unwrap(row["key_id"], row["wrapped_key"], user_key_place(user_id)) if row["wrapped_key"] is not None else None
    except SealBroken:
        key = None
    return _row(row), key


async def count_others(connection: Connection, user_id: UUID, config_id: str) -> int:
    """How many rows the user has for other configurations."""
    return int(await connection.fetchval(_COUNT, user_id, config_id))


async def put(connection: Connection, user_id: UUID, row: Row) -> Row:
    """Store a configuration's row in place of the one that it may have; when it was used last begins anew."""
    columns = (row.id, user_id, row.config_id, row.origin, row.sealed, row.created_at, row.checked_at, row.status)
    stored = await connection.fetchrow(_PUT, *columns)
    assert stored is not None  # noqa: S101  # it returns what it has written
    return _row(stored)


async def remove(connection: Connection, user_id: UUID, config_id: str) -> bool:
    """Delete a configuration's row; False where there is none."""
    return await connection.fetchval(_REMOVE, user_id, config_id) is not None


async def checked(connection: Connection, user_id: UUID, secret_id: UUID, status: str, *, now: datetime) -> None:
    """Note what the provider said of this secret; nothing where it was replaced meanwhile."""
    await connection.execute(_CHECKED, user_id, secret_id, now, status)


async def used(connection: Connection, user_id: UUID, config_id: str, *, now: datetime, unless_since: datetime) -> None:
    """Note that a configuration's secret is used; nothing where that was noted since then."""
    await connection.execute(_USED, user_id, config_id, now, unless_since)


async def mark(connection: Connection, user_id: UUID, config_id: str, status: str) -> bool:
    """Give a row this status; whether it had another."""
    return await connection.fetchval(_UNREADABLE, user_id, config_id, status) is not None


def _row(row: Record) -> Row:
    return Row(
        id=row["id"],
        config_id=row["config_id"],
        origin=row["origin"],
        sealed=row["sealed"],
        created_at=row["created_at"],
        last_used_at=row["last_used_at"],
        checked_at=row["checked_at"],
        status=row["status"],
    )
