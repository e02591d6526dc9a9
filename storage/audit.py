"""The audit log: who did what and from where, written in the transaction of what it tells, and never changed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from storage.pool import Connection, Record

_INSERT = """
    INSERT INTO audit (at, event, user_id, actor_id, actor, session_id, address, user_agent, target, details)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
_COLUMNS = "id, at, event, user_id, actor_id, actor, session_id, address, user_agent, target, details"
_OF_USER = f"""
    SELECT {_COLUMNS} FROM audit WHERE user_id = $1 AND id < coalesce($2, 9223372036854775807) ORDER BY id DESC LIMIT $3
"""  # noqa: S608  # the columns are the constant above
_PAGE = f"""
    SELECT {_COLUMNS} FROM audit
    WHERE ($1::uuid IS NULL OR user_id = $1) AND ($2::text IS NULL OR event = $2) AND ($3::timestamptz IS NULL OR at >= $3)
        AND id < coalesce($4, 9223372036854775807) AND id > coalesce($5, 0)
    ORDER BY id DESC LIMIT $6
"""  # noqa: S608  # the columns are the constant above
_NEWEST = "SELECT coalesce(max(id), 0) FROM audit"
# The second condition is the trigger's own, so that clocks that differ are no reason to be refused.
_PURGE = """
    DELETE FROM audit WHERE id = ANY(ARRAY(
        SELECT id FROM audit WHERE at < $1 AND at < now() - interval '30 days' ORDER BY at LIMIT $2
    )) RETURNING 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEntry:
    """What is to be noted. `details` is small and holds no secret."""

    at: datetime
    event: str
    user_id: UUID | None
    actor: str = "user"
    actor_id: UUID | None = None
    session_id: UUID | None = None
    address: str = ""
    user_agent: str = ""
    target: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(NewEntry):
    """What was noted, newest id last."""

    id: int


async def append(connection: Connection, entry: NewEntry) -> None:
    """Note it, once and for all, as part of the caller's transaction."""
    await connection.execute(
        _INSERT,
        entry.at,
        entry.event,
        entry.user_id,
        entry.actor_id,
        entry.actor,
        entry.session_id,
        entry.address,
        entry.user_agent,
        entry.target,
        json.dumps(dict(entry.details)),
    )


async def of_user(connection: Connection, user_id: UUID, *, before: int | None, limit: int) -> list[Entry]:
    """What concerns this account, newest first, older than the entry `before`."""
    return [entry_of(row) for row in await connection.fetch(_OF_USER, user_id, before, limit)]


async def page(
    connection: Connection,
    *,
    user_id: UUID | None = None,
    event: str | None = None,
    since: datetime | None = None,
    before: int | None = None,
    after: int | None = None,
    limit: int,
) -> list[Entry]:
    """What was noted, newest first: of one account, of one kind, not before a time, and between two entries, as far as each is given."""
    return [entry_of(row) for row in await connection.fetch(_PAGE, user_id, event, since, before, after, limit)]


async def newest(connection: Connection) -> int:
    """The id of the newest entry; 0 where there is none. One that is not committed yet may come with a lower id."""
    return int(await connection.fetchval(_NEWEST))


async def purge_step(connection: Connection, before: datetime, limit: int) -> bool:
    """Delete entries older than that, and than 30 days, at most `limit`, the oldest first; whether there may be more."""
    return len(await connection.fetch(_PURGE, before, limit)) == limit


def entry_of(row: Record) -> Entry:
    """The entry in a row that has the log's columns."""
    return Entry(**{name: row[name] for name in _COLUMNS.split(", ") if name != "details"}, details=json.loads(row["details"]))
