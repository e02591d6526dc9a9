"""Counters of limits: each counts within a window that begins with its first hit. What is counted stands in the key as a keyed hash.

The table is unlogged: a crash of the database forgets the counts, and none of them costs a write-ahead log's flush.
"""

from datetime import datetime, timedelta

from storage.pool import Connection

# One statement, so that of many at once each gets a number of its own; a window that is over begins anew in it.
_HIT = """
    INSERT INTO limit_counters AS held (key, amount, expires_at) VALUES ($1, $2, $4)
    ON CONFLICT (key) DO UPDATE SET
        amount = CASE WHEN held.expires_at <= $3 THEN excluded.amount ELSE held.amount + excluded.amount END,
        expires_at = CASE WHEN held.expires_at <= $3 THEN excluded.expires_at ELSE held.expires_at END
    RETURNING amount
"""
_READ = "SELECT amount, expires_at FROM limit_counters WHERE key = $1 AND expires_at > $2"
_CLEAR = "DELETE FROM limit_counters WHERE key = $1"
_CLEAR_ALL = "DELETE FROM limit_counters RETURNING 1"
_PURGE = """
    DELETE FROM limit_counters WHERE key = ANY(ARRAY(
        SELECT key FROM limit_counters WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED
    )) AND expires_at <= $1 RETURNING 1
"""


async def hit(connection: Connection, key: str, amount: int, *, now: datetime, window: timedelta) -> int:
    """Count so much more, and how much it is then; the first hit begins the window."""
    return int(await connection.fetchval(_HIT, key, amount, now, now + window))


async def read(connection: Connection, key: str, *, now: datetime) -> tuple[int, datetime] | None:
    """How much was counted, and when the window ends; None outside any."""
    row = await connection.fetchrow(_READ, key, now)
    return None if row is None else (row["amount"], row["expires_at"])


async def clear(connection: Connection, key: str) -> None:
    """Forget a counter."""
    await connection.execute(_CLEAR, key)


async def clear_all(connection: Connection) -> int:
    """Forget all of them; how many there were."""
    return len(await connection.fetch(_CLEAR_ALL))


async def purge_step(connection: Connection, now: datetime, limit: int) -> bool:
    """Delete counters whose window is over, at most `limit`; whether there may be more."""
    return len(await connection.fetch(_PURGE, now, limit)) == limit
