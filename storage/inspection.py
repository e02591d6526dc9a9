"""A library as its operator sees it: where its log stands and what is stored of it; never what is in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from storage import compaction, snapshots
from storage.errors import NotFound
from storage.pool import Connection
from storage.snapshots import Described

_LIBRARY = """
    SELECT l.owner_id, l.head, l.epoch, l.key_id, l.server_client_id, l.created_at, l.deleted_at, l.compacted_at,
        u.oldest_seq, u.kept_updates, u.kept_bytes
    FROM libraries AS l, LATERAL (
        SELECT min(seq) AS oldest_seq, count(*) AS kept_updates, coalesce(sum(octet_length(sealed)), 0)::bigint AS kept_bytes
        FROM updates WHERE library_id = l.id
    ) AS u
    WHERE l.id = $1
"""
_QUARANTINED = """
    SELECT seq, epoch, reason, created_at, octet_length(sealed) AS bytes FROM quarantined WHERE library_id = $1 ORDER BY seq
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetApart:
    """A quarantined update without its content; `bytes` as stored."""

    seq: int
    epoch: int
    reason: str
    created_at: datetime
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What is stored of a library. `kept` are the updates that are in the log, `tail` those of them after the newest verified snapshot."""

    owner_id: UUID
    head: int
    epoch: int
    key_id: str | None
    server_client_id: int
    created_at: datetime
    deleted_at: datetime | None
    compacted_at: datetime | None
    oldest_seq: int | None
    kept_updates: int
    kept_bytes: int
    tail_updates: int
    tail_bytes: int
    snapshots: Sequence[Described]
    quarantined: Sequence[SetApart]


async def inspect(connection: Connection, library_id: UUID) -> Inspection:
    """What is stored of the library, of one moment, deleted or not. Raises NotFound."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        library = await connection.fetchrow(_LIBRARY, library_id)
        if library is None:
            raise NotFound
        try:
            standing = await compaction.standing(connection, library_id)
            tail = standing.updates, standing.bytes
        except NotFound:  # deleted: there is no tail that anybody opens
            tail = 0, 0
        return Inspection(
            **library,
            tail_updates=tail[0],
            tail_bytes=tail[1],
            snapshots=await snapshots.of_library(connection, library_id),
            quarantined=[SetApart(**row) for row in await connection.fetch(_QUARANTINED, library_id)],
        )
