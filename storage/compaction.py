"""What compaction asks of the database: who may compact a library, whether it is due, and the next part of its log to fold."""

from dataclasses import dataclass, field
from uuid import UUID

from storage.errors import NotFound
from storage.pool import Connection
from storage.updates import LogBroken, Sealed, SealedSnapshot

# One number for each library; two that share one keep each other waiting at worst.
_TRY_LOCK = "SELECT pg_try_advisory_lock(hashtextextended($1::uuid::text, 7203948573))"
_UNLOCK = "SELECT pg_advisory_unlock(hashtextextended($1::uuid::text, 7203948573))"
_STANDING = """
    SELECT l.head, l.epoch, coalesce(s.seq, 0) AS snapshot_seq, coalesce(s.bytes, 0) AS snapshot_bytes, t.updates, t.bytes
    FROM libraries AS l
    LEFT JOIN LATERAL (
        SELECT seq, bytes FROM snapshots WHERE library_id = l.id AND verified_at IS NOT NULL ORDER BY seq DESC LIMIT 1
    ) AS s ON true
    LEFT JOIN LATERAL (
        SELECT count(*) AS updates, coalesce(sum(octet_length(sealed)), 0)::bigint AS bytes
        FROM updates WHERE library_id = l.id AND seq > coalesce(s.seq, 0)
    ) AS t ON true
    WHERE l.id = $1 AND l.deleted_at IS NULL AND l.wrapped_key IS NOT NULL
"""
_LIBRARY = """
    SELECT head, epoch, wrapped_key, key_id, ARRAY(SELECT seq FROM quarantined WHERE library_id = l.id) AS quarantined
    FROM libraries AS l WHERE id = $1 AND deleted_at IS NULL AND wrapped_key IS NOT NULL
"""
_SNAPSHOT = """
    SELECT seq, epoch, sealed_knowledge, sealed, bytes FROM snapshots
    WHERE library_id = $1 AND verified_at IS NOT NULL ORDER BY seq DESC LIMIT 1
"""
# The sum is over the sizes, which PostgreSQL knows without reading what they are the sizes of.
_TAIL = """
    SELECT seq, epoch, sealed FROM (
        SELECT seq, epoch, sealed, sum(octet_length(sealed)) OVER (ORDER BY seq) - octet_length(sealed) AS before
        FROM (SELECT * FROM updates WHERE library_id = $1 AND seq > $2 ORDER BY seq LIMIT $3) AS rows
    ) AS rows WHERE before < $4 ORDER BY seq
"""
# A writer that finds the row locked comes again in a few milliseconds; this does not even do that.
_TOUCH = """
    UPDATE libraries SET snapshot_seq = greatest(snapshot_seq, $2), compacted_at = now()
    WHERE id = (SELECT id FROM libraries WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE SKIP LOCKED)
"""
_PAGE = "SELECT id FROM libraries WHERE id > $1 AND deleted_at IS NULL AND head > snapshot_seq ORDER BY id LIMIT $2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How much a library has to fold: its verified snapshot (seq 0: none) and the updates after it."""

    head: int
    epoch: int
    snapshot_seq: int
    snapshot_bytes: int
    updates: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """A library's newest verified snapshot and the next updates after it, of one moment."""

    epoch: int
    key_id: str
    wrapped_key: bytes = field(repr=False)
    snapshot: SealedSnapshot | None
    tail: list[Sealed]
    quarantined: frozenset[int]
    """The seqs of what must not be folded."""


async def try_lock(connection: Connection, library_id: UUID) -> bool:
    """Whether this connection alone may compact the library from now on, until `unlock` or its end."""
    return bool(await connection.fetchval(_TRY_LOCK, library_id))


async def unlock(connection: Connection, library_id: UUID) -> None:
    """Let others compact the library."""
    await connection.execute(_UNLOCK, library_id)


async def standing(connection: Connection, library_id: UUID) -> Standing:
    """How much there is to fold, without reading any of it. Raises NotFound."""
    row = await connection.fetchrow(_STANDING, library_id)
    if row is None:
        raise NotFound
    return Standing(**row)


async def portion(connection: Connection, library_id: UUID, *, rows: int, nbytes: int) -> Portion:
    """The snapshot and the updates after it, of which there are some: at most so many, and none more once they reach so many bytes.

    Raises:
        NotFound: no such library, or it is deleted.
        LogBroken: rows are missing, or there are none.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        library = await connection.fetchrow(_LIBRARY, library_id)
        if library is None:
            raise NotFound
        row = await connection.fetchrow(_SNAPSHOT, library_id)
        snapshot = SealedSnapshot(row["seq"], row["epoch"], row["sealed_knowledge"], row["sealed"], row["bytes"]) if row else None
        before = snapshot.seq if snapshot else 0
        tail = [Sealed(*row) for row in await connection.fetch(_TAIL, library_id, before, rows, nbytes)]
    for expected, update in enumerate(tail, before + 1):
        if update.seq != expected:
            raise LogBroken(library_id, expected, update.seq)
    if not tail:
        raise LogBroken(library_id, before + 1, library["head"])
    return Portion(
        epoch=library["epoch"],
        key_id=library["key_id"],
        wrapped_key=library["wrapped_key"],
        snapshot=snapshot,
        tail=tail,
        quarantined=frozenset(library["quarantined"]),
    )


async def touch(connection: Connection, library_id: UUID, seq: int) -> None:
    """Note with the library that a verified snapshot holds everything up to `seq`; when a writer has the row, the next one will."""
    await connection.execute(_TOUCH, library_id, seq)


async def unfolded(connection: Connection, after: UUID, limit: int) -> list[UUID]:
    """The next libraries, in the order of their ids, that have updates which no verified snapshot is known to hold."""
    return [row["id"] for row in await connection.fetch(_PAGE, after, limit)]
