"""Compaction on a real database: nothing is lost by it, nobody waits for it, and whatever ends it leaves the library as it was."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest

from crdt.knowledge import Knowledge
from crdt.updates import EMPTY_STATE_VECTOR, encode_state_vector, inspect, merge
from server import compactor as compacting
from server.batch import Refusal
from server.compactor import Compactor, Kind, Outcome, SnapshotDamaged
from server.workers import Workers
from storage import compaction, quarantine, snapshots
from storage.errors import NotFound, Unavailable
from storage.updates import LogBroken
from tests.support.core import Core, core, deleted, eventually, spans, typed, typing, until
from tests.support.database import Databases


@pytest.fixture(scope="module")
async def running(databases: Databases, template_database: str) -> AsyncIterator[Core]:
    dsn = databases.create(template_database)
    async with core(dsn) as running:
        yield running
    databases.drop(dsn)


@pytest.fixture
async def other(running: Core) -> AsyncIterator[Core]:
    """The same database as another process sees it: nothing is in memory yet."""
    async with core(running.dsn, keyring=running.keyring) as other:
        yield other


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    workers = Workers(1)
    yield workers
    workers.close()


@pytest.fixture
def compactor(running: Core, workers: Workers) -> Iterator[Compactor]:
    with compactor_of(running, workers) as compactor:
        yield compactor


@contextmanager
def compactor_of(running: Core, workers: Workers, **options: Any) -> Iterator[Compactor]:
    bounds = {"compact_updates": 10, "compact_bytes": 1 << 20}
    compactor = Compactor(running.database, running.keyring, workers, **bounds | options)
    yield compactor
    compactor._disconnect()


def known(*made: bytes) -> Knowledge:
    knowledge = Knowledge()
    for update in made:
        knowledge.learn(inspect(update))
    return knowledge


async def holding(running: Core, *made: bytes) -> UUID:
    """A library that holds these updates."""
    room = await running.room()
    await running.push(room, *made)
    return room.library_id


async def whole(running: Core, library_id: UUID) -> Knowledge:
    """What a process that knows nothing yet answers a device that has nothing."""
    async with core(running.dsn, keyring=running.keyring, start=False) as fresh:
        room = await fresh.room(library_id)
        content = known(await fresh.shelf.missing(room, EMPTY_STATE_VECTOR))
        assert content.covers(room.knowledge)  # it may be of a later moment
    return content


async def trim(running: Core, library_id: UUID) -> None:
    """Delete what the newest verified snapshot holds from the log, as retention does in time."""
    await running.execute(
        "DELETE FROM updates WHERE library_id = $1"
        " AND seq <= (SELECT max(seq) FROM snapshots WHERE library_id = $1 AND verified_at IS NOT NULL)",
        library_id,
    )


async def kept(running: Core, library_id: UUID) -> list[tuple[int, bool]]:
    """The seqs of the library's snapshots, and whether each is verified."""
    async with running.database.acquire() as connection:
        return [(found.seq, found.verified_at is not None) for found in await snapshots.of_library(connection, library_id)]


# --- what it makes


async def test_a_log_becomes_a_snapshot_that_opens_to_the_same(running: Core, compactor: Compactor) -> None:
    made = [*typing(1, 30), typed("a longer text", 2, 0), deleted(2, 2, 5)]
    library_id = await holding(running, *made)
    steps: list[tuple[int, int]] = []
    outcome = await compactor.compact(library_id, folded=lambda updates, nbytes: steps.append((updates, nbytes)))
    assert (outcome.kind, outcome.updates, outcome.snapshot_seq) == (Kind.COMPACTED, len(made), len(made))
    assert outcome.snapshot_bytes <= len(merge(made))
    assert steps == [(len(made), sum(map(len, made)) + 29 * len(made))]
    assert await kept(running, library_id) == [(len(made), True)]
    assert await running.stored(library_id) == made, "the log stays until retention trims it"
    assert await whole(running, library_id) == known(*made)
    await trim(running, library_id)
    assert await whole(running, library_id) == known(*made)
    assert await running.fetchval("SELECT snapshot_seq FROM libraries WHERE id = $1 AND compacted_at IS NOT NULL", library_id) == 32
    assert (await compactor.compact(library_id)).kind is Kind.NOTHING


async def test_a_fresh_room_knows_what_lies_after_the_snapshot(running: Core, compactor: Compactor, other: Core) -> None:
    library_id = await holding(running, *typing(1, 30))
    outcome = await compactor.compact(library_id)
    await running.push(await running.room(library_id), *typing(1, 3, start=30))
    room = await other.room(library_id)
    assert (room.snapshot_seq, room.snapshot_bytes) == (30, outcome.snapshot_bytes)
    assert (room.tail_updates, room.tail_bytes) == (3, sum(map(len, typing(1, 3, start=30))))


async def test_a_long_tail_is_folded_in_steps_of_which_the_last_stays(
    running: Core, compactor: Compactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compacting, "FOLD_ROWS", 8)
    made = typing(1, 30)
    library_id = await holding(running, *made)
    steps: list[int] = []
    assert (await compactor.compact(library_id, folded=lambda updates, nbytes: steps.append(updates))).updates == 30
    assert steps == [8, 8, 8, 6]
    assert (await kept(running, library_id))[-1] == (30, True)
    assert len(await kept(running, library_id)) <= 2, "one an hour"
    monkeypatch.setattr(compacting, "FOLD_BYTES", 100)
    await running.push(await running.room(library_id), typed("x" * 90, 2, 0), typed("y" * 90, 2, 90), typed("z" * 200, 2, 180))
    steps.clear()
    await compactor.compact(library_id, folded=lambda updates, nbytes: steps.append(updates))
    assert steps == [1, 1, 1]
    assert await whole(running, library_id) == known(*made, typed("x" * 380, 2, 0))


async def test_a_gap_stays_open_through_compaction_and_restart(running: Core, compactor: Compactor, other: Core) -> None:
    made = [typed("0123456789", 1, 0), typed("abcdefghij", 1, 20), deleted(1, 22, 2), deleted(9, 0, 1)]
    library_id = await holding(running, *made)
    await compactor.compact(library_id)
    await trim(running, library_id)
    room = await other.room(library_id)
    assert room.state_vector() == encode_state_vector({1: 10}), "what lies in the gap is asked for"
    assert known(await other.shelf.missing(room, EMPTY_STATE_VECTOR)) == known(*made)
    await other.push(room, typed("klmnopqrst", 1, 10))
    outcome = await compactor.compact(library_id)
    await trim(running, library_id)
    assert outcome.kind is Kind.COMPACTED
    assert await whole(running, library_id) == known(*made, typed("klmnopqrst", 1, 10))


async def test_a_library_with_little_to_fold_is_left_alone_unless_asked(running: Core, workers: Workers) -> None:
    told: list[tuple[UUID, int, int]] = []
    library_id = await holding(running, *typing(1, 9))
    with compactor_of(running, workers, on_compacted=lambda *news: told.append(news)) as compactor:
        assert (await compactor.compact(library_id, if_due=True)).kind is Kind.NOTHING
        assert await kept(running, library_id) == []
        assert not told
        await running.push(await running.room(library_id), typed("j", 1, 9))
        outcome = await compactor.compact(library_id, if_due=True)
        assert outcome.kind is Kind.COMPACTED
        assert (await compactor.compact(library_id, if_due=True)).kind is Kind.NOTHING
        assert told == [(library_id, 10, outcome.snapshot_bytes)] * 2


async def test_bytes_are_a_reason_too_a_third_of_the_snapshot(running: Core, workers: Workers) -> None:
    library_id = await holding(running, typed("x" * 6000, 1, 0))
    with compactor_of(running, workers, compact_bytes=1024) as compactor:
        assert (await compactor.compact(library_id, if_due=True)).kind is Kind.COMPACTED
        room = await running.room(library_id)
        await running.push(room, typed("x" * 1500, 1, 6000))
        assert (await compactor.compact(library_id, if_due=True)).kind is Kind.NOTHING
        await running.push(room, typed("x" * 600, 1, 7500))
        assert (await compactor.compact(library_id, if_due=True)).kind is Kind.COMPACTED


async def test_what_is_too_large_or_gone_is_not_compacted(running: Core, compactor: Compactor, monkeypatch: pytest.MonkeyPatch) -> None:
    library_id = await holding(running, *typing(1, 20))
    await compactor.compact(library_id)
    await running.push(await running.room(library_id), typed("u", 1, 20))
    monkeypatch.setattr(compacting, "MOST_BYTES", 10)
    assert (await compactor.compact(library_id)).kind is Kind.TOO_LARGE
    assert await kept(running, library_id) == [(20, True)]
    assert (await compactor.compact(uuid4())).kind is Kind.MOVED


async def test_an_opening_that_is_up_to_date_reads_no_snapshot_bytes(running: Core, compactor: Compactor, other: Core) -> None:
    library_id = await holding(running, *typing(1, 30), deleted(1, 3, 2))
    await compactor.compact(library_id)
    await trim(running, library_id)
    await running.execute("UPDATE snapshots SET sealed = '' WHERE library_id = $1", library_id)  # who read it would notice
    room = await other.room(library_id)
    answer = await other.shelf.missing(room, encode_state_vector({1: 30}))
    assert spans(inspect(answer).deleted) == [(1, 3, 5)]
    await other.push(room, *typing(1, 5, start=30))
    assert known(await other.shelf.missing(room, encode_state_vector({1: 31}))).held.contains(1, 31, 35)
    with pytest.raises(Exception, match="too few to be sealed"):
        await other.shelf.missing(room, EMPTY_STATE_VECTOR)


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


class Held:
    """Workers whose fold waits until it is let go."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()

    async def fold(self, snapshot: bytes | None, updates: Sequence[bytes], *, again: bool = True) -> object:
        self.reached.set()
        await self.go_on.wait()
        return await self._workers.fold(snapshot, updates, again=again)

    def close(self) -> None:
        pass


@contextmanager
def held_compactor(running: Core, workers: Workers, **options: Any) -> Iterator[tuple[Compactor, Held]]:
    held = Held(workers)
    with compactor_of(running, held, **options) as compactor:  # type: ignore[arg-type]  # has what is used
        yield compactor, held


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


# --- rooms and answers that are older than the log


async def test_a_room_below_the_oldest_kept_row_is_told(running: Core, other: Core, compactor: Compactor) -> None:
    library_id = await holding(running, *typing(1, 20))
    room = await other.room(library_id)
    await running.push(await running.room(library_id), *typing(1, 20, start=20))
    await compactor.compact(library_id)
    assert len(await other.shelf.after(room)) == 20, "as long as the rows are kept"
    await trim(running, library_id)
    with pytest.raises(LogBroken):
        await other.shelf.after(room)


async def test_a_cached_answer_below_the_oldest_kept_row_is_made_anew(running: Core, other: Core, compactor: Compactor) -> None:
    library_id = await holding(running, *typing(1, 20))
    room = await other.room(library_id)
    assert known(await other.shelf.content(room)) == known(*typing(1, 20))
    await running.push(await running.room(library_id), *typing(1, 20, start=20))
    await other.push(room, *typing(2, 3))  # so that it advances past what it has cached
    await compactor.compact(library_id)
    await trim(running, library_id)
    assert known(await other.shelf.content(room)) == known(*typing(1, 40), *typing(2, 3))


async def test_a_deleted_library_is_purged_with_what_compaction_left(running: Core, compactor: Compactor) -> None:
    library_id = await holding(running, *typing(1, 30))
    await compactor.compact(library_id)
    async with running.database.transaction() as connection:
        assert await quarantine.record(connection, library_id, 1, {3: "a test"})
    await running.execute("UPDATE libraries SET deleted_at = now() WHERE id = $1", library_id)
    async with running.database.acquire() as connection:
        with pytest.raises(NotFound):
            await compaction.portion(connection, library_id, rows=1, nbytes=1)
    assert (await compactor.compact(library_id)).kind is Kind.MOVED
