"""Somebody who may write to the bus says a great deal: it costs little, closes nobody and reaches no other user."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from server import sockets
from server.bus import Advanced, LibraryDeleted, Message, PresenceAsked, PresenceSaid, SessionsRevoked
from server.sockets import Device
from storage.standings import standings
from tests.server.test_neighbours import heard_own, hello
from tests.support.core import until
from tests.support.running import Running, User, running_server

MANY = 2_000


@pytest.fixture
async def quiet(database_dsn: str) -> AsyncIterator[tuple[Running, User]]:
    """A server that polls nothing while a test runs."""
    async with running_server(database_dsn, session_poll_seconds=30) as server:
        yield server, await server.user()


class Counted(set[Device]):
    """Devices, and how often somebody went through all of them."""

    def __init__(self, devices: set[Device]) -> None:
        super().__init__(devices)
        self.passes = 0

    def __iter__(self) -> Iterator[Device]:
        self.passes += 1
        return super().__iter__()


async def test_many_false_hints_go_through_the_devices_once_and_ask_the_database_seldom(
    quiet: tuple[Running, User], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, user = quiet
    questions = 0

    async def counted(*arguments: Any) -> Any:
        nonlocal questions
        questions += 1
        return await standings(*arguments)

    monkeypatch.setattr("server.sockets.standings", counted)
    async with server.device(user) as device:
        hall = server.app.hall
        devices = hall.devices = Counted(hall.devices)
        for _ in range(MANY):
            server.app.neighbours.heard(LibraryDeleted(uuid4()))
            server.app.neighbours.heard(SessionsRevoked((uuid4(),)))
        assert devices.passes == 0
        loop = asyncio.get_running_loop()
        began = loop.time()
        while questions < 3:
            server.app.neighbours.heard(LibraryDeleted(user.library_id))
            await asyncio.sleep(0.001)
        assert loop.time() - began >= 2 * sockets.GATHER_SECONDS
        await device.push(device.replica.write_prompt("p", "still here"))
        await device.confirmed()


async def test_more_hints_than_are_remembered_are_compared_with_every_device(
    quiet: tuple[Running, User], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "MAX_HINTS", 10)
    server, user = quiet
    async with server.device(user):
        (device,) = server.app.hall.devices
        for _ in range(30):
            server.app.neighbours.heard(LibraryDeleted(uuid4()))
        assert device in server.app.hall._suspects
        assert len(server.app.hall._hints) <= 10


async def test_who_asks_again_and_again_who_is_present_is_answered_once(
    quiet: tuple[Running, User], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, user = quiet
    connection = await hello(server, user, 1)
    await heard_own(connection, 1)
    said: list[Message] = []
    monkeypatch.setattr(server.app.bus, "publish", said.append)
    monkeypatch.setattr(server.app.bus, "alone", False)
    for _ in range(MANY):
        server.app.neighbours.heard(PresenceAsked(user.library_id))
    await until(lambda: bool(said), "the answer")
    assert [type(message) for message in said] == [Advanced, PresenceSaid]
    server.app.neighbours.heard(PresenceAsked(user.library_id))
    await until(lambda: len(said) == 4, "an answer to who asks later")
    await connection.close()


async def test_presence_that_is_not_ours_is_complained_of_seldom(quiet: tuple[Running, User]) -> None:
    server, user = quiet
    async with server.device(user):
        with capture_logs() as lines:
            for _ in range(MANY):
                server.app.neighbours.heard(PresenceSaid(user.library_id, bytes(64)))
    assert len([line for line in lines if line["event"] == "presence_not_ours"]) == 1
