"""Updates that break Yrs: found, kept apart, still sent to devices, and no hindrance to anybody else."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crdt.errors import InvalidUpdate
from crdt.fold import FoldBroken
from crdt.updates import EMPTY_STATE_VECTOR, decode_state_vector, encode_state_vector, inspect
from server import shelf, suspects
from server.compactor import Compactor, Kind
from server.errors import WorkerDied
from server.suspects import DIED, culprits
from server.workers import Folded, Workers
from storage import quarantine
from storage.quarantine import Quarantined
from tests.support.compacting import compactor_of, kept, known, trim, whole
from tests.support.core import Core, core, typed, typing
from tests.support.poison import NO_PARENT, OUTERMOST_DELETED, nested_types


async def apart(running: Core, library_id: UUID) -> Sequence[Quarantined]:
    async with running.database.acquire() as connection:
        return await quarantine.of_library(connection, library_id)


async def poisoned(running: Core) -> UUID:
    """A library in which the eleventh of twenty-one updates breaks Yrs."""
    room = await running.room()
    await running.push(room, *typing(7, 10), NO_PARENT, *typing(7, 10, start=10))
    return room.library_id


async def test_what_breaks_yrs_is_kept_apart_and_the_rest_is_folded(running: Core, workers: Workers, other: Core) -> None:
    library_id = await poisoned(running)
    told: list[UUID] = []
    with compactor_of(running, workers, on_quarantined=told.append) as compactor:
        outcome = await compactor.compact(library_id)
    assert (outcome.kind, outcome.updates, outcome.quarantined) == (Kind.COMPACTED, 21, (11,))
    assert told == [library_id]
    assert [(row.seq, row.epoch, row.reason) for row in await apart(running, library_id)] == [(11, 1, "Yrs cannot apply it")]
    assert await running.fetchval("SELECT epoch FROM libraries WHERE id = $1", library_id) == 2, "every process opens it anew"
    for trimmed in (False, True):
        if trimmed:
            await trim(running, library_id)
        assert await whole(running, library_id) == known(*typing(7, 20))
        async with core(running.dsn, keyring=running.keyring) as fresh:
            room = await fresh.room(library_id)
            assert await fresh.shelf.quarantined(room) == [NO_PARENT]
    room = await other.room(library_id)
    await other.push(room, *typing(7, 3, start=20))
    with compactor_of(running, workers) as compactor:
        assert (await compactor.compact(library_id)).quarantined == ()
    assert await whole(running, library_id) == known(*typing(7, 23))


async def test_before_the_rest_is_folded_it_is_left_out_of_openings_too(running: Core, other: Core) -> None:
    library_id = await poisoned(running)
    async with running.database.transaction() as connection:
        assert await quarantine.record(connection, library_id, 1, {11: "a test"})
    room = await other.room(library_id)
    assert (room.head, room.epoch, room.tail_updates) == (21, 2, 21)
    assert room.knowledge == known(*typing(7, 20))
    assert known(await other.shelf.missing(room, EMPTY_STATE_VECTOR)) == known(*typing(7, 20))


async def test_it_is_not_asked_for_again_and_makes_no_other_update_redundant(running: Core, other: Core, compactor: Compactor) -> None:
    library_id = await poisoned(running)
    await compactor.compact(library_id)
    room = await other.room(library_id)
    assert room.quarantined == known(NO_PARENT)
    asked = decode_state_vector(room.state_vector())
    assert asked == known(NO_PARENT, *typing(7, 20)).state_vector()
    assert asked[11] > 0
    assert await other.push(room, typed("x", 11, 0)) == [22], "its clocks are taken by what nobody else can build on"
    assert await other.stored(library_id) == [*typing(7, 10), NO_PARENT, *typing(7, 10, start=10), typed("x", 11, 0)]


async def test_a_device_that_has_it_is_not_sent_it_again(running: Core, compactor: Compactor, other: Core) -> None:
    library_id = await poisoned(running)
    await compactor.compact(library_id)
    room = await other.room(library_id)
    vector = known(NO_PARENT).state_vector()
    assert not inspect(NO_PARENT).deleted
    assert await other.shelf.quarantined(room, encode_state_vector(vector)) == []
    assert await other.shelf.quarantined(room, encode_state_vector({11: 1})) == [NO_PARENT]
    assert await other.shelf.quarantined(await other.room(), EMPTY_STATE_VECTOR) == []


async def test_it_is_read_once_for_many_openings_within_a_bound(
    running: Core, compactor: Compactor, other: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    library_id = await poisoned(running)
    await compactor.compact(library_id)
    room = await other.room(library_id)
    reads, real = 0, quarantine.of_library

    async def counted(*arguments: object) -> object:
        nonlocal reads
        reads += 1
        return await real(*arguments)  # type: ignore[arg-type]  # only passed on

    monkeypatch.setattr(quarantine, "of_library", counted)
    await asyncio.gather(*(other.shelf.quarantined(room) for _ in range(20)))
    assert reads == 0, "read with the room"
    other.shelf._apart.clear()
    other.shelf._apart_bytes = 0
    await asyncio.gather(*(other.shelf.quarantined(room) for _ in range(20)))
    assert reads == 1
    monkeypatch.setattr(shelf, "APART_BYTES", 10)
    other.shelf._apart.clear()
    other.shelf._apart_bytes = 0
    assert await other.shelf.quarantined(room) == await other.shelf.quarantined(room) == [NO_PARENT]
    assert (reads, other.shelf._apart_bytes) == (3, 0)


async def test_an_update_that_ends_the_process_is_found_and_this_one_lives(running: Core, compactor: Compactor) -> None:
    room = await running.room()
    made = [*typing(7, 3), nested_types(100_000), OUTERMOST_DELETED, *typing(7, 2, start=3)]
    await running.push(room, *made)
    outcome = await compactor.compact(room.library_id)
    assert (outcome.kind, outcome.quarantined) == (Kind.COMPACTED, (5,))
    assert [row.reason for row in await apart(running, room.library_id)] == [DIED]
    assert await whole(running, room.library_id) == known(*made[:4], *made[5:])
    async with core(running.dsn, keyring=running.keyring) as fresh:
        room = await fresh.room(room.library_id)
        assert await fresh.shelf.quarantined(room, room.state_vector()) == [OUTERMOST_DELETED], "deletions advance no clock"


async def test_one_that_moved_meanwhile_is_not_judged(running: Core, compactor: Compactor, monkeypatch: pytest.MonkeyPatch) -> None:
    library_id = await poisoned(running)
    record = quarantine.record

    async def late(connection: object, *arguments: object) -> bool:
        await running.execute("UPDATE libraries SET epoch = epoch + 1 WHERE id = $1", library_id)
        return await record(connection, *arguments)  # type: ignore[arg-type]  # only passed on

    monkeypatch.setattr(quarantine, "record", late)
    assert (await compactor.compact(library_id)).kind is Kind.MOVED
    assert await apart(running, library_id) == []
    assert await running.fetchval("SELECT epoch FROM libraries WHERE id = $1", library_id) == 2


# --- who is to blame


class Fussy:
    """Workers whose fold breaks on certain updates, or always, or only for so many times."""

    def __init__(self, *broken: bytes, always: bool = False, times: int = 1_000_000) -> None:
        self._broken = broken
        self._always = always
        self._times = times

    async def fold(self, snapshot: bytes | None, updates: Sequence[bytes], *, again: bool = True) -> Folded:
        if self._times and (self._always or set(self._broken) & set(updates)):
            self._times -= 1
            raise FoldBroken("a test") if updates and updates[-1] in self._broken else WorkerDied
        return Folded(b"", b"", False)

    def close(self) -> None:
        pass


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 60), st.data())
async def test_the_culprits_are_found_and_nobody_else(count: int, data: st.DataObject) -> None:
    log = [bytes([number]) for number in range(count)]
    guilty = data.draw(st.sets(st.integers(0, count - 1), max_size=suspects.MOST_CULPRITS))
    found = await culprits(Fussy(*(log[index] for index in guilty)), None, log)  # type: ignore[arg-type]  # has what is used
    assert found == dict.fromkeys(guilty, "a test")


async def test_of_many_culprits_some_are_found_at_a_time() -> None:
    log = [bytes([number]) for number in range(60)]
    found = await culprits(Fussy(*log), None, log)  # type: ignore[arg-type]  # has what is used
    assert sorted(found) == list(range(suspects.MOST_CULPRITS))


async def test_a_snapshot_that_breaks_condemns_no_update() -> None:
    fussy = Fussy(always=True)
    assert await culprits(fussy, b"snapshot", [b"a", b"b"]) == {}  # type: ignore[arg-type]  # has what is used


async def test_a_process_that_was_killed_by_chance_condemns_nobody(running: Core, workers: Workers) -> None:
    class Unlucky(Fussy):
        async def fold(self, snapshot: bytes | None, updates: Sequence[bytes], *, again: bool = True) -> Folded:
            await super().fold(snapshot, updates, again=again)
            return await workers.fold(snapshot, updates)

    room = await running.room()
    await running.push(room, *typing(7, 12))
    for times in (1, 2):
        await running.execute("DELETE FROM snapshots WHERE library_id = $1", room.library_id)
        unlucky = Unlucky(typing(7, 12)[11], times=times)
        with compactor_of(running, unlucky) as compactor:  # type: ignore[arg-type]  # has what is used
            outcome = await compactor.compact(room.library_id)
        assert (outcome.kind, outcome.quarantined, outcome.updates) == (Kind.COMPACTED, (), 12)


async def test_a_library_that_cannot_be_folded_stays_as_it_is(running: Core) -> None:
    room = await running.room()
    await running.push(room, *typing(7, 12))
    with compactor_of(running, Fussy(always=True)) as compactor:  # type: ignore[arg-type]  # has what is used
        assert (await compactor.compact(room.library_id)).kind is Kind.BROKEN
    assert await kept(running, room.library_id) == []
    assert await apart(running, room.library_id) == []
    assert await whole(running, room.library_id) == known(*typing(7, 12))


async def test_an_opening_that_cannot_be_merged_calls_for_a_search(running: Core, other: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    library_id = await poisoned(running)
    room = await other.room(library_id)
    told: list[UUID] = []

    async def broken(updates: Sequence[bytes]) -> bytes:
        raise InvalidUpdate("Yrs broke on it")

    monkeypatch.setattr(other.workers, "merge", broken)
    other.shelf.on_broken = told.append
    with pytest.raises(InvalidUpdate):
        await other.shelf.content(room)
    assert told == [library_id]
