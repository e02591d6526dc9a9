"""Batches against a database that goes away at the worst moments: everything is stored once, nothing twice."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from crdt.updates import inspect
from protocol.closes import Close
from server import batch, lane, queues, writer
from server.batch import Entry, Fate, Refusal, share_out
from server.rooms import Room
from storage import updates
from storage.errors import Unavailable
from storage.pool import Dedicated
from tests.support.core import WAIT_SECONDS, Core, Told, core, deleted, eventually, typed, typing, until
from tests.support.cutting_proxy import Cut, CuttingProxy, cutting_proxy

LANES = ("promptsync small", "promptsync large")
LARGE = "x" * (queues.LARGE_BYTES + 1)


@pytest.fixture
async def proxy(shared_dsn: str) -> AsyncIterator[CuttingProxy]:
    async with cutting_proxy(shared_dsn) as proxy:
        yield proxy


@pytest.fixture
async def running(proxy: CuttingProxy) -> AsyncIterator[Core]:
    """A core whose every connection goes through the proxy."""
    async with core(proxy.dsn) as running:
        yield running


async def kill_writers(dsn: str) -> int:
    """End the backends of both lanes; how many there were."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = ANY($1) AND datname = current_database()",
            LANES,
        )
    finally:
        await connection.close()
    return len(rows)


def under_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no library stand where its room does, so that everything is stored under the row locks."""

    async def store_at_once(connection: Dedicated, shares: list[batch.Share]) -> tuple[dict[UUID, Fate], dict[UUID, int]]:
        return {share.room.library_id: Fate.MOVED for share in shares}, {}

    monkeypatch.setattr(writer, "store_at_once", store_at_once)


# --- sharing out


async def test_a_batch_is_shared_out_by_library_in_order(running: Core) -> None:
    (one, _), (two, _) = await running.joined(), await running.joined()
    origin = Told()

    def entry(room: Room, update: bytes, *, may_write: bool = True) -> Entry:
        return Entry(room, update, inspect(update), None, may_write, origin)

    made = [
        entry(one, typed("a", 1, 0)),
        entry(two, typed("a", 1, 0)),
        entry(one, typed("a", 1, 0)),
        entry(one, typed("b", 1, 1), may_write=False),
        entry(one, typed("b", 1, 1)),
        entry(two, deleted(1, 0, 1)),
        entry(two, deleted(1, 0, 1)),
    ]
    first, second = share_out(made)
    assert (first.room, second.room) == (one, two)
    assert first.entries == [made[0], made[2], made[3], made[4]]
    assert (first.adding, first.redundant, first.forbidden) == ([made[0], made[4]], [made[2]], [made[3]])
    assert (second.adding, second.redundant, second.forbidden) == ([made[1], made[5]], [made[6]], [])
    assert not one.knowledge  # nothing is known before it is committed
    assert not two.knowledge


# --- connections that break


@pytest.mark.parametrize("cut", list(Cut), ids=lambda cut: cut.name)
@pytest.mark.parametrize("text", ["a", LARGE], ids=["small", "large"])
@pytest.mark.parametrize("locks", [False, True], ids=["at once", "under locks"])
async def test_a_cut_commit_stores_everything_once(
    running: Core, proxy: CuttingProxy, cut: Cut, text: str, locks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if locks:
        under_locks(monkeypatch)
    room, listener = await running.joined()
    await running.push(room, typed("0", 9, 0))
    await running.push(room, typed(LARGE, 8, 0))
    made = [typed(text, 1, 0), typed("b", 1, len(text)), typed("c", 1, len(text) + 1)]
    proxy.cuts = [cut]
    assert await running.push(room, *made) == [3, 4, 5]
    assert not proxy.cuts
    assert (await running.stored(room.library_id))[2:] == made == listener.updates[2:]
    assert running.connects > 2, "a lane each, and one again"


async def test_commits_that_are_cut_again_and_again_store_everything_once(running: Core, proxy: CuttingProxy) -> None:
    rooms = [await running.joined() for _ in range(3)]
    made = typing(1, 20)
    proxy.cuts = [Cut.AFTER, Cut.BEFORE, Cut.AFTER, Cut.AFTER, Cut.BEFORE]
    for update in made:
        for outcome in await running.settled(*(running.submit(room, update) for room, _ in rooms)):
            assert isinstance(outcome, int)
    assert not proxy.cuts
    for room, listener in rooms:
        assert await running.stored(room.library_id) == made == listener.updates


async def test_a_killed_backend_costs_nothing_but_time(running: Core) -> None:
    rooms = [await running.joined() for _ in range(3)]
    made, entries = typing(1, 60), list[Entry]()
    await running.push(rooms[0][0], typed(LARGE, 9, 0), typed("a", 8, 0))  # both lanes are connected
    for number, update in enumerate(made):
        entries += [running.submit(room, update) for room, _ in rooms]
        if number % 15 == 7:
            async with asyncio.timeout(WAIT_SECONDS):
                while not await kill_writers(running.dsn):  # noqa: ASYNC110  # it may just be connecting again
                    await asyncio.sleep(0.002)
        await asyncio.sleep(0.002)
    outcomes = await running.settled(*entries)
    assert all(isinstance(outcome, int) for outcome in outcomes)
    for room, listener in rooms:
        assert (await running.stored(room.library_id))[-60:] == made == listener.updates[-60:]


async def test_a_backend_killed_while_idle_is_noticed_and_replaced(running: Core) -> None:
    room, _ = await running.joined()
    await running.push(room, typed("a", 1, 0))
    assert await kill_writers(running.dsn) == 1
    assert await running.push(room, typed("b", 1, 1)) == [2]
    assert running.connects == 2


async def test_a_database_that_is_away_stops_acknowledgements_and_loses_nothing(running: Core, proxy: CuttingProxy) -> None:
    room, listener = await running.joined()
    await running.push(room, typed("a", 1, 0))
    proxy.refusing = True
    proxy.cut_all()
    before = proxy.connections
    entries = [running.submit(room, update) for update in [*typing(1, 5, start=1), typed(LARGE, 2, 0)]]
    await asyncio.sleep(0.1)
    assert not any(entry in running.told.outcomes for entry in entries)
    assert len(listener.updates) == 1
    assert proxy.connections == before
    proxy.refusing = False
    assert await running.settled(*entries) == list(range(2, 8))


async def test_a_reconnect_that_cannot_compare_its_rooms_leaks_no_connection(
    running: Core, proxy: CuttingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    room, _ = await running.joined()
    await running.push(room, typed("a", 1, 0))
    failures = 3

    async def connected() -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise Unavailable

    monkeypatch.setattr(running.writer._small_lane, "_connected", connected)
    assert await kill_writers(running.dsn) == 1
    assert await running.push(room, typed("b", 1, 1)) == [2]
    assert failures == 0

    watcher = await asyncpg.connect(running.dsn)
    left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database()"

    async def one_is_left() -> bool:
        return bool(await watcher.fetchval(left, LANES[0]) == 1)

    try:
        await eventually(one_is_left, "the end of the connections that were not used")
    finally:
        await watcher.close()


async def test_what_is_refused_amid_retries_is_refused_once(running: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    (dropped, _), (kept, _) = await running.joined(), await running.joined()
    real, failures = batch.store_at_once, 3

    async def store_at_once(connection: Dedicated, shares: list[batch.Share]) -> tuple[dict[object, Fate], dict[object, int]]:
        nonlocal failures
        if failures:
            failures -= 1
            running.rooms.drop(dropped, Close.NOT_FOUND, "deleted meanwhile")
            raise ConnectionResetError
        return await real(connection, shares)  # type: ignore[return-value]  # only passed on

    monkeypatch.setattr(writer, "store_at_once", store_at_once)
    entries = [running.submit(dropped, typed("a", 1, 0)), running.submit(kept, typed("a", 1, 0))]
    assert await running.settled(*entries) == [Refusal.STALE, 1]  # `Told` refuses to be told twice
    assert running.writer.waiting_bytes == 0
    assert (dropped.unstored, kept.unstored) == (0, 0)
    assert await running.writer.drain(5)


@pytest.mark.parametrize("amid", ["append_at_once", "lock", "append", "commit"])
async def test_a_writer_that_is_cancelled_ends(running: Core, monkeypatch: pytest.MonkeyPatch, amid: str) -> None:
    room, _ = await running.joined()
    reached = asyncio.Event()

    async def never(*arguments: object, **named: object) -> None:
        reached.set()
        await asyncio.Event().wait()

    if amid != "append_at_once":
        under_locks(monkeypatch)
    if amid == "commit":
        monkeypatch.setattr(asyncpg.transaction.Transaction, "commit", never)
    else:
        monkeypatch.setattr(updates, amid, never)
    running.submit(room, typed("a", 1, 0))
    await asyncio.wait_for(reached.wait(), 5)
    await running.stop()
    assert running.told.outcomes == {}
    assert room.head == 0


async def test_a_wrong_password_or_a_missing_database_is_waited_for_and_refuses_nobody(
    running: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    room, _ = await running.joined()
    await running.push(room, typed("a", 1, 0))
    failures: list[Exception] = [
        asyncpg.InvalidPasswordError("no"),
        asyncpg.InvalidCatalogNameError("no"),
        asyncpg.TooManyConnectionsError("no"),
    ]
    real = asyncpg.connect

    async def connect(*arguments: Any, **options: Any) -> object:
        if failures:
            raise failures.pop()
        return await real(*arguments, **options)

    await kill_writers(running.dsn)
    monkeypatch.setattr(asyncpg, "connect", connect)
    entry = running.submit(room, typed("b", 1, 1))
    assert await running.settled(entry) == [2]
    assert not failures


async def test_a_process_paused_inside_its_transaction_frees_the_row(running: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(lane.IDLE_IN_TRANSACTION, "small", "200ms")
    room, listener = await running.joined()
    real, paused = batch._sealed, False

    async def sealed(share: batch.Share, first: int) -> object:
        nonlocal paused
        if not paused:
            paused = True
            await asyncio.sleep(0.5)  # as if stopped, with the row locked
        return await real(share, first)

    monkeypatch.setattr(batch, "_sealed", sealed)
    entry = running.submit(room, typed("a", 1, 0))
    await until(lambda: paused)
    connection = await asyncpg.connect(running.dsn)
    try:
        async with asyncio.timeout(5), connection.transaction():
            await connection.execute("SELECT 1 FROM libraries WHERE id = $1 FOR UPDATE", room.library_id)
    finally:
        await connection.close()
    assert await running.settled(entry) == [1]
    assert await running.stored(room.library_id) == [typed("a", 1, 0)] == listener.updates
