"""The follower: two cores on one database stand for two processes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from uuid import UUID

import asyncpg
import pytest

from protocol.closes import Close
from server import follower
from server.batch import Refusal
from server.follower import RoomDropped
from server.rooms import Room
from server.workers import Workers
from storage import updates
from storage.errors import Unavailable
from tests.support.compacting import compactor_of, trim
from tests.support.core import Core, Listener, core, deleted, typed, typing, until


@pytest.fixture
async def two(database_dsn: str) -> AsyncIterator[tuple[Core, Core]]:
    """Two processes on one database."""
    async with core(database_dsn) as one, core(database_dsn, keyring=one.keyring) as other:
        yield one, other


async def both(two: tuple[Core, Core]) -> tuple[Room, Listener, Room, Listener]:
    """A library that is open in both."""
    here, heard_here = await two[0].joined()
    there, heard_there = await two[1].joined(here.library_id)
    return here, heard_here, there, heard_there


async def trimmed(running: Core, room: Room) -> None:
    """Compact the room's library, and trim all of its log."""
    with closing(Workers(1)) as workers, compactor_of(running, workers) as compactor:
        await compactor.compact(room.library_id)
    await trim(running, room.library_id)
    assert await running.fetchval("SELECT count(*) FROM updates WHERE library_id = $1", room.library_id) == 0


async def test_a_room_takes_over_what_another_process_stored_and_relays_it_in_order(two: tuple[Core, Core]) -> None:
    one, other = two
    here, _, there, heard = await both(two)
    made = [*typing(1, 40), deleted(1, 3, 2)]
    await one.push(here, *made)
    await other.follower.catch_up(there)
    assert there.head == here.head == len(made)
    assert there.knowledge == here.knowledge
    assert heard.updates == made


async def test_more_than_one_question_reads_is_read_by_the_next(two: tuple[Core, Core], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "ROWS_A_ROOM", 7)
    monkeypatch.setattr(follower, "ROOMS_AT_ONCE", 2)
    one, other = two
    opened = [await both(two) for _ in range(5)]
    made = typing(1, 30)
    for here, *_ in opened:
        await one.push(here, *made)
    await asyncio.gather(*(other.follower.catch_up(there) for _, _, there, _ in opened))
    assert all(heard.updates == made for *_, heard in opened)


async def test_a_large_row_among_small_ones_keeps_its_place(two: tuple[Core, Core]) -> None:
    one, other = two
    here, _, there, heard = await both(two)
    made = [typed("a", 1, 0), typed("x" * (follower.ROW_BYTES + 1), 1, 1), typed("b", 2, 0), typed("y" * 300_000, 3, 0), typed("c", 2, 1)]
    for update in made:
        await one.push(here, update)
    await other.follower.catch_up(there)
    assert heard.updates == made
    assert there.head == 5


async def test_both_write_at_once_and_each_relays_all_of_it_once_in_the_order_of_the_log(two: tuple[Core, Core]) -> None:
    one, other = two
    here, heard_here, there, heard_there = await both(two)
    left, right = typing(1, 150), typing(2, 150)
    entries_here, entries_there = [], []
    for mine, theirs in zip(left, right, strict=True):
        entries_here.append(one.submit(here, mine))
        entries_there.append(other.submit(there, theirs))
        await asyncio.sleep(0)
    await one.settled(*entries_here)
    await other.settled(*entries_there)
    await one.follower.catch_up(here)
    await other.follower.catch_up(there)
    log = await one.stored(here.library_id)
    assert heard_here.updates == heard_there.updates == log
    assert sorted(log) == sorted([*left, *right])
    assert here.knowledge == there.knowledge


async def test_what_both_processes_were_sent_is_stored_once(two: tuple[Core, Core]) -> None:
    one, other = two
    here, _, there, _ = await both(two)
    made = typing(1, 20)
    await one.push(here, *made)
    outcomes = await other.push(there, *made)  # its room does not know of them yet
    assert all(isinstance(seq, int) for seq in outcomes)
    assert await one.stored(here.library_id) == made


async def test_a_viewer_who_repeats_what_another_process_has_shown_him_is_not_turned_away(two: tuple[Core, Core]) -> None:
    one, other = two
    here, _, there, heard = await both(two)
    shown = typed("a", 1, 0)
    await one.push(here, shown)
    repeated = other.submit(there, shown, may_write=False)  # its room does not know of it yet
    added = other.submit(there, typed("b", 2, 0), may_write=False)
    assert await other.settled(repeated, added) == [1, Refusal.FORBIDDEN]
    assert heard.updates == [shown]


async def test_a_commit_that_the_follower_reads_before_the_writer_is_answered_is_relayed_once(
    two: tuple[Core, Core], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = two
    room, heard = await one.joined()
    real = updates.append_at_once

    async def slowly(*arguments: object) -> set[object]:
        stored = await real(*arguments)  # type: ignore[arg-type]  # passed on
        await one.follower.catch_up(room)
        return set(stored)

    monkeypatch.setattr(updates, "append_at_once", slowly)
    made = typing(1, 5)
    assert await one.push(room, *made) == [1, 2, 3, 4, 5]
    assert heard.updates == made
    assert room.head == 5


async def test_a_room_below_the_oldest_kept_row_is_dropped_and_its_devices_come_back(two: tuple[Core, Core]) -> None:
    one, other = two
    here, _, there, heard = await both(two)
    healthy, _, healthy_there, heard_healthy = await both(two)
    await one.push(here, *typing(1, 10))
    await one.push(healthy, *typing(1, 10))
    async with one.database.acquire() as connection:
        await connection.execute("DELETE FROM updates WHERE library_id = $1 AND seq <= 5", here.library_id)
    waits = [other.follower.catch_up(there), other.follower.catch_up(healthy_there)]
    outcomes = await asyncio.gather(*waits, return_exceptions=True)
    assert isinstance(outcomes[0], RoomDropped)
    assert outcomes[1] is None
    assert there.dropped
    assert heard.closed is not None
    assert heard.closed[0] is Close.RESTART
    assert len(heard_healthy.updates) == 10


async def test_a_room_below_a_log_of_which_nothing_is_left_is_dropped_and_its_devices_come_back(two: tuple[Core, Core]) -> None:
    one, other = two
    here, _, there, heard = await both(two)
    await one.push(here, *typing(1, 10))
    await trimmed(one, here)
    with pytest.raises(RoomDropped):
        await other.follower.catch_up(there)
    assert there.dropped
    assert heard.closed is not None
    assert heard.closed[0] is Close.RESTART
    again = await other.rooms.open(here.library_id)
    assert again.head == 10
    assert again.knowledge == here.knowledge


async def test_a_write_below_a_log_of_which_nothing_is_left_is_refused_and_its_devices_come_back(two: tuple[Core, Core]) -> None:
    one, other = two
    here, _, there, heard = await both(two)
    await one.push(here, *typing(1, 10))
    await trimmed(one, here)
    assert await other.push(there, typed("a", 2, 0)) == [Refusal.STALE]
    assert heard.closed is not None
    assert heard.closed[0] is Close.RESTART
    assert await other.push(await other.rooms.open(here.library_id), typed("a", 2, 0)) == [11]


async def test_a_room_at_the_head_of_a_trimmed_log_is_not_behind(two: tuple[Core, Core]) -> None:
    one, other = two
    here, _, there, heard = await both(two)
    await one.push(here, *typing(1, 10))
    await other.follower.catch_up(there)
    await trimmed(one, here)
    await other.follower.catch_up(there)
    assert not there.dropped
    assert heard.closed is None


async def test_a_row_that_does_not_open_drops_its_room_and_no_other(two: tuple[Core, Core]) -> None:
    one, other = two
    here, _, there, heard = await both(two)
    healthy, _, healthy_there, heard_healthy = await both(two)
    await one.push(here, typed("a", 1, 0))
    await one.push(healthy, typed("a", 1, 0))
    async with one.database.acquire() as connection:
        await connection.execute("UPDATE updates SET sealed = set_byte(sealed, 20, 1) WHERE library_id = $1", here.library_id)
    other.follower.behind(there)
    other.follower.behind(healthy_there)
    await until(lambda: there.dropped and healthy_there.head == 1, "one room to drop, the other to go on")
    assert heard.closed == (Close.RESTART, "start again")
    assert heard_healthy.closed is None


async def test_rows_that_the_database_cannot_read_stop_their_own_room_alone(
    two: tuple[Core, Core], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    here, _, there, heard = await both(two)
    healthy = [await both(two) for _ in range(4)]
    real = updates.behind

    async def damaged(connection: object, heads: dict[UUID, int], **bounds: int) -> object:
        if here.library_id in heads:
            raise asyncpg.DataCorruptedError("invalid page")
        return await real(connection, heads, **bounds)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(updates, "behind", damaged)
    for room in (here, *(room for room, *_ in healthy)):
        await one.push(room, typed("a", 1, 0))
    rooms = [there, *(room for _, _, room, _ in healthy)]
    outcomes = await asyncio.gather(*(other.follower.catch_up(room) for room in rooms), return_exceptions=True)
    assert isinstance(outcomes[0], RoomDropped)
    assert outcomes[1:] == [None] * 4
    assert heard.closed == (Close.RESTART, "start again")
    assert all(heard.updates == [typed("a", 1, 0)] for *_, heard in healthy)


async def test_a_large_row_that_takes_long_delays_no_other_library(two: tuple[Core, Core], monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = two
    here, _, there, heard = await both(two)
    healthy, _, healthy_there, heard_healthy = await both(two)
    real, readable, asked = other.follower._shelf.after, asyncio.Event(), 0

    async def slowly(room: Room) -> object:
        nonlocal asked
        asked += 1
        await readable.wait()
        return await real(room)

    monkeypatch.setattr(other.follower._shelf, "after", slowly)
    large, small = typed("x" * (follower.ROW_BYTES + 1), 1, 0), typed("b", 2, 0)
    await one.push(here, large)
    slow = asyncio.create_task(other.follower.catch_up(there))
    await until(lambda: asked == 1, "the large row to be read")
    await one.push(healthy, typed("a", 1, 0))
    await other.follower.catch_up(healthy_there)
    assert heard_healthy.updates == [typed("a", 1, 0)]
    await one.push(here, small)
    later = asyncio.create_task(other.follower.catch_up(there))
    await other.follower.catch_up(healthy_there)
    assert asked == 1
    readable.set()
    await asyncio.gather(slow, later)
    assert heard.updates == [large, small]


async def test_without_a_database_the_follower_says_so_and_goes_on_once_it_is_back(
    two: tuple[Core, Core], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    here, _, there, heard = await both(two)
    await one.push(here, typed("a", 1, 0))
    real = updates.behind

    async def away(*arguments: object, **named: object) -> None:
        raise ConnectionResetError

    monkeypatch.setattr(updates, "behind", away)
    with pytest.raises(Unavailable):
        await other.follower.catch_up(there)
    assert not there.dropped
    monkeypatch.setattr(updates, "behind", real)
    await other.follower.catch_up(there)
    assert heard.updates == [typed("a", 1, 0)]


async def test_a_library_that_is_written_by_others_all_the_time_is_stored_under_its_lock(
    two: tuple[Core, Core], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    here, _, there, heard = await both(two)
    real, raced = updates.append_at_once, 0

    async def after_another(connection: object, rows: object, places: dict[object, object]) -> set[object]:
        nonlocal raced
        if there.library_id in places and connection is other.writer._small_lane._connection:
            raced += 1
            await one.push(here, typed("x", 100 + raced, 0))
        return set(await real(connection, rows, places))  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(updates, "append_at_once", after_another)
    mine = typed("mine", 1, 0)
    await other.push(there, mine)
    assert raced == 1
    assert there.contended
    assert (await one.stored(here.library_id))[-1] == mine
    assert heard.updates == await one.stored(here.library_id)
