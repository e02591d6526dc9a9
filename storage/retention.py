"""What time ends: deleted libraries, compacted updates, older snapshots and ended sessions; in chunks, each safe to repeat.

Every function runs inside a transaction of the caller's, which stays short, and may run twice or in two processes at once. Each
first takes the lock of its library's row and asks again what it is about to do.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from storage.pool import Connection

THINNED_AFTER = timedelta(days=1)
"""Snapshots younger than this are kept by the hour, older ones by the day."""
KEPT_FOR = timedelta(days=30)
"""Snapshots older than this go, but for the newest, those that trimming relies on, and those that are pinned."""

# Whoever was paused, or killed, inside a chunk must not keep the row from the others.
_BE_BRIEF = "SELECT set_config('idle_in_transaction_session_timeout', '5s', true), set_config('lock_timeout', '5s', true)"
_DELETED = "SELECT wrapped_key IS NOT NULL AS readable FROM libraries WHERE id = $1 AND deleted_at IS NOT NULL FOR UPDATE"
_DESTROY_KEY = "UPDATE libraries SET wrapped_key = NULL, key_id = NULL WHERE id = $1"
_PURGE_UPDATES = """
    DELETE FROM updates WHERE library_id = $1
    AND seq = ANY(ARRAY(SELECT seq FROM updates WHERE library_id = $1 ORDER BY seq LIMIT $2)) RETURNING 1
"""
_PURGE_SNAPSHOTS = """
    DELETE FROM snapshots WHERE library_id = $1
    AND seq = ANY(ARRAY(SELECT seq FROM snapshots WHERE library_id = $1 ORDER BY seq LIMIT $2)) RETURNING 1
"""
_PURGE_QUARANTINED = """
    DELETE FROM quarantined WHERE library_id = $1
    AND seq = ANY(ARRAY(SELECT seq FROM quarantined WHERE library_id = $1 ORDER BY seq LIMIT $2)) RETURNING 1
"""
_REMOVE = "DELETE FROM libraries WHERE id = $1"

_LIVING = "SELECT 1 FROM libraries WHERE id = $1 AND deleted_at IS NULL FOR KEY SHARE"
_TRIM = """
    DELETE FROM updates WHERE library_id = $1 AND seq = ANY(ARRAY(
        SELECT seq FROM updates WHERE library_id = $1
        AND seq <= (SELECT max(seq) FROM snapshots WHERE library_id = $1 AND verified_at <= $2)
        ORDER BY seq LIMIT $3
    )) RETURNING 1
"""
# Of each bucket of time the newest stays. A snapshot that was not verified within a day never will be; the log still has what it holds.
_SPENT = """
    SELECT s.seq FROM (
        SELECT seq, created_at, verified_at, pinned,
            max(seq) FILTER (WHERE verified_at IS NOT NULL) OVER () AS newest,
            max(seq) FILTER (WHERE verified_at <= $3) OVER () AS relied_on,
            row_number() OVER (PARTITION BY verified_at IS NULL, date_trunc('hour', created_at, 'UTC') ORDER BY seq DESC) AS in_hour,
            row_number() OVER (PARTITION BY verified_at IS NULL, date_trunc('day', created_at, 'UTC') ORDER BY seq DESC) AS in_day
        FROM snapshots WHERE library_id = {library}
    ) s
    WHERE NOT s.pinned AND CASE
        WHEN s.verified_at IS NULL THEN s.created_at <= $2::timestamptz - $4::interval
        WHEN s.seq = s.newest OR s.seq = s.relied_on THEN false
        WHEN s.created_at > $2::timestamptz - $4::interval THEN s.in_hour > 1
        WHEN s.created_at > $2::timestamptz - $5::interval THEN s.in_day > 1
        ELSE true
    END
    ORDER BY s.seq
"""
# The last condition is asked again of a row that was changed meanwhile: what a process that was paused for a day has just verified stays.
_THIN = f"""
    DELETE FROM snapshots WHERE library_id = $1 AND seq = ANY(ARRAY({_SPENT.format(library="$1")} LIMIT $6))
    AND (verified_at IS NULL OR verified_at <= $2) RETURNING 1
"""  # noqa: S608  # constants only
_RETAINABLE = f"""
    SELECT l.id, EXISTS (
        SELECT FROM updates WHERE library_id = l.id
        AND seq <= (SELECT max(seq) FROM snapshots WHERE library_id = l.id AND verified_at <= $3)
    ) OR EXISTS ({_SPENT.format(library="l.id")}) AS due
    FROM libraries l WHERE l.id = ANY($1) AND l.deleted_at IS NULL ORDER BY l.id
"""  # noqa: S608  # constants only
_PAGE = "SELECT id FROM libraries WHERE id > $1 AND deleted_at IS NULL ORDER BY id LIMIT $2"
_MARKED = "SELECT id FROM libraries WHERE deleted_at IS NOT NULL AND id > $1 ORDER BY id LIMIT $2"

_PURGE_SESSIONS = """
    DELETE FROM sessions WHERE id = ANY(ARRAY(
        SELECT id FROM sessions WHERE least(revoked_at, expires_at, idle_expires_at) < $1 LIMIT $2 FOR UPDATE SKIP LOCKED
    )) RETURNING 1
"""


async def purge_step(connection: Connection, library_id: UUID, limit: int) -> bool:
    """Destroy one chunk of a deleted library, at most `limit` rows; whether there is more to do.

    The data key goes first, so that the content cannot be read from then on (nor in later backups); then the log, the snapshots and
    what was quarantined, and at last the row with its members. A library that is not marked as deleted is left alone.
    """
    await connection.execute(_BE_BRIEF)
    library = await connection.fetchrow(_DELETED, library_id)
    if library is None:
        return False
    if library["readable"]:
        await connection.execute(_DESTROY_KEY, library_id)
        return True
    for statement in (_PURGE_UPDATES, _PURGE_SNAPSHOTS, _PURGE_QUARANTINED):
        if await connection.fetch(statement, library_id, limit):
            return True
    await connection.execute(_REMOVE, library_id)
    return False


async def trim_step(connection: Connection, library_id: UUID, older_than: datetime, limit: int) -> bool:
    """Delete one chunk of the updates that are in a snapshot verified before `older_than`, at most `limit`; whether there may be more."""
    await connection.execute(_BE_BRIEF)
    if await connection.fetchval(_LIVING, library_id) is None:
        return False
    return len(await connection.fetch(_TRIM, library_id, older_than, limit)) == limit


async def thin_step(connection: Connection, library_id: UUID, now: datetime, older_than: datetime, limit: int) -> bool:
    """Delete older snapshots, at most `limit`; whether there may be more.

    Kept are the newest verified one, the newest that trimming relied on (verified before `older_than`), whatever is pinned, the last
    one of each hour for a day, and the last one of each day for a month.
    """
    await connection.execute(_BE_BRIEF)
    if await connection.fetchval(_LIVING, library_id) is None:
        return False
    return len(await connection.fetch(_THIN, library_id, now, older_than, THINNED_AFTER, KEPT_FOR, limit)) == limit


async def libraries_after(connection: Connection, library_id: UUID, limit: int, *, deleted: bool) -> list[UUID]:
    """The next libraries in the order of their ids, those marked as deleted or the others."""
    return [row["id"] for row in await connection.fetch(_MARKED if deleted else _PAGE, library_id, limit)]


async def retainable(connection: Connection, library_ids: Sequence[UUID], now: datetime, older_than: datetime) -> list[UUID]:
    """Those of the libraries in which `trim_step` or `thin_step` would find something."""
    rows = await connection.fetch(_RETAINABLE, library_ids, now, older_than, THINNED_AFTER, KEPT_FOR)
    return [row["id"] for row in rows if row["due"]]


async def purge_sessions_step(connection: Connection, ended_before: datetime, limit: int) -> bool:
    """Delete sessions that were revoked or ran out before then, at most `limit`; whether there may be more."""
    await connection.execute(_BE_BRIEF)
    return len(await connection.fetch(_PURGE_SESSIONS, ended_before, limit)) == limit
