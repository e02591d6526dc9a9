"""The log in the database: locks, appends, and reads that notice what is missing."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import asyncpg
import pytest

from storage import updates
from storage.errors import NotFound
from storage.pool import Connection, Database
from storage.updates import LogBroken, Place, Row, SealedSnapshot
from tests.support.core import store_user
from tests.support.snapshots import store_verified


@pytest.fixture(scope="module")
async def database(shared_dsn: str) -> AsyncIterator[Database]:
    database = await Database.open(shared_dsn, size=4)
    yield database
    await database.close()


async def new_library(database: Database) -> UUID:
    library_id = uuid4()
    async with database.acquire() as connection:
        await connection.execute(
            "INSERT INTO libraries (id, owner_id, name, server_client_id, wrapped_key, key_id) VALUES ($1, $2, '', 1, '\\x00', 'k1')",
            library_id,
            await store_user(connection),
        )
    return library_id


async def lock(connection: Connection, *library_ids: UUID) -> dict[UUID, Place]:
    return (await updates.lock(connection, dict.fromkeys(library_ids, 0), rows=100, largest=1000))[0]


async def append(database: Database, *rows: Row) -> None:
    async with database.transaction() as connection:
        await lock(connection, *[row.library_id for row in rows])
        await updates.append(connection, rows)


def rows_of(library_id: UUID, first: int, last: int) -> list[Row]:
    return [Row(library_id, seq, 1, None, b"sealed %d" % seq) for seq in range(first, last + 1)]


async def test_rows_are_appended_and_the_heads_advance(database: Database) -> None:
    one, two = await new_library(database), await new_library(database)
    await append(database, *rows_of(one, 1, 3), *rows_of(two, 1, 1))
    await append(database, *rows_of(one, 4, 5))
    async with database.acquire() as connection:
        assert await updates.heads(connection, [one, two, uuid4()]) == {one: Place(5, 1), two: Place(1, 1)}
        loaded = await updates.load(connection, one, content=True)
        assert (loaded.head, loaded.epoch, loaded.snapshot) == (5, 1, None)
        assert [(row.seq, row.sealed) for row in loaded.tail] == [(seq, b"sealed %d" % seq) for seq in range(1, 6)]
        assert [row.seq for row in (await updates.since(connection, one, 3)).tail] == [4, 5]
        assert (await updates.since(connection, one, 5)).tail == []


async def test_what_is_locked_elsewhere_is_left_out_and_nothing_waits(database: Database) -> None:
    held, free, gone = [await new_library(database) for _ in range(3)]
    async with database.acquire() as connection:
        await connection.execute("UPDATE libraries SET deleted_at = now() WHERE id = $1", gone)
    async with database.transaction() as holder, database.transaction() as other, asyncio.timeout(5):
        await lock(holder, held)
        assert await lock(other, held, free, gone, uuid4()) == {free: Place(0, 1)}
        assert await updates.existing(other, [held, free, gone]) == {held, free}
        assert await lock(other, held) == {}


async def test_with_the_lock_comes_what_lies_after_a_head(database: Database) -> None:
    ahead, level, behind = [await new_library(database) for _ in range(3)]
    for library_id in (ahead, level, behind):
        await append(database, *rows_of(library_id, 1, 5))
    await append(database, Row(behind, 6, 1, None, b"x" * 101), *rows_of(behind, 7, 9))
    async with database.transaction() as connection:
        heads = {ahead: 2, level: 5, behind: 4}
        places, missed = await updates.lock(connection, heads, rows=4, largest=100)
        assert places == {ahead: Place(5, 1), level: Place(5, 1), behind: Place(9, 1)}
        assert [row.seq for row in missed[ahead]] == [3, 4, 5]
        assert level not in missed
        assert [(row.seq, row.sealed) for row in missed[behind]] == [(5, b"sealed 5"), (6, b""), (7, b"sealed 7"), (8, b"sealed 8")]
        assert await updates.behind(connection, heads, rows=4, largest=100) == missed


async def test_one_seq_is_never_given_out_twice(database: Database) -> None:
    library_id = await new_library(database)
    await append(database, *rows_of(library_id, 1, 2))
    with pytest.raises(asyncpg.UniqueViolationError):
        await append(database, *rows_of(library_id, 2, 3))
    async with database.acquire() as connection:
        assert (await updates.heads(connection, [library_id]))[library_id].head == 2


async def test_a_library_is_read_with_its_newest_snapshot_and_the_tail_after_it(database: Database) -> None:
    library_id = await new_library(database)
    await append(database, *rows_of(library_id, 1, 6))
    async with database.transaction() as connection:
        for seq in (2, 4):
            await store_verified(connection, library_id, SealedSnapshot(seq, 1, b"known %d" % seq, b"content %d" % seq))
        await connection.execute("DELETE FROM updates WHERE library_id = $1 AND seq <= 3", library_id)
    async with database.acquire() as connection:
        loaded = await updates.load(connection, library_id, content=True)
        assert loaded.snapshot == SealedSnapshot(4, 1, b"known 4", b"content 4")
        assert [row.seq for row in loaded.tail] == [5, 6]
        assert (await updates.load(connection, library_id, content=False)).snapshot == SealedSnapshot(4, 1, b"known 4", None)
        with pytest.raises(LogBroken):
            await updates.since(connection, library_id, 2)


async def test_a_snapshot_and_its_tail_are_of_one_moment(database: Database) -> None:
    library_id = await new_library(database)
    await append(database, *rows_of(library_id, 1, 4))
    reading = asyncio.Event()

    async def read(times: int) -> None:
        for _ in range(times):
            async with database.acquire() as connection:
                loaded = await updates.load(connection, library_id, content=False)
            assert [row.seq for row in loaded.tail] == list(range(loaded.snapshot.seq + 1 if loaded.snapshot else 1, loaded.head + 1))
            reading.set()

    async def compact() -> None:
        await reading.wait()
        for seq in range(5, 40):
            await append(database, *rows_of(library_id, seq, seq))
            async with database.transaction() as connection:
                await store_verified(connection, library_id, SealedSnapshot(seq - 1, 1, b"", b""))
                await connection.execute("DELETE FROM updates WHERE library_id = $1 AND seq < $2", library_id, seq)

    await asyncio.gather(read(60), read(60), compact())


async def test_a_deleted_library_and_one_without_a_key_are_not_found(database: Database) -> None:
    for change in ("deleted_at = now()", "wrapped_key = NULL"):
        library_id = await new_library(database)
        async with database.acquire() as connection:
            await connection.execute("UPDATE libraries SET " + change + " WHERE id = $1", library_id)  # noqa: S608  # from above
            for question in (updates.load(connection, library_id, content=True), updates.since(connection, library_id, 0)):
                with pytest.raises(NotFound):
                    await question


async def test_whether_rows_are_stored_can_be_asked_afterwards(database: Database) -> None:
    one, two = await new_library(database), await new_library(database)
    first, second = rows_of(one, 1, 1)[0], rows_of(two, 1, 1)[0]
    async with database.acquire() as watcher:
        async with database.transaction() as connection:
            await lock(connection, one)
            await updates.append(connection, [first])
            assert await updates.stored_of(watcher, [first, second]) == set()
        assert await updates.stored_of(watcher, [first, second]) == {one}
        assert await updates.stored_of(watcher, [Row(one, 1, 1, None, b"another")]) == set()
        assert await updates.stored_of(watcher, [Row(one, 1, 2, None, first.sealed)]) == set()
