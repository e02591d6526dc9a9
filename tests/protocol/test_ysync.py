"""The y-websocket dialect's frames: read strictly, written as real clients do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import ysync
from protocol.closes import Close
from protocol.errors import ProtocolError
from protocol.ysync import (
    Awareness,
    Message,
    QueryAwareness,
    Step1,
    Step2,
    Update,
    decode,
    decode_varuint,
    encode,
    encode_varuint,
    update_in,
)

payloads = st.binary(max_size=300)
messages = st.one_of(
    st.builds(Step1, payloads),
    st.builds(Step2, payloads),
    st.builds(Update, payloads),
    st.builds(Awareness, payloads),
    st.just(QueryAwareness()),
)

# Captured from real clients (yjs 13.6, y-websocket 2 and 3).
CAPTURED = [
    ("00000100", Step1(b"\x00")),
    ("0001020000", Step2(b"\x00\x00")),
    ("0106010100027b7d", Awareness(bytes.fromhex("010100027b7d"))),
    ("00020e010101002801016d0161017d0100", Update(bytes.fromhex("010101002801016d0161017d0100"))),
    ("0108010100046e756c6c", Awareness(bytes.fromhex("010100046e756c6c"))),
    ("03", QueryAwareness()),
    ("010100", Awareness(b"\x00")),
]


@given(messages)
def test_what_is_written_is_read_back(message: Message) -> None:
    assert decode(encode(message)) == message


@given(messages, st.data())
def test_a_truncated_frame_is_refused(message: Message, data: st.DataObject) -> None:
    frame = encode(message)
    cut = data.draw(st.integers(0, len(frame) - 1))
    with pytest.raises(ProtocolError) as refused:
        decode(frame[:cut])
    assert refused.value.close is Close.MALFORMED


@given(messages, st.binary(min_size=1, max_size=20))
def test_a_second_message_in_the_frame_is_refused(message: Message, more: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(encode(message) + more)


@given(
    st.one_of(
        st.binary(max_size=64), st.builds(lambda kind, rest: kind + rest, st.sampled_from([b"\x00", b"\x01", b"\x02", b"\x03"]), payloads)
    )
)
def test_any_bytes_are_a_message_or_refused(frame: bytes) -> None:
    try:
        message = decode(frame)
    except ProtocolError as error:
        refused = error
    else:
        assert decode(encode(message)) == message
        return
    assert refused.close.permanent
    assert 0 < len(refused.reason.encode()) < 100  # it goes into a close frame


@pytest.mark.parametrize(("captured", "message"), CAPTURED, ids=[frame for frame, _ in CAPTURED])
def test_captured_frames_are_read_and_written_to_the_byte(captured: str, message: Message) -> None:
    assert decode(bytes.fromhex(captured)) == message
    assert encode(message).hex() == captured


@pytest.mark.parametrize("kind", [2, 4, 5, 9, 127, 128, 255])
def test_an_unknown_message_is_refused(kind: int) -> None:
    with pytest.raises(ProtocolError):
        decode(bytes((kind, 1, 0)))


@pytest.mark.parametrize("kind", [3, 127, 128, 255])
def test_an_unknown_sync_message_is_refused(kind: int) -> None:
    with pytest.raises(ProtocolError):
        decode(bytes((0, kind, 1, 0)))


@given(st.integers(0, 2**53 - 1))
def test_a_number_is_read_back_and_takes_the_least_bytes(value: int) -> None:
    written = encode_varuint(value)
    assert decode_varuint(written, 0) == (value, len(written))
    assert len(written) == max(1, -(-value.bit_length() // 7)) <= ysync.MAX_VARUINT_BYTES


@pytest.mark.parametrize("length", [9, 10, 1000, 1_000_000])
def test_an_endless_number_is_refused_without_reading_all_of_it(length: int) -> None:
    with pytest.raises(ProtocolError, match="endless"):
        decode_varuint(b"\x80" * length, 0)
    for head in (b"\x00\x00", b"\x00\x01", b"\x00\x02", b"\x01"):
        with pytest.raises(ProtocolError):
            decode(head + b"\xff" * length)


@given(st.integers(0, 7))
def test_a_number_that_breaks_off_is_refused(length: int) -> None:
    with pytest.raises(ProtocolError, match="truncated"):
        decode_varuint(b"\x80" * length, 0)


@given(st.sampled_from([b"\x00\x00", b"\x00\x01", b"\x00\x02", b"\x01"]), payloads, st.integers(0, 2**53 - 1))
def test_a_length_that_does_not_fit_the_frame_is_refused(head: bytes, payload: bytes, announced: int) -> None:
    if announced != len(payload):
        with pytest.raises(ProtocolError):
            decode(head + encode_varuint(announced) + payload)


def test_the_keep_alive_is_presence_of_nobody() -> None:
    assert ysync.KEEP_ALIVE.hex() == "010100"  # an empty frame makes clients throw
    assert decode(ysync.KEEP_ALIVE) == Awareness(b"\x00")


@given(st.one_of(messages.map(encode), st.binary(max_size=40), st.builds(lambda rest: b"\x00\x02" + rest, payloads)))
def test_the_short_way_to_an_update_agrees_with_the_long_one(frame: bytes) -> None:
    found = update_in(frame)
    if found is not None:
        assert decode(frame) in (Step2(found), Update(found))


@pytest.mark.parametrize("size", [0, 1, 127, 128, 129, 16_383])
def test_the_short_way_takes_every_small_update(size: int) -> None:
    for message in (Step2(b"x" * size), Update(b"x" * size)):
        assert update_in(encode(message)) == message.update
    assert update_in(encode(Update(b"x" * size)) + b"x") is None
    assert update_in(encode(Step1(b"x" * size))) is None
