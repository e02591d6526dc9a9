"""The bounds of promptsync.v1: frames, bytes, numbers, texts, and how much may be in one another."""

import tracemalloc

import pytest

from protocol.closes import Close
from protocol.codec import (
    FRAME_BYTES,
    MAX_CHANNEL,
    MAX_NAME_CHARACTERS,
    MAX_NUMBER,
    MAX_TEXT_BYTES,
    PART_BYTES,
    decode_from_client,
    decode_from_server,
)
from protocol.messages import Hello, StatusAsked
from tests.support.v1_frames import Decode, close_of, pack

OPEN = {"library": "6f1b2a3c-0000-4000-8000-000000000001", "vector": b"\x00"}


@pytest.mark.parametrize("decode", [decode_from_client, decode_from_server])
def test_a_frame_past_the_bound_is_too_large(decode: Decode) -> None:
    assert close_of(decode, bytes(FRAME_BYTES + 1)) is Close.TOO_LARGE
    assert close_of(decode, bytes(FRAME_BYTES)) is Close.MALFORMED


@pytest.mark.parametrize("name", ["push", "part"])
def test_bytes_past_the_bound_are_too_large(name: str) -> None:
    assert close_of(decode_from_client, pack([name, 0, 1, bytes(PART_BYTES + 1)])) is Close.TOO_LARGE
    assert close_of(decode_from_server, pack(["update", 0, 1, bytes(PART_BYTES + 1)])) is Close.TOO_LARGE


@pytest.mark.parametrize("channel", [-1, MAX_CHANNEL + 1, 2**63, -(2**63)])
def test_channels_are_bounded(channel: int) -> None:
    assert close_of(decode_from_client, pack(["close", channel])) is Close.MALFORMED


@pytest.mark.parametrize("number", [-1, MAX_NUMBER + 1, 2**63, 2**64 - 1, -(2**63)])
def test_numbers_are_bounded(number: int) -> None:
    for message in (["ping", number], ["push", 0, number, b""], ["status", 0, {"cursor": number}], ["open", 0, {**OPEN, "epoch": number}]):
        assert close_of(decode_from_client, pack(message)) is Close.MALFORMED


def test_numbers_may_be_written_longer_than_they_need() -> None:
    assert decode_from_client(bytes.fromhex("92a470696e67cf0000000000000007")) == decode_from_client(pack(["ping", 7]))


def test_arrays_and_maps_are_bounded() -> None:
    assert decode_from_client(pack(["status", 0, {"later": [[]] * 14}])) == StatusAsked(channel=0)
    crowds: list[object] = [[[[]] * 16] * 16, {str(n): {} for n in range(32)}, [{}] * 16]
    for many in crowds:
        assert close_of(decode_from_client, pack(["status", 0, {"later": [many] * 16}])) is Close.MALFORMED


def test_a_frame_of_empty_arrays_takes_no_memory_to_refuse() -> None:
    level = b"\x90"
    while len(level) * 16 + 3 < FRAME_BYTES:
        level = b"\xdc\x00\x10" + level * 16
    tracemalloc.start()
    try:
        assert close_of(decode_from_client, level) is Close.MALFORMED
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 100_000


def test_texts_are_bounded() -> None:
    def hello(token: str, name: str) -> bytes:
        return pack(["hello", {"token": token, "client": {"name": name, "version": "1"}}])

    said = decode_from_client(hello("t" * MAX_TEXT_BYTES, "名" * MAX_NAME_CHARACTERS))
    assert isinstance(said, Hello)
    assert len(said.token or "") == MAX_TEXT_BYTES
    assert close_of(decode_from_client, hello("t" * (MAX_TEXT_BYTES + 1), "")) is Close.MALFORMED
    assert close_of(decode_from_client, hello("", "n" * (MAX_NAME_CHARACTERS + 1))) is Close.MALFORMED


def test_a_token_is_not_shown() -> None:
    assert "secret" not in repr(Hello(token="secret"))
