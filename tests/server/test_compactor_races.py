"""Compaction amid everything else: crashes at each step, other processes, writers and readers, libraries that go."""

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID

import pytest

from crdt.updates import EMPTY_STATE_VECTOR
from server.batch import Refusal
from server.compactor import Compactor, Kind, Outcome, SnapshotDamaged
from server.workers import Workers
from storage import compaction, snapshots
from storage.errors import Unavailable
from tests.support.compacting import compactor_of, held_compactor, holding, kept, known, trim, whole
from tests.support.core import Core, eventually, typing, until

# --- a crash, a race, a library that goes


STEPS: dict[str, tuple[Any, str, bool]] = {
    "before it is written": (snapshots, "insert", False),
    "when it is written": (snapshots, "written", False),
    "before it is verified": (snapshots, "verify", False),
    "when it is verified": (snapshots, "supersede", True),
    "before the library is told": (compaction, "touch", True),
}


@pytest.mark.parametrize(("module", "name", "verified"), STEPS.values(), ids=STEPS.keys())
async def test_an_end_at_any_step_leaves_everything_readable(
    running: Core, compactor: Compactor, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, verified: bool
) -> None:
    made = typing(1, 30)
    library_id = await holding(running, *made)

    async def ended(*arguments: object) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as patch:
        patch.setattr(module, name, ended)
        with pytest.raises(Unavailable, match="ConnectionResetError"):
            await compactor.compact(library_id)
    written = [] if name == "insert" else [(30, verified)]
    assert await kept(running, library_id) == written
    assert await whole(running, library_id) == known(*made)
    await trim(running, library_id)
    assert await whole(running, library_id) == known(*made)

    async def again() -> bool:  # the lock goes with the backend that was left behind
        return (await compactor.compact(library_id)).kind in (Kind.COMPACTED, Kind.NOTHING)

    await eventually(again, "a compaction")
    assert await kept(running, library_id) == [(30, True)]
    assert await whole(running, library_id) == known(*made)


@pytest.mark.parametrize("column", ["sealed", "sealed_knowledge"])
async def test_a_snapshot_that_does_not_read_back_as_it_was_is_never_believed(
    running: Core, compactor: Compactor, monkeypatch: pytest.MonkeyPatch, column: str
) -> None:
    library_id = await holding(running, *typing(1, 30))
    written = snapshots.written

    async def damaged(connection: Any, library_id: UUID, seq: int, epoch: int) -> Any:
        change = f"UPDATE snapshots SET {column} = set_byte({column}, 20, get_byte({column}, 20) # 1) WHERE library_id = $1"  # noqa: S608
        await connection.execute(change, library_id)
        return await written(connection, library_id, seq, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(snapshots, "written", damaged)
        with pytest.raises(SnapshotDamaged, match="does not read back"):
            await compactor.compact(library_id)
    assert await kept(running, library_id) == [(30, False)]
    assert await whole(running, library_id) == known(*typing(1, 30))


async def test_one_library_is_compacted_by_one_process_at_a_time(running: Core, other: Core, workers: Workers) -> None:
    library_id = await holding(running, *typing(1, 30))
    with held_compactor(running, workers) as (first, held), compactor_of(other, workers) as second:
        working = asyncio.create_task(first.compact(library_id))
        await held.reached.wait()
        assert (await second.compact(library_id)).kind is Kind.BUSY
        assert (await second.compact(await holding(other, *typing(1, 12)))).kind is Kind.COMPACTED, "another library is nobody's business"
        held.go_on.set()
        assert (await working).kind is Kind.COMPACTED
        assert await second.compact(library_id, if_due=True) == Outcome(
            kind=Kind.NOTHING, snapshot_seq=30, snapshot_bytes=(await working).snapshot_bytes
        )
    assert await kept(running, library_id) == [(30, True)]


async def test_two_processes_that_compact_at_once_lose_nothing(running: Core, other: Core, workers: Workers) -> None:
    library_id = await holding(running, *typing(1, 5))
    room = await running.room(library_id)
    with compactor_of(running, workers) as first, compactor_of(other, workers) as second:
        for start in range(5, 65, 4):
            await running.push(room, *typing(1, 4, start=start))
            await asyncio.gather(first.compact(library_id), second.compact(library_id))
            await trim(running, library_id)
    assert await whole(running, library_id) == known(*typing(1, 65))


async def test_whoever_loses_the_lock_writes_nothing_more(running: Core, other: Core, workers: Workers) -> None:
    library_id = await holding(running, *typing(1, 30))
    with held_compactor(running, workers) as (first, held), compactor_of(other, workers) as second:
        working = asyncio.create_task(first.compact(library_id))
        await held.reached.wait()
        ended = (
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE application_name = 'promptsync compactor' AND datname = current_database()"
        )
        await running.execute(ended)
        assert (await second.compact(library_id)).kind is Kind.COMPACTED
        await running.push(await running.room(library_id), *typing(1, 3, start=30))
        held.go_on.set()
        with pytest.raises(Unavailable):
            await working
    assert await kept(running, library_id) == [(30, True)]


@pytest.mark.parametrize("change", ["deleted_at = now()", "epoch = epoch + 1", "head = head - 1"])
async def test_a_library_that_moved_meanwhile_gets_no_snapshot(running: Core, workers: Workers, change: str) -> None:
    library_id = await holding(running, *typing(1, 30))
    with held_compactor(running, workers) as (compactor, held):
        working = asyncio.create_task(compactor.compact(library_id))
        await held.reached.wait()
        await running.execute(f"UPDATE libraries SET {change} WHERE id = $1", library_id)  # noqa: S608  # from above
        held.go_on.set()
        assert (await working).kind is Kind.MOVED
    assert await kept(running, library_id) == []


async def test_writers_and_readers_do_not_wait_for_a_snapshot_that_is_being_written(
    running: Core, compactor: Compactor, other: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    library_id = await holding(running, *typing(1, 30))
    room = await running.room(library_id)
    written, go_on, insert = asyncio.Event(), asyncio.Event(), snapshots.insert

    async def slowly(connection: Any, library_id: UUID, snapshot: Any) -> bool:
        done = await insert(connection, library_id, snapshot)  # not committed yet
        written.set()
        await go_on.wait()
        return done

    monkeypatch.setattr(snapshots, "insert", slowly)
    working = asyncio.create_task(compactor.compact(library_id))
    await written.wait()
    await running.push(room, *typing(1, 5, start=30))
    assert known(await other.shelf.missing(await other.room(library_id), EMPTY_STATE_VECTOR)) == known(*typing(1, 35))
    assert not working.done()
    go_on.set()
    await until(working.done, "the compaction")
    assert (await working).kind is Kind.COMPACTED
    assert await whole(running, library_id) == known(*typing(1, 35))


async def test_compaction_races_readers_and_writers(running: Core, other: Core, workers: Workers) -> None:
    """Two processes write, a third compacts and trims all the time, and every opening has what was acknowledged before it began."""
    library_id = await running.library()
    acknowledged = {1: 0, 2: 0}
    done: Counter[str] = Counter()

    def enough() -> bool:
        return done["compacted"] >= 5 and done["opened"] >= 10

    async def write(where: Core, client: int) -> None:
        while not enough():
            room = await where.rooms.open(library_id)
            start = acknowledged[client]
            outcomes = await where.push(room, *typing(client, 3, start=start))
            if Refusal.STALE not in outcomes:  # trimmed without delay, the log may end above a room that has not followed yet
                acknowledged[client] = start + 3

    async def compact() -> None:
        with compactor_of(running, workers) as compactor:
            while not enough():
                done["compacted"] += (await compactor.compact(library_id)).kind is Kind.COMPACTED
                await trim(running, library_id)

    async def read() -> None:
        while not enough():
            before = dict(acknowledged)
            content = await whole(running, library_id)
            assert all(content.held.contains(client, 0, clock) for client, clock in before.items())
            done["opened"] += 1

    async with asyncio.timeout(50), asyncio.TaskGroup() as group:
        for work in (write(running, 1), write(other, 2), compact(), read(), read()):
            group.create_task(work)
    assert (await whole(running, library_id)).held.prefix() == acknowledged
