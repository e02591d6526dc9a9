"""The one-statement append against what else may touch a library's row meanwhile."""

import asyncio
import os
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import asyncpg
import pytest

from storage.backends import Backend, backend_of, end
from storage.updates import Place, Row, append_at_once, load, stored_of
from tests.support.core import store_user

ROUNDS = 150


@pytest.fixture
async def connection(database_dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(database_dsn)
    yield connection
    await connection.close()


async def _library(connection: "asyncpg.Connection[asyncpg.Record]") -> UUID:
    owner, library_id = await store_user(connection), uuid4()
    await connection.execute(
        "INSERT INTO libraries (id, owner_id, name, server_client_id, wrapped_key, key_id) VALUES ($1, $2, '', 1, '', 'k1')",
        library_id,
        owner,
    )
    return library_id


def _row(library_id: UUID, seq: int) -> Row:
    return Row(library_id, seq, 1, None, os.urandom(8))


async def test_only_libraries_that_stand_where_expected_are_written(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    there, elsewhere, other_epoch, deleted = [await _library(connection) for _ in range(4)]
    await connection.execute("UPDATE libraries SET head = 1 WHERE id = $1", elsewhere)
    await connection.execute("UPDATE libraries SET epoch = 2 WHERE id = $1", other_epoch)
    await connection.execute("UPDATE libraries SET deleted_at = now() WHERE id = $1", deleted)
    rows = [_row(library, seq) for library in (there, elsewhere, other_epoch, deleted, uuid4()) for seq in (1, 2)]
    assert await append_at_once(connection, rows, {row.library_id: Place(0, 1) for row in rows}) == {there}
    assert [row.seq for row in (await load(connection, there, content=False)).tail] == [1, 2]
    assert await connection.fetchval("SELECT count(*) FROM updates") == 2


async def test_a_locked_library_is_passed_over_and_delays_nobody(
    connection: "asyncpg.Connection[asyncpg.Record]", database_dsn: str
) -> None:
    locked, free = await _library(connection), await _library(connection)
    other = await asyncpg.connect(database_dsn)
    try:
        async with other.transaction():
            await other.execute("SELECT 1 FROM libraries WHERE id = $1 FOR UPDATE", locked)
            rows = [_row(locked, 1), _row(free, 1)]
            async with asyncio.timeout(5):
                assert await append_at_once(connection, rows, dict.fromkeys((locked, free), Place(0, 1))) == {free}
    finally:
        await other.close()


async def test_writers_and_others_that_update_the_row_leave_a_log_without_gaps(
    connection: "asyncpg.Connection[asyncpg.Record]", database_dsn: str
) -> None:
    libraries = [await _library(connection) for _ in range(3)]
    done = asyncio.Event()

    async def write(number: int) -> int:
        own, written = await asyncpg.connect(database_dsn), 0
        for _ in range(ROUNDS):
            heads = {row["id"]: Place(row["head"], 1) for row in await own.fetch("SELECT id, head FROM libraries")}
            rows = [_row(library, heads[library].head + 1 + place) for library in libraries for place in range(number)]
            written += number * len(await append_at_once(own, rows, heads))
        await own.close()
        return written

    async def touch() -> None:
        own = await asyncpg.connect(database_dsn)
        while not done.is_set():  # as a rotation of the keys or an edit of the name does
            await own.execute("UPDATE libraries SET name = name || 'x', key_id = 'k2'")
        await own.close()

    toucher = asyncio.create_task(touch())
    written = sum(await asyncio.gather(write(1), write(3)))
    done.set()
    await toucher
    assert written
    loaded = [await load(connection, library, content=False) for library in libraries]  # raises LogBroken on a gap
    assert sum(each.head for each in loaded) == written == await connection.fetchval("SELECT count(*) FROM updates")


async def test_a_row_is_told_from_another_at_its_place(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    library = await _library(connection)
    stored, other = _row(library, 1), _row(library, 1)
    await append_at_once(connection, [stored], {library: Place(0, 1)})
    assert await stored_of(connection, [stored]) == {library}
    assert await stored_of(connection, [other]) == set()


async def test_a_backend_is_gone_once_it_was_ended(connection: "asyncpg.Connection[asyncpg.Record]", database_dsn: str) -> None:
    other = await asyncpg.connect(database_dsn)
    backend = await backend_of(other)
    sleeping = asyncio.create_task(other.execute("SELECT pg_sleep(60)"))
    async with asyncio.timeout(10):
        await end(connection, backend)
        await end(connection, backend)  # one that is gone already
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await sleeping
    assert not await connection.fetch("SELECT 1 FROM pg_stat_activity WHERE pid = $1", backend.pid)
    other.terminate()


async def test_a_process_id_that_is_used_again_is_not_ended(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    own = await backend_of(connection)
    await end(connection, Backend(own.pid, own.started.replace(year=2001)))
    assert await connection.fetchval("SELECT 1") == 1
