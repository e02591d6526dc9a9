"""The writer on a real database: order, isolation, bounds, and what it tells whom."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import pytest

from protocol.closes import Close
from server import batch, queues
from server.batch import Entry, Refusal
from storage import updates
from storage.pool import Connection
from tests.support.core import Core, core, deleted, typed, typing, until
from tests.support.stalling_proxy import stalling_proxy

LARGE = "x" * (queues.LARGE_BYTES + 1)


@pytest.fixture
async def own(database_dsn: str) -> AsyncIterator[Core]:
    """A core for one test."""
    async with core(database_dsn) as running:
        yield running


@asynccontextmanager
async def locked(dsn: str, library_id: UUID) -> AsyncIterator[None]:
    """Another process holds the library's row for as long as the block runs."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM libraries WHERE id = $1 FOR UPDATE", library_id)
            yield
    finally:
        await connection.close()


# --- numbering and what is told


async def test_seqs_have_no_gaps_and_rooms_advance_with_them(running: Core) -> None:
    rooms = [await running.joined() for _ in range(3)]
    made = [typing(client, 40) for client in (1, 2, 3)]
    entries = [running.submit(room, made[n][at]) for at in range(40) for n, (room, _) in enumerate(rooms)]
    outcomes = await running.settled(*entries)
    assert sorted(seq for seq in outcomes if isinstance(seq, int)) == sorted([*range(1, 41)] * 3)
    for n, (room, listener) in enumerate(rooms):
        assert room.head == 40
        assert await running.stored(room.library_id) == made[n] == listener.updates


async def test_what_adds_nothing_is_acknowledged_with_the_head_and_not_stored(running: Core) -> None:
    room, listener = await running.joined()
    first, second, gone = typed("ab", 1, 0), typed("c", 1, 2), deleted(1, 0, 1)
    assert await running.push(room, first, second, gone) == [1, 2, 3]
    assert await running.push(room, first, gone, typed("b", 1, 1), b"\x00\x00") == [3, 3, 3, 3]
    assert await running.stored(room.library_id) == [first, second, gone] == listener.updates
    assert [entry.update for entry in running.told.repeated if entry.room is room] == [first, gone, typed("b", 1, 1), b"\x00\x00"]


async def test_the_same_update_twice_in_one_batch_is_stored_once(running: Core) -> None:
    room, listener = await running.joined()
    entries = [running.submit(room, typed("a", 1, 0)) for _ in range(5)]
    assert await running.settled(*entries) == [1] * 5
    assert len(await running.log(room.library_id)) == 1
    assert len(listener.updates) == 1
    assert [entry for entry in running.told.acknowledged if entry in entries] == entries


async def test_what_is_told_while_the_next_batch_is_stored_stays_in_order(running: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "BATCH_ROWS", 1)
    room, listener = await running.joined()
    made = typing(1, 8)
    sent = [update for edit in made for update in (edit, edit)]  # every other batch writes nothing, and so waits for nothing
    entries = [running.submit(room, update) for update in sent]
    await running.settled(*entries)
    assert listener.updates == made
    told = [entry for entry in running.told.acknowledged if entry in entries]
    assert told == entries


async def test_an_update_is_told_only_once_it_is_in_the_database(running: Core) -> None:
    room, listener = await running.joined()
    watcher = await asyncpg.connect(running.dsn)
    try:
        async with locked(running.dsn, room.library_id):
            entry = running.submit(room, typed("a", 1, 0))
            await asyncio.sleep(0.03)  # several attempts
            assert entry not in running.told.outcomes
            assert listener.updates == []
            assert room.head == 0
            assert not room.knowledge
        await running.settled(entry)
        assert await watcher.fetchval("SELECT count(*) FROM updates WHERE library_id = $1", room.library_id) == 1
    finally:
        await watcher.close()


async def test_a_viewer_may_repeat_but_not_add(running: Core) -> None:
    room, listener = await running.joined()
    await running.push(room, typed("a", 1, 0))
    repeated = running.submit(room, typed("a", 1, 0), may_write=False)
    adding = running.submit(room, typed("b", 1, 1), may_write=False)
    removing = running.submit(room, deleted(1, 0, 1), may_write=False)
    assert await running.settled(repeated, adding, removing) == [1, Refusal.FORBIDDEN, Refusal.FORBIDDEN]
    assert len(await running.log(room.library_id)) == 1 == len(listener.updates)


async def test_a_library_that_knows_too_much_takes_nothing_new(running: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.batch.KNOWLEDGE_BYTES", 3_000)
    room, listener = await running.joined()
    stored = 0
    while isinstance((await running.push(room, typed("a", 1 + stored, 0)))[0], int):
        stored += 1
    assert 3_000 // 300 < stored < 3_000 // 100
    repeated, adding = running.submit(room, typed("a", 1, 0)), running.submit(room, deleted(1, 0, 1))
    assert await running.settled(repeated, adding) == [stored, Refusal.OVERGROWN]
    assert len(await running.log(room.library_id)) == stored == len(listener.updates)
    assert await running.push(await running.room(), typed("a", 1, 0)) == [1]


async def test_an_update_that_leans_on_a_refused_one_is_not_taken_for_redundant(running: Core) -> None:
    room, _ = await running.joined()
    forbidden = running.submit(room, typed("a", 1, 0), may_write=False)
    allowed = running.submit(room, typed("a", 1, 0))
    assert await running.settled(forbidden, allowed) == [Refusal.FORBIDDEN, 1]


# --- one library's trouble stays its own


async def test_a_locked_library_delays_no_other_and_keeps_its_order(running: Core) -> None:
    (stuck, listener), (free, _) = await running.joined(), await running.joined()
    made = typing(1, 30)
    async with locked(running.dsn, stuck.library_id):
        held = [running.submit(stuck, update) for update in made[:10]]
        assert await running.push(free, typed("a", 2, 0)) == [1]
        for update in made[10:20]:  # some meet a batch in flight, some a library that is held
            held.append(running.submit(stuck, update))
            await asyncio.sleep(0.001)
        assert await running.push(free, typed("b", 2, 1)) == [2]
        held += [running.submit(stuck, update) for update in made[20:]]
        assert not any(entry in running.told.outcomes for entry in held)
    assert await running.settled(*held) == list(range(1, 31))
    assert await running.stored(stuck.library_id) == made == listener.updates


async def test_what_queued_behind_a_locked_batch_does_not_overtake_it(running: Core) -> None:
    room, listener = await running.joined()
    made = typing(1, queues.BATCH_ROWS + 500)
    async with locked(running.dsn, room.library_id):
        entries = [running.submit(room, update) for update in made]
        await asyncio.sleep(0.03)
    assert await running.settled(*entries) == list(range(1, len(made) + 1))
    assert listener.updates == made


async def test_what_came_while_a_locked_batch_was_in_flight_does_not_overtake_it(running: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    room, listener = await running.joined()
    made, met = typing(1, 6), asyncio.Event()
    entries: list[Entry] = []
    real = updates.lock

    async def append_at_once(*arguments: object) -> set[UUID]:
        return set()

    async def lock(connection: Connection, heads: Mapping[UUID, int], **bounds: int) -> object:
        if not met.is_set():  # the first batch meets a lock, while more of its library arrives
            met.set()
            entries.extend(running.submit(room, update) for update in made[3:])
            return {}, {}
        return await real(connection, heads, **bounds)

    monkeypatch.setattr(updates, "append_at_once", append_at_once)
    monkeypatch.setattr(updates, "lock", lock)
    entries.extend(running.submit(room, update) for update in made[:3])
    await until(met.is_set)
    assert await running.settled(*entries) == list(range(1, 7))
    assert listener.updates == made


async def test_a_deleted_library_is_refused_and_the_rest_of_the_batch_is_stored(running: Core) -> None:
    (gone, listener), (there, _) = await running.joined(), await running.joined()
    await running.execute("UPDATE libraries SET deleted_at = now() WHERE id = $1", gone.library_id)
    lost, kept = running.submit(gone, typed("a", 1, 0)), running.submit(there, typed("a", 1, 0))
    assert await running.settled(lost, kept) == [Refusal.GONE, 1]
    assert listener.closed is not None
    assert listener.closed[0] is Close.NOT_FOUND
    assert gone.dropped
    assert running.rooms.get(gone.library_id) is None
    assert await running.push(gone, typed("b", 1, 1)) == [Refusal.STALE]


async def test_a_data_error_is_isolated_to_its_update(own: Core) -> None:
    await own.execute("ALTER TABLE updates ADD CHECK (octet_length(sealed) <> 100)")
    rooms = [await own.joined() for _ in range(4)]
    made = typing(1, 9)
    sealed_size = len(rooms[0][0].key.seal(typed("x", 9, 0), b""))
    poison = typed("x" * (100 - sealed_size + 1), 9, 0)
    assert len(rooms[0][0].key.seal(poison, b"")) == 100
    entries = [own.submit(room, update) for room, _ in rooms for update in made]
    bad = own.submit(rooms[1][0], poison)
    entries += [own.submit(room, typed("z", 1, 9)) for room, _ in rooms]
    outcomes = await own.settled(bad, *entries)
    assert outcomes[0] is Refusal.UNSTORABLE
    assert all(isinstance(outcome, int) for outcome in outcomes[1:])
    for room, listener in rooms:
        assert await own.stored(room.library_id) == [*made, typed("z", 1, 9)] == listener.updates


async def test_what_leans_on_an_unstorable_update_shares_its_fate(own: Core) -> None:
    room, _ = await own.joined()
    await own.execute("ALTER TABLE updates ADD CHECK (false) NOT VALID")
    entries = [own.submit(room, typed("a", 1, 0)) for _ in range(2)]
    assert await own.settled(*entries) == [Refusal.UNSTORABLE] * 2  # the second is never called redundant
    assert not room.knowledge


# --- the second lane


async def test_a_large_update_makes_only_its_own_library_wait(running: Core) -> None:
    (busy, listener), (other, _) = await running.joined(), await running.joined()
    made = [*typing(1, 3), typed(LARGE, 1, 3), *typing(1, 3, start=3 + len(LARGE)), typed(LARGE, 2, 0), *typing(3, 3)]
    async with locked(running.dsn, busy.library_id):
        entries = [running.submit(busy, update) for update in made]
        assert await running.push(other, typed("a", 1, 0)) == [1]
    assert await running.settled(*entries) == list(range(1, len(made) + 1))
    assert await running.stored(busy.library_id) == made == listener.updates


async def test_other_libraries_go_on_while_a_large_update_is_stored(running: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    (busy, _), (other, _) = await running.joined(), await running.joined()
    begun, go_on, real = asyncio.Event(), asyncio.Event(), batch._sealed

    async def sealed(share: batch.Share, first: int) -> list[updates.Row]:
        if share.room is busy and not begun.is_set():
            begun.set()
            await go_on.wait()
        return await real(share, first)

    monkeypatch.setattr(batch, "_sealed", sealed)
    large = running.submit(busy, typed(LARGE, 1, 0))
    await begun.wait()
    after = running.submit(busy, typed("a", 1, len(LARGE)))
    assert await running.push(other, *typing(1, 20)) == list(range(1, 21))
    assert after not in running.told.outcomes
    go_on.set()
    assert await running.settled(large, after) == [1, 2]


# --- bounds


async def test_past_the_bound_updates_are_refused_until_some_are_stored(database_dsn: str) -> None:
    async with core(database_dsn, queue_bytes=200_000) as running:
        room, _ = await running.joined()
        async with locked(running.dsn, room.library_id):
            first = running.submit(room, typed("x" * 150_000, 1, 0))
            refused = running.submit(room, typed("x" * 60_000, 2, 0))
            assert running.told.outcomes[refused] is Refusal.FULL
            assert running.writer.waiting_bytes < 200_000
        await running.settled(first)
        assert await running.push(room, typed("x" * 60_000, 2, 0)) == [2]
        assert await running.push(room, typed("x" * 300_000, 3, 0)) == [3]  # one that is larger than the bound goes alone
        assert running.writer.waiting_bytes == 0
        assert room.unstored == 0


async def test_a_queue_of_tiny_updates_takes_no_more_memory_than_its_bound(database_dsn: str) -> None:
    bound = 1 << 20
    async with stalling_proxy(database_dsn) as proxy, core(proxy.dsn, queue_bytes=bound) as running:
        room, _ = await running.joined()
        await running.push(room, typed("0", 1, 0))
        proxy.stall()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for client in range(2, 200_000):
            running.submit(room, typed("a", client, 0))
            if len(running.told.outcomes) > 1:  # the first that was refused
                break
        taken = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        proxy.go()
        assert taken <= 2 * bound, f"{taken} bytes for {running.writer.waiting_bytes} bytes in the queue ({client} updates)"


async def test_draining_stores_what_was_taken_and_takes_nothing_more(own: Core) -> None:
    room, _ = await own.joined()
    entries = [own.submit(room, update) for update in [*typing(1, 100), typed(LARGE, 2, 0), *typing(3, 5)]]
    assert await own.writer.drain(10)
    assert [own.told.outcomes[entry] for entry in entries] == list(range(1, 107))
    assert await own.push(room, typed("a", 4, 0)) == [Refusal.STOPPING]


async def test_draining_gives_up_after_its_time(own: Core) -> None:
    room, _ = await own.joined()
    async with locked(own.dsn, room.library_id):
        own.submit(room, typed("a", 1, 0))
        assert not await own.writer.drain(0.05)


# --- other processes


async def test_what_another_process_wrote_in_between_goes_out_first(running: Core) -> None:
    async with core(running.dsn, keyring=running.keyring) as other:
        room, listener = await running.joined()
        twin, twin_listener = await other.joined(room.library_id)
        assert await running.push(room, typed("a", 1, 0)) == [1]
        assert await other.push(twin, typed("b", 2, 0), typed("c", 2, 1)) == [2, 3]
        assert twin_listener.updates == [typed("a", 1, 0), typed("b", 2, 0), typed("c", 2, 1)]
        assert await running.push(room, typed("d", 1, 1)) == [4]
        assert listener.updates == [typed("a", 1, 0), typed("b", 2, 0), typed("c", 2, 1), typed("d", 1, 1)]
        assert room.head == 4
        assert room.knowledge.state_vector() == {1: 2, 2: 2}


async def test_two_processes_that_write_at_once_number_without_gaps(running: Core) -> None:
    async with core(running.dsn, keyring=running.keyring) as other:
        room, listener = await running.joined()
        twin, twin_listener = await other.joined(room.library_id)
        mine, theirs = [], []
        for left, right in zip(typing(1, 200), typing(2, 200), strict=True):
            mine.append(running.submit(room, left))
            theirs.append(other.submit(twin, right))
            await asyncio.sleep(0)
        seqs = [*await running.settled(*mine), *await other.settled(*theirs)]
        assert sorted(seqs) == list(range(1, 401))  # type: ignore[type-var]  # none is a refusal
        order = await running.stored(room.library_id)
        assert listener.updates == order[: len(listener.updates)]
        assert twin_listener.updates == order[: len(twin_listener.updates)]
        assert max(len(listener.updates), len(twin_listener.updates)) == 400


async def test_an_epoch_raised_under_a_room_drops_it(running: Core) -> None:
    room, listener = await running.joined()
    await running.push(room, typed("a", 1, 0))
    await running.execute("UPDATE libraries SET epoch = epoch + 1 WHERE id = $1", room.library_id)
    assert await running.push(room, typed("b", 1, 1)) == [Refusal.STALE]
    assert listener.closed is not None
    assert listener.closed[0] is Close.RESTART
    again, _ = await running.joined(room.library_id)
    assert again is not room
    assert again.epoch == 2
    assert await running.push(again, typed("b", 1, 1)) == [2]


async def test_a_database_put_back_to_an_earlier_head_drops_the_room(running: Core) -> None:
    room, listener = await running.joined()
    await running.push(room, *typing(1, 3))
    await running.execute("DELETE FROM updates WHERE library_id = $1 AND seq > 1", room.library_id)
    await running.execute("UPDATE libraries SET head = 1 WHERE id = $1", room.library_id)
    assert await running.push(room, typed("d", 1, 3)) == [Refusal.STALE]
    assert listener.closed is not None
    assert listener.closed[0] is Close.RESTART
    again, _ = await running.joined(room.library_id)
    assert again.knowledge.state_vector() == {1: 1}  # what was lost is asked for again


async def test_a_room_that_cannot_catch_up_is_dropped_and_the_sender_told_the_truth(running: Core) -> None:
    room, listener = await running.joined()
    await running.execute("UPDATE libraries SET head = head + 1 WHERE id = $1", room.library_id)  # a row that is not there
    assert await running.push(room, typed("a", 1, 0)) == [Refusal.STALE]
    async with running.database.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM updates WHERE library_id = $1", room.library_id) == 0
    assert listener.updates == []
    assert listener.closed is not None
    assert listener.closed[0] is Close.RESTART


async def test_a_library_that_was_purged_is_gone_too(running: Core) -> None:
    room, _ = await running.joined()
    purged = await running.room()
    await running.execute("DELETE FROM libraries WHERE id = $1", purged.library_id)
    entries = [running.submit(purged, typed("a", 1, 0)), running.submit(room, typed("a", 1, 0))]
    assert await running.settled(*entries) == [Refusal.GONE, 1]
