"""Updates in parts: joined as they come, bounded, given up with their channel, and written in as few frames as they take."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.closes import Close
from protocol.codec import PART_BYTES, decode_from_client, decode_from_server, encode
from protocol.messages import CloseChannel, FromClient, Part, Ping, Presence, Push, StatusAsked, Synced, Update
from protocol.session import ServerSession, frames
from tests.support.v1_messages import from_client, from_server
from tests.support.v1_peer import HELLO, UPDATE_BYTES, close_of, error_of, new_session, open_, say

# --- parts in ---


@given(st.binary(min_size=1, max_size=UPDATE_BYTES), st.data())
def test_parts_of_any_size_are_joined(update: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(update)), max_size=10)))
    pieces = [update[start:end] for start, end in zip([0, *cuts], [*cuts, len(update)], strict=True)]
    session = new_session(HELLO, open_())
    for piece in pieces[:-1]:
        assert say(session, Part(0, 5, piece)) is None
    assert session.joining_bytes == len(update) - len(pieces[-1])
    assert say(session, Push(0, 5, pieces[-1])) == Push(0, 5, update)
    assert session.joining_bytes == 0


@given(st.integers(0, UPDATE_BYTES), st.integers(1, 50))
def test_an_oversize_push_is_answered_once_and_not_kept(first: int, more: int) -> None:
    session = new_session(HELLO, open_())
    answers = [say(session, Part(0, 5, bytes(first)))]
    answers += [say(session, Part(0, 5, bytes(UPDATE_BYTES + 1 - first)))]
    for _ in range(more):
        answers.append(say(session, Part(0, 5, b"small")))
        assert session.joining_bytes == 0
    assert answers == [None] * len(answers)
    assert error_of(say(session, Push(0, 5, b""))) == (0, 5, "too_large")
    assert session.goodbye is None
    assert say(session, Push(0, 6, b"next")) == Push(0, 6, b"next")


def test_an_oversize_push_in_one_message_is_answered_too() -> None:
    session = new_session(HELLO, open_())
    assert say(session, Push(0, 5, bytes(UPDATE_BYTES))) == Push(0, 5, bytes(UPDATE_BYTES))
    assert error_of(say(session, Push(0, 6, bytes(UPDATE_BYTES + 1)))) == (0, 6, "too_large")


def test_the_last_part_may_be_what_makes_it_too_large() -> None:
    session = new_session(HELLO, open_())
    say(session, Part(0, 5, bytes(UPDATE_BYTES)))
    assert error_of(say(session, Push(0, 5, b"x"))) == (0, 5, "too_large")


@pytest.mark.parametrize("message", [Push(0, 6, b""), Push(1, 5, b""), Part(0, 6, b""), Part(1, 5, b"")], ids=repr)
def test_another_push_between_the_parts_is_refused(message: FromClient) -> None:
    session = new_session(HELLO, open_(0), open_(1), Part(0, 5, b"part"))
    assert say(session, message) is None
    assert close_of(session) is Close.MALFORMED
    assert session.joining_bytes == 0


def test_anything_else_may_come_between_the_parts() -> None:
    session = new_session(HELLO, open_(0), Part(0, 5, b"one "))
    for message in (Ping(1), Presence(0, b""), StatusAsked(channel=0), open_(1), Presence(1, b""), CloseChannel(1)):
        assert say(session, message) == message
    assert say(session, Push(0, 5, b"two")) == Push(0, 5, b"one two")


@pytest.mark.parametrize("part", [b"", b"ab"], ids=["empty", "tiny"])
def test_parts_take_the_memory_of_their_bytes_and_no_more(part: bytes) -> None:
    session = ServerSession(max_update_bytes=1 << 20, max_channels=1)
    say(session, HELLO)
    say(session, open_())
    frame = encode(Part(0, 5, part))
    tracemalloc.start()
    try:
        for _ in range(20_000):
            session.receive(frame)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert session.joining_bytes == 20_000 * len(part)
    assert taken < 2 * session.joining_bytes + 10_000


def test_parts_on_an_absent_channel_are_dropped_and_their_push_is_answered() -> None:
    session = new_session(HELLO, Part(0, 5, b"part"))
    assert session.joining_bytes == 0
    assert error_of(say(session, Push(0, 5, b""))) == (0, 5, "channel_closed")


@pytest.mark.parametrize("by_server", [True, False])
def test_a_push_is_given_up_with_its_channel(by_server: bool) -> None:
    session = new_session(HELLO, open_(0), open_(1), Part(0, 5, b"part"))
    if by_server:
        session.closed(0)
        say(session, Part(0, 5, b"was on its way"))
    else:
        say(session, CloseChannel(0))
    assert session.joining_bytes == 0
    assert say(session, Push(1, 5, b"another")) == Push(1, 5, b"another")
    say(session, open_(0))
    assert say(session, Push(0, 6, b"again")) == Push(0, 6, b"again")
    assert session.goodbye is None


def test_a_channel_that_is_opened_again_knows_nothing_of_former_parts() -> None:
    session = new_session(HELLO, open_(0), Part(0, 5, b"part"))
    session.closed(0)
    say(session, Part(0, 5, b"was on its way"))
    say(session, open_(0))
    assert say(session, Part(0, 6, b"an")) is None
    assert say(session, Push(0, 6, b"other")) == Push(0, 6, b"another")
    assert say(session, Push(0, 5, b"the same ref")) == Push(0, 5, b"the same ref")


@given(st.lists(st.lists(st.integers(0, UPDATE_BYTES), min_size=1, max_size=6), max_size=12))
def test_pushes_are_answered_or_handed_on_one_by_one_and_in_order(pushes: list[list[int]]) -> None:
    session = new_session(HELLO, open_(0))
    for ref, sizes in enumerate(pushes):
        pieces = [bytes([place]) * size for place, size in enumerate(sizes)]
        for piece in pieces[:-1]:
            assert say(session, Part(0, ref, piece)) is None
        asked = say(session, Push(0, ref, pieces[-1]))
        if sum(sizes) > UPDATE_BYTES:
            assert error_of(asked) == (0, ref, "too_large")
        else:
            assert asked == Push(0, ref, b"".join(pieces))
    assert session.goodbye is None


# --- frames out ---


@pytest.mark.parametrize("size", [0, 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES, 2 * PART_BYTES + 1])
@pytest.mark.parametrize("kind", [Push, Update, Synced])
def test_an_update_takes_as_few_frames_as_it_can(kind: type[Push] | type[Update] | type[Synced], size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    decode = decode_from_client if kind is Push else decode_from_server
    *parts, last = [decode(frame) for frame in frames(kind(3, 4, content[:size]))]
    assert len(parts) == max(0, (size - 1) // PART_BYTES)
    assert all(isinstance(part, Part) and (part.channel, part.number) == (3, 4) for part in parts)
    joined = b"".join(part.content for part in parts if isinstance(part, Part))
    assert isinstance(last, kind)
    assert last == kind(3, 4, content[len(joined) : size])
    assert joined == content[: len(joined)]


@given(from_client | from_server)
def test_a_small_message_takes_one_frame(message: FromClient) -> None:
    assert list(frames(message)) == [encode(message)]


def test_what_goes_out_in_parts_comes_in_whole() -> None:
    session = ServerSession(max_update_bytes=3 * PART_BYTES, max_channels=1)
    update = bytes(range(256)) * (3 * PART_BYTES // 256)
    asked = [session.receive(frame) for message in (HELLO, open_(), Push(0, 1, update)) for frame in frames(message)]
    assert asked[-1] == Push(0, 1, update)
    assert asked[2:-1] == [None, None]
