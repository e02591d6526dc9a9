"""A promptsync.v1 peer's conversation as the server follows it: what may be said when, and the channels."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.closes import Close
from protocol.codec import PART_BYTES, encode
from protocol.messages import (
    CloseChannel,
    FromClient,
    Hello,
    Open,
    Part,
    Ping,
    Presence,
    Push,
    StatusAsked,
)
from protocol.session import Goodbye, ServerSession
from protocol.states import CHANNEL_TRANSITIONS, TRANSITIONS, ChannelState, State
from tests.support.v1_messages import from_client
from tests.support.v1_peer import CHANNELS, HELLO, LIBRARY, UPDATE_BYTES, close_of, error_of, new_session, open_, say

ONE_OF_EACH: dict[type, FromClient] = {
    Hello: HELLO,
    Open: Open(channel=0, library=LIBRARY, vector=b"\x00"),
    Part: Part(0, 1, b"part"),
    Push: Push(0, 1, b"update"),
    Presence: Presence(0, b"entries"),
    StatusAsked: StatusAsked(channel=0),
    CloseChannel: CloseChannel(0),
    Ping: Ping(1),
}
each_kind = pytest.mark.parametrize("kind", list(ONE_OF_EACH), ids=lambda kind: kind.__name__)


# --- states ---


def test_the_examples_here_are_of_every_message() -> None:
    assert set(ONE_OF_EACH) == set(get_args(FromClient))


@each_kind
def test_nothing_but_hello_comes_first(kind: type) -> None:
    session = ServerSession(max_update_bytes=UPDATE_BYTES, max_channels=CHANNELS)
    asked = say(session, ONE_OF_EACH[kind])
    if (State.GREETING, kind) in TRANSITIONS:
        assert kind is Hello
        assert asked == HELLO
        assert session.state is State.READY
    else:
        assert asked is None
        assert session.goodbye == Goodbye(Close.MALFORMED, f"{kind.__name__.lower()} while greeting")


@each_kind
def test_everything_but_hello_may_follow_it(kind: type) -> None:
    session = new_session(HELLO)
    say(session, ONE_OF_EACH[kind])
    if (State.READY, kind) in TRANSITIONS:
        assert session.goodbye is None
        assert session.state is State.READY
    else:
        assert kind is Hello
        assert close_of(session) is Close.MALFORMED


@each_kind
def test_nothing_is_heard_when_it_is_over(kind: type) -> None:
    session = new_session(HELLO, open_())
    session.close()
    assert say(session, ONE_OF_EACH[kind]) is None
    assert session.receive(b"anything") is None
    assert (session.state, session.goodbye, session.channels) == (State.CLOSED, None, frozenset())
    assert not any(state is State.CLOSED for state, _ in TRANSITIONS)


@each_kind
def test_what_may_come_on_an_open_channel_is_handed_on(kind: type) -> None:
    if kind in (Hello, Ping):
        return
    session = new_session(HELLO, open_())
    message = ONE_OF_EACH[kind]
    asked = say(session, message)
    if kind is Open:
        assert (ChannelState.OPEN, Open) not in CHANNEL_TRANSITIONS
        assert close_of(session) is Close.MALFORMED
    else:
        assert asked == (None if kind is Part else message)
        assert session.goodbye is None
        after = CHANNEL_TRANSITIONS[ChannelState.OPEN, kind]
        assert session.channels == (frozenset({0}) if after is ChannelState.OPEN else frozenset())


@each_kind
def test_what_comes_on_an_absent_channel_is_answered_that_it_is_closed(kind: type) -> None:
    if kind in (Hello, Ping):
        return
    session = new_session(HELLO)
    asked = say(session, ONE_OF_EACH[kind])
    assert session.goodbye is None
    match kind:
        case _ if kind is Open:
            assert asked == ONE_OF_EACH[Open]
            assert session.channels == {0}
        case _ if kind in (Part, CloseChannel):
            assert asked is None  # the push after the part is answered; a channel that is closed is as was wanted
        case _:
            assert (ChannelState.ABSENT, kind) not in CHANNEL_TRANSITIONS
            assert error_of(asked) == (0, 1 if kind is Push else None, "channel_closed")


def test_a_broken_frame_ends_the_socket() -> None:
    session = new_session(HELLO, open_())
    assert session.receive(b"\xc1") is None
    assert close_of(session) is Close.MALFORMED
    assert session.channels == frozenset()


def test_a_frame_past_the_bound_ends_the_socket_as_too_large() -> None:
    session = new_session(HELLO)
    session.receive(bytes(PART_BYTES + 2000))
    assert close_of(session) is Close.TOO_LARGE


def test_the_first_goodbye_stays() -> None:
    session = new_session(HELLO)
    session.receive(b"\xc1")
    first = session.goodbye
    session.receive(bytes(PART_BYTES + 2000))
    assert session.goodbye is first


# --- channels ---


def test_a_channel_too_many_is_refused_alone() -> None:
    session = new_session(HELLO, *(open_(channel) for channel in range(CHANNELS)))
    assert error_of(say(session, open_(CHANNELS))) == (CHANNELS, None, "too_many_channels")
    assert session.channels == set(range(CHANNELS))
    assert say(session, CloseChannel(1)) == CloseChannel(1)
    assert say(session, open_(CHANNELS)) == open_(CHANNELS)


def test_a_channel_that_the_server_closed_may_be_opened_again() -> None:
    session = new_session(HELLO, open_())
    session.closed(0)
    assert error_of(say(session, Push(0, 7, b"late"))) == (0, 7, "channel_closed")
    assert say(session, open_()) == open_()
    assert say(session, Push(0, 8, b"update")) == Push(0, 8, b"update")


# --- any conversation ---

few = st.integers(0, 4)
some_bytes = st.binary(max_size=10) | st.integers(0, UPDATE_BYTES + 10).map(bytes)
likely = st.one_of(
    st.builds(open_, few),
    st.builds(CloseChannel, few),
    st.builds(Part, few, few, some_bytes),
    st.builds(Part, st.just(0), st.just(0), some_bytes),
    st.builds(Push, few, few, some_bytes),
    st.builds(Push, st.just(0), st.just(0), some_bytes),
    st.builds(Presence, few, some_bytes),
)
steps = st.one_of(
    likely.map(encode), likely.map(encode), likely.map(encode), from_client.map(encode), st.binary(max_size=20), few
)  # a number: the server closes that channel


@given(st.lists(steps, max_size=60))
def test_no_conversation_raises_or_keeps_more_than_its_bounds(conversation: list[bytes | int]) -> None:
    session = new_session(HELLO, open_(0))
    for step in conversation:
        over = session.state is State.CLOSED
        if isinstance(step, int):
            session.closed(step)
        else:
            answer = session.receive(step)
            assert answer is None or not over
            if isinstance(answer, Push):
                assert len(answer.update) <= UPDATE_BYTES
                assert answer.channel in session.channels
        assert session.joining_bytes <= UPDATE_BYTES
        assert len(session.channels) <= CHANNELS
        if session.state is State.CLOSED:
            assert (session.joining_bytes, session.channels) == (0, frozenset())
            assert session.goodbye is not None
