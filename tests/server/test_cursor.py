"""A device that knows up to where it has everything is answered from the log, as long as the log tells it."""

from collections.abc import Sequence
from uuid import UUID

import pytest

from crdt.errors import InvalidUpdate
from crdt.knowledge import Knowledge
from crdt.updates import EMPTY_UPDATE
from server import shelf
from server.rooms import Room
from server.workers import Workers
from tests.support.compacting import compactor_of, holding, known, trim
from tests.support.core import Core, core, deleted, typed, typing
from tests.support.poison import NO_PARENT

MADE = [*typing(1, 20), deleted(1, 3, 4), typed("xy", 2, 10)]
HEAD = len(MADE)


async def room_of(running: Core, *made: bytes, forgetful: bool = False) -> Room:
    """The room of a library with these updates; one that is forgetful has the log alone to answer from."""
    room = await running.room(await holding(running, *made))
    if forgetful:
        room._tail.clear()
    return room


async def after(running: Core, room: Room, cursor: int, epoch: int = 1) -> Knowledge | None:
    answer = await running.shelf.after_cursor(room, epoch, cursor)
    return None if answer is None else known(answer)


@pytest.mark.parametrize("forgetful", [False, True], ids=["room", "log"])
async def test_any_cursor_gets_what_lies_after_it_and_nothing_else(running: Core, forgetful: bool) -> None:
    room = await room_of(running, *MADE, forgetful=forgetful)
    for cursor in range(HEAD):
        assert await after(running, room, cursor) == known(*MADE[cursor:]), cursor
        for own in (cursor, cursor + 1, HEAD, HEAD + 1, 0):
            answer = await running.shelf.after_cursor(room, 1, cursor, without=own)
            assert answer is not None
            assert known(answer) == known(*(update for seq, update in enumerate(MADE, 1) if cursor < seq != own)), (cursor, own)
    assert await running.shelf.after_cursor(room, 1, HEAD) == EMPTY_UPDATE
    assert await running.shelf.after_cursor(room, 1, HEAD - 1, without=HEAD) == EMPTY_UPDATE


async def test_a_room_that_remembers_asks_nobody(running: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    room = await room_of(running, *MADE)
    monkeypatch.setattr(running.shelf, "_database", None)
    assert await after(running, room, 5) == known(*MADE[5:])
    assert await running.shelf.after_cursor(room, 1, HEAD - 1) is MADE[-1]
    room._tail.popleft()
    assert room.tail_after(0) is None
    assert room.tail_after(1) == MADE[1:]
    room._tail.clear()
    assert room.tail_after(HEAD) == []


@pytest.mark.parametrize("forgetful", [False, True], ids=["room", "log"])
@pytest.mark.parametrize(("epoch", "cursor"), [(0, 5), (2, 5), (1, HEAD + 1), (1, 2**53 - 1)])
async def test_a_cursor_of_another_epoch_or_past_the_head_tells_nothing(running: Core, forgetful: bool, epoch: int, cursor: int) -> None:
    room = await room_of(running, *MADE, forgetful=forgetful)
    assert await running.shelf.after_cursor(room, epoch, cursor) is None


async def test_a_cursor_below_the_oldest_kept_row_tells_nothing(running: Core, workers: Workers) -> None:
    room = await room_of(running, *MADE, forgetful=True)
    with compactor_of(running, workers) as compactor:
        await compactor.compact(room.library_id)
    assert await after(running, room, 7) == known(*MADE[7:]), "what is folded stays in the log for a while"
    await trim(running, room.library_id)
    assert await after(running, room, 7) is None
    await running.push(room, *typing(3, 4))
    room._tail.clear()
    assert await after(running, room, HEAD - 1) is None
    assert await after(running, room, HEAD) == known(*typing(3, 4))


async def test_the_log_may_be_ahead_of_the_room_but_not_behind_it(running: Core) -> None:
    room = await room_of(running, *MADE, forgetful=True)
    async with core(running.dsn, keyring=running.keyring) as other:
        await other.push(await other.room(room.library_id), *typing(3, 2))
    assert await after(running, room, HEAD) == known(), "it is not the room's yet"
    assert await after(running, room, HEAD - 1) == known(MADE[-1], *typing(3, 2))
    room.head = HEAD + 5
    assert await after(running, room, HEAD - 1) is None


async def test_a_log_that_was_put_back_tells_nothing(running: Core) -> None:
    room = await room_of(running, *MADE, forgetful=True)
    await running.execute("UPDATE libraries SET epoch = 2 WHERE id = $1", room.library_id)
    assert await after(running, room, 5) is None


@pytest.mark.parametrize(("bound", "value"), [("CURSOR_UPDATES", 10), ("CURSOR_BYTES", 300)])
async def test_one_who_is_far_behind_is_not_answered_from_the_log(
    running: Core, monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    room = await room_of(running, *MADE, forgetful=True)
    monkeypatch.setattr(shelf, bound, value)
    assert await after(running, room, 1) is None
    assert await after(running, room, HEAD - 3) == known(*MADE[-3:])


async def test_with_something_in_quarantine_the_vector_tells(running: Core, workers: Workers) -> None:
    library_id = await holding(running, *typing(7, 10), NO_PARENT, *typing(7, 10, start=10))
    with compactor_of(running, workers) as compactor:
        assert (await compactor.compact(library_id)).quarantined == (11,)
    async with core(running.dsn, keyring=running.keyring) as other:
        room = await other.room(library_id)
        assert room.quarantined
        assert await after(other, room, 5, room.epoch) is None
        room.quarantined = Knowledge()  # as if it had been set apart since the room was opened
        room._tail.clear()
        assert await after(other, room, 5, room.epoch) is None


@pytest.mark.parametrize("forgetful", [False, True], ids=["room", "log"])
async def test_what_cannot_be_merged_is_looked_for_and_the_vector_tells(
    running: Core, monkeypatch: pytest.MonkeyPatch, forgetful: bool
) -> None:
    room, broken = await room_of(running, *MADE, forgetful=forgetful), list[UUID]()

    async def merge(parts: Sequence[bytes]) -> bytes:
        raise InvalidUpdate("Yrs broke on it")

    monkeypatch.setattr(running.shelf._workers, "merge", merge)
    monkeypatch.setattr(running.shelf, "on_broken", broken.append)
    assert await after(running, room, 5) is None
    assert broken == [room.library_id]
