"""What is compacted when: rooms call for it, failures come again later, and who has nothing to do keeps nothing."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest

from server import compactor as compacting
from server.compactor import Compactor, Kind, Outcome
from server.workers import Workers
from storage import compaction
from storage.errors import Unavailable
from tests.support.compacting import compactor_of, held_compactor, holding, kept
from tests.support.core import Core, core, eventually, typing, until


@pytest.fixture(autouse=True)
def unpaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start of a worker counts in how long a compaction takes, and differs by machine."""
    monkeypatch.setattr(compacting, "PAUSE_FACTOR", 0)


@asynccontextmanager
async def at_work(compactor: Compactor) -> AsyncIterator[Compactor]:
    task = asyncio.create_task(compactor.run())
    try:
        yield compactor
    finally:
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()


async def test_a_room_that_has_gathered_enough_is_compacted_and_told(running: Core) -> None:
    told: list[tuple[UUID, int, int]] = []
    with compactor_of(running, Workers(1), on_compacted=lambda *news: told.append(news)) as compactor:
        async with at_work(compactor):
            idle, busy = await running.room(), await running.room()
            await running.push(idle, *typing(1, 9))
            compactor.wanted(idle)
            await running.push(busy, *typing(1, 10))
            compactor.wanted(busy)
            await until(lambda: bool(told), "a compaction")
            assert (told[0][:2], len(told)) == ((busy.library_id, 10), 1)
            busy.compacted(*told[0][1:])
            assert (busy.tail_updates, busy.snapshot_seq) == (0, 10)
            compactor.wanted(busy)
            assert compactor._queue == {}
    assert await kept(running, idle.library_id) == []
    assert await kept(running, busy.library_id) == [(10, True)]


async def test_what_is_wanted_while_it_rests_comes_after_the_rest(running: Core, workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compacting, "REST_SECONDS", 0.3)
    monkeypatch.setattr(compacting, "REST_FACTOR", 0)
    room = await running.room()
    with compactor_of(running, workers) as compactor:
        async with at_work(compactor):
            for last in (10, 20):
                await running.push(room, *typing(1, 10, start=last - 10))
                compactor.wanted(room)
                await until(lambda: room.library_id in compactor._resting, "its rest")
                room.compacted(last, 1)
            assert compactor._resting == {room.library_id: True}
            assert room.library_id not in compactor._queue

            async def again() -> bool:
                return (20, True) in await kept(running, room.library_id)

            await eventually(again, "the second compaction")
            await until(lambda: not compactor._resting, "the end of the rest")
            assert compactor._queue == {}


async def test_what_is_wanted_amid_its_own_compaction_comes_after_the_rest(
    running: Core, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compacting, "REST_SECONDS", 0.3)
    monkeypatch.setattr(compacting, "REST_FACTOR", 0)
    room = await running.room()
    await running.push(room, *typing(1, 10))
    begun: list[float] = []
    with compactor_of(running, workers) as compactor:
        real = compactor.compact

        async def compact(*arguments: Any, **named: Any) -> Outcome:
            begun.append(asyncio.get_running_loop().time())
            compactor.wanted(room)
            return await real(*arguments, **named)

        monkeypatch.setattr(compactor, "compact", compact)
        async with at_work(compactor):
            compactor.wanted(room)
            await until(lambda: len(begun) == 3, "the third compaction")
    assert all(later - earlier >= 0.3 for earlier, later in pairwise(begun))


@pytest.mark.parametrize(
    ("error", "setting"), [(Unavailable("away"), "RETRY_SECONDS"), (ZeroDivisionError(), "FAILED_SECONDS")], ids=["away", "our fault"]
)
async def test_what_failed_is_tried_again_later_and_others_meanwhile(
    running: Core, workers: Workers, monkeypatch: pytest.MonkeyPatch, error: Exception, setting: str
) -> None:
    first, second = await running.room(), await running.room()
    for room in (first, second):
        await running.push(room, *typing(1, 10))
    failed: list[UUID] = []
    standing = compaction.standing

    async def failing(connection: Any, library_id: UUID) -> Any:
        if library_id == first.library_id and not failed:
            failed.append(library_id)
            raise error
        return await standing(connection, library_id)

    monkeypatch.setattr(compaction, "standing", failing)
    monkeypatch.setattr(compacting, setting, 0.2)
    with compactor_of(running, workers) as compactor:
        async with at_work(compactor):
            compactor.wanted(first)
            compactor.wanted(second)

            async def both() -> bool:
                return all([await kept(running, room.library_id) == [(10, True)] for room in (first, second)])

            await eventually(both, "both compactions")
    assert failed == [first.library_id]


async def test_a_library_another_process_is_at_is_looked_at_again(running: Core, workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compacting, "BUSY_SECONDS", 0.1)
    told: list[tuple[UUID, int, int]] = []
    room = await running.room()
    await running.push(room, *typing(1, 10))
    async with core(running.dsn, keyring=running.keyring) as other:
        with (
            held_compactor(other, workers) as (ahead, held),
            compactor_of(running, workers, on_compacted=lambda *news: told.append(news)) as compactor,
        ):
            working = asyncio.create_task(ahead.compact(room.library_id))
            await held.reached.wait()
            async with at_work(compactor):
                compactor.wanted(room)
                await until(lambda: room.library_id in compactor._resting, "its being busy")
                held.go_on.set()
                await until(lambda: bool(told), "news of the snapshot")
            assert told == [(room.library_id, 10, (await working).snapshot_bytes)], "so that the room here stops asking"


async def test_a_broken_opening_is_looked_at_however_little_there_is(running: Core, workers: Workers) -> None:
    library_id = await holding(running, *typing(1, 2))
    with compactor_of(running, workers) as compactor:
        async with at_work(compactor):
            compactor.broken(library_id)

            async def compacted() -> bool:
                return await kept(running, library_id) == [(2, True)]

            await eventually(compacted, "the compaction")
            await until(lambda: not compactor._broken, "the end")


@pytest.mark.parametrize("kind", [Kind.BROKEN, Kind.TOO_LARGE])
async def test_what_cannot_be_compacted_rests_for_long(
    running: Core, workers: Workers, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    tried = []

    async def hopeless(library_id: UUID, **options: Any) -> Outcome:
        tried.append(library_id)
        return Outcome(kind=kind)

    with compactor_of(running, workers) as compactor:
        monkeypatch.setattr(compactor, "compact", hopeless)
        assert await compactor._attempt(await running.library()) == (compacting.FAILED_SECONDS, True)


async def test_who_has_nothing_to_do_keeps_no_process_and_no_connection(running: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compacting, "IDLE_SECONDS", 0.2)
    own = Workers(1)
    library_id = await holding(running, *typing(1, 10))
    with compactor_of(running, own) as compactor:
        async with at_work(compactor):
            compactor.broken(library_id)
            await until(lambda: own._pool is not None and bool(own._pool._processes), "a process")
            assert own._pool is not None
            pids = list(own._pool._processes)
            await until(lambda: own._pool is None and compactor._connection is None, "the end of both")
            await until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), "the end of the process")


async def test_one_that_is_stopped_at_work_lets_go_of_the_library(running: Core, workers: Workers) -> None:
    library_id = await holding(running, *typing(1, 10))
    with held_compactor(running, workers) as (compactor, held):
        async with at_work(compactor):
            compactor.broken(library_id)
            await held.reached.wait()
    with compactor_of(running, workers) as after:

        async def compacted() -> bool:
            return (await after.compact(library_id)).kind is Kind.COMPACTED

        await eventually(compacted, "the lock's end")
