"""Requests that create something, each under its key: claimed before the work, kept with their answer after it.

A claim is committed before anything is made. Whoever finds one that nobody works on any more takes it over and draws the same ids and the
same time from it, so what was made before a crash is found, not made again. `attempt` fences: what an attempt
says of a claim that another one has taken over meanwhile changes nothing.
"""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from storage.pool import Connection, Record

_COLUMNS = "fingerprint, seed, claimed_at, attempt, holder, held_at, effect, answered_at, sealed"
# The conflicting row is locked even where the condition does not hold, so that what is read next is there until the transaction ends.
_CLAIM = f"""
    INSERT INTO idempotency_keys AS k (user_id, key_hash, fingerprint, seed, claimed_at, holder, held_at)
    VALUES ($1, $2, $3, $4, $5, $6, $5)
    ON CONFLICT (user_id, key_hash) DO UPDATE SET fingerprint = excluded.fingerprint, seed = excluded.seed,
        claimed_at = excluded.claimed_at, attempt = 1, holder = excluded.holder, held_at = excluded.held_at,
        effect = false, answered_at = NULL, sealed = NULL
    WHERE k.claimed_at <= $7
    RETURNING {_COLUMNS}, (SELECT count(*) FROM idempotency_keys WHERE user_id = $1 AND key_hash <> $2) AS others
"""  # noqa: S608  # constants only
_FIND = f"SELECT {_COLUMNS} FROM idempotency_keys WHERE user_id = $1 AND key_hash = $2"  # noqa: S608  # constants only
_TAKE_OVER = f"""
    UPDATE idempotency_keys SET attempt = attempt + 1, holder = $3, held_at = $4
    WHERE user_id = $1 AND key_hash = $2 RETURNING {_COLUMNS}
"""  # noqa: S608  # constants only
# Answered ones first; then those that nobody works on.
_MAKE_ROOM = """
    DELETE FROM idempotency_keys WHERE user_id = $1 AND key_hash = ANY(ARRAY(
        SELECT key_hash FROM idempotency_keys
        WHERE user_id = $1 AND key_hash <> $2 AND (holder IS NULL OR held_at <= $3)
        ORDER BY answered_at NULLS LAST, claimed_at LIMIT $4
    )) RETURNING 1
"""
_OURS = "user_id = $1 AND key_hash = $2 AND attempt = $3"
_MARK = "UPDATE idempotency_keys SET effect = true WHERE user_id = $1 AND key_hash = $2"
_KEEP = f"""
    UPDATE idempotency_keys SET answered_at = coalesce(answered_at, $4), sealed = $5, holder = NULL, effect = true WHERE {_OURS}
"""  # noqa: S608  # constants only
_HOLD = f"UPDATE idempotency_keys SET held_at = $4 WHERE {_OURS}"  # noqa: S608  # constants only
_SET_FREE = f"UPDATE idempotency_keys SET holder = NULL, effect = effect OR $4 WHERE {_OURS}"  # noqa: S608  # constants only
# An attempt that follows another one may not: that one may have committed something without saying so.
_WITHDRAW = f"DELETE FROM idempotency_keys WHERE {_OURS} AND attempt = 1 AND NOT effect RETURNING 1"  # noqa: S608  # constants only
_PURGE = """
    DELETE FROM idempotency_keys k USING (
        SELECT user_id, key_hash FROM idempotency_keys WHERE claimed_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED
    ) due WHERE (k.user_id, k.key_hash) = (due.user_id, due.key_hash) RETURNING 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """Whose key, and the keyed hash of method, route and key."""

    user_id: UUID
    hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A claim as it stands. `holder` is the process that works on it; `effect` tells that something was committed for it."""

    fingerprint: bytes
    seed: bytes = field(repr=False)
    claimed_at: datetime
    attempt: int
    holder: UUID | None
    held_at: datetime
    effect: bool
    answered_at: datetime | None
    sealed: bytes | None = field(repr=False)


async def claim(
    connection: Connection, key: Key, *, fingerprint: bytes, seed: bytes, holder: UUID, now: datetime, expired: datetime
) -> tuple[Row, int | None]:
    """Claim the key, or find who has: the row, locked until the transaction ends, and if it is new how many others the user has.

    A claim that was made at `expired` or before counts as none. For the holder of the user's row, or two claims at once both count
    too few.
    """
    row = await connection.fetchrow(_CLAIM, key.user_id, key.hash, fingerprint, seed, now, holder, expired)
    if row is not None:
        return _row(row), row["others"]
    row = await connection.fetchrow(_FIND, key.user_id, key.hash)
    assert row is not None  # noqa: S101  # locked by the statement before
    return _row(row), None


async def take_over(connection: Connection, key: Key, *, holder: UUID, now: datetime) -> Row:
    """Begin another attempt at a claim that nobody works on, for the holder of its row's lock."""
    row = await connection.fetchrow(_TAKE_OVER, key.user_id, key.hash, holder, now)
    assert row is not None  # noqa: S101  # the caller's lock keeps it
    return _row(row)


async def make_room(connection: Connection, key: Key, number: int, *, abandoned: datetime) -> bool:
    """Forget so many of the user's claims; False when there are not so many that may be forgotten.

    The oldest answered ones go first, then the oldest that nobody has worked on since `abandoned`; `key` itself stays.
    """
    return len(await connection.fetch(_MAKE_ROOM, key.user_id, key.hash, abandoned, number)) == number


async def mark(connection: Connection, key: Key) -> None:
    """Note, in the transaction that commits the work, that it is done."""
    await connection.execute(_MARK, key.user_id, key.hash)


async def hold(connection: Connection, key: Key, attempt: int, *, now: datetime) -> None:
    """Note that an attempt is still being made."""
    await connection.execute(_HOLD, key.user_id, key.hash, attempt, now)


async def keep(connection: Connection, key: Key, attempt: int, *, sealed: bytes | None, now: datetime) -> None:
    """End an attempt that took effect with its answer; None where it is too large to keep."""
    await connection.execute(_KEEP, key.user_id, key.hash, attempt, now, sealed)


async def set_free(connection: Connection, key: Key, attempt: int, *, done: bool) -> None:
    """End an attempt without an answer, its work committed or not: whoever comes next goes on with the claim at once."""
    await connection.execute(_SET_FREE, key.user_id, key.hash, attempt, done)


async def withdraw(connection: Connection, key: Key, attempt: int) -> bool:
    """Forget a claim for which nothing was done; False, having done nothing, when something may have been."""
    return await connection.fetchval(_WITHDRAW, key.user_id, key.hash, attempt) is not None


async def purge_step(connection: Connection, expired: datetime, limit: int) -> bool:
    """Delete claims made at `expired` or before, at most `limit`; whether there may be more."""
    return len(await connection.fetch(_PURGE, expired, limit)) == limit


def _row(row: Record) -> Row:
    return Row(
        fingerprint=row["fingerprint"],
        seed=row["seed"],
        claimed_at=row["claimed_at"],
        attempt=row["attempt"],
        holder=row["holder"],
        held_at=row["held_at"],
        effect=row["effect"],
        answered_at=row["answered_at"],
        sealed=row["sealed"],
    )
