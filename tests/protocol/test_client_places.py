"""Where a ClientSession knows a library to be: what it asks from, and what moves and what forgets it."""

from protocol.client import ClientSession, Place
from protocol.client_events import LibraryOpened, Received
from protocol.codec import decode_from_client
from protocol.messages import Ack, Closed, Open, StatusAsked, Synced, Update
from tests.support.talk import NOTHING, ONE, TWO, WELCOME, Talk, opened, status


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


def test_an_ack_of_nothing_new_does_not_move_the_cursor() -> None:
    talk = Talk().ready()
    talk.session.push(ONE, 0, b"a")
    talk.sent()
    talk.hear(Ack(0, 1, 5, False))
    assert talk.session.place(ONE) == Place(1, 4)


def test_number_0_is_applied_and_moves_no_cursor() -> None:
    talk = Talk().ready()
    assert talk.hear(Update(0, 0, b"u")) == [Received(ONE, 0, b"u", catching_up=False)]
    assert talk.session.place(ONE) == Place(1, 4)


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
