"""The Node client keeps the rules that a real server seldom puts to the test: numbers out of order, parts between others, what is asked."""

import base64
from collections.abc import Iterator

import pytest

from crdt.updates import EMPTY_UPDATE
from protocol.messages import Ack, Closed, Error, Open, Part, Push, Status, StatusAsked, Synced, Update
from tests.interop.devices import NewDevice, NodeDevice
from tests.interop.scripted import LIBRARY, ScriptedServer, scripted_server
from tests.interop.test_promptsync_clients import progress

pytestmark = pytest.mark.node

STATUS = Status(channel=0, head=0, epoch=1, vector=b"\x00", unsaved=0, storing=True, ask=True)


def written(client: int, key: str) -> bytes:
    """An update that sets `key` in the map."""
    return bytes([1, 1, client, 0, 0x28, 1, 3]) + b"map" + bytes([len(key)]) + key.encode() + bytes([1, 0x7D, 1, 0])


@pytest.fixture
def server(packages: None) -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@pytest.fixture
def a(server: ScriptedServer, device: NewDevice) -> NodeDevice:
    """A device whose library was opened by nobody yet."""
    a = device("promptsync")
    a.do("open", url=server.url, library=str(LIBRARY), token="token")
    return a


def synced(server: ScriptedServer, seq: int = 0) -> Open:
    """Greet a device and tell it that it has everything."""
    asked = server.greet()
    server.opened(head=seq)
    server.say(Synced(0, seq, EMPTY_UPDATE))
    return asked


# --- the cursor


def test_an_ack_before_its_predecessors_is_passed_over_when_they_come(server: ScriptedServer, a: NodeDevice) -> None:
    synced(server)
    a.edit(["map set", "own", 1])
    ref = server.heard(Push).ref

    server.say(Ack(0, ref, 3, True), Update(0, 1, written(1, "one")))
    a.wait("map_has", "one")
    a.wait("acknowledged")
    assert progress(a)["cursor"] == 1

    server.say(Update(0, 2, written(2, "two")))
    a.wait("map_has", "two")
    assert progress(a)["cursor"] == 3


def test_what_came_before_synced_counts(server: ScriptedServer, a: NodeDevice) -> None:
    server.greet()
    server.opened(head=5)
    a.edit(["map set", "own", 1])
    ref = server.heard(Push).ref

    server.say(Update(0, 6, written(1, "six")), Ack(0, ref, 7, True), Synced(0, 5, written(2, "five")))

    a.wait("synced")
    assert progress(a)["cursor"] == 7


def test_an_ack_of_nothing_new_and_an_update_outside_the_log_move_nothing(server: ScriptedServer, a: NodeDevice) -> None:
    synced(server, 4)
    a.edit(["map set", "own", 1])

    server.say(Ack(0, server.heard(Push).ref, 5, False), Update(0, 0, written(1, "apart")))

    a.wait("map_has", "apart")
    a.wait("acknowledged")
    assert progress(a)["cursor"] == 4


def test_an_update_past_a_gap_moves_nothing(server: ScriptedServer, a: NodeDevice) -> None:
    synced(server, 4)
    server.say(Update(0, 6, written(1, "six")))
    a.wait("map_has", "six")
    assert progress(a)["cursor"] == 4


def test_epoch_and_cursor_are_given_when_coming_back(server: ScriptedServer, a: NodeDevice) -> None:
    asked = synced(server, 4)
    assert (asked.epoch, asked.cursor) == (None, None)
    a.wait("synced")

    server.hang_up(1012)

    again = server.greet()
    assert (again.epoch, again.cursor) == (1, 4)


# --- parts


def test_an_update_may_come_between_the_parts_of_synced(server: ScriptedServer, a: NodeDevice) -> None:
    server.greet()
    server.opened(head=5)
    update = written(1, "in parts")

    server.say(Part(0, 5, update[:3]), Part(0, 5, b""), Update(0, 6, written(2, "between")), Synced(0, 5, update[3:]))

    a.wait("map_has", "in parts")
    a.wait("map_has", "between")
    a.wait("cursor", 6)


def test_parts_are_forgotten_with_their_channel(server: ScriptedServer, a: NodeDevice) -> None:
    server.greet()
    server.opened(head=5)
    server.say(Part(0, 5, b"the beginning"), Closed(0, 1012, "reloaded"))
    server.heard(Open)
    server.opened(head=5)
    server.say(Synced(0, 5, written(1, "whole")))
    a.wait("map_has", "whole")


# --- pushes


def test_a_push_to_be_tried_later_comes_again(server: ScriptedServer, a: NodeDevice) -> None:
    synced(server)
    a.edit(["map set", "own", 1])
    first = server.heard(Push)

    server.say(Error(0, first.ref, "try_later", "the database cannot store this at the moment"))

    again = server.heard(Push)
    assert again.update == first.update
    assert again.ref != first.ref


@pytest.mark.parametrize("code", ["forbidden", "invalid_update", "a_code_of_tomorrow"])
def test_a_push_that_is_refused_does_not_come_again(server: ScriptedServer, a: NodeDevice, code: str) -> None:
    synced(server)
    a.edit(["map set", "own", 1])
    server.say(Error(0, server.heard(Push).ref, code, "no"))
    a.wait("event", {"name": "refused", "code": code})

    a.do("status")

    server.heard(StatusAsked)
    assert progress(a)["refused"] == [code]


def test_what_was_not_acknowledged_comes_as_one_after_the_room_was_reloaded(server: ScriptedServer, a: NodeDevice) -> None:
    synced(server)
    a.edit(["map set", "one", 1], ["map set", "two", 2], ["map delete", "one"])
    server.say(Ack(0, server.heard(Push).ref, 1, True))
    server.heard(Push)
    server.heard(Push)
    a.wait("acknowledged_past", 0)

    server.say(Closed(0, 1012, "reloaded"))
    server.heard(Open)
    server.opened()

    assert server.heard(Push).update == base64.b64decode(a.do("update"))  # the server's vector says that it holds nothing


def test_a_channel_closed_for_good_is_not_opened_again(server: ScriptedServer, a: NodeDevice) -> None:
    synced(server)
    server.say(Closed(0, 4404, "no such library"))
    a.wait("state", "ended")
    a.edit(["map set", "own", 1])
    server.hang_up(1012)
    server.welcome()
    with pytest.raises(TimeoutError):
        server.next(within=0.5)


# --- status


def test_who_is_asked_pushes_first_and_answers_then(server: ScriptedServer, a: NodeDevice) -> None:
    synced(server)
    a.edit(["map set", "own", 1])
    pushed = server.heard(Push)
    server.say(Ack(0, pushed.ref, 1, True), STATUS)

    assert server.heard(Push).update == pushed.update
    assert server.heard(StatusAsked).cursor == 1
