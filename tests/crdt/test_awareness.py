"""The codec of awareness: strict, because clients hand what they receive to JSON.parse."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt.awareness import MAX_ENTRIES, MAX_STATE_BYTES, Entry, decode, encode
from crdt.errors import InvalidPresence

INTEGERS = st.integers(0, 2**53 - 1)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=5
)
STATES = st.none() | st.dictionaries(TEXTS, VALUES, max_size=3)


def message(state: bytes) -> bytes:
    return b"\x01\x05\x01" + bytes((len(state),)) + state


def reason(data: bytes) -> str:
    with pytest.raises(InvalidPresence) as refused:
        decode(data)
    return refused.value.reason


@given(st.lists(st.tuples(INTEGERS, INTEGERS, STATES), max_size=4), st.booleans())
def test_states_come_back_as_they_went(states: list[tuple[int, int, object]], escaped: bool) -> None:
    entries = [Entry(client, clock, json.dumps(state, ensure_ascii=escaped)) for client, clock, state in states]
    assert decode(encode(entries)) == entries


def test_messages_of_a_real_client_are_read() -> None:
    assert decode(bytes.fromhex("01 01 00 02 7b7d")) == [Entry(1, 0, "{}")]
    assert decode(bytes.fromhex("01 01 00 04 6e756c6c")) == [Entry(1, 0, "null")]
    assert decode(bytes.fromhex("00")) == []
    assert encode([]) == b"\0"


def test_every_early_end_and_anything_after_it_is_refused() -> None:
    data = encode([Entry(2**40, 300, '{"name":"名"}'), Entry(1, 2, "null")])
    for size in range(len(data)):
        with pytest.raises(InvalidPresence):
            decode(data[:size])
    assert reason(data + b"\0") == "bytes after the message"


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b"{",
        b"{} x",
        b"{a:1}",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":01}',
        b'{"a":1.}',
        b'{"a":+1}',
        b'{"a":"\n"}',
        b'{"a":"\x00"}',
        b'{"a":"\\x41"}',
        b'{"a":"\\u12"}',
        b"{'a':1}",
        b'{"a":1,}',
        b"\x0c{}",
        b"\xef\xbb\xbf{}",
        b"\xc2\xa0{}",
        '{"a":١}'.encode(),
        b"undefined",
    ],
)
def test_what_json_parse_would_throw_on_is_refused(state: bytes) -> None:
    assert reason(message(state)) == "state that is not JSON"


def test_values_nested_past_python_are_refused() -> None:
    deep = b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}"
    assert len(deep) < MAX_STATE_BYTES
    assert reason(encode([Entry(1, 1, deep.decode())])) == "state that is not JSON"


def test_numbers_too_long_for_python_are_refused() -> None:
    assert reason(encode([Entry(1, 1, '{"a":' + "9" * 5_000 + "}")])) == "state that is not JSON"


@pytest.mark.parametrize("state", [b"1", b"[]", b'"x"', b"true"])
def test_states_that_are_no_object_are_refused(state: bytes) -> None:
    assert reason(message(state)) == "state that is no object"


def test_null_in_any_dress_says_gone() -> None:
    assert decode(message(b" null\n")) == [Entry(5, 1, "null")]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\xff\xff\xff\xff\x0f", "too many states"),
        (b"\x02\x01\x01\x00\x01", "too many states"),
        (b"\x01\x05\x01\xff\xff\x7f", "state too large"),
        (b"\x01\x05\x01\x05{}", "message ends early"),
        (b"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "integer of more than 8 bytes"),
        (message(b'{"a":"\xff"}'), "state that is not UTF-8"),
        (message(b'{"a":"\xed\xa0\x80"}'), "state that is not UTF-8"),
    ],
)
def test_what_is_announced_and_not_there_is_refused_by_name(data: bytes, expected: str) -> None:
    assert reason(data) == expected


def test_states_and_their_number_are_bounded() -> None:
    full = '{"a":"' + "x" * (MAX_STATE_BYTES - 8) + '"}'
    assert decode(encode([Entry(1, 1, full)]))[0].state == full
    assert reason(encode([Entry(1, 1, full + " ")])) == "state too large"
    entries = [Entry(client, 1, "{}") for client in range(MAX_ENTRIES)]
    assert decode(encode(entries)) == entries
    assert reason(encode([*entries, Entry(1, 1, "{}")])) == "too many states"


def test_noise_is_refused_and_nothing_else_is_raised() -> None:
    source = random.Random(5)
    for _ in range(3_000):
        try:
            decode(source.randbytes(source.randrange(30)))
        except InvalidPresence:
            continue
