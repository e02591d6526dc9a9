"""Restore points: a library's verified snapshots, and the log after them as long as it is kept, by which an earlier state is read again."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from storage.errors import NotFound
from storage.pool import Connection, Record
from storage.updates import Sealed, SealedSnapshot

TAIL_ROWS, TAIL_BYTES = 20_000, 64 << 20
"""Updates after a snapshot that a state is made of at most; past either it is the snapshot's."""

_LIBRARY = """
    SELECT wrapped_key, key_id, ARRAY(SELECT seq FROM quarantined WHERE library_id = l.id) AS quarantined
    FROM libraries AS l WHERE id = $1 AND deleted_at IS NULL AND wrapped_key IS NOT NULL
"""
_COLUMNS = "seq, epoch, created_at, sealed_knowledge, sealed, bytes"
_AT_SEQ = f"SELECT {_COLUMNS} FROM snapshots WHERE library_id = $1 AND seq = $2 AND verified_at IS NOT NULL"  # noqa: S608  # constants only
_BEFORE = f"""
    SELECT {_COLUMNS} FROM snapshots WHERE library_id = $1 AND created_at <= $2 AND verified_at IS NOT NULL ORDER BY seq DESC LIMIT 1
"""  # noqa: S608  # constants only
# Up to the first that came later: seqs are given in the order of the commits, the times when each began.
_TAIL = """
    SELECT seq, epoch, created_at, sealed FROM (
        SELECT seq, epoch, created_at, sealed, bool_and(created_at <= $3) OVER rows AS early, sum(octet_length(sealed)) OVER rows AS bytes
        FROM (SELECT * FROM updates WHERE library_id = $1 AND seq > $2 ORDER BY seq LIMIT $4) AS rows WINDOW rows AS (ORDER BY seq)
    ) AS rows WHERE early AND bytes <= $5 ORDER BY seq
"""
_PIN = """
    UPDATE snapshots AS s SET pinned = true
    FROM (SELECT pinned FROM snapshots WHERE library_id = $1 AND seq = $2 AND verified_at IS NOT NULL FOR UPDATE) AS before
    WHERE s.library_id = $1 AND s.seq = $2 RETURNING NOT before.pinned
"""
_UNPIN = "UPDATE snapshots SET pinned = false WHERE library_id = $1 AND seq = $2"
_KEEP_PINNED = """
    UPDATE snapshots SET pinned = false WHERE library_id = $1 AND pinned
    AND seq NOT IN (SELECT seq FROM snapshots WHERE library_id = $1 AND pinned ORDER BY seq DESC LIMIT $2)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A library as it was: sealed, with its key."""

    as_of: datetime
    """When it was so: the time of the snapshot, or of the last update after it."""
    seq: int
    wrapped_key: bytes = field(repr=False)
    key_id: str
    snapshot: SealedSnapshot | None
    tail: list[Sealed]


async def at_point(connection: Connection, library_id: UUID, seq: int) -> Past:
    """The library at one of its snapshots. Raises NotFound where there is no such library or snapshot."""
    library = await _library(connection, library_id)
    row = await connection.fetchrow(_AT_SEQ, library_id, seq)
    if row is None:
        raise NotFound
    return _past(library, row, [])


async def at_time(connection: Connection, library_id: UUID, moment: datetime) -> Past:
    """The library as it was at that moment, or as near before it as snapshots and log still reach. Raises NotFound where neither does."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        library = await _library(connection, library_id)
        row = await connection.fetchrow(_BEFORE, library_id, moment)
        first = row["seq"] if row else 0
        rows = await connection.fetch(_TAIL, library_id, first, moment, TAIL_ROWS, TAIL_BYTES)
    tail = rows if rows and rows[0]["seq"] == first + 1 else []  # else it is trimmed: no gap is stepped over
    if row is None and not tail:
        raise NotFound
    return _past(library, row, tail)


async def pin(connection: Connection, library_id: UUID, seq: int, most: int) -> bool | None:
    """Have retention keep a snapshot, and of the pinned ones the newest so many. Whether it was not kept before; None where it is gone."""
    is_new: bool | None = await connection.fetchval(_PIN, library_id, seq)
    if is_new is not None:
        await connection.execute(_KEEP_PINNED, library_id, most)
    return is_new


async def unpin(connection: Connection, library_id: UUID, seq: int) -> None:
    """Leave a snapshot to retention again."""
    await connection.execute(_UNPIN, library_id, seq)


async def _library(connection: Connection, library_id: UUID) -> Record:
    row = await connection.fetchrow(_LIBRARY, library_id)
    if row is None:
        raise NotFound
    return row


def _past(library: Record, row: Record | None, tail: Sequence[Record]) -> Past:
    snapshot = SealedSnapshot(row["seq"], row["epoch"], row["sealed_knowledge"], row["sealed"], row["bytes"]) if row else None
    last = tail[-1] if tail else row
    assert last is not None  # noqa: S101  # the callers have seen to it; tells the type checker
    apart = set(library["quarantined"])
    return Past(
        as_of=last["created_at"],
        seq=last["seq"],
        wrapped_key=library["wrapped_key"],
        key_id=library["key_id"],
        snapshot=snapshot,
        tail=[Sealed(each["seq"], each["epoch"], each["sealed"]) for each in tail if each["seq"] not in apart],
    )
