"""The log of the libraries' updates: sealed rows, numbered without gaps under the library's row lock.

The row locks, taken in id order, order the writers of each library over all processes, so that a reader of `seq > n`
never meets a gap, and a sealed row is bound to its place by its associated data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from storage.errors import NotFound, StorageError
from storage.pool import Connection, Record

# With what lies after the given heads, for whoever has fallen behind: one round trip while the locks are held. The snapshot is older than
# the locks, so a row may be missing that was committed meanwhile: the head tells.
_LOCK = """
    WITH locked AS MATERIALIZED (
        SELECT l.id, l.head, l.epoch, asked.head AS known FROM unnest($1::uuid[], $2::bigint[]) AS asked (id, head)
        JOIN libraries AS l ON l.id = asked.id AND l.deleted_at IS NULL ORDER BY l.id FOR NO KEY UPDATE OF l SKIP LOCKED
    )
    SELECT locked.id, locked.head, locked.epoch, u.seq, u.row_epoch, u.sealed FROM locked
    LEFT JOIN LATERAL (
        SELECT seq, epoch AS row_epoch, CASE WHEN octet_length(sealed) <= $4 THEN sealed END AS sealed
        FROM updates WHERE library_id = locked.id AND seq > locked.known ORDER BY seq LIMIT $3
    ) AS u ON true ORDER BY locked.id, u.seq
"""
_EXISTING = "SELECT id FROM libraries WHERE id = ANY($1) AND deleted_at IS NULL"
_APPEND = """
    WITH stored AS (
        INSERT INTO updates (library_id, seq, epoch, session_id, sealed)
        SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::uuid[], $5::bytea[])
    )
    UPDATE libraries AS l SET head = batch.head FROM unnest($6::uuid[], $7::bigint[]) AS batch (id, head) WHERE l.id = batch.id
"""
# Joined, not `IN (SELECT …)`: a row that somebody updated after this statement began is looked at again with the rows it was joined to.
_APPEND_AT_ONCE = """
    WITH standing AS MATERIALIZED (
        SELECT l.id, l.epoch, expected.new_head
        FROM unnest($5::uuid[], $6::bigint[], $7::bigint[], $8::bigint[]) AS expected (id, head, new_head, epoch)
        JOIN libraries AS l ON l.id = expected.id AND l.head = expected.head AND l.epoch = expected.epoch AND l.deleted_at IS NULL
        FOR NO KEY UPDATE OF l SKIP LOCKED
    ), stored AS (
        INSERT INTO updates (library_id, seq, epoch, session_id, sealed)
        SELECT row.library_id, row.seq, standing.epoch, row.session_id, row.sealed
        FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::bytea[]) AS row (library_id, seq, session_id, sealed)
        JOIN standing ON standing.id = row.library_id
    )
    UPDATE libraries AS l SET head = standing.new_head FROM standing WHERE l.id = standing.id RETURNING l.id
"""
_STORED_OF = """
    SELECT u.library_id FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bytea[]) AS asked (library_id, seq, epoch, sealed)
    JOIN updates AS u ON u.library_id = asked.library_id AND u.seq = asked.seq AND u.epoch = asked.epoch AND u.sealed = asked.sealed
"""
_LIBRARY = """
    SELECT head, epoch, server_client_id, wrapped_key, key_id, ARRAY(SELECT seq FROM quarantined WHERE library_id = l.id) AS quarantined
    FROM libraries AS l WHERE id = $1 AND deleted_at IS NULL AND wrapped_key IS NOT NULL
"""
# One that was not read back and compared yet is not believed; the log still has all that it holds.
_SNAPSHOT = """
    SELECT seq, epoch, bytes, sealed_knowledge, sealed FROM snapshots
    WHERE library_id = $1 AND verified_at IS NOT NULL ORDER BY seq DESC LIMIT 1
"""
_SNAPSHOT_KNOWLEDGE = """
    SELECT seq, epoch, bytes, sealed_knowledge, NULL AS sealed FROM snapshots
    WHERE library_id = $1 AND verified_at IS NOT NULL ORDER BY seq DESC LIMIT 1
"""
_SINCE = "SELECT seq, epoch, sealed FROM updates WHERE library_id = $1 AND seq > $2 ORDER BY seq"
# PostgreSQL knows the sizes without reading what they are the sizes of.
_WEIGHT = "SELECT coalesce(sum(octet_length(sealed)), 0)::bigint FROM updates WHERE library_id = $1 AND seq > $2"
# LATERAL: one index walk a library, whatever the planner thinks of the table; and none can crowd out the others. Where it finds nothing,
# the library's head tells a log that ends there from one that was trimmed to its end.
_BEHIND = """
    SELECT library_id, seq, epoch, sealed FROM (
        SELECT asked.id AS library_id, u.epoch, u.sealed,
            coalesce(u.seq, (SELECT l.head FROM libraries AS l WHERE l.id = asked.id AND l.head > asked.head)) AS seq
        FROM unnest($1::uuid[], $2::bigint[]) AS asked (id, head)
        LEFT JOIN LATERAL (
            SELECT seq, epoch, CASE WHEN octet_length(sealed) <= $4 THEN sealed END AS sealed
            FROM updates WHERE library_id = asked.id AND seq > asked.head ORDER BY seq LIMIT $3
        ) AS u ON true
    ) AS found WHERE seq IS NOT NULL ORDER BY library_id, seq
"""
_HEADS = "SELECT id, head, epoch FROM libraries WHERE id = ANY($1) AND deleted_at IS NULL"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a library's log stands: its last seq and its epoch."""

    head: int
    epoch: int


class Row(NamedTuple):
    """One sealed update at its place, in the order of the columns. (A tuple: thousands a second are made.)"""

    library_id: UUID
    seq: int
    epoch: int
    session_id: UUID | None
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Sealed:
    """Sealed bytes and the place (epoch, seq) that they are bound to."""

    seq: int
    epoch: int
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SealedSnapshot:
    """A snapshot's place and sealed parts; `content` is None where only the knowledge was asked for, `nbytes` its size before sealing."""

    seq: int
    epoch: int
    knowledge: bytes = field(repr=False)
    content: bytes | None = field(repr=False)
    nbytes: int = 0


@dataclass(frozen=True, slots=True)
class Loaded:
    """A library at one moment: the newest verified snapshot, if any, and every later update up to `head`; what Yrs breaks on by its seq."""

    head: int
    epoch: int
    server_client_id: int
    key_id: str
    wrapped_key: bytes = field(repr=False)
    snapshot: SealedSnapshot | None
    tail: list[Sealed]
    quarantined: frozenset[int] = frozenset()


class LogBroken(StorageError):
    """The stored log has a gap: opening is refused, since an incomplete library must never be shown as the whole."""

    def __init__(self, library_id: UUID, expected: int, found: int) -> None:
        super().__init__(f"the log of library {library_id} has {found} where {expected} belongs")
        self.library_id = library_id


async def lock(
    connection: Connection, heads: Mapping[UUID, int], *, rows: int, largest: int
) -> tuple[dict[UUID, Place], dict[UUID, list[Sealed]]]:
    """Lock those of the libraries that exist and that nobody else holds, in id order; and what lies after the given heads (see `behind`).

    Runs inside the caller's transaction. What is missing from the answer is either gone or locked: ask `existing`.
    """
    places: dict[UUID, Place] = {}
    missed: dict[UUID, list[Sealed]] = {}
    for row in await connection.fetch(_LOCK, list(heads), list(heads.values()), rows, largest):
        places[row["id"]] = Place(row["head"], row["epoch"])
        if row["seq"] is not None:
            missed.setdefault(row["id"], []).append(Sealed(row["seq"], row["row_epoch"], row["sealed"] or b""))
    return places, missed


async def append_at_once(connection: Connection, rows: Sequence[Row], heads: Mapping[UUID, Place]) -> set[UUID]:
    """Store rows of libraries that stand where `heads` says, in one statement that is its own transaction; which those were.

    The rows follow their library's head without gaps. Of a library that is locked, gone or elsewhere by now nothing is stored. What is
    returned is durable. When the connection breaks meanwhile, the outcome is unknown.
    """
    last = {row.library_id: row.seq for row in rows}
    places = [heads[library_id] for library_id in last]
    library_ids, seqs, _, session_ids, sealed = zip(*rows, strict=True)
    stored = await connection.fetch(
        _APPEND_AT_ONCE,
        library_ids,
        seqs,
        session_ids,
        sealed,
        list(last),
        [place.head for place in places],
        list(last.values()),
        [place.epoch for place in places],
    )
    return {row["id"] for row in stored}


async def existing(connection: Connection, library_ids: Sequence[UUID]) -> set[UUID]:
    """Those of the libraries that are there and not deleted."""
    return {row["id"] for row in await connection.fetch(_EXISTING, library_ids)}


async def append(connection: Connection, rows: Sequence[Row]) -> None:
    """Insert rows and advance each library's head to its last one. Durable once the caller's transaction commits.

    Runs inside the transaction that holds the libraries' locks; rows of one library are in seq order.
    """
    heads = {row.library_id: row.seq for row in rows}
    await connection.execute(_APPEND, *zip(*rows, strict=True), list(heads.keys()), list(heads.values()))


async def stored_of(connection: Connection, rows: Sequence[Row]) -> set[UUID]:
    """The libraries of those rows that are in the log exactly as they are here; at most one row a library.

    Tells what became of a write whose connection broke, once its backend is gone. The transaction's id would not do: one that
    never reached the disk before a crash is given out again. Sealed bytes carry a random nonce and do not repeat.
    """
    found = await connection.fetch(
        _STORED_OF,
        [row.library_id for row in rows],
        [row.seq for row in rows],
        [row.epoch for row in rows],
        [row.sealed for row in rows],
    )
    return {row["library_id"] for row in found}


async def load(connection: Connection, library_id: UUID, *, content: bool) -> Loaded:
    """The library as it stands: snapshot and tail of one moment; without `content` the snapshot's bytes are not read.

    Raises:
        NotFound: no such library, or it is deleted.
        LogBroken: rows are missing between the snapshot and the head.
    """
    # One moment for all three reads: under READ COMMITTED a compaction between two of them hides what it folded.
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        library = await connection.fetchrow(_LIBRARY, library_id)
        if library is None:
            raise NotFound
        row = await connection.fetchrow(_SNAPSHOT if content else _SNAPSHOT_KNOWLEDGE, library_id)
        snapshot = SealedSnapshot(row["seq"], row["epoch"], row["sealed_knowledge"], row["sealed"], row["bytes"]) if row else None
        tail = await connection.fetch(_SINCE, library_id, snapshot.seq if snapshot else 0)
    rows = _contiguous(library_id, snapshot.seq if snapshot else 0, tail, library["head"])
    return _loaded(library, snapshot, rows)


async def since(connection: Connection, library_id: UUID, seq: int) -> Loaded:
    """Every update after `seq`, without any snapshot.

    Raises:
        NotFound: no such library, or it is deleted.
        LogBroken: `seq` is below the oldest kept row.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        library = await connection.fetchrow(_LIBRARY, library_id)
        if library is None:
            raise NotFound
        tail = await connection.fetch(_SINCE, library_id, seq)
    rows = _contiguous(library_id, seq, tail, library["head"])
    return _loaded(library, None, rows)


async def weight(connection: Connection, library_id: UUID, seq: int) -> int:
    """How many bytes `since` would read, without reading them."""
    return int(await connection.fetchval(_WEIGHT, library_id, seq))


async def behind(connection: Connection, heads: Mapping[UUID, int], *, rows: int, largest: int) -> dict[UUID, list[Sealed]]:
    """What each library's log holds after the given head: at most so many rows a library, in seq order, from one moment.

    Of a row of more than `largest` bytes `sealed` is empty: `since` reads it. Libraries of which there is nothing are absent. Whether
    the first row follows the head is for the caller to see: below the oldest kept row it does not. Where all of it is trimmed away, an
    empty row at the library's head stands for it, which `since` refuses.
    """
    found: dict[UUID, list[Sealed]] = {}
    for row in await connection.fetch(_BEHIND, list(heads), list(heads.values()), rows, largest):
        found.setdefault(row["library_id"], []).append(Sealed(row["seq"], row["epoch"] or 0, row["sealed"] or b""))
    return found


async def heads(connection: Connection, library_ids: Sequence[UUID]) -> dict[UUID, Place]:
    """Head and epoch of those of the libraries that exist."""
    return {row["id"]: Place(row["head"], row["epoch"]) for row in await connection.fetch(_HEADS, library_ids)}


def _loaded(library: Record, snapshot: SealedSnapshot | None, tail: list[Sealed]) -> Loaded:
    quarantined = frozenset(library["quarantined"])
    place = library["head"], library["epoch"], library["server_client_id"]
    return Loaded(*place, library["key_id"], library["wrapped_key"], snapshot, tail, quarantined)


def _contiguous(library_id: UUID, before: int, tail: Sequence[Record], head: int) -> list[Sealed]:
    rows = [Sealed(row["seq"], row["epoch"], row["sealed"]) for row in tail]
    for expected, row in enumerate(rows, before + 1):
        if row.seq != expected:
            raise LogBroken(library_id, expected, row.seq)
    last = rows[-1].seq if rows else before
    if last != head:
        raise LogBroken(library_id, head, last)
    return rows
