"""The maps of `POST /api/sync/{library}`: what is written is read back, and anything else is refused, whatever it announces."""

import contextlib
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.codec import MAX_NUMBER
from protocol.errors import ProtocolError
from protocol.exchange import Answered, Asked, decode_answered, decode_asked, encode_answered, encode_asked

content = st.binary(max_size=300)
numbers = st.integers(0, MAX_NUMBER)
asked = st.builds(Asked, content, st.none() | content, st.none() | numbers, st.none() | numbers)
answered = st.builds(Answered, content, content, numbers, numbers, st.booleans(), st.lists(content, max_size=5).map(tuple))
ASKED: dict[str, Any] = {"vector": b"\x00", "update": b"\x00\x00", "epoch": 1, "cursor": 7}
ANSWERED: dict[str, Any] = {"update": b"\x00\x00", "vector": b"\x00", "seq": 7, "epoch": 1, "stored": True, "quarantined": [b"\x00"]}


@given(asked)
def test_what_is_asked_is_read_back(said: Asked) -> None:
    assert decode_asked(encode_asked(said)) == said


@given(answered)
def test_what_is_answered_is_read_back(said: Answered) -> None:
    assert decode_answered(encode_answered(said)) == said


@given(asked, answered, st.data())
def test_what_was_cut_is_refused(question: Asked, answer: Answered, data: st.DataObject) -> None:
    for body, decode in ((encode_asked(question), decode_asked), (encode_answered(answer), decode_answered)):
        cut = data.draw(st.integers(0, len(body) - 1))
        with pytest.raises(ProtocolError):
            decode(body[:cut])


@given(asked, st.binary(min_size=1, max_size=20))
def test_anything_after_the_map_is_refused(question: Asked, more: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_asked(encode_asked(question) + more)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary(max_size=40) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*ASKED, *ANSWERED, "x"]) | st.integers(0, 9), inner),
)


@given(st.binary(max_size=200) | values.map(msgpack.packb))
def test_any_bytes_are_read_or_refused(junk: bytes) -> None:
    for decode in (decode_asked, decode_answered):
        with contextlib.suppress(ProtocolError):
            decode(junk)


WRONG: dict[str, list[Any]] = {
    "vector": [None, "", 1, [b""], {}],
    "update": [None, "ab", 1, [b""]],
    "epoch": [None, -1, 1.0, True, MAX_NUMBER + 1, "1"],
    "cursor": [None, -1, 2.5, False, 2**64 - 1],
    "seq": [None, -1, True, MAX_NUMBER + 1],
    "stored": [None, 1, "true"],
    "quarantined": [None, [], b"", ["x"], {}, [None]],
}


@pytest.mark.parametrize(
    ("whole", "name", "value"),
    [(whole, name, value) for whole in (ASKED, ANSWERED) for name in whole for value in WRONG[name]],
)
def test_a_value_of_another_kind_is_refused(whole: dict[str, Any], name: str, value: Any) -> None:
    decode = decode_asked if whole is ASKED else decode_answered
    decode(msgpack.packb(whole))
    with pytest.raises(ProtocolError):
        decode(msgpack.packb(whole | {name: value}))


@pytest.mark.parametrize("needed", ["update", "vector", "seq", "epoch", "stored"])
def test_what_is_needed_may_not_be_missing(needed: str) -> None:
    with pytest.raises(ProtocolError):
        decode_answered(msgpack.packb({name: value for name, value in ANSWERED.items() if name != needed}))
    with pytest.raises(ProtocolError):
        decode_asked(msgpack.packb({"cursor": 1}))


HUGE = 2**32 - 1
BODIES = {
    "nothing": b"",
    "no map": msgpack.packb([b"\x00"]),
    "an unknown name": msgpack.packb(ASKED | {"x": 1}),
    "a name that is a number": msgpack.packb({1: b""}),
    "a name in bytes": b"\x81\xc4\x06vector\xc4\x01\x00",
    "a name twice": b"\x82\xa6vector\xc4\x01\x00\xa6vector\xc4\x01\x00",
    "a lone surrogate": b"\x81\xa6vector\xa3\xed\xa0\x80",
    "bytes announced": b"\x81\xa6vector\xc6" + HUGE.to_bytes(4, "big"),
    "text announced": b"\x81\xdb" + HUGE.to_bytes(4, "big"),
    "names announced": b"\xdf" + HUGE.to_bytes(4, "big"),
    "a list announced": b"\x81\xa6vector\xdd" + HUGE.to_bytes(4, "big"),
    "an extension announced": b"\x81\xa6vector\xc9" + HUGE.to_bytes(4, "big") + b"\x01",
    "a time": b"\x81\xa6vector\xd6\xff\x00\x00\x00\x00",
    "nesting": b"\x81\xa6vector" * 5_000,
    "lists in lists": b"\x91" * 100_000,
    "a byte that means nothing": b"\xc1",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_what_is_no_such_map_is_refused_whatever_it_announces(body: bytes) -> None:
    for decode in (decode_asked, decode_answered):
        with pytest.raises(ProtocolError):
            decode(body)


SPECIFIED = [
    ("81 a6 76 65 63 74 6f 72 c4 01 00", Asked(b"\x00")),
    (
        "85 a6 75 70 64 61 74 65 c4 0e 01 01 01 00 28 01 01 6d 01 61 01 7d 01 00 a6 76 65 63 74 6f 72 c4 03 01 01 01"
        " a3 73 65 71 01 a5 65 70 6f 63 68 01 a6 73 74 6f 72 65 64 c2",
        Answered(bytes.fromhex("010101002801016d0161017d0100"), b"\x01\x01\x01", 1, 1, False),
    ),
]
"""As the page of the wire has them."""


@pytest.mark.parametrize(("body", "said"), SPECIFIED)
def test_the_bodies_that_are_specified_stay_as_they_are(body: str, said: Asked | Answered) -> None:
    written = encode_asked(said) if isinstance(said, Asked) else encode_answered(said)
    assert written == bytes.fromhex(body)
    assert (decode_asked if isinstance(said, Asked) else decode_answered)(written) == said
