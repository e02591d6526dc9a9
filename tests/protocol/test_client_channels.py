"""How a ClientSession opens a library, what closes it, and what it hears on a channel that goes."""

import pytest

from protocol import client
from protocol.client import Place
from protocol.client_events import LibraryClosed, LibraryOpened, Received, Saved
from protocol.client_states import ClientState, LibraryState
from protocol.closes import Close
from protocol.messages import Ack, CloseChannel, Closed, Error, Hello, Open, Pong, Presence, StatusAsked, Synced, Update
from tests.support.talk import NOTHING, ONE, TWO, WELCOME, Talk, opened


def test_hello_and_open_go_out_without_waiting() -> None:
    talk = Talk()
    talk.session.connect(token="t", device=TWO)
    talk.session.open(ONE, b"\x01\x05\x06")
    assert talk.sent() == [
        Hello(token="t", device=TWO, client_name="test", client_version="1"),
        Open(channel=0, library=ONE, vector=b"\x01\x05\x06"),
    ]
    assert talk.hear(WELCOME) == [WELCOME]
    assert talk.session.state is ClientState.READY


def test_opening_says_what_to_push_and_synced_what_to_apply() -> None:
    talk = Talk()
    talk.session.connect()
    talk.session.open(ONE, NOTHING)
    events = talk.hear(WELCOME, opened(), Synced(0, 4, b"all"))
    assert events[1:] == [
        LibraryOpened(library=ONE, role="owner", epoch=1, head=4, vector=NOTHING, anew=True),
        Received(ONE, 4, b"all", catching_up=True),
    ]
    assert talk.session.place(ONE) == Place(1, 4)
    assert talk.session.state_of(ONE) is LibraryState.SYNCED


def test_an_open_that_is_too_large_before_welcome_waits_for_it() -> None:
    talk = Talk(ONE, TWO)
    talk.session.connect()
    talk.session.open(ONE, b"v" * (64 << 10))
    talk.session.open(TWO, NOTHING)
    assert [type(message) for message in talk.sent()] == [Hello]
    talk.hear(WELCOME)
    assert [type(message) for message in talk.sent()] == [Open, Open]


@pytest.mark.parametrize(("code", "permanent"), [(1012, False), (1013, False), (4400, True), (4404, True), (4499, True), (4503, False)])
def test_a_closed_library_can_be_opened_again_on_another_channel(code: int, permanent: bool) -> None:
    talk = Talk().ready()
    talk.session.push(ONE, 0, b"a")
    talk.sent()
    (event,) = talk.hear(Closed(0, code, "why"))
    assert isinstance(event, LibraryClosed)
    assert (event.code, event.permanent) == (code, permanent)
    talk.session.open(ONE, NOTHING)
    assert isinstance(asked := talk.sent()[0], Open)
    assert asked.channel == 1
    assert talk.hear(Ack(0, 1, 5, True), Error(0, 1, "channel_closed", "late")) == [None, None]
    assert talk.session.unacknowledged(ONE) == 1


def test_too_many_channels_leaves_the_library_shut_for_a_while() -> None:
    talk = Talk()
    talk.session.connect()
    talk.session.open(ONE, NOTHING)
    _, event = talk.hear(WELCOME, Error(0, None, "too_many_channels", "64"))
    assert isinstance(event, LibraryClosed)
    assert (event.code, event.permanent) == (Close.TRY_LATER, False)
    assert talk.session.state_of(ONE) is LibraryState.SHUT


def test_a_channel_that_the_server_does_not_know_is_opened_again() -> None:
    talk = Talk().ready()
    talk.session.push(ONE, 0, b"a")
    talk.sent()
    (event,) = talk.hear(Error(0, 1, "channel_closed", "gone"))
    assert event == LibraryClosed(ONE, Close.RESTART, "gone")
    assert talk.session.unacknowledged(ONE) == 1


def test_a_library_that_is_being_closed_hears_only_answers() -> None:
    talk = Talk().ready()
    talk.session.push(ONE, 0, b"a")
    talk.sent()
    talk.session.close(ONE)
    talk.session.close(ONE)
    assert talk.sent() == [CloseChannel(0)]
    events = talk.hear(Update(0, 5, b"u"), Error(0, 9, "channel_closed", "late"), Ack(0, 1, 6, True), Closed(0, 1000, "closed"))
    assert events == [None, None, Saved(ONE, 0, b"a", 6, True), LibraryClosed(ONE, 1000, "closed")]
    assert talk.session.place(ONE) == Place(1, 4)


def test_presence_and_questions_go_out_only_where_the_library_is_open() -> None:
    talk = Talk()
    assert not talk.session.presence(ONE, b"\0")
    assert not talk.session.ask(ONE)
    talk.ready()
    assert talk.session.presence(ONE, b"\0")
    assert talk.session.ask(ONE)
    assert talk.sent() == [Presence(0, b"\0"), StatusAsked(channel=0)]


def test_leaving_closes_the_channel_and_returns_what_is_unacknowledged() -> None:
    talk = Talk().ready()
    talk.session.push(ONE, 0, b"a")
    talk.sent()
    assert [entry.number for entry in talk.session.leave(ONE)] == [0]
    assert talk.sent() == [CloseChannel(0)]
    assert talk.hear(Ack(0, 1, 5, True), Closed(0, 1000, "closed"), Pong(3)) == [None, None, Pong(3)]
    with pytest.raises(KeyError):
        talk.session.push(ONE, 1, b"b")


def test_a_library_is_opened_once_and_only_on_a_socket() -> None:
    talk = Talk()
    with pytest.raises(ValueError, match="offline"):
        talk.session.open(ONE, NOTHING)
    talk.ready()
    with pytest.raises(ValueError, match="synced"):
        talk.session.open(ONE, NOTHING)
    with pytest.raises(ValueError, match="followed"):
        talk.session.follow(ONE)
    with pytest.raises(ValueError, match="socket"):
        talk.session.connect()


def test_channels_are_taken_again_only_after_all_others_and_never_while_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_CHANNEL", 4)
    talk = Talk(ONE, TWO).ready()
    talk.session.open(TWO, NOTHING)
    talk.sent()
    talk.hear(opened(1, TWO))
    channel, taken = 0, []
    for _ in range(7):
        talk.session.close(ONE)
        talk.hear(Closed(channel, 1000, "closed"))
        talk.session.open(ONE, NOTHING)
        (channel,) = [message.channel for message in talk.sent() if isinstance(message, Open)]
        talk.hear(opened(channel))
        taken.append(channel)
    assert taken == [2, 3, 4, 0, 2, 3, 4]
