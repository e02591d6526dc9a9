"""Rooms without a database: they advance in order, answer from their tail, relay presence, and are kept within a bound."""

import asyncio
from uuid import UUID, uuid4

import pytest

from crdt.knowledge import Knowledge
from crdt.presence import EXPIRY, GONE, Entry, decode
from crdt.updates import inspect
from protocol import ysync
from protocol.closes import Close
from server import rooms
from server.rooms import Committed, Room, Rooms
from storage.cipher import DataKey
from tests.support.core import Listener, deleted, spans, typed, typing

KEY = DataKey.new(bytes(32))


def room_of(library_id: UUID | None = None) -> Room:
    return Room(library_id or uuid4(), KEY, 1, 0, Knowledge())


def committed(*updates: bytes, start: int = 1) -> list[Committed]:
    return [Committed(seq, update, inspect(update)) for seq, update in enumerate(updates, start)]


class Shelf:
    """Loads rooms at once, and counts."""

    def __init__(self, size: int = 0) -> None:
        self.loaded: list[UUID] = []
        self.size = size

    async def __call__(self, library_id: UUID) -> Room:
        self.loaded.append(library_id)
        await asyncio.sleep(0)
        room = room_of(library_id)
        if self.size:
            room.advance(committed(typed("x" * self.size, 1, 0)))
        return room


def test_a_room_advances_in_order_and_relays_to_everybody() -> None:
    room, listeners = room_of(), [Listener(), Listener()]
    room.members = dict.fromkeys(listeners)
    made = [*typing(1, 5), deleted(1, 0, 1)]
    first, second = committed(*made[:3]), committed(*made[3:], start=4)
    room.advance(first)
    room.advance(second)
    assert room.head == 6
    assert not any(listener.updates for listener in listeners), "knowing and telling are two steps"
    room.relay(first)
    room.relay(second)
    assert spans(tuple(edge for triple in room.knowledge.held for edge in triple)) == [(1, 0, 5)]
    assert all(listener.updates == made for listener in listeners)


@pytest.mark.parametrize("seqs", [[2], [1, 3], [1, 1], [0], [2, 1]])
def test_a_room_takes_no_update_out_of_order(seqs: list[int]) -> None:
    room, listener = room_of(), Listener()
    room.members[listener] = None
    update = typed("a", 1, 0)
    with pytest.raises(ValueError, match="seq"):
        room.advance([Committed(seq, update, inspect(update)) for seq in seqs])
    assert listener.updates == []
    assert room.head == 0


def test_the_tail_is_bounded_in_bytes_and_answers_only_with_all_that_is_lacking() -> None:
    room = room_of()
    made = [typed("x" * 1000, 1, 1000 * number) for number in range(200)]
    room.advance(committed(*made))
    assert room._tail_bytes == sum(len(item.update) + rooms.ITEM_BYTES for item in room._tail) <= rooms.TAIL_BYTES
    reach = 200 - len(room._tail)
    assert 0 < reach < 200
    answer = room.recent(room.knowledge.lacking({1: reach * 1000}))
    assert answer is not None
    assert spans(inspect(answer).held) == [(1, reach * 1000, 200_000)]
    assert room.recent(room.knowledge.lacking({1: reach * 1000 - 1})) is None
    assert room.recent(room.knowledge.lacking({})) is None


def test_deletions_are_made_again_only_when_the_head_has_moved() -> None:
    room = room_of()
    room.advance(committed(typed("abc", 1, 0), deleted(1, 0, 1)))
    first = room.deletions()
    assert room.deletions() is first
    room.advance(committed(deleted(1, 2, 1), start=3))
    assert spans(inspect(room.deletions()).deleted) == [(1, 0, 1), (1, 2, 3)]


# --- presence


def state(client: int, clock: int, text: str = "{}") -> Entry:
    return Entry(client, clock, text)


def heard(listener: Listener) -> list[Entry]:
    found: list[Entry] = []
    frames, at = bytes(listener.frames), 0
    while at < len(frames):
        size = frames[at + 1]
        message = ysync.decode(frames[at + 2 : at + 2 + size])
        assert isinstance(message, ysync.Awareness)
        found += decode(message.entries)
        at += 2 + size
    return found


def test_presence_goes_to_those_who_were_told_who_is_here() -> None:
    room, one, two, silent = room_of(), Listener(), Listener(), Listener()
    room.members = dict.fromkeys((one, two, silent))
    room.hear(one, [state(1, 1)], 0.0)
    room.hear(two, [state(2, 1)], 0.0)
    assert heard(one) == [state(1, 1), state(2, 1)]  # its own too: clients close without traffic
    assert heard(two) == [state(1, 1), state(2, 1)]
    assert heard(silent) == []
    room.greet(silent)
    assert heard(silent) == [state(1, 1), state(2, 1)]
    room.forget(one)
    assert heard(two)[-1] == heard(silent)[-1] == state(1, 1, GONE)


def test_what_one_says_about_others_is_dropped() -> None:
    room, one, two = room_of(), Listener(), Listener()
    room.members = dict.fromkeys((one, two))
    room.hear(one, [state(1, 1)], 0.0)
    room.hear(two, [state(2, 1)], 0.0)
    before = bytes(one.frames)
    room.hear(two, [state(1, 2, GONE), state(9, 1)], 0.0)
    assert bytes(one.frames) == before


def test_presence_that_nobody_renews_goes() -> None:
    room, one, two = room_of(), Listener(), Listener()
    room.members = dict.fromkeys((one, two))
    room.hear(one, [state(1, 1)], 0.0)
    room.hear(two, [state(2, 1)], EXPIRY / 2)
    room.expire_presence(EXPIRY)
    assert heard(two)[-1] == state(1, 1, GONE)
    assert len(room.presence) == 1


# --- the rooms of a process


async def test_a_library_is_opened_once_however_many_ask() -> None:
    shelf, library_id = Shelf(), uuid4()
    kept = Rooms(shelf, 1 << 20)
    opened = await asyncio.gather(*(kept.open(library_id) for _ in range(50)))
    assert shelf.loaded == [library_id]
    assert all(room is opened[0] for room in opened)


async def test_a_failed_load_fails_for_all_who_wait_and_is_tried_anew() -> None:
    attempts = 0

    async def load(library_id: UUID) -> Room:
        nonlocal attempts
        attempts += 1
        await asyncio.sleep(0)
        if attempts == 1:
            raise ConnectionError
        return room_of(library_id)

    kept, library_id = Rooms(load, 1 << 20), uuid4()
    failed = await asyncio.gather(*(kept.open(library_id) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(error, ConnectionError) for error in failed)
    assert len(kept) == 0
    assert (await kept.open(library_id)).library_id == library_id
    assert attempts == 2


async def test_idle_rooms_are_kept_within_the_bound_and_the_longest_idle_go_first() -> None:
    kept = Rooms(Shelf(size=1000), 50_000)
    ids = [uuid4() for _ in range(100)]
    for library_id in ids:
        await kept.open(library_id)
        assert kept._idle_bytes == sum(kept._idle.values()) <= 50_000
    assert kept.get(ids[0]) is None
    assert kept.get(ids[-1]) is not None
    assert 10 < len(kept) < 20


async def test_a_room_with_somebody_in_it_or_something_unstored_is_never_forgotten() -> None:
    kept = Rooms(Shelf(size=1000), 20_000)
    joined, writing = await kept.open(uuid4()), await kept.open(uuid4())
    listener = Listener()
    kept.join(joined, listener)
    writing.unstored = 1
    for _ in range(50):
        await kept.open(uuid4())
    assert kept.get(joined.library_id) is joined
    assert kept.get(writing.library_id) is writing
    kept.leave(joined, listener)
    for _ in range(50):
        await kept.open(uuid4())
    assert kept.get(joined.library_id) is None
    assert joined.dropped


async def test_a_dropped_room_closes_who_is_in_it_and_is_loaded_anew() -> None:
    shelf = Shelf()
    kept, listener = Rooms(shelf, 1 << 20), Listener()
    room = await kept.open(uuid4())
    kept.join(room, listener)
    kept.drop(room, Close.RESTART, "start again")
    assert listener.closed == (Close.RESTART, "start again")
    again = await kept.open(room.library_id)
    assert again is not room
    kept.leave(room, listener)  # the device of the dropped room goes later
    kept.drop(room, Close.RESTART, "twice")
    assert kept.get(room.library_id) is again
    assert kept._idle_bytes == sum(kept._idle.values())
