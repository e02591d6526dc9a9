"""What is said between processes, as bytes: everything comes back as it was, and nothing foreign is taken for ours."""

import contextlib
import os
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.bus import (
    DEVICES_BYTES,
    HEAD_BYTES,
    MAX_PACKET_BYTES,
    MAX_SEQ,
    PRESENCE_BYTES,
    Advanced,
    BusError,
    DevicesAsked,
    DevicesSaid,
    LibraryDeleted,
    Message,
    PresenceAsked,
    PresenceSaid,
    SessionsRevoked,
    decode,
    encode,
    size_of,
)
from server.bus_queue import ITEM_BYTES, BusQueue

SENDER = bytes(range(16))
LIMIT = 6000

messages = st.one_of(
    st.builds(Advanced, st.uuids(), st.integers(0, MAX_SEQ)),
    st.builds(PresenceSaid, st.uuids(), st.binary(max_size=200)),
    st.builds(PresenceAsked, st.uuids()),
    st.builds(SessionsRevoked, st.lists(st.uuids(), min_size=1, max_size=5).map(tuple)),
    st.builds(LibraryDeleted, st.uuids()),
    st.builds(DevicesAsked, st.uuids(), st.binary(min_size=16, max_size=16), st.booleans()),
    st.builds(DevicesSaid, st.uuids(), st.binary(min_size=16, max_size=16), st.binary(max_size=200)),
)


@given(st.lists(messages, max_size=40), st.binary(min_size=16, max_size=16))
def test_messages_come_back_in_order_with_their_sender(said: list[Message], sender: bytes) -> None:
    packets = encode(said, sender, limit=400)

    assert all(len(packet) <= 400 for packet in packets)
    assert [decode(packet)[0] for packet in packets] == [sender] * len(packets)
    assert [message for packet in packets for message in decode(packet)[1]] == said
    assert sum(size_of(message) for message in said) == sum(len(packet) - HEAD_BYTES for packet in packets)


@given(messages, st.data())
def test_a_packet_that_was_cut_is_refused(message: Message, data: st.DataObject) -> None:
    (packet,) = encode([message], SENDER, limit=LIMIT)
    cut = data.draw(st.integers(0, len(packet) - 1).filter(lambda end: end != HEAD_BYTES))  # nothing but the head says hello

    with pytest.raises(BusError):
        decode(packet[:cut])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_packet_or_an_error(junk: bytes) -> None:
    for packet in (junk, encode([], SENDER, limit=LIMIT)[0] + junk):
        with contextlib.suppress(BusError):
            decode(packet)


@pytest.mark.parametrize(
    "packet",
    [b"", b"\x00" * 40, bytes((0xB2,)) + SENDER, encode([], SENDER, limit=LIMIT)[0] + bytes(MAX_PACKET_BYTES)],
    ids=["nothing", "zeros", "another version", "too long"],
)
def test_what_is_not_ours_is_refused(packet: bytes) -> None:
    with pytest.raises(BusError):
        decode(packet)


def test_a_seq_that_no_database_has_is_refused() -> None:
    (packet,) = encode([Advanced(UUID(int=1), 0)], SENDER, limit=LIMIT)

    with pytest.raises(BusError):
        decode(packet[:-8] + b"\xff" * 8)


def test_no_messages_say_hello() -> None:
    (packet,) = encode([], SENDER, limit=LIMIT)

    assert decode(packet) == (SENDER, [])


def test_many_sessions_that_end_at_once_fit_into_small_packets() -> None:
    sessions = tuple(uuid4() for _ in range(1000))

    packets = encode([SessionsRevoked(sessions)], SENDER, limit=LIMIT)

    told = [message for packet in packets for message in decode(packet)[1]]
    assert all(len(packet) <= LIMIT for packet in packets)
    assert tuple(session for message in told if isinstance(message, SessionsRevoked) for session in message.session_ids) == sessions


def test_presence_that_fits_exactly_is_said_and_one_byte_more_is_left_out() -> None:
    room = LIMIT - HEAD_BYTES - PRESENCE_BYTES
    exact, more = PresenceSaid(uuid4(), os.urandom(room)), PresenceSaid(uuid4(), os.urandom(room + 1))

    packets = encode([more, exact], SENDER, limit=LIMIT)

    assert [message for packet in packets for message in decode(packet)[1]] == [exact]


def test_devices_that_fit_exactly_are_said_and_one_byte_more_is_left_out() -> None:
    room = LIMIT - HEAD_BYTES - DEVICES_BYTES
    exact, more = DevicesSaid(uuid4(), SENDER, os.urandom(room)), DevicesSaid(uuid4(), SENDER, os.urandom(room + 1))

    packets = encode([more, exact], SENDER, limit=LIMIT)

    assert [message for packet in packets for message in decode(packet)[1]] == [exact]


def test_the_queue_keeps_the_newest_of_a_library_at_the_place_of_the_first() -> None:
    queue, one, other = BusQueue(), uuid4(), uuid4()
    for message in (Advanced(one, 1), PresenceAsked(one), Advanced(other, 5), Advanced(one, 3), Advanced(one, 2)):
        queue.put(message)

    assert queue.take(LIMIT) == [Advanced(one, 3), PresenceAsked(one), Advanced(other, 5)]
    assert (len(queue), queue.nbytes) == (0, 0)


def test_a_full_queue_drops_the_oldest_and_counts_it() -> None:
    queue = BusQueue(10 * (25 + ITEM_BYTES))
    libraries = [uuid4() for _ in range(100)]
    for library in libraries:
        queue.put(Advanced(library, 1))
        assert queue.nbytes <= 10 * (25 + ITEM_BYTES)

    assert queue.dropped == 90
    assert queue.take(1 << 20) == [Advanced(library, 1) for library in libraries[90:]]


def test_what_was_not_heard_is_given_back_before_the_rest_and_older_news_never_replace_newer() -> None:
    queue, one, other = BusQueue(), uuid4(), uuid4()
    queue.put(Advanced(one, 1))
    queue.put(PresenceAsked(other))
    taken = queue.take(1 << 20)
    queue.put(Advanced(other, 7))
    queue.put(Advanced(one, 2))

    queue.give_back(taken)

    assert queue.take(1 << 20) == [Advanced(one, 2), PresenceAsked(other), Advanced(other, 7)]


def test_a_piece_of_the_queue_is_taken_by_bytes_but_one_message_at_least() -> None:
    queue = BusQueue()
    said = [PresenceSaid(uuid4(), bytes(100)) for _ in range(5)]
    for message in said:
        queue.put(message)

    assert queue.take(1) == said[:1]
    assert queue.take(size_of(said[0]) * 2) == said[1:3]
