"""Sockets a user: how many at a time, and how fast one after the other."""

import asyncio
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest

from protocol.closes import Close
from protocol.messages import Hello
from server import metrics
from server.config import load_settings
from server.limits.places import Places
from tests.support.core import until
from tests.support.link_client import bare_link, link
from tests.support.running import Running, User, closed, running_server, undisturbed

FULL = (Close.BUSY, "too many sockets of this user")


def test_a_user_has_so_many_places_and_others_have_theirs() -> None:
    places, user, other = Places(a_user=2, openings_a_second=100, clock=lambda: 0.0), uuid4(), uuid4()
    assert [places.take(user) for _ in range(3)] == [None, None, "too many sockets of this user"]
    assert places.take(other) is None
    places.leave(user)
    assert [places.take(user) for _ in range(2)] == [None, "too many sockets of this user"]
    for _ in range(2):
        places.leave(user)
    places.leave(other)
    assert not places._taken


def test_a_user_may_open_so_many_a_second() -> None:
    now = [0.0]
    places, user, other = Places(a_user=1000, openings_a_second=50, clock=lambda: now[0]), uuid4(), uuid4()
    assert [places.take(user) for _ in range(51)] == [None] * 50 + ["too many openings of this user"]
    assert places.take(other) is None
    now[0] += 0.1
    assert [places.take(user) for _ in range(6)] == [None] * 5 + ["too many openings of this user"]


async def test_past_the_limit_a_socket_is_closed_on_either_dialect(database_dsn: str) -> None:
    async with running_server(database_dsn, sockets_a_user=3) as server, AsyncExitStack() as stack:
        user, other = await server.user(), await server.user()
        devices = [await stack.enter_async_context(server.device(user)) for _ in range(2)]
        first = await stack.enter_async_context(link(server, user))
        before = metrics.limited.labels("user_sockets")._value.get()
        assert await closed(await server.socket(user)) == FULL
        async with bare_link(server, f"bearer.{user.sync_token}") as second:
            await second.send(Hello(token=None, device=None, client_name="test", client_version="1"))
            assert await closed(second.connection) == FULL
        assert metrics.limited.labels("user_sockets")._value.get() == before + 2
        neighbour = await stack.enter_async_context(server.device(other))
        for device in (*devices, neighbour):
            await undisturbed(device)
        await first.connection.close()
        await until(lambda: not server.app.hall.guests, "the place being free")
        async with link(server, user):
            assert await closed(await server.socket(user)) == FULL


@pytest.mark.parametrize("end", ["closed", "broken", "refused", "revoked"])
async def test_places_are_given_back_however_a_socket_ends(server: Running, user: User, end: str) -> None:
    taken = server.app._sync._admission._places._taken
    async with link(server, user) as client:
        socket = await server.socket(user)
        await until(lambda: taken.get(user.id) == 2, "both of them being counted")
        for connection in (socket, client.connection):
            match end:
                case "closed":
                    await connection.close()
                case "broken":
                    connection.transport.abort()
                case "refused":
                    await connection.send("text is not spoken here")
        if end == "revoked":
            await server.execute("UPDATE sessions SET revoked_at = now() WHERE id = $1", user.session_id)
        await until(lambda: user.id not in taken, "both places being free")
        await socket.close()


async def test_two_hundred_sockets_a_user_are_enough_by_default(database_dsn: str) -> None:
    default = load_settings().sockets_a_user
    async with running_server(database_dsn, sockets_a_user=default, openings_a_user_a_second=1000) as server, AsyncExitStack() as stack:
        user = await server.user()
        sockets = [await server.socket(user) for _ in range(default + 1)]
        for socket in sockets:
            stack.push_async_callback(socket.close)
        assert await closed(sockets.pop()) == FULL
        assert server.app._sync._admission._places._taken == {user.id: 200}
        assert len(server.stock) == 200


async def test_reconnects_that_come_too_fast_are_closed(database_dsn: str) -> None:
    async with running_server(database_dsn, openings_a_user_a_second=2) as server:
        user, other = await server.user(), await server.user()
        sockets = [await server.socket(user) for _ in range(2)]
        assert await closed(await server.socket(user)) == (Close.BUSY, "too many openings of this user")
        async with server.device(other) as device:
            await undisturbed(device)
        await asyncio.gather(*(socket.close() for socket in sockets))
