"""Snapshot rows: believed only once verified, and one an hour kept."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from storage import snapshots, updates
from storage.pool import Connection, Database
from storage.updates import SealedSnapshot
from tests.support.core import store_user
from tests.support.snapshots import store_verified


@pytest.fixture
async def connection(database_dsn: str) -> AsyncIterator[Connection]:
    database = await Database.open(database_dsn, size=2)
    async with database.acquire() as connection:
        yield connection
    await database.close()


async def seqs(connection: Connection, library_id: UUID) -> list[tuple[int, bool]]:
    return [(found.seq, found.verified_at is not None) for found in await snapshots.of_library(connection, library_id)]


async def library_at(connection: Connection, head: int, epoch: int = 1) -> UUID:
    library_id = uuid4()
    await connection.execute(
        "INSERT INTO libraries (id, owner_id, name, server_client_id, wrapped_key, key_id, head, epoch)"
        " VALUES ($1, $2, '', 1, '\\x00', 'k1', $3, $4)",
        library_id,
        await store_user(connection),
        head,
        epoch,
    )
    await connection.execute(
        "INSERT INTO updates (library_id, seq, epoch, sealed) SELECT $1, n, 1, 'x' FROM generate_series(1, $2::int) n", library_id, head
    )
    return library_id


async def test_a_snapshot_is_not_opened_before_it_is_verified(connection: Connection) -> None:
    library_id = await library_at(connection, 5)
    assert await snapshots.insert(connection, library_id, SealedSnapshot(3, 1, b"known", b"content", 7))
    assert (await updates.load(connection, library_id, content=True)).snapshot is None
    assert await snapshots.written(connection, library_id, 3, 1) == SealedSnapshot(3, 1, b"known", b"content", 7)
    assert await snapshots.verify(connection, library_id, 3, 1)
    loaded = await updates.load(connection, library_id, content=True)
    assert loaded.snapshot == SealedSnapshot(3, 1, b"known", b"content", 7)
    assert [row.seq for row in loaded.tail] == [4, 5]


async def test_one_that_was_never_verified_makes_way_for_the_next(connection: Connection) -> None:
    library_id = await library_at(connection, 5)
    await store_verified(connection, library_id, SealedSnapshot(2, 1, b"", b""))
    assert await snapshots.insert(connection, library_id, SealedSnapshot(4, 1, b"", b"half"))
    assert await snapshots.insert(connection, library_id, SealedSnapshot(4, 1, b"", b"whole"))
    assert await snapshots.insert(connection, library_id, SealedSnapshot(5, 1, b"", b"later"))
    assert await seqs(connection, library_id) == [(2, True), (5, False)]
    assert await snapshots.written(connection, library_id, 4, 1) is None


async def test_a_verified_snapshot_is_never_overwritten(connection: Connection) -> None:
    library_id = await library_at(connection, 5)
    await store_verified(connection, library_id, SealedSnapshot(4, 1, b"", b"first"))
    assert not await snapshots.insert(connection, library_id, SealedSnapshot(4, 1, b"", b"second"))
    assert not await snapshots.verify(connection, library_id, 4, 1)
    assert (await updates.load(connection, library_id, content=True)).snapshot == SealedSnapshot(4, 1, b"", b"first")


@pytest.mark.parametrize(
    ("change", "why"),
    [("epoch = 2", "another epoch"), ("head = 3", "put back"), ("deleted_at = now()", "deleted")],
    ids=lambda value: str(value),
)
async def test_a_snapshot_has_no_place_in_a_library_that_moved(connection: Connection, change: str, why: str) -> None:
    library_id = await library_at(connection, 5)
    await connection.execute("UPDATE libraries SET " + change + " WHERE id = $1", library_id)  # noqa: S608  # from above
    assert not await snapshots.insert(connection, library_id, SealedSnapshot(4, 1, b"", b"")), why


async def test_a_snapshot_that_was_purged_meanwhile_is_not_verified(connection: Connection) -> None:
    library_id = await library_at(connection, 5)
    assert await snapshots.insert(connection, library_id, SealedSnapshot(4, 1, b"", b""))
    await connection.execute("DELETE FROM snapshots WHERE library_id = $1", library_id)
    assert not await snapshots.verify(connection, library_id, 4, 1)


async def test_of_an_hour_the_newest_stays_and_what_is_pinned(connection: Connection) -> None:
    library_id = await library_at(connection, 9)
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    made = {1: noon - timedelta(minutes=10), 2: noon, 3: noon + timedelta(minutes=20), 4: noon + timedelta(minutes=30)}
    for seq, at in made.items():
        await store_verified(connection, library_id, SealedSnapshot(seq, 1, b"", b""))
        await connection.execute("UPDATE snapshots SET created_at = $3 WHERE library_id = $1 AND seq = $2", library_id, seq, at)
    await connection.execute("UPDATE snapshots SET pinned = true WHERE library_id = $1 AND seq = 3", library_id)
    await snapshots.insert(connection, library_id, SealedSnapshot(6, 1, b"", b""))
    await snapshots.supersede(connection, library_id, 6)  # not verified: nothing goes for it
    await snapshots.supersede(connection, library_id, 4)
    assert await seqs(connection, library_id) == [(1, True), (3, True), (4, True), (6, False)]
