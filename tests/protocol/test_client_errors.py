"""What a ClientSession refuses of a server, and the errors that it tells of and goes on."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.client_events import Failed
from protocol.client_states import LibraryState
from protocol.errors import ProtocolError
from protocol.messages import Ack, Error, FromServer, Pong, Synced, Update
from tests.support.talk import NOTHING, ONE, TWO, WELCOME, Talk, opened


def test_an_error_without_a_ref_fails_nothing_else() -> None:
    talk = Talk().ready()
    assert talk.hear(Error(0, None, "invalid_presence", "why"), Error(None, None, "odd", "why")) == [
        Failed(ONE, "invalid_presence", "why"),
        Failed(None, "odd", "why"),
    ]
    assert talk.session.state_of(ONE) is LibraryState.SYNCED


WRONG: list[tuple[str, FromServer]] = [
    ("a second welcome", WELCOME),
    ("a channel that never was", Update(9, 5, b"u")),
    ("a second opened", opened()),
    ("a second synced", Synced(0, 4, b"\0\0")),
    ("an ack of no push", Ack(0, 9, 5, True)),
    ("an error of no push", Error(0, 9, "forbidden", "why")),
    ("a postponement of no push", Error(0, 9, "try_later", "why")),
]


@pytest.mark.parametrize(("what", "message"), WRONG, ids=[what for what, _ in WRONG])
def test_what_may_not_come_is_refused(what: str, message: FromServer) -> None:
    with pytest.raises(ProtocolError):
        Talk().ready().hear(message)


def test_nothing_but_welcome_comes_first_and_nothing_without_a_socket() -> None:
    for message in (opened(), Pong(1), Error(None, None, "odd", "why")):
        talk = Talk()
        talk.session.connect()
        talk.session.open(ONE, NOTHING)
        with pytest.raises(ProtocolError):
            talk.hear(message)
    with pytest.raises(ProtocolError):
        Talk().hear(WELCOME)


def test_another_library_than_the_one_asked_for_is_refused() -> None:
    talk = Talk()
    talk.session.connect()
    talk.session.open(ONE, NOTHING)
    with pytest.raises(ProtocolError):
        talk.hear(WELCOME, opened(library=TWO))


@given(st.binary(max_size=60))
def test_any_bytes_give_an_event_or_a_protocol_error(frame: bytes) -> None:
    talk = Talk().ready()
    with suppress(ProtocolError):
        talk.session.receive(frame)
