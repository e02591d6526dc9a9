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


def entry_of(row: Record) -> Entry:
    """The entry in a row that has the log's columns."""
    return Entry(**{name: row[name] for name in _COLUMNS.split(", ") if name != "details"}, details=json.loads(row["details"]))
