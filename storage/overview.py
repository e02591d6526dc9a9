"""A user's libraries with where each stands: what is stored of them in numbers, never what is in them."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from storage.libraries import COLUMNS, Library, of_row
from storage.pool import Connection

# The newest update's time; of one that is trimmed away, the time of the snapshot that holds it.
_OF_USER = f"""
    SELECT {COLUMNS}, s.seq AS snapshot_seq, s.bytes AS snapshot_bytes,
        t.updates AS tail_updates, t.bytes AS tail_bytes,
        (SELECT count(*) FROM quarantined WHERE library_id = l.id) AS quarantined,
        coalesce((SELECT created_at FROM updates WHERE library_id = l.id AND seq = l.head), s.created_at) AS last_change
    FROM members AS m JOIN libraries AS l ON l.id = m.library_id AND l.deleted_at IS NULL
    LEFT JOIN LATERAL (
        SELECT seq, bytes, created_at FROM snapshots WHERE library_id = l.id AND verified_at IS NOT NULL ORDER BY seq DESC LIMIT 1
    ) AS s ON true
    LEFT JOIN LATERAL (
        SELECT count(*) AS updates, coalesce(sum(octet_length(sealed)), 0)::bigint AS bytes
        FROM updates WHERE library_id = l.id AND seq > coalesce(s.seq, 0)
    ) AS t ON true
    WHERE m.user_id = $1 AND ($2::uuid IS NULL OR l.id = $2) ORDER BY l.created_at, l.id
"""  # noqa: S608  # constants only


# Sealed bytes are stored as they are, so their lengths are known without reading them.
_STORED = """
    SELECT log.updates, log.bytes, kept.snapshots, kept.bytes AS snapshot_bytes
    FROM (
        SELECT count(*) AS updates, coalesce(sum(octet_length(sealed)), 0)::bigint AS bytes FROM updates WHERE library_id = $1
    ) AS log, (
        SELECT count(*) AS snapshots, coalesce(sum(octet_length(sealed) + octet_length(sealed_knowledge)), 0)::bigint AS bytes
        FROM snapshots WHERE library_id = $1
    ) AS kept
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What the database keeps of a library, in bytes as they are sealed."""

    updates: int
    update_bytes: int
    snapshots: int
    snapshot_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """One library: its newest verified snapshot (seq 0: none), the updates after it with their bytes as stored, and what is set apart."""

    library: Library
    snapshot_seq: int
    snapshot_bytes: int
    tail_updates: int
    tail_bytes: int
    quarantined: int
    last_change: datetime | None


async def of_user(connection: Connection, user_id: UUID, library_id: UUID | None = None) -> list[Overview]:
    """The libraries that the user is a member of, oldest first; only the one that is named, if one is."""
    return [
        Overview(
            library=of_row(row),
            snapshot_seq=row["snapshot_seq"] or 0,
            snapshot_bytes=row["snapshot_bytes"] or 0,
            tail_updates=row["tail_updates"],
            tail_bytes=row["tail_bytes"],
            quarantined=row["quarantined"],
            last_change=row["last_change"],
        )
        for row in await connection.fetch(_OF_USER, user_id, library_id)
    ]


async def stored(connection: Connection, library_id: UUID) -> Stored:
    """What the log and the snapshots of a library take."""
    row = await connection.fetchrow(_STORED, library_id)
    assert row is not None  # noqa: S101  # sums always are
    return Stored(updates=row["updates"], update_bytes=row["bytes"], snapshots=row["snapshots"], snapshot_bytes=row["snapshot_bytes"])
