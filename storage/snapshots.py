"""Snapshots: a library's log folded up to a seq, with what it holds beside it.

One that was just written is not used by anybody, for opening as little as for trimming, until it has been read back and is marked as
verified: until then the log still has everything that it holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from storage.pool import Connection
from storage.updates import SealedSnapshot

_CLEAR = "DELETE FROM snapshots WHERE library_id = $1 AND verified_at IS NULL"
_INSERT = """
    INSERT INTO snapshots (library_id, seq, epoch, sealed_knowledge, sealed, bytes) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (library_id, seq) DO NOTHING RETURNING seq
"""
# No writer waits for KEY SHARE. The purge does, and then finds the snapshot.
_STANDS = "SELECT 1 FROM libraries WHERE id = $1 AND epoch = $2 AND head >= $3 AND deleted_at IS NULL FOR KEY SHARE"
_WRITTEN = "SELECT seq, epoch, sealed_knowledge, sealed, bytes FROM snapshots WHERE library_id = $1 AND seq = $2 AND epoch = $3"
_VERIFY = """
    UPDATE snapshots SET verified_at = now() WHERE library_id = $1 AND seq = $2 AND epoch = $3 AND verified_at IS NULL RETURNING seq
"""
_SUPERSEDE = """
    DELETE FROM snapshots AS old USING snapshots AS new
    WHERE new.library_id = $1 AND new.seq = $2 AND new.verified_at IS NOT NULL
    AND old.library_id = $1 AND old.seq < $2 AND old.verified_at IS NOT NULL AND NOT old.pinned
    AND date_trunc('hour', old.created_at, 'UTC') = date_trunc('hour', new.created_at, 'UTC')
"""
_OF_LIBRARY = "SELECT seq, epoch, created_at, verified_at, bytes, pinned FROM snapshots WHERE library_id = $1 ORDER BY seq"


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A snapshot without what is in it; `bytes` are those of the content before it was sealed."""

    seq: int
    epoch: int
    created_at: datetime
    verified_at: datetime | None
    bytes: int
    pinned: bool


async def insert(connection: Connection, library_id: UUID, snapshot: SealedSnapshot) -> bool:
    """Store a snapshot that is not verified yet, in the place of earlier ones that never were; False when it has no place.

    It has none when the library is deleted, in another epoch or behind it, or when its seq has a verified one. Runs inside the caller's
    transaction, which is to be rolled back then.
    """
    await connection.execute(_CLEAR, library_id)
    made = await connection.fetchval(
        _INSERT, library_id, snapshot.seq, snapshot.epoch, snapshot.knowledge, snapshot.content, snapshot.nbytes
    )
    return made is not None and await connection.fetchval(_STANDS, library_id, snapshot.epoch, snapshot.seq) is not None


async def written(connection: Connection, library_id: UUID, seq: int, epoch: int) -> SealedSnapshot | None:
    """The snapshot of this place as the database has it, whether verified or not."""
    row = await connection.fetchrow(_WRITTEN, library_id, seq, epoch)
    return SealedSnapshot(row["seq"], row["epoch"], row["sealed_knowledge"], row["sealed"], row["bytes"]) if row else None


async def verify(connection: Connection, library_id: UUID, seq: int, epoch: int) -> bool:
    """Mark the snapshot as read back and equal: from now on it is opened and trimmed by. False when it is gone."""
    return await connection.fetchval(_VERIFY, library_id, seq, epoch) is not None


async def supersede(connection: Connection, library_id: UUID, seq: int) -> None:
    """Delete the earlier verified snapshots of the hour of this verified one, but for pinned ones: one an hour is enough to go back to."""
    await connection.execute(_SUPERSEDE, library_id, seq)


async def of_library(connection: Connection, library_id: UUID) -> Sequence[Described]:
    """The library's snapshots, oldest first."""
    return [Described(**row) for row in await connection.fetch(_OF_LIBRARY, library_id)]
