"""A socket lives as long as its session, its membership and its library, whoever ends them."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from protocol.closes import Close
from tests.support.core import until
from tests.support.running import Running, User, closed, running_server, undisturbed
from tests.support.wire_client import WireClient

POLL_SECONDS = 0.05


@pytest.fixture(scope="module")
async def server(shared_dsn: str) -> AsyncIterator[Running]:
    async with running_server(shared_dsn, session_poll_seconds=POLL_SECONDS) as server:
        yield server


@pytest.fixture
async def guest(server: Running, user: User) -> User:
    """Somebody who may edit the user's library."""
    guest = await server.user()
    await server.add_member(user.library_id, guest, "editor")
    return guest


async def test_logging_out_closes_the_sockets_of_that_session_alone(
    server: Running, user: User, guest: User, bystander: WireClient
) -> None:
    sockets = [await server.socket(guest, user.library_id), await server.socket(guest)]
    async with server.http(guest) as client:
        assert (await client.post("/api/auth/logout")).status_code == 204
    for socket in sockets:
        assert (await closed(socket, within=2))[0] == Close.UNAUTHENTICATED
    assert (await closed(await server.socket(guest)))[0] == Close.UNAUTHENTICATED


async def test_a_session_revoked_behind_the_servers_back_is_noticed(
    server: Running, user: User, guest: User, bystander: WireClient
) -> None:
    socket = await server.socket(guest, user.library_id)
    await server.execute("UPDATE sessions SET revoked_at = now(), revoke_reason = 'test' WHERE id = $1", guest.session_id)
    assert (await closed(socket, within=20 * POLL_SECONDS))[0] == Close.UNAUTHENTICATED


@pytest.mark.parametrize("over", ["expires_at = now() - interval '1 s'", "idle_expires_at = now() - interval '1 s'"])
async def test_a_session_whose_time_is_over_is_noticed(server: Running, user: User, guest: User, bystander: WireClient, over: str) -> None:
    socket = await server.socket(guest, user.library_id)
    await server.execute("UPDATE sessions SET " + over + " WHERE id = $1", guest.session_id)  # noqa: S608  # from the list above
    assert (await closed(socket, within=20 * POLL_SECONDS))[0] == Close.UNAUTHENTICATED


async def test_a_disabled_user_is_noticed(server: Running, user: User, guest: User, bystander: WireClient) -> None:
    socket = await server.socket(guest, user.library_id)
    await server.execute("UPDATE users SET disabled_at = now() WHERE id = $1", guest.id)
    assert (await closed(socket, within=20 * POLL_SECONDS))[0] == Close.UNAUTHENTICATED


async def test_a_member_who_is_removed_is_closed_like_one_who_never_was(
    server: Running, user: User, guest: User, bystander: WireClient
) -> None:
    theirs, own = await server.socket(guest, user.library_id), await server.socket(guest)
    await server.execute("DELETE FROM members WHERE library_id = $1 AND user_id = $2", user.library_id, guest.id)
    assert (await closed(theirs, within=20 * POLL_SECONDS))[0] == Close.NOT_FOUND
    assert (await closed(await server.socket(guest, user.library_id)))[0] == Close.NOT_FOUND
    await asyncio.wait_for(await own.ping(), 5)
    await own.close()


async def test_a_member_who_becomes_a_viewer_may_not_write_any_more(
    server: Running, user: User, guest: User, bystander: WireClient
) -> None:
    device = await server.device(guest, user.library_id).connect()
    await undisturbed(device)
    await server.execute("UPDATE members SET role = 'viewer' WHERE user_id = $1 AND library_id = $2", guest.id, user.library_id)
    await until(lambda: not all(member.may_write for member in server.app.hall.devices), "the new role")
    await device.push(device.replica.write_prompt("p", "mine"))
    await device.until(lambda: not device.online)
    assert device.close_code == Close.FORBIDDEN
    assert "p" not in bystander.replica.prompts()
    await device.disconnect()


async def test_a_deleted_library_closes_everybody_in_it(server: Running, user: User) -> None:
    library_id = await server.library(user)
    guest = await server.user()
    await server.add_member(library_id, guest, "editor")
    sockets = [await server.socket(user, library_id), await server.socket(guest, library_id)]
    other = await server.device(user).connect()
    async with server.http(user) as client:
        assert (await client.delete(f"/api/libraries/{library_id}")).status_code == 204
    for socket in sockets:
        assert (await closed(socket, within=2))[0] == Close.NOT_FOUND
    assert (await closed(await server.socket(user, library_id)))[0] == Close.NOT_FOUND
    await undisturbed(other)
    await other.disconnect()


async def test_a_library_deleted_by_another_process_closes_everybody_in_it(server: Running, user: User) -> None:
    library_id = await server.library(user)
    socket = await server.socket(user, library_id)
    await server.execute("UPDATE libraries SET deleted_at = now() WHERE id = $1", library_id)
    assert (await closed(socket, within=20 * POLL_SECONDS))[0] == Close.NOT_FOUND
    assert server.app.rooms.get(library_id) is None


async def test_the_watch_goes_on_after_the_database_was_away(
    server: Running, user: User, guest: User, bystander: WireClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = await server.socket(guest, user.library_id)
    asked = 0

    async def away(*arguments: object) -> None:
        nonlocal asked
        asked += 1
        raise asyncpg.ConnectionDoesNotExistError("gone")

    with monkeypatch.context() as patched:
        patched.setattr("server.sockets.standings", away)
        await until(lambda: asked > 2, "questions that fail")
    await server.execute("UPDATE sessions SET revoked_at = now() WHERE id = $1", guest.session_id)
    assert (await closed(socket, within=20 * POLL_SECONDS))[0] == Close.UNAUTHENTICATED


async def test_a_question_that_fails_ends_neither_the_watch_nor_the_process(
    server: Running, user: User, guest: User, bystander: WireClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = await server.socket(guest, user.library_id)
    failures = 0

    async def fails(*_: object) -> None:
        nonlocal failures
        failures += 1
        raise asyncpg.DataCorruptedError("invalid page")

    with monkeypatch.context() as patched:
        patched.setattr("server.sockets.standings", fails)
        await until(lambda: failures > 1, "the next question after one that failed")
    await server.execute("UPDATE sessions SET revoked_at = now(), revoke_reason = 'test' WHERE id = $1", guest.session_id)
    assert (await closed(socket, within=2))[0] == Close.UNAUTHENTICATED


async def test_a_library_put_back_to_an_earlier_time_sends_its_readers_away(server: Running, user: User) -> None:
    async with server.device(user) as device:
        for name in "abc":
            await device.push(device.replica.write_prompt(name, "text"))
        await device.confirmed()
        await server.execute("DELETE FROM updates WHERE library_id = $1 AND seq = 3", user.library_id)
        await server.execute("UPDATE libraries SET head = 2 WHERE id = $1", user.library_id)
        await device.until(lambda: not device.online, what="the room to be dropped")
        assert device.close_code == Close.RESTART
