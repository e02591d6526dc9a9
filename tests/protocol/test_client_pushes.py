"""What a ClientSession pushes and when: the window, refusals, what is postponed and what goes out again."""

import tracemalloc

import pytest

from protocol.client import Place
from protocol.client_events import Postponed, Refused, Saved, StatusHeard
from protocol.messages import Ack, Closed, Error, Open, Push, StatusAsked, Synced
from tests.support.talk import NOTHING, ONE, TWO, WELCOME, Talk, opened, status


def test_pushes_wait_until_the_library_is_open_and_are_settled_by_acks() -> None:
    talk = Talk()
    talk.session.push(ONE, 0, b"a")
    talk.session.connect()
    talk.session.open(ONE, NOTHING)
    assert len(talk.sent()) == 2
    talk.hear(WELCOME, opened())
    talk.session.push(ONE, 5, b"b")
    assert talk.sent() == [Push(0, 1, b"a"), Push(0, 2, b"b")]
    talk.hear(Synced(0, 4, b"\0\0"))
    assert talk.hear(Ack(0, 2, 5, True), Ack(0, 1, 5, False)) == [Saved(ONE, 5, b"b", 5, True), Saved(ONE, 0, b"a", 5, False)]
    assert talk.session.unacknowledged(ONE) == 0
    assert talk.session.place(ONE) == Place(1, 5)


def test_after_a_reconnect_what_is_unacknowledged_goes_out_again_in_order() -> None:
    talk = Talk().ready()
    for number in range(4):
        talk.session.push(ONE, number, b"%d" % number)
    assert len(talk.sent()) == 4
    talk.hear(Ack(0, 2, 5, True))
    talk.session.disconnect()
    talk.session.connect()
    talk.session.open(ONE, NOTHING)
    talk.sent()
    talk.hear(WELCOME, opened())
    assert [push.update for push in talk.sent() if isinstance(push, Push)] == [b"0", b"2", b"3"]


def test_only_so_much_is_in_flight_and_acks_let_more_out() -> None:
    talk = Talk(window_bytes=10, window_pushes=3).ready()
    for number, size in enumerate((4, 4, 4, 30, 1, 1, 1, 1)):
        talk.session.push(ONE, number, b"x" * size)
    assert len(talk.sent()) == 2
    talk.hear(Ack(0, 1, 5, True))
    assert len(talk.sent()) == 1
    talk.hear(Ack(0, 2, 6, True))
    assert talk.sent() == []
    talk.hear(Ack(0, 3, 7, True))
    assert talk.sent() == [Push(0, 4, b"x" * 30)]
    talk.hear(Ack(0, 4, 8, True))
    assert len(talk.sent()) == 3


def test_a_large_one_of_one_library_is_not_kept_waiting_by_small_ones_of_another() -> None:
    talk = Talk(ONE, TWO, window_bytes=10).ready()
    talk.session.open(TWO, NOTHING)
    talk.sent()
    talk.hear(opened(1, TWO), Synced(1, 4, b"\0\0"))
    for number in range(20):
        talk.session.push(TWO, number, b"y" * 4)
    first, second = talk.sent()
    assert isinstance(first, Push)
    assert isinstance(second, Push)
    talk.session.push(ONE, 0, b"x" * 30)
    talk.hear(Ack(1, first.ref, 5, False))
    assert talk.sent() == []
    talk.hear(Ack(1, second.ref, 5, False))
    assert talk.sent() == [Push(0, 1, b"x" * 30)]


@pytest.mark.parametrize("code", ["invalid_update", "too_large", "too_costly", "forbidden", "not_found", "library_overgrown", "unstorable"])
def test_a_push_that_is_refused_for_good_is_told_with_its_update(code: str) -> None:
    talk = Talk().ready()
    talk.session.push(ONE, 3, b"a")
    talk.sent()
    assert talk.hear(Error(0, 1, code, "why")) == [Refused(ONE, 3, b"a", code, "why")]
    assert talk.session.unacknowledged(ONE) == 0


def test_a_push_that_fails_for_now_waits_until_it_is_retried() -> None:
    talk = Talk().ready()
    talk.session.push(ONE, 3, b"a")
    talk.session.push(ONE, 4, b"b")
    talk.sent()
    assert talk.hear(Error(0, 1, "try_later", "why")) == [Postponed(ONE, 3, "try_later", "why", until_opened=False)]
    talk.session.push(ONE, 5, b"c")
    assert talk.sent() == []
    talk.session.retry(ONE)
    assert talk.sent() == [Push(0, 3, b"a"), Push(0, 4, b"c")]
    assert [entry.number for entry in talk.session.pending(ONE)] == [3, 4, 5]


def test_a_push_that_fails_for_a_reason_unknown_here_goes_out_when_the_library_is_opened_again() -> None:
    talk = Talk().ready()
    talk.session.push(ONE, 3, b"a")
    talk.session.push(ONE, 4, b"b")
    talk.sent()
    assert talk.hear(Error(0, 1, "something_new", "why")) == [Postponed(ONE, 3, "something_new", "why", until_opened=True)]
    talk.session.retry(ONE)
    talk.session.push(ONE, 5, b"c")
    assert talk.sent() == [Push(0, 3, b"c")]
    talk.hear(Closed(0, 1012, "reloaded"))
    talk.session.open(ONE, NOTHING)
    talk.hear(opened(1))
    assert [message.update for message in talk.sent() if isinstance(message, Push)] == [b"a", b"b", b"c"]


def test_a_new_channel_ends_a_postponement() -> None:
    talk = Talk().ready()
    talk.session.push(ONE, 3, b"a")
    talk.sent()
    talk.hear(Error(0, 1, "try_later", "why"), Closed(0, 1012, "reloaded"))
    talk.session.open(ONE, NOTHING)
    talk.hear(opened(1))
    assert talk.sent() == [Open(channel=1, library=ONE, vector=NOTHING, epoch=1, cursor=4), Push(1, 2, b"a")]


def test_a_status_that_is_asked_for_follows_what_was_pushed_before() -> None:
    talk = Talk(window_pushes=1).ready()
    (event,) = talk.hear(status(ask=True))
    assert isinstance(event, StatusHeard)
    assert event.ask
    talk.session.push(ONE, 0, b"a")
    talk.session.push(ONE, 1, b"b")
    talk.session.answer(ONE)
    talk.session.push(ONE, 2, b"c")
    assert talk.sent() == [Push(0, 1, b"a")]
    talk.hear(Ack(0, 1, 5, True))
    assert talk.sent() == [Push(0, 2, b"b"), StatusAsked(channel=0)]
    talk.hear(Ack(0, 2, 6, True))
    assert talk.sent() == [Push(0, 3, b"c")]


def test_a_long_session_holds_on_to_nothing() -> None:
    talk = Talk().ready()
    number = 0

    def turn() -> None:
        nonlocal number
        for _ in range(200):
            talk.session.push(ONE, number, b"x" * 100)
            number += 1
            (push,) = talk.sent()
            assert isinstance(push, Push)
            talk.hear(Ack(0, push.ref, 4 + number, True))

    turn()
    tracemalloc.start()
    turn()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(5):
        turn()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 20_000
