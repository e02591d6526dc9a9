"""What a ClientSession says and sends, message by message."""

import tracemalloc
from contextlib import suppress
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import client
from protocol.client import ClientSession, Place
from protocol.client_events import (
    Event,
    Failed,
    LibraryClosed,
    LibraryOpened,
    Postponed,
    PresenceHeard,
    Received,
    Refused,
    Saved,
    StatusHeard,
)
from protocol.client_states import ClientState, LibraryState
from protocol.closes import Close
from protocol.codec import PART_BYTES, decode_from_client, encode
from protocol.errors import ProtocolError
from protocol.messages import (
    Ack,
    CloseChannel,
    Closed,
    Error,
    FromClient,
    FromServer,
    Hello,
    Open,
    Opened,
    Part,
    Ping,
    Pong,
    Presence,
    Push,
    Status,
    StatusAsked,
    Synced,
    Update,
    Welcome,
)
from tests.support.small_server import LIMITS

ONE, TWO = UUID(int=1), UUID(int=2)
NOTHING = b"\x00"
WELCOME = Welcome(session=ONE, user=TWO, limits=LIMITS, time=1)


def opened(channel: int = 0, library: UUID = ONE, *, epoch: int = 1, head: int = 4) -> Opened:
    return Opened(channel=channel, library=library, role="owner", epoch=epoch, head=head, vector=NOTHING)


def status(*, epoch: int = 1, ask: bool = False) -> Status:
    return Status(channel=0, head=4, epoch=epoch, vector=NOTHING, unsaved=0, storing=True, ask=ask)


class Talk:
    """A session and what it sends."""

    def __init__(self, *libraries: UUID, **options: int) -> None:
        self.session = ClientSession(client_name="test", client_version="1", **options)
        for library in libraries or (ONE,):
            self.session.follow(library)

    def hear(self, *messages: FromServer) -> list[Event | None]:
        return [self.session.receive(encode(message)) for message in messages]

    def sent(self) -> list[FromClient]:
        messages = []
        while (frame := self.session.next_frame()) is not None:
            messages.append(decode_from_client(frame))
        return messages

    def ready(self) -> "Talk":
        """Connected, welcome, and library ONE synced at 4."""
        self.session.connect(token="t")
        self.session.open(ONE, NOTHING)
        self.sent()
        self.hear(WELCOME, opened(), Synced(0, 4, b"\0\0"))
        return self


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


def test_a_place_is_sent_only_as_a_whole() -> None:
    session = ClientSession()
    session.follow(ONE, place=Place(3, 17))
    session.follow(TWO)
    session.connect()
    session.open(ONE, NOTHING)
    session.open(TWO, NOTHING)
    frames = [decode_from_client(frame) for frame in iter(session.next_frame, None)]
    assert frames[1:] == [
        Open(channel=0, library=ONE, vector=NOTHING, epoch=3, cursor=17),
        Open(channel=1, library=TWO, vector=NOTHING),
    ]


def test_another_epoch_forgets_the_cursor_at_once() -> None:
    talk = Talk().ready()
    talk.session.disconnect()
    talk.session.connect()
    talk.session.open(ONE, NOTHING)
    assert talk.sent()[1] == Open(channel=0, library=ONE, vector=NOTHING, epoch=1, cursor=4)
    _, event = talk.hear(WELCOME, opened(epoch=2, head=1))
    assert isinstance(event, LibraryOpened)
    assert event.anew
    assert talk.session.place(ONE) is None
    talk.hear(Synced(0, 1, b"\0\0"))
    assert talk.session.place(ONE) == Place(2, 1)


def test_the_same_epoch_keeps_the_cursor_while_catching_up() -> None:
    talk = Talk().ready()
    talk.session.disconnect()
    talk.session.connect()
    talk.session.open(ONE, NOTHING)
    _, event = talk.hear(WELCOME, opened(head=9))
    assert isinstance(event, LibraryOpened)
    assert not event.anew
    assert talk.session.place(ONE) == Place(1, 4)


def test_pushes_wait_until_the_library_is_open_and_are_settled_by_acks() -> None:
    talk = Talk()
    talk.session.push(ONE, 0, b"a")
    talk.session.connect()
    talk.session.open(ONE, NOTHING)
    assert len(talk.sent()) == 2
    talk.hear(WELCOME, opened())
    talk.session.push(ONE, 5, b"b")
    assert talk.sent() == [Push(0, 1, b"a"), Push(0, 2, b"b")]
    talk.hear(Synced(0, 4, b"\0\0"))
    assert talk.hear(Ack(0, 2, 5, True), Ack(0, 1, 5, False)) == [Saved(ONE, 5, b"b", 5, True), Saved(ONE, 0, b"a", 5, False)]
    assert talk.session.unacknowledged(ONE) == 0
    assert talk.session.place(ONE) == Place(1, 5)


def test_an_ack_of_nothing_new_does_not_move_the_cursor() -> None:
    talk = Talk().ready()
    talk.session.push(ONE, 0, b"a")
    talk.sent()
    talk.hear(Ack(0, 1, 5, False))
    assert talk.session.place(ONE) == Place(1, 4)


def test_after_a_reconnect_what_is_unacknowledged_goes_out_again_in_order() -> None:
    talk = Talk().ready()
    for number in range(4):
        talk.session.push(ONE, number, b"%d" % number)
    assert len(talk.sent()) == 4
    talk.hear(Ack(0, 2, 5, True))
    talk.session.disconnect()
    talk.session.connect()
    talk.session.open(ONE, NOTHING)
    talk.sent()
    talk.hear(WELCOME, opened())
    assert [push.update for push in talk.sent() if isinstance(push, Push)] == [b"0", b"2", b"3"]


def test_only_so_much_is_in_flight_and_acks_let_more_out() -> None:
    talk = Talk(window_bytes=10, window_pushes=3).ready()
    for number, size in enumerate((4, 4, 4, 30, 1, 1, 1, 1)):
        talk.session.push(ONE, number, b"x" * size)
    assert len(talk.sent()) == 2
    talk.hear(Ack(0, 1, 5, True))
    assert len(talk.sent()) == 1
    talk.hear(Ack(0, 2, 6, True))
    assert talk.sent() == []
    talk.hear(Ack(0, 3, 7, True))
    assert talk.sent() == [Push(0, 4, b"x" * 30)]
    talk.hear(Ack(0, 4, 8, True))
    assert len(talk.sent()) == 3


def test_a_large_one_of_one_library_is_not_kept_waiting_by_small_ones_of_another() -> None:
    talk = Talk(ONE, TWO, window_bytes=10).ready()
    talk.session.open(TWO, NOTHING)
    talk.sent()
    talk.hear(opened(1, TWO), Synced(1, 4, b"\0\0"))
    for number in range(20):
        talk.session.push(TWO, number, b"y" * 4)
    first, second = talk.sent()
    assert isinstance(first, Push)
    assert isinstance(second, Push)
    talk.session.push(ONE, 0, b"x" * 30)
    talk.hear(Ack(1, first.ref, 5, False))
    assert talk.sent() == []
    talk.hear(Ack(1, second.ref, 5, False))
    assert talk.sent() == [Push(0, 1, b"x" * 30)]


@pytest.mark.parametrize("code", ["invalid_update", "too_large", "too_costly", "forbidden", "not_found", "library_overgrown", "unstorable"])
def test_a_push_that_is_refused_for_good_is_told_with_its_update(code: str) -> None:
    talk = Talk().ready()
    talk.session.push(ONE, 3, b"a")
    talk.sent()
    assert talk.hear(Error(0, 1, code, "why")) == [Refused(ONE, 3, b"a", code, "why")]
    assert talk.session.unacknowledged(ONE) == 0


def test_a_push_that_fails_for_now_waits_until_it_is_retried() -> None:
    talk = Talk().ready()
    talk.session.push(ONE, 3, b"a")
    talk.session.push(ONE, 4, b"b")
    talk.sent()
    assert talk.hear(Error(0, 1, "try_later", "why")) == [Postponed(ONE, 3, "try_later", "why", until_opened=False)]
    talk.session.push(ONE, 5, b"c")
    assert talk.sent() == []
    talk.session.retry(ONE)
    assert talk.sent() == [Push(0, 3, b"a"), Push(0, 4, b"c")]
    assert [entry.number for entry in talk.session.pending(ONE)] == [3, 4, 5]


def test_a_push_that_fails_for_a_reason_unknown_here_goes_out_when_the_library_is_opened_again() -> None:
    talk = Talk().ready()
    talk.session.push(ONE, 3, b"a")
    talk.session.push(ONE, 4, b"b")
    talk.sent()
    assert talk.hear(Error(0, 1, "something_new", "why")) == [Postponed(ONE, 3, "something_new", "why", until_opened=True)]
    talk.session.retry(ONE)
    talk.session.push(ONE, 5, b"c")
    assert talk.sent() == [Push(0, 3, b"c")]
    talk.hear(Closed(0, 1012, "reloaded"))
    talk.session.open(ONE, NOTHING)
    talk.hear(opened(1))
    assert [message.update for message in talk.sent() if isinstance(message, Push)] == [b"a", b"b", b"c"]


def test_an_open_that_is_too_large_before_welcome_waits_for_it() -> None:
    talk = Talk(ONE, TWO)
    talk.session.connect()
    talk.session.open(ONE, b"v" * (64 << 10))
    talk.session.open(TWO, NOTHING)
    assert [type(message) for message in talk.sent()] == [Hello]
    talk.hear(WELCOME)
    assert [type(message) for message in talk.sent()] == [Open, Open]


def test_number_0_is_applied_and_moves_no_cursor() -> None:
    talk = Talk().ready()
    assert talk.hear(Update(0, 0, b"u")) == [Received(ONE, 0, b"u", catching_up=False)]
    assert talk.session.place(ONE) == Place(1, 4)


def test_a_new_channel_ends_a_postponement() -> None:
    talk = Talk().ready()
    talk.session.push(ONE, 3, b"a")
    talk.sent()
    talk.hear(Error(0, 1, "try_later", "why"), Closed(0, 1012, "reloaded"))
    talk.session.open(ONE, NOTHING)
    talk.hear(opened(1))
    assert talk.sent() == [Open(channel=1, library=ONE, vector=NOTHING, epoch=1, cursor=4), Push(1, 2, b"a")]


def test_an_error_without_a_ref_fails_nothing_else() -> None:
    talk = Talk().ready()
    assert talk.hear(Error(0, None, "invalid_presence", "why"), Error(None, None, "odd", "why")) == [
        Failed(ONE, "invalid_presence", "why"),
        Failed(None, "odd", "why"),
    ]
    assert talk.session.state_of(ONE) is LibraryState.SYNCED


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


def test_parts_are_joined_even_between_other_messages() -> None:
    talk = Talk()
    talk.session.connect()
    talk.session.open(ONE, NOTHING)
    talk.hear(WELCOME, opened())
    events = talk.hear(
        Part(0, 4, b"ab"),
        Presence(0, b"\0"),
        Part(0, 6, b"u"),
        Update(0, 6, b"v"),
        Part(0, 4, b"cd"),
        Update(0, 5, b"x"),
        Synced(0, 4, b"e"),
    )
    assert events == [
        None,
        PresenceHeard(ONE, b"\0"),
        None,
        Received(ONE, 6, b"uv", catching_up=False),
        None,
        Received(ONE, 5, b"x", catching_up=False),
        Received(ONE, 4, b"abcde", catching_up=True),
    ]
    assert talk.session.place(ONE) == Place(1, 6)


def test_parts_without_an_end_go_with_their_channel_and_with_the_socket() -> None:
    talk = Talk(max_joined_bytes=1000).ready()
    for _ in range(3):
        talk.hear(Part(0, 5, b"x" * 700), Closed(0, 1012, "reloaded"))
        talk.session.disconnect()
        talk.ready()
    talk.hear(Part(0, 5, b"x" * 700))
    talk.session.disconnect()
    talk.ready()
    assert talk.hear(Update(0, 5, b"y")) == [Received(ONE, 5, b"y", catching_up=False)]


@pytest.mark.parametrize("size", [0, 1, 400])
def test_parts_are_bounded_however_small(size: int) -> None:
    talk = Talk(max_joined_bytes=1000).ready()
    with pytest.raises(ProtocolError) as refused:
        talk.hear(*(Part(0, 5, b"x" * size) for _ in range(10)))
    assert refused.value.close is Close.TOO_LARGE


def test_a_large_push_goes_in_parts_and_lets_others_between_but_no_push() -> None:
    talk = Talk().ready()
    talk.session.push(ONE, 0, b"a" * (2 * PART_BYTES + 1))
    talk.session.push(ONE, 1, b"b")
    first = talk.session.next_frame()
    talk.session.ping(7)
    assert first is not None
    sent = [decode_from_client(first), *talk.sent()]
    assert [type(message) for message in sent] == [Part, Ping, Part, Push, Push]
    assert isinstance(sent[3], Push)
    assert len(sent[3].update) == 1


def test_a_push_whose_channel_closes_between_its_parts_is_given_up() -> None:
    talk = Talk(ONE, TWO).ready()
    talk.session.open(TWO, NOTHING)
    talk.sent()
    talk.hear(opened(1, TWO))
    talk.session.push(ONE, 0, b"a" * (5 * PART_BYTES))
    talk.session.push(TWO, 0, b"b")
    talk.session.next_frame()
    talk.hear(Closed(0, 1012, "reloaded"))
    assert talk.sent() == [Push(1, 1, b"b")]
    assert talk.session.unacknowledged(ONE) == 1


def test_a_push_that_had_its_last_part_needs_no_other_end() -> None:
    talk = Talk().ready()
    talk.session.push(ONE, 0, b"a" * (PART_BYTES + 1))
    talk.session.next_frame()
    talk.session.next_frame()
    talk.session.close(ONE)
    assert talk.sent() == [CloseChannel(0)]


def test_a_socket_that_goes_takes_the_rest_of_a_push_with_it() -> None:
    talk = Talk().ready()
    talk.session.push(ONE, 0, b"a" * (5 * PART_BYTES))
    talk.session.next_frame()
    talk.session.disconnect()
    talk.session.connect()
    assert [type(message) for message in talk.sent()] == [Hello]


def test_a_status_that_is_asked_for_follows_what_was_pushed_before() -> None:
    talk = Talk(window_pushes=1).ready()
    (event,) = talk.hear(status(ask=True))
    assert isinstance(event, StatusHeard)
    assert event.ask
    talk.session.push(ONE, 0, b"a")
    talk.session.push(ONE, 1, b"b")
    talk.session.answer(ONE)
    talk.session.push(ONE, 2, b"c")
    assert talk.sent() == [Push(0, 1, b"a")]
    talk.hear(Ack(0, 1, 5, True))
    assert talk.sent() == [Push(0, 2, b"b"), StatusAsked(channel=0)]
    talk.hear(Ack(0, 2, 6, True))
    assert talk.sent() == [Push(0, 3, b"c")]


def test_a_kept_place_is_told_now_and_after_each_opening_of_its_epoch() -> None:
    talk = Talk().ready()
    talk.session.keep(ONE, Place(1, 4))
    assert talk.sent() == [StatusAsked(channel=0, cursor=4)]
    talk.session.disconnect()
    talk.ready()
    assert talk.sent() == [StatusAsked(channel=0, cursor=4)]
    talk.hear(Closed(0, 1012, "reloaded"))
    talk.session.open(ONE, NOTHING)
    talk.sent()
    talk.hear(opened(1, epoch=2), Synced(1, 4, b"\0\0"))
    assert talk.sent() == []
    talk.session.keep(ONE, Place(1, 4))
    assert talk.sent() == []


def test_a_status_of_another_epoch_forgets_the_cursor() -> None:
    talk = Talk().ready()
    talk.hear(status(epoch=2), Update(0, 5, b"u"))
    assert talk.session.place(ONE) is None


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


def test_leaving_amid_the_parts_of_a_push_stores_no_half_of_it() -> None:
    talk = Talk().ready()
    talk.session.push(ONE, 0, b"a" * (5 * PART_BYTES))
    talk.session.next_frame()
    talk.session.leave(ONE)
    assert talk.sent() == [CloseChannel(0)]


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


def test_a_long_session_holds_on_to_nothing() -> None:
    talk = Talk().ready()
    number = 0

    def turn() -> None:
        nonlocal number
        for _ in range(200):
            talk.session.push(ONE, number, b"x" * 100)
            number += 1
            (push,) = talk.sent()
            assert isinstance(push, Push)
            talk.hear(Ack(0, push.ref, 4 + number, True))

    turn()
    tracemalloc.start()
    turn()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(5):
        turn()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 20_000
