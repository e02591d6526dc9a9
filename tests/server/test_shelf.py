"""Libraries read from a real database: rooms from snapshot and tail, and answers that never lack what was committed."""

import asyncio
from collections.abc import Sequence
from uuid import uuid4

import pytest

from crdt.errors import InvalidStateVector
from crdt.knowledge import Knowledge, Scratch
from crdt.updates import EMPTY_STATE_VECTOR, EMPTY_UPDATE, encode_state_vector, inspect, merge
from server import rooms, shelf
from server.rooms import Committed, Room
from storage import updates
from storage.cipher import DataKey, knowledge_place, snapshot_place
from storage.errors import NotFound, SealBroken, StorageError, WrongKeys
from storage.updates import LogBroken, SealedSnapshot
from tests.support.compacting import holding, known
from tests.support.core import Core, core, deleted, new_keyring, spans, typed, typing
from tests.support.snapshots import store_verified


async def fold(running: Core, room: Room, made: Sequence[bytes]) -> None:
    """Put a snapshot of these updates in the place of their rows."""
    seq = len(made)
    snapshot = SealedSnapshot(
        seq,
        room.epoch,
        room.key.seal(known(*made).pack(), knowledge_place(room.library_id, room.epoch, seq)),
        room.key.seal_in_slices(merge(made), snapshot_place(room.library_id, room.epoch, seq)),
    )
    async with running.database.transaction() as connection:
        await store_verified(connection, room.library_id, snapshot)
        await connection.execute("DELETE FROM updates WHERE library_id = $1 AND seq <= $2", room.library_id, seq)


# --- rooms


async def test_a_room_is_made_from_the_whole_log(running: Core, other: Core) -> None:
    made = [*typing(1, 30), deleted(1, 3, 4), typed("xy", 2, 10)]
    room = await other.room(await holding(running, *made))
    assert room.head == len(made)
    assert room.knowledge == known(*made)
    assert room.knowledge.state_vector() == {1: 30}
    assert not room.knowledge.gapless


async def test_a_room_is_made_from_a_snapshot_and_the_tail_after_it(running: Core, other: Core) -> None:
    made = [*typing(1, 30), deleted(1, 3, 4), typed("xy", 2, 10)]
    library_id = await holding(running, *made)
    await fold(running, await running.room(library_id), made[:20])
    room = await other.room(library_id)
    assert room.head == len(made)
    assert room.knowledge == known(*made)
    assert inspect(await other.shelf.missing(room, EMPTY_STATE_VECTOR)) == inspect(merge(made))
    await other.push(room, typed("z", 1, 30))
    assert await other.stored(library_id) == [*made[20:], typed("z", 1, 30)]


async def test_a_room_is_loaded_once_however_many_ask(running: Core, other: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    library_id = await holding(running, *typing(1, 3))
    loads, real = 0, updates.load

    async def load(*arguments: object, **options: object) -> object:
        nonlocal loads
        loads += 1
        return await real(*arguments, **options)  # type: ignore[arg-type]  # only passed on

    monkeypatch.setattr(updates, "load", load)
    opened = await asyncio.gather(*(other.room(library_id) for _ in range(20)))
    assert len(set(map(id, opened))) == 1
    assert loads == 1


async def test_one_who_gives_up_does_not_stop_the_others_from_opening(running: Core, other: Core) -> None:
    library_id = await holding(running, *typing(1, 3))
    asking = [asyncio.create_task(other.room(library_id)) for _ in range(3)]
    await asyncio.sleep(0)
    asking[0].cancel()
    opened = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(opened[0], asyncio.CancelledError)
    assert opened[1] is opened[2] is other.rooms.get(library_id)


# --- what cannot be read is never taken for empty


BREAKS: dict[str, tuple[str, type[StorageError]]] = {
    "an altered row": (
        "UPDATE updates SET sealed = set_byte(sealed, 20, get_byte(sealed, 20) # 1) WHERE library_id = $1 AND seq = 2",
        SealBroken,
    ),
    "two swapped rows": (
        "UPDATE updates AS u SET sealed = o.sealed FROM updates AS o"
        " WHERE u.library_id = $1 AND o.library_id = $1 AND u.seq IN (1, 2) AND o.seq = 3 - u.seq",
        SealBroken,
    ),
    "a row of another epoch": ("UPDATE updates SET epoch = 2 WHERE library_id = $1 AND seq = 2", SealBroken),
    "a missing row": ("DELETE FROM updates WHERE library_id = $1 AND seq = 2", LogBroken),
    "a missing first row": ("DELETE FROM updates WHERE library_id = $1 AND seq = 1", LogBroken),
    "a missing last row": ("DELETE FROM updates WHERE library_id = $1 AND seq = 3", LogBroken),
    "an empty log": ("DELETE FROM updates WHERE library_id = $1", LogBroken),
    "a row past the head": ("UPDATE libraries SET head = 2 WHERE id = $1", LogBroken),
    "a destroyed key": ("UPDATE libraries SET wrapped_key = NULL, key_id = NULL WHERE id = $1", NotFound),
    "a key of an unknown name": ("UPDATE libraries SET key_id = 'k9' WHERE id = $1", WrongKeys),
    "a deleted library": ("UPDATE libraries SET deleted_at = now() WHERE id = $1", NotFound),
}


@pytest.mark.parametrize(("statement", "error"), BREAKS.values(), ids=BREAKS.keys())
async def test_a_library_that_cannot_be_read_is_not_opened(running: Core, other: Core, statement: str, error: type[StorageError]) -> None:
    library_id = await holding(running, *typing(1, 3))
    await running.execute(statement, library_id)
    for _ in range(2):
        with pytest.raises(error):
            await other.room(library_id)
    assert other.rooms.get(library_id) is None


async def test_a_broken_snapshot_is_not_opened(running: Core, other: Core) -> None:
    made = typing(1, 5)
    library_id = await holding(running, *made)
    await fold(running, await running.room(library_id), made)
    room = await other.room(library_id)
    await running.execute("UPDATE snapshots SET sealed = sealed_knowledge WHERE library_id = $1", library_id)
    with pytest.raises(SealBroken):
        await other.shelf.missing(room, EMPTY_STATE_VECTOR)
    await running.execute("UPDATE snapshots SET sealed_knowledge = '\\x01' WHERE library_id = $1", library_id)
    async with core(running.dsn, keyring=running.keyring) as third:
        with pytest.raises(SealBroken):
            await third.room(library_id)


async def test_without_the_right_key_file_nothing_opens(running: Core) -> None:
    library_id = await holding(running, *typing(1, 3))
    async with core(running.dsn, keyring=new_keyring()) as stranger:
        with pytest.raises((WrongKeys, SealBroken)):  # another key of the same name
            await stranger.room(library_id)


async def test_no_library_is_not_found(running: Core) -> None:
    with pytest.raises(NotFound):
        await running.room(uuid4())


# --- openings


async def test_one_who_has_everything_gets_the_deletions_alone(running: Core) -> None:
    room = await running.room(await holding(running, *typing(1, 5), deleted(1, 2, 2)))
    answer = await running.shelf.missing(room, encode_state_vector({1: 5}))
    assert spans(inspect(answer).held) == []
    assert spans(inspect(answer).deleted) == [(1, 2, 4)]
    assert running.shelf.missing_at_once(room, encode_state_vector({1: 5, 9: 3})) == answer


async def test_a_short_absence_is_answered_without_the_database(running: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [*typing(1, 20), deleted(1, 0, 1), typed("q", 2, 0)]
    room = await running.room(await holding(running, *made))
    monkeypatch.setattr(running.shelf, "_database", None)
    answer = await running.shelf.missing(room, encode_state_vector({1: 15}))
    assert known(answer).held == known(*made[15:20], made[21]).held
    assert spans(inspect(answer).deleted) == [(1, 0, 1)]


async def test_one_with_nothing_gets_everything_in_one_update(running: Core, other: Core) -> None:
    made = [*typing(1, 50), deleted(1, 2, 2), typed("gap", 2, 40)]
    room = await other.room(await holding(running, *made))
    room._tail.clear()
    answer = await other.shelf.missing(room, EMPTY_STATE_VECTOR)
    assert known(answer) == known(*made)
    assert other.shelf.missing_at_once(room, EMPTY_STATE_VECTOR) is answer  # from now on from the cache


async def test_an_empty_library_is_answered_with_an_empty_update(running: Core) -> None:
    room = await running.room()
    assert await running.shelf.missing(room, EMPTY_STATE_VECTOR) == EMPTY_UPDATE


async def test_a_gap_is_answered_with_what_lies_beyond_it(running: Core, other: Core) -> None:
    made = [typed("0123456789", 1, 0), typed("abcdefghij", 1, 20), deleted(1, 22, 2)]
    room = await other.room(await holding(running, *made))
    assert room.state_vector() == encode_state_vector({1: 10})
    for clear in (False, True):
        if clear:
            room._tail.clear()
        for vector, held in (({}, [(1, 0, 10), (1, 20, 30)]), ({1: 10}, [(1, 20, 30)]), ({1: 15}, [(1, 20, 30)]), ({1: 25}, [(1, 25, 30)])):
            answer = inspect(await other.shelf.missing(room, encode_state_vector(vector)))
            lacking = known().held
            for client, start, end in held:
                lacking.add(client, start, end)
            got = Knowledge()
            got.learn(answer)
            assert got.held.covers(lacking), (vector, spans(answer.held))
            assert spans(answer.deleted) == [(1, 22, 24)]


async def test_any_vector_is_answered_with_all_that_it_lacks(running: Core, other: Core) -> None:
    made = [*typing(1, 60), *typing(2, 60), deleted(2, 7, 3)]
    library_id = await holding(running, *made)
    room = await running.room(library_id)
    await fold(running, room, made[:100])
    fresh = await other.room(library_id)
    for vector in ({1: 60}, {1: 30, 2: 60}, {2: 1}, {1: 59, 2: 59}, {3: 5}, {1: 10**6}):
        wanted = known(*made).lacking(vector)
        for where, at in ((running, room), (other, fresh)):
            answer = inspect(await where.shelf.missing(at, encode_state_vector(vector)))
            got = Knowledge()
            got.learn(answer)
            assert got.held.covers(wanted), vector
            assert spans(answer.deleted) == [(2, 7, 10)]


async def test_a_broken_vector_is_refused(running: Core) -> None:
    room = await running.room()
    for vector in (b"", b"\x01", b"\xff\xff\xff\xff\x0f", b"\x00\x00"):
        with pytest.raises(InvalidStateVector):
            await running.shelf.missing(room, vector)


async def test_an_answer_begun_earlier_never_lacks_what_was_committed_since(
    running: Core, other: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    room, _ = await other.joined(await holding(running, *typing(1, 5)))
    room._tail.clear()
    reading, go_on, real = asyncio.Event(), asyncio.Event(), other.workers.merge

    async def merging(parts: Sequence[bytes]) -> bytes:
        reading.set()
        await go_on.wait()
        return await real(parts)

    monkeypatch.setattr(other.workers, "merge", merging)
    early = asyncio.create_task(other.shelf.missing(room, EMPTY_STATE_VECTOR))
    await reading.wait()
    await other.push(room, *typing(1, 5, start=5))
    late = asyncio.create_task(other.shelf.missing(room, EMPTY_STATE_VECTOR))
    await asyncio.sleep(0)
    go_on.set()
    assert known(await early).held.contains(1, 0, 5)
    assert known(await late).held.contains(1, 0, 10)


async def test_the_cache_is_made_longer_by_what_came_since(running: Core) -> None:
    room, _ = await running.joined(await holding(running, *typing(1, 5)))
    for count in range(5, 10):
        assert known(await running.shelf.content(room)) == known(*typing(1, count))
        await running.push(room, typing(1, 1, start=count)[0])


async def test_the_cache_is_bounded(database_dsn: str) -> None:
    async with core(database_dsn, cache_bytes=10_000) as running:
        for client in range(1, 8):
            room = await running.room(await holding(running, typed("x" * 4000, client, 0)))
            assert len(await running.shelf.content(room)) > 4000
            assert running.shelf._kept_bytes == sum(len(merged) for *_, merged in running.shelf._cached.values()) <= 10_000
        assert len(running.shelf._cached) == 2
        huge = await running.room(await holding(running, typed("x" * 20_000, 1, 0)))
        assert len(await running.shelf.content(huge)) > 20_000
        assert running.shelf._kept_bytes <= 10_000


async def test_a_room_ahead_of_its_database_is_refused_and_not_asked_after_for_ever(running: Core) -> None:
    room, _ = await running.joined(await holding(running, *typing(1, 5)))
    room._tail.clear()
    await running.execute("DELETE FROM updates WHERE library_id = $1 AND seq > 3", room.library_id)
    await running.execute("UPDATE libraries SET head = 3 WHERE id = $1", room.library_id)
    with pytest.raises(LogBroken):
        await asyncio.wait_for(running.shelf.missing(room, EMPTY_STATE_VECTOR), 5)


async def test_what_a_room_keeps_of_recent_updates_is_counted(running: Core) -> None:
    room = await running.room(await holding(running, *typing(1, 3000)))
    assert len(room._tail) > 100
    assert room.nbytes >= len(room._tail) * 400 + rooms.ROOM_BYTES  # so much each takes, however few its own bytes are
    assert room._tail_bytes <= rooms.TAIL_BYTES


async def test_a_long_log_and_large_rows_are_read_without_holding_up_others(database_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "BREATH_ROWS", 10)
    keyring, large = new_keyring(), typed("x" * 300_000, 2, 0)
    async with core(database_dsn, keyring=keyring) as before:
        room = await before.room()
        await before.push(room, large, *typing(1, 95))
    steps, opened = list[int](), list[int]()
    advance, open_at_once = Room.advance, DataKey.open

    def counted(room: Room, committed: Sequence[Committed], learnt: Scratch | None = None) -> None:
        steps.append(len(committed))
        advance(room, committed, learnt)

    def noted(key: DataKey, sealed: bytes, place: bytes) -> bytes:
        opened.append(len(sealed))
        return open_at_once(key, sealed, place)

    monkeypatch.setattr(Room, "advance", counted)
    monkeypatch.setattr(DataKey, "open", noted)
    async with core(database_dsn, keyring=keyring) as after:
        again = await after.room(room.library_id)
        assert again.head == 96 == sum(steps)
        assert max(steps) <= 10
        assert again.knowledge == room.knowledge
        assert len(await after.shelf.content(again)) > len(large)
    assert max(opened) < 1_000


async def test_a_cached_answer_is_not_made_longer_by_what_another_epoch_wrote(running: Core, other: Core) -> None:
    room = await running.room()
    await running.push(room, *typing(1, 3))
    await running.shelf.content(room)
    await running.execute("DELETE FROM updates WHERE library_id = $1 AND seq > 1", room.library_id)
    await running.execute("UPDATE libraries SET head = 1, epoch = 2 WHERE id = $1", room.library_id)
    await other.push(await other.room(room.library_id), *typing(2, 4))
    room.head = 4  # it has seen a part of that
    assert spans(inspect(await running.shelf.content(room)).held) == [(2, 0, 4), (1, 0, 1)]
