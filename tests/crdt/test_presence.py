"""Presence: one id a socket, taken over by its user only, gone with its socket."""

from __future__ import annotations

import pytest

from crdt import presence as module
from crdt.presence import EXPIRY, MAX_BYTES, MAX_STATES, Entry, Presence, Received, decode, encode

NOBODY = Received([], False)


def state(client: int, clock: int = 1, text: str = '{"n":1}') -> Entry:
    return Entry(client, clock, text)


def gone(client: int, clock: int = 1) -> Entry:
    return Entry(client, clock, "null")


class Room:
    """A Presence with the clock and the frames of a test: sockets are named by strings, "a1" being user a's first."""

    def __init__(self) -> None:
        self.presence = Presence()
        self.now = 100.0

    def says(self, socket: str, *entries: Entry) -> Received:
        return self.presence.receive(socket, socket[0], entries, self.now)

    def greets(self, socket: str) -> list[Entry]:
        return self.presence.greeting(socket, socket[0])

    def live(self) -> list[Entry]:
        return self.presence.greeting("watcher", "watcher")


@pytest.fixture
def room() -> Room:
    return Room()


def test_the_first_state_a_socket_says_becomes_its_own_and_is_relayed(room: Room) -> None:
    assert not room.presence.claimed("a1")
    assert room.says("a1", state(5)) == Received([state(5)], True)
    assert room.presence.claimed("a1")
    assert room.says("a1", state(5, 2)) == Received([state(5, 2)], False), "a renewal is relayed: clients drop what is not renewed"
    assert len(room.presence) == 1


def test_clocks_that_are_not_newer_are_dropped(room: Room) -> None:
    room.says("a1", state(5, 7))
    assert room.says("a1", state(5, 7, '{"n":2}')) == NOBODY
    assert room.says("a1", state(5, 6)) == NOBODY
    assert room.says("a1", gone(5, 6)) == NOBODY
    assert room.live() == [state(5, 7)]


def test_saying_gone_at_the_same_or_a_later_clock_removes_the_state_and_the_socket_may_come_back(room: Room) -> None:
    room.says("a1", state(5, 7))
    assert room.says("a1", gone(5, 7)) == Received([gone(5, 7)], False)
    assert room.live() == []
    assert room.presence.nbytes == 0
    assert room.says("a1", gone(5, 8)) == NOBODY
    assert room.says("a1", state(5, 8)) == Received([state(5, 8)], False)
    assert room.says("a1", gone(5, 9)) == Received([gone(5, 9)], False)


def test_what_a_socket_says_about_others_is_dropped(room: Room) -> None:
    room.says("a1", state(5))
    room.says("b1", state(6))
    assert room.says("b1", state(5, 9), gone(7), state(6, 2)) == Received([state(6, 2)], False)
    assert room.says("b1", gone(5, 9)) == NOBODY
    assert sorted(room.live()) == [state(5), state(6, 2)]


def test_a_first_message_of_several_states_or_of_none_claims_nothing(room: Room) -> None:
    assert room.says("a1") == NOBODY
    assert room.says("a1", state(5), state(6)) == NOBODY
    assert room.says("a1", gone(5)) == NOBODY
    assert room.says("a1", state(5)).claimed


def test_a_socket_cannot_claim_what_it_was_sent(room: Room) -> None:
    room.says("a1", state(5))
    assert room.greets("b1") == [state(5)]
    assert room.says("b1", state(5, 9)) == NOBODY
    room.says("c1", state(6))
    assert room.says("b1", state(6, 9)) == NOBODY, "relayed after the greeting"
    room.presence.leave("c1")
    assert room.says("b1", state(6, 9)) == NOBODY, "even when its socket has left"
    assert room.says("b1", state(8)).claimed


def test_a_socket_is_greeted_once_with_all_but_its_own_state(room: Room) -> None:
    room.says("a1", state(5))
    room.says("b1", state(6))
    assert not room.presence.greeted("b1")
    assert room.greets("b1") == [state(5)]
    assert room.presence.greeted("b1")
    assert room.greets("b1") == [state(5)], "asked for again, it is answered again"


def test_a_reconnected_socket_takes_its_id_over_and_the_old_one_leaves_without_a_trace(room: Room) -> None:
    room.says("a1", state(5, 3))
    assert room.says("a2", state(5, 3)) == Received([], True), "nothing new to tell the others"
    assert room.says("a2", state(5, 4)) == Received([state(5, 4)], False)
    assert room.presence.leave("a1") == []
    assert room.live() == [state(5, 4)]
    assert room.presence.leave("a2") == [gone(5, 4)]


def test_a_socket_that_lost_its_id_does_not_take_it_back(room: Room) -> None:
    room.says("a1", state(5))
    room.says("b1", state(6))
    room.says("a2", state(5, 2))
    assert room.says("a1", state(5, 9)) == NOBODY
    assert room.says("a1", state(6, 9)) == NOBODY, "it has heard of the others too"
    assert room.says("a2", state(5, 3)).relay


def test_a_slow_reconnect_finds_its_id_though_the_greeting_went_out_first(room: Room) -> None:
    room.says("a1", state(5, 3))
    room.says("b1", state(6))
    assert room.greets("a2") == [state(6)], "the user's own ids wait for the claim"
    assert room.says("a2", state(5, 3)).claimed
    assert room.presence.leave("a1") == []
    room.says("a3", state(7))
    assert sorted(room.greets("a2")) == [state(6), state(7)]


def test_another_user_cannot_take_a_live_id(room: Room) -> None:
    room.says("a1", state(5))
    assert room.says("b1", state(5, 9)) == NOBODY
    assert room.live() == [state(5)]
    room.presence.leave("a1")
    assert room.says("b1", state(5, 9)).claimed


def test_leaving_removes_the_state_at_its_clock(room: Room) -> None:
    room.says("a1", state(5, 7))
    room.greets("a1")
    assert room.presence.leave("a1") == [gone(5, 7)]
    assert room.presence.leave("a1") == []
    assert room.presence.leave("never seen") == []
    assert not room.presence.greeted("a1")
    assert not room.presence.claimed("a1")
    assert len(room.presence) == 0


def test_states_that_are_not_renewed_expire_and_may_come_back(room: Room) -> None:
    room.says("a1", state(5, 7))
    room.now += EXPIRY - 1
    room.says("b1", state(6))
    assert room.presence.expire(room.now) == []
    room.now += 1
    assert room.presence.expire(room.now) == [gone(5, 7)]
    assert room.presence.expire(room.now) == []
    assert room.says("a1", state(5, 8)) == Received([state(5, 8)], False)
    assert room.says("a1", state(6, 8)) == NOBODY


def test_a_takeover_counts_as_a_sign_of_life(room: Room) -> None:
    room.says("a1", state(5, 7))
    room.now += EXPIRY - 1
    room.says("a2", state(5, 7))
    room.now += 1
    assert room.presence.expire(room.now) == []


def test_an_id_claimed_by_another_after_it_expired_is_not_shared(room: Room) -> None:
    room.says("a1", state(5, 7))
    room.presence.expire(room.now + EXPIRY)
    assert room.says("b1", state(5, 1)).claimed
    assert room.says("a1", state(5, 8)) == NOBODY
    assert room.presence.leave("a1") == []
    assert room.live() == [state(5, 1)]


def test_the_number_of_states_is_bounded_and_a_claim_succeeds_when_there_is_room(room: Room) -> None:
    for number in range(MAX_STATES):
        assert room.says(f"{number} socket", state(number)).claimed
    assert room.says("late", state(MAX_STATES)) == NOBODY
    assert room.says("0 socket", state(0, 2)).relay, "those who are in are renewed"
    room.presence.leave("1 socket")
    assert room.says("late", state(MAX_STATES, 2)).claimed


def test_the_bytes_of_a_room_are_bounded_and_what_does_not_fit_leaves_the_state_before(room: Room) -> None:
    large = '{"a":"' + "名" * 20_000 + '"}'
    fits = MAX_BYTES // len(large.encode())
    for number in range(fits):
        assert room.says(f"{number} socket", state(number, 1, large)).claimed
    assert room.presence.nbytes == fits * len(large.encode())
    assert room.says("late", state(fits, 1, large)) == NOBODY
    assert room.says("late", state(fits, 2)).claimed
    assert room.says("late", state(fits, 3, large)) == NOBODY
    assert room.says("0 socket", state(0, 2, large)).relay, "replacing weighs the difference"
    assert state(fits, 2) in room.live()


def test_a_watcher_that_has_heard_of_too_many_cannot_claim_any_more(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HEARD", 2)
    room.greets("w1")
    for number in range(5):
        room.says(f"{number} socket", state(number))
        room.presence.leave(f"{number} socket")
    assert room.says("w1", state(9)) == NOBODY
    assert room.says("x1", state(9)).claimed


def test_the_codec_is_at_hand_where_presence_is() -> None:
    assert decode(encode([state(5)])) == [state(5)]


# --- several servers


def test_what_another_server_says_is_relayed_and_taken_back_by_it_alone(room: Room) -> None:
    assert room.presence.overhear("a", [state(1)], room.now, claimed=True) == [state(1)]
    assert room.presence.here() == []
    assert room.presence.overhear("b", [state(1, 2)], room.now, claimed=True) == []
    assert room.presence.overhear("b", [gone(1)], room.now, claimed=False) == []
    assert room.presence.overhear("a", [gone(1)], room.now, claimed=False) == [gone(1)]
    assert len(room.presence) == 0


def test_an_id_passes_over_to_the_server_where_it_was_claimed_last(room: Room) -> None:
    room.says("a1", state(1, 5))
    assert room.presence.overhear("a", [state(1, 5)], room.now, claimed=False) == []
    assert [entry for _, entry in room.presence.here()] == [state(1, 5)]
    room.presence.overhear("a", [state(1, 5)], room.now, claimed=True)
    assert room.presence.here() == []
    assert room.presence.leave("a1") == []
    assert room.presence.overhear("a", [state(1, 6)], room.now, claimed=False) == [state(1, 6)]
    assert room.says("a2", state(1, 7)) == Received([state(1, 7)], True)
    assert room.presence.spoken("a2") == [state(1, 7)]
    assert room.presence.leave("a2") == [gone(1, 7)]


def test_a_claim_that_is_repeated_late_takes_nothing_from_the_socket_that_has_the_id_now(room: Room) -> None:
    said = state(1, 5)  # on a bus that says things twice, or through somebody who kept it
    assert room.presence.overhear("a", [said], room.now, claimed=True) == [said]
    room.says("a1", state(1, 5))
    room.says("a1", state(1, 6))
    assert room.presence.overhear("a", [said], room.now, claimed=True) == []
    assert room.presence.spoken("a1") == [state(1, 6)]
    assert room.says("a1", state(1, 7)) == Received([state(1, 7)], False)


def test_another_server_cannot_take_the_id_of_another_user(room: Room) -> None:
    room.says("a1", state(1, 5))
    assert room.presence.overhear("b", [state(1, 6)], room.now, claimed=True) == []
    assert room.presence.spoken("a1") == [state(1, 5)]


def test_what_another_server_said_expires_and_counts_towards_the_bounds(room: Room) -> None:
    for client in range(MAX_STATES + 1):
        room.presence.overhear("a", [state(client)], room.now, claimed=True)
    assert len(room.presence) == MAX_STATES
    room.now += EXPIRY
    assert len(room.presence.expire(room.now)) == MAX_STATES
    assert room.presence.nbytes == 0


def test_what_a_watcher_heard_from_another_server_it_cannot_claim(room: Room) -> None:
    room.greets("b1")
    room.presence.overhear("a", [state(1)], room.now, claimed=True)
    assert room.says("b1", state(1, 2)) == NOBODY
