"""Large messages of a ClientSession: parts that are joined, and a push that is sent in parts."""

import pytest

from protocol.client import Place
from protocol.client_events import PresenceHeard, Received
from protocol.closes import Close
from protocol.codec import PART_BYTES, decode_from_client
from protocol.errors import ProtocolError
from protocol.messages import CloseChannel, Closed, Hello, Part, Ping, Presence, Push, Synced, Update
from tests.support.talk import NOTHING, ONE, TWO, WELCOME, Talk, opened


def test_parts_are_joined_even_between_other_messages() -> None:
    talk = Talk()
    talk.session.connect()
    talk.session.open(ONE, NOTHING)
    talk.hear(WELCOME, opened())
    events = talk.hear(
        Part(0, 4, b"ab"),
        Presence(0, b"\0"),
        Part(0, 6, b"u"),
        Update(0, 6, b"v"),
        Part(0, 4, b"cd"),
        Update(0, 5, b"x"),
        Synced(0, 4, b"e"),
    )
    assert events == [
        None,
        PresenceHeard(ONE, b"\0"),
        None,
        Received(ONE, 6, b"uv", catching_up=False),
        None,
        Received(ONE, 5, b"x", catching_up=False),
        Received(ONE, 4, b"abcde", catching_up=True),
    ]
    assert talk.session.place(ONE) == Place(1, 6)


def test_parts_without_an_end_go_with_their_channel_and_with_the_socket() -> None:
    talk = Talk(max_joined_bytes=1000).ready()
    for _ in range(3):
        talk.hear(Part(0, 5, b"x" * 700), Closed(0, 1012, "reloaded"))
        talk.session.disconnect()
        talk.ready()
    talk.hear(Part(0, 5, b"x" * 700))
    talk.session.disconnect()
    talk.ready()
    assert talk.hear(Update(0, 5, b"y")) == [Received(ONE, 5, b"y", catching_up=False)]


@pytest.mark.parametrize("size", [0, 1, 400])
def test_parts_are_bounded_however_small(size: int) -> None:
    talk = Talk(max_joined_bytes=1000).ready()
    with pytest.raises(ProtocolError) as refused:
        talk.hear(*(Part(0, 5, b"x" * size) for _ in range(10)))
    assert refused.value.close is Close.TOO_LARGE


def test_a_large_push_goes_in_parts_and_lets_others_between_but_no_push() -> None:
    talk = Talk().ready()
    talk.session.push(ONE, 0, b"a" * (2 * PART_BYTES + 1))
    talk.session.push(ONE, 1, b"b")
    first = talk.session.next_frame()
    talk.session.ping(7)
    assert first is not None
    sent = [decode_from_client(first), *talk.sent()]
    assert [type(message) for message in sent] == [Part, Ping, Part, Push, Push]
    assert isinstance(sent[3], Push)
    assert len(sent[3].update) == 1


def test_a_push_whose_channel_closes_between_its_parts_is_given_up() -> None:
    talk = Talk(ONE, TWO).ready()
    talk.session.open(TWO, NOTHING)
    talk.sent()
    talk.hear(opened(1, TWO))
    talk.session.push(ONE, 0, b"a" * (5 * PART_BYTES))
    talk.session.push(TWO, 0, b"b")
    talk.session.next_frame()
    talk.hear(Closed(0, 1012, "reloaded"))
    assert talk.sent() == [Push(1, 1, b"b")]
    assert talk.session.unacknowledged(ONE) == 1


def test_a_push_that_had_its_last_part_needs_no_other_end() -> None:
    talk = Talk().ready()
    talk.session.push(ONE, 0, b"a" * (PART_BYTES + 1))
    talk.session.next_frame()
    talk.session.next_frame()
    talk.session.close(ONE)
    assert talk.sent() == [CloseChannel(0)]


def test_a_socket_that_goes_takes_the_rest_of_a_push_with_it() -> None:
    talk = Talk().ready()
    talk.session.push(ONE, 0, b"a" * (5 * PART_BYTES))
    talk.session.next_frame()
    talk.session.disconnect()
    talk.session.connect()
    assert [type(message) for message in talk.sent()] == [Hello]


def test_leaving_amid_the_parts_of_a_push_stores_no_half_of_it() -> None:
    talk = Talk().ready()
    talk.session.push(ONE, 0, b"a" * (5 * PART_BYTES))
    talk.session.next_frame()
    talk.session.leave(ONE)
    assert talk.sent() == [CloseChannel(0)]
