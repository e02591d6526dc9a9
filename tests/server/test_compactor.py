"""Compaction on a real database: what it makes, when there is something to make, and what older rooms and answers meet then."""

from uuid import UUID, uuid4

import pytest

from crdt.updates import EMPTY_STATE_VECTOR, encode_state_vector, inspect, merge
from server import compactor as compacting
from server.compactor import Compactor, Kind
from server.workers import Workers
from storage import compaction, quarantine, retention
from storage.errors import NotFound
from storage.updates import LogBroken
from tests.support.compacting import compactor_of, holding, kept, known, trim, whole
from tests.support.core import Core, deleted, spans, typed, typing

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
    assert sum(steps) == 3
    assert len(steps) > 1
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
    more = True
    while more:
        async with running.database.transaction() as connection:
            more = await retention.purge_step(connection, library_id, 10)
    left = "SELECT (SELECT count(*) FROM {0}) + (SELECT count(*) FROM {1}) + (SELECT count(*) FROM {2})"
    each = (f"{table} WHERE library_id = $1" for table in ("updates", "snapshots", "quarantined"))
    assert await running.fetchval(left.format(*each), library_id) == 0
