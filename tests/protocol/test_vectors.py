"""The vectors of promptsync.v1, which other clients read too, and the conversation on the page of the wire."""

from typing import Any

import pytest

from protocol.codec import decode_from_client, decode_from_server, encode
from protocol.errors import ProtocolError
from tests.support.v1_vectors import ROOT, conversation, fields_of, frame_of, vectors

DECODE = {"client": decode_from_client, "server": decode_from_server}
ALL = vectors()
PAGE = (ROOT / "protocol" / "README.md").read_text()
STEPS = list(conversation(PAGE))


def named(vector: dict[str, Any]) -> str:
    return f"{vector['direction']} {vector['name']}"


@pytest.mark.parametrize("vector", ALL["vectors"], ids=named)
def test_a_vector_is_read_as_it_says(vector: dict[str, Any]) -> None:
    assert fields_of(DECODE[vector["direction"]](frame_of(vector))) == vector["fields"]


@pytest.mark.parametrize("vector", [vector for vector in ALL["vectors"] if vector.get("written", True)], ids=named)
def test_a_vector_is_written_byte_for_byte(vector: dict[str, Any]) -> None:
    assert encode(DECODE[vector["direction"]](frame_of(vector))).hex() == vector["hex"]


@pytest.mark.parametrize("vector", ALL["refused"], ids=named)
def test_a_refused_vector_is_refused_with_its_code(vector: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError) as refused:
        DECODE[vector["direction"]](frame_of(vector))
    assert refused.value.close == vector["close"]


def test_there_is_a_vector_of_every_message() -> None:
    said = {direction: {vector["fields"][0] for vector in ALL["vectors"] if vector["direction"] == direction} for direction in DECODE}
    both = {"part", "presence", "status"}
    assert said["client"] == both | {"hello", "open", "push", "close", "ping"}
    assert said["server"] == both | {"welcome", "opened", "synced", "closed", "ack", "error", "update", "pong"}


def test_no_two_vectors_have_one_name() -> None:
    names = [vector["name"] for vector in ALL["vectors"] + ALL["refused"]]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("direction", "said", "frame"), STEPS, ids=[f"{step} {said[0]}" for step, (_, said, _) in enumerate(STEPS)])
def test_the_conversation_on_the_page_is_what_the_page_says(direction: str, said: list[Any], frame: bytes) -> None:
    message = DECODE[direction](frame)
    assert said == fields_of(message)
    assert encode(message) == frame


def test_the_conversation_on_the_page_is_in_the_vectors() -> None:
    there = {(vector["direction"], vector["hex"]) for vector in ALL["vectors"]}
    assert len(STEPS) >= 20
    assert [said for direction, said, frame in STEPS if (direction, frame.hex()) not in there] == []
