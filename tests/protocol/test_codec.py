"""The messages of promptsync.v1 as bytes: written and read back, and everything else refused."""

from typing import Any, TypeAlias, get_args

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.closes import Close
from protocol.codec import (
    FRAME_BYTES,
    MAX_CHANNEL,
    MAX_NUMBER,
    PART_BYTES,
    decode_from_client,
    decode_from_server,
    encode,
)
from protocol.errors import ProtocolError
from protocol.messages import FromClient, FromServer, Hello, Open, Part, Presence, Push, StatusAsked, Synced, Update
from tests.support.v1_frames import Decode, close_of, pack
from tests.support.v1_messages import contents, from_client, from_server

Sent: TypeAlias = tuple[Decode, FromClient | FromServer]

sent: st.SearchStrategy[Sent] = st.one_of(
    st.tuples(st.just(decode_from_client), from_client), st.tuples(st.just(decode_from_server), from_server)
)
each_direction = pytest.mark.parametrize("decode", [decode_from_client, decode_from_server])
LIBRARY = "6f1b2a3c-0000-4000-8000-000000000001"
OPEN = {"library": LIBRARY, "vector": b"\x00"}
OPENED = {**OPEN, "role": "owner", "epoch": 1, "head": 0}
STATUS = {"head": 0, "epoch": 1, "vector": b"\x00", "unsaved": 0, "storing": True, "ask": False}
LIMITS = {"update": 1, "part": 1, "channels": 1, "presence": 1}
WELCOME = {"session": LIBRARY, "user": LIBRARY, "limits": LIMITS, "time": 1}

FROM_CLIENT: list[list[Any]] = [
    ["hello", {"client": {"name": "demo", "version": "1"}}],
    ["open", 0, OPEN],
    ["push", 0, 1, b""],
    ["part", 0, 1, b""],
    ["presence", 0, b""],
    ["status", 0, {}],
    ["close", 0],
    ["ping", 1],
]
FROM_SERVER: list[list[Any]] = [
    ["welcome", WELCOME],
    ["opened", 0, OPENED],
    ["synced", 0, 1, b""],
    ["closed", 0, 1000, ""],
    ["ack", 0, 1, 1, True],
    ["error", 0, 1, "", ""],
    ["update", 0, 1, b""],
    ["part", 0, 1, b""],
    ["presence", 0, b""],
    ["status", 0, STATUS],
    ["pong", 1],
]
EVERY = [(decode_from_client, message) for message in FROM_CLIENT] + [(decode_from_server, message) for message in FROM_SERVER]
each_message = pytest.mark.parametrize(
    ("decode", "message"), EVERY, ids=[f"{decode.__name__.split('_')[-1]} {message[0]}" for decode, message in EVERY]
)


def read_or_refused(decode: Decode, frame: bytes) -> None:
    """A message that is the same when written and read again, or ProtocolError; nothing else leaves the decoder."""
    try:
        message = decode(frame)
    except ProtocolError:
        return
    assert decode(encode(message)) == message


# --- written and read back ---


@given(sent)
def test_what_is_written_is_read_back(sent: Sent) -> None:
    decode, message = sent
    assert decode(encode(message)) == message


def test_the_examples_here_are_of_every_message() -> None:
    for decode, examples, kinds in ((decode_from_client, FROM_CLIENT, FromClient), (decode_from_server, FROM_SERVER, FromServer)):
        assert {type(decode(pack(message))) for message in examples} == set(get_args(kinds))


@pytest.mark.parametrize("update", [b"", bytes(PART_BYTES)], ids=["empty", "as large as may be"])
def test_bytes_of_every_size_fit_a_frame(update: bytes) -> None:
    for message in (Push(MAX_CHANNEL, MAX_NUMBER, update), Part(MAX_CHANNEL, MAX_NUMBER, update), Presence(MAX_CHANNEL, update)):
        frame = encode(message)
        assert len(frame) <= FRAME_BYTES
        assert decode_from_client(frame) == message
    for message_of_server in (Synced(MAX_CHANNEL, MAX_NUMBER, update), Update(MAX_CHANNEL, MAX_NUMBER, update)):
        frame = encode(message_of_server)
        assert len(frame) <= FRAME_BYTES
        assert decode_from_server(frame) == message_of_server


# --- anything else is refused ---


@given(sent, st.data())
def test_a_truncated_frame_is_refused(sent: Sent, data: st.DataObject) -> None:
    decode, message = sent
    frame = encode(message)
    cut = data.draw(st.integers(0, len(frame) - 1))
    assert close_of(decode, frame[:cut]) is Close.MALFORMED


@each_message
def test_every_strict_prefix_of_a_message_is_refused(decode: Decode, message: list[Any]) -> None:
    frame = pack(message)
    for cut in range(len(frame)):
        assert close_of(decode, frame[:cut]) is Close.MALFORMED


@given(sent, st.binary(min_size=1, max_size=20))
def test_a_second_message_in_the_frame_is_refused(sent: Sent, more: bytes) -> None:
    decode, message = sent
    assert close_of(decode, encode(message) + more) is Close.MALFORMED


@given(st.binary(max_size=300))
def test_any_bytes_give_a_message_or_a_protocol_error(frame: bytes) -> None:
    for decode in (decode_from_client, decode_from_server):
        read_or_refused(decode, frame)


@given(sent, st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_mutated_frame_gives_a_message_or_a_protocol_error(sent: Sent, changes: list[tuple[int, int]]) -> None:
    decode, message = sent
    frame = bytearray(encode(message))
    for place, byte in changes:
        frame[place % len(frame)] = byte
    read_or_refused(decode, bytes(frame))


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20) | contents | st.datetimes(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5) | st.integers(0, 9), inner, max_size=4),
    max_leaves=10,
)
named = st.sampled_from([message[0] for message in FROM_CLIENT + FROM_SERVER])


@given(named, st.lists(values, max_size=5))
def test_any_elements_give_a_message_or_a_protocol_error(name: str, elements: list[Any]) -> None:
    frame = bytes(msgpack.packb([name, *elements], default=lambda time: msgpack.Timestamp(time.microsecond, 0)))
    for decode in (decode_from_client, decode_from_server):
        read_or_refused(decode, frame)


@each_message
def test_a_wrong_number_of_elements_is_refused(decode: Decode, message: list[Any]) -> None:
    for wrong in ([*message, 0], [*message, {}], message[:-1], message[:1]):
        assert close_of(decode, pack(wrong)) is Close.MALFORMED


@each_message
def test_an_element_of_another_type_is_refused(decode: Decode, message: list[Any]) -> None:
    for place in range(len(message)):
        for other in (True, False, -1, 1.0, "text", b"bytes", [], {}, [0], {"a": 0}, MAX_NUMBER + 1):
            if type(other) is type(message[place]) and other not in (-1, MAX_NUMBER + 1, {"a": 0}, {}):
                continue
            if message[0] == "status" and other in ({}, {"a": 0}) and decode is decode_from_client:
                continue  # all of its names may be left out
            assert close_of(decode, pack([*message[:place], other, *message[place + 1 :]])) is Close.MALFORMED


@each_message
def test_nil_is_no_element_except_in_errors(decode: Decode, message: list[Any]) -> None:
    for place in range(len(message)):
        frame = pack([*message[:place], None, *message[place + 1 :]])
        if message[0] == "error" and place in (1, 2):
            decode(frame)
        else:
            assert close_of(decode, frame) is Close.MALFORMED


@each_direction
@pytest.mark.parametrize(
    "frame",
    [
        b"",
        pack([]),
        pack(None),
        pack({}),
        pack("ping"),
        pack(["gossip", 0]),
        pack([b"ping", 1]),
        pack([["ping"], 1]),
        pack({"ping": 1}),
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 5000,
        b"\x92\xa4ping\xd6\xff\x00\x00\x00\x00",
        b"\x92\xa4ping\xc7\x00\xff",
        b"\x92\xa4ping\xd4\x01\x00",
        b"\x91\xa1\xff",
    ],
    ids=lambda frame: frame[:8].hex(),
)
def test_what_is_no_message_is_refused(decode: Decode, frame: bytes) -> None:
    assert close_of(decode, frame) is Close.MALFORMED


@each_message
def test_the_other_side_does_not_say_it(decode: Decode, message: list[Any]) -> None:
    if message[0] not in {"part", "presence", "status"}:
        other = decode_from_server if decode is decode_from_client else decode_from_client
        assert close_of(other, pack(message)) is Close.MALFORMED


# --- maps ---

MAPS: list[tuple[Decode, list[Any]]] = [(decode, message) for decode, message in EVERY if isinstance(message[-1], dict)]
each_map = pytest.mark.parametrize(("decode", "message"), MAPS, ids=[message[0] for _, message in MAPS])


@each_map
def test_unknown_names_in_a_map_are_ignored(decode: Decode, message: list[Any]) -> None:
    more = {"later": [1, {"deep": None}], "x" * 300: b"", "新": "名", b"raw": 1.5}
    assert decode(pack([*message[:-1], {**message[-1], **more}])) == decode(pack(message))


def test_unknown_names_in_inner_maps_are_ignored() -> None:
    client = {"name": "demo", "version": "1", "system": "other"}
    assert decode_from_client(pack(["hello", {"client": client}])) == Hello(client_name="demo", client_version="1")
    assert decode_from_server(pack(["welcome", {**WELCOME, "limits": {**LIMITS, "libraries": 5}}])) == decode_from_server(
        pack(["welcome", WELCOME])
    )


@each_map
def test_a_name_that_is_missing_is_refused(decode: Decode, message: list[Any]) -> None:
    for name in message[-1]:
        left = {other: value for other, value in message[-1].items() if other != name}
        assert close_of(decode, pack([*message[:-1], left])) is Close.MALFORMED


@each_map
def test_a_named_value_of_another_type_is_refused(decode: Decode, message: list[Any]) -> None:
    for name, value in message[-1].items():
        others: list[object] = [None, True, -1, 1.0, "text", b"bytes", [], {}, MAX_NUMBER + 1]
        fitting = ["text", b"bytes"] if name in ("role", "vector") else []
        for other in others:
            if other in fitting and type(other) is type(value):
                continue
            if type(other) is not bool or type(value) is not bool:
                assert close_of(decode, pack([*message[:-1], {**message[-1], name: other}])) is Close.MALFORMED


def test_names_that_may_be_left_out_may_be_nil() -> None:
    said = {"token": None, "device": None, "client": {"name": "demo", "version": "1"}}
    assert decode_from_client(pack(["hello", said])) == Hello(client_name="demo", client_version="1")
    opened = decode_from_client(pack(["open", 0, {**OPEN, "epoch": None, "cursor": None}]))
    assert isinstance(opened, Open)
    assert (opened.epoch, opened.cursor) == (None, None)
    assert decode_from_client(pack(["status", 0, {"cursor": None}])) == StatusAsked(channel=0)


@pytest.mark.parametrize("key", [1, None, True, 1.5], ids=repr)
def test_names_are_text(key: object) -> None:
    assert close_of(decode_from_client, pack(["status", 0, {key: 1}])) is Close.MALFORMED


@pytest.mark.parametrize(
    "text",
    [
        "6f1b2a3c000040008000000000000001",
        "{6f1b2a3c000040008000000000000001}",
        "6f1b2a3c00-00-4000-8000-000000000001",
        "６f1b2a3c-0000-4000-8000-000000000001",
        "6f1b2a3c-0000-4000-8000-00000000_001",
        "6f1b2a3c-0000-4000-8000-00000000000",
        "6f1b2a3c-0000-4000-8000-0000000000011",
        "",
    ],
)
def test_ids_are_as_rfc_9562_writes_them(text: str) -> None:
    assert close_of(decode_from_client, pack(["open", 0, {**OPEN, "library": text}])) is Close.MALFORMED


def test_ids_may_be_in_capitals() -> None:
    assert decode_from_client(pack(["open", 0, {**OPEN, "library": LIBRARY.upper()}])) == decode_from_client(pack(["open", 0, OPEN]))
