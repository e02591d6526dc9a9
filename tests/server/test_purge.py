"""The purge: what is marked as deleted is destroyed, key first, in chunks, by whichever process comes to it."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from server import purge
from server.purge import Purge
from storage import libraries
from storage.errors import Unavailable
from tests.support.core import Core, core, eventually, typing


@pytest.fixture
async def running(database_dsn: str) -> AsyncIterator[Core]:
    async with core(database_dsn) as running:
        yield running


async def filled(running: Core, count: int = 25) -> UUID:
    room = await running.room()
    await running.push(room, *typing(1, count))
    return room.library_id


async def mark(running: Core, *ids: UUID) -> None:
    await running.execute("UPDATE libraries SET deleted_at = now() WHERE id = ANY($1)", list(ids))


async def left(running: Core, *ids: UUID) -> bool:
    return bool(
        await running.fetchval(
            "SELECT EXISTS (SELECT FROM libraries WHERE id = ANY($1)) OR EXISTS (SELECT FROM updates WHERE library_id = ANY($1))"
            " OR EXISTS (SELECT FROM members WHERE library_id = ANY($1))",
            list(ids),
        )
    )


async def test_what_is_deleted_goes_and_the_rest_stays(running: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purge, "CHUNK_ROWS", 10)
    gone, kept = [await filled(running) for _ in range(3)], await filled(running)
    await mark(running, *gone)
    worker = Purge(running.database)
    work = [asyncio.create_task(worker.run()), asyncio.create_task(Purge(running.database).run())]  # two processes at once

    async def done() -> bool:
        return not await left(running, *gone)

    await eventually(done, "the end of the libraries")
    assert await running.stored(kept) == typing(1, 25)
    again = await filled(running, 3)
    await mark(running, again)
    worker.wake()
    gone = [again]
    await eventually(done, "the end of the one that was deleted later")
    for task in work:
        task.cancel()
    await asyncio.wait(work)


async def test_the_key_goes_first_and_each_chunk_is_small(running: Core) -> None:
    library_id = await filled(running, 25)
    await mark(running, library_id)
    async with running.database.transaction() as connection:
        assert await libraries.purge_step(connection, 10)
    assert await running.fetchval("SELECT wrapped_key IS NULL AND key_id IS NULL FROM libraries WHERE id = $1", library_id)
    counts = []
    more = True
    while more:
        counts.append(await running.fetchval("SELECT count(*) FROM updates WHERE library_id = $1", library_id))
        async with running.database.transaction() as connection:
            more = await libraries.purge_step(connection, 10)
    assert counts == [25, 15, 5, 0, 0]
    assert not await left(running, library_id)


@pytest.mark.parametrize("failure", [Unavailable(), asyncpg.DataCorruptedError("invalid page")], ids=["away", "damaged"])
async def test_a_purge_that_fails_goes_on_when_it_is_woken(running: Core, monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    library_id = await filled(running, 3)
    await mark(running, library_id)
    failures, real = 1, libraries.purge_step

    async def step(connection: object, limit: int) -> bool:
        nonlocal failures
        if failures:
            failures -= 1
            raise failure
        return await real(connection, limit)  # type: ignore[arg-type]  # only passed on

    monkeypatch.setattr(libraries, "purge_step", step)
    worker = Purge(running.database)
    work = asyncio.create_task(worker.run())

    async def failed() -> bool:
        return not failures

    async def done() -> bool:
        return not await left(running, library_id)

    await eventually(failed, "the failure")
    worker.wake()
    await eventually(done, "the end of the library")
    work.cancel()
    await asyncio.wait({work})
