"""Two servers on one database, joined by the bus: edits, presence, revocations and deletions cross."""

import asyncio
import math
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID, uuid4

import pytest
from websockets.asyncio.client import ClientConnection

from crdt.presence import GREETING_DELAY, Entry, decode, encode
from protocol import ysync
from protocol.closes import Close
from server import batch, neighbours
from server.bus import Advanced, Bus, Message, PresenceAsked, PresenceSaid
from tests.support.core import new_keyring, until
from tests.support.pair import Pair, noted
from tests.support.running import Running, User, closed, next_data, running_server

PROMPT = "p"


def mute(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lose everything that this bus is given."""

    def lost(message: Message) -> None:
        pass

    monkeypatch.setattr(bus, "publish", lost)


async def test_edits_cross_at_once_though_nobody_polls(pair: Pair) -> None:
    async with pair.one.device(pair.user) as left, pair.other.device(pair.user) as right:
        await left.push(left.replica.write_prompt(PROMPT, "from the one"))
        await right.until(lambda: PROMPT in right.replica.prompts(), what="the edit from the other process")
        await right.push(right.replica.edit_text(PROMPT, 0, insert="and back: "))
        await left.until(lambda: left.replica.prompts()[PROMPT] == "and back: from the one", what="the answer")


async def test_edits_cross_by_the_poll_where_the_bus_has_lost_them(database_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keyring = new_keyring()
    async with (
        running_server(database_dsn, keyring=keyring) as one,
        running_server(database_dsn, keyring=keyring, session_poll_seconds=0.2) as other,
    ):
        mute(one.app.bus, monkeypatch)
        user = await one.user()
        async with one.device(user) as left, other.device(user) as right:
            await left.push(left.replica.write_prompt(PROMPT, "found"))
            await right.until(lambda: PROMPT in right.replica.prompts(), what="the edit that nobody told of")


async def test_nothing_is_said_of_a_library_that_is_open_here_alone_until_another_process_opens_it(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "SHARED_SECONDS", 0.0)
    said = noted(pair, monkeypatch)
    async with pair.one.device(pair.user) as left:
        await left.push(left.replica.write_prompt(PROMPT, "nobody else is here"))
        await left.confirmed()
        assert [type(message) for message in said] == [PresenceAsked]
        async with pair.other.device(pair.user) as right:
            await until(lambda: Advanced in map(type, said), "the answer that it is open here too")
            await left.push(left.replica.edit_text(PROMPT, 0, insert="now "))
            await right.until(lambda: right.replica.prompts()[PROMPT] == "now nobody else is here", what="the edit, without a poll")
            await right.push(right.replica.edit_text(PROMPT, 0, insert="and "))
            await left.until(lambda: left.replica.prompts()[PROMPT] == "and now nobody else is here", what="the answer, without a poll")


async def test_a_question_that_was_lost_is_asked_again_once_the_poll_finds_edits(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "SHARED_SECONDS", 0.0)
    keyring = new_keyring()
    async with (
        running_server(database_dsn, keyring=keyring) as one,
        running_server(database_dsn, keyring=keyring, session_poll_seconds=0.2) as other,
    ):
        user = await one.user()
        async with AsyncExitStack() as stack:
            left = await stack.enter_async_context(one.device(user))
            with monkeypatch.context() as silence:
                mute(other.app.bus, silence)
                right = await stack.enter_async_context(other.device(user))
            await left.push(left.replica.write_prompt(PROMPT, "found"))
            await right.until(lambda: PROMPT in right.replica.prompts(), what="the edit that nobody told of")
            room = one.app.rooms.get(user.library_id)
            assert room is not None
            await until(lambda: room.shared_until == math.inf, "the one to know that it is open elsewhere")


async def test_what_is_stored_as_its_room_is_dropped_is_told(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    async with pair.one.device(pair.user) as left, pair.other.device(pair.user) as right:
        room = pair.one.app.rooms.get(pair.user.library_id)
        assert room is not None
        await until(lambda: room.shared_until == math.inf, "the one to know that it is open elsewhere")
        real = batch.store_at_once

        async def store_at_once(connection: Any, shares: Any) -> Any:
            stored = await real(connection, shares)
            pair.one.app.rooms.drop(room, Close.RESTART, "start again")
            return stored

        monkeypatch.setattr("server.writer.store_at_once", store_at_once)
        await left.push(left.replica.write_prompt(PROMPT, "hello"))
        await right.until(lambda: PROMPT in right.replica.prompts(), what="the edit from the dropped room")


async def test_a_room_kept_from_before_is_brought_up_to_date_when_it_is_opened_again(pair: Pair) -> None:
    async with pair.other.device(pair.user):
        pass
    assert pair.other.app.rooms.get(pair.user.library_id) is not None
    async with pair.one.device(pair.user) as left:
        await left.push(left.replica.write_prompt(PROMPT, "meanwhile"))
        await left.confirmed()
    async with pair.other.device(pair.user) as right:
        assert right.replica.prompts() == {PROMPT: "meanwhile"}


async def test_a_revoked_session_loses_its_sockets_on_the_other_process(pair: Pair) -> None:
    connection = await pair.other.socket(pair.user)
    async with pair.one.http(pair.user) as client:
        answer = await client.post("/api/auth/logout", json={"refresh_token": pair.user.refresh_token})
    assert answer.status_code in {200, 204}, answer.text
    assert await closed(connection, 2) == (Close.UNAUTHENTICATED, "the session has ended")


async def test_a_hint_that_is_not_true_closes_nobody(pair: Pair) -> None:
    async with pair.other.device(pair.user) as device:
        pair.one.app.neighbours.sessions_revoked([pair.user.session_id])
        pair.one.app.neighbours.library_deleted(pair.user.library_id)
        async with pair.one.device(pair.user) as left:  # behind the hints on the bus
            await left.push(left.replica.write_prompt(PROMPT, "still here"))
            await device.until(lambda: PROMPT in device.replica.prompts(), what="the edit after the hints")
        await device.push(device.replica.edit_text(PROMPT, 0, insert="yes, "))
        await device.confirmed()


async def test_a_library_deleted_on_one_process_closes_its_devices_on_the_other(pair: Pair) -> None:
    library_id = await pair.one.library(pair.user)
    connection = await pair.other.socket(pair.user, library_id)
    async with pair.one.http(pair.user) as client:
        answer = await client.delete(f"/api/libraries/{library_id}")
    assert answer.status_code in {200, 204}, answer.text
    assert (await closed(connection, 2))[0] == Close.NOT_FOUND


# --- presence


async def hello(server: Running, user: User, client: int, clock: int = 1, library_id: UUID | None = None) -> ClientConnection:
    """A socket that has said who it is."""
    connection = await server.socket(user, library_id)
    await connection.send(awareness(client, clock))
    return connection


def awareness(client: int, clock: int, state: str = '{"name":"a"}') -> bytes:
    return ysync.encode_awareness(encode([Entry(client, clock, state)]))


async def heard(connection: ClientConnection, client: int, clock: int, within: float = 5.0) -> str:
    """Wait until the socket is told of this client at this clock: its state."""
    async with asyncio.timeout(within):
        while True:
            frame = await next_data(connection)
            if frame[0] == ysync.AWARENESS and isinstance(message := ysync.decode(frame), ysync.Awareness):
                for entry in decode(message.entries):
                    if (entry.client, entry.clock) == (client, clock):
                        return entry.state


async def test_presence_crosses_and_goes_with_its_socket(pair: Pair) -> None:
    left, right = await hello(pair.one, pair.user, 1), await hello(pair.other, pair.user, 2)
    assert await heard(left, 2, 1) == '{"name":"a"}'
    assert await heard(right, 1, 1) == '{"name":"a"}'
    await left.send(awareness(1, 2, '{"name":"b"}'))
    assert await heard(right, 1, 2) == '{"name":"b"}'
    await left.close()
    assert await heard(right, 1, 2) == "null"
    await right.close()


async def test_who_opens_a_library_is_told_who_is_there_on_another_process(pair: Pair) -> None:
    left = await hello(pair.one, pair.user, 1)
    await heard_own(left, 1)
    right = await hello(pair.other, pair.user, 2)
    assert await heard(right, 1, 1) == '{"name":"a"}'
    watcher = await pair.other.socket(pair.user)
    async with asyncio.timeout(GREETING_DELAY + 5):
        await watcher.send(b"\x03")
    for connection in (left, right, watcher):
        await connection.close()


async def heard_own(connection: ClientConnection, client: int) -> None:
    assert await heard(connection, client, 1) == '{"name":"a"}'


async def test_a_device_that_moves_to_another_process_keeps_its_presence_when_the_old_socket_goes(pair: Pair) -> None:
    watcher = await hello(pair.one, pair.user, 9)
    old = await hello(pair.one, pair.user, 1)
    await heard(watcher, 1, 1)
    moved = await hello(pair.other, pair.user, 1)  # same device, same clock: it has reconnected elsewhere
    await heard(moved, 9, 1)
    room = pair.one.app.rooms.get(pair.user.library_id)
    assert room is not None
    await until(lambda: all(entry.client != 1 for _, entry in room.presence.here()), "the one to know that the id has moved")
    await old.close()
    await moved.send(awareness(1, 2, '{"name":"still"}'))
    assert await heard(watcher, 1, 2) == '{"name":"still"}'
    for connection in (watcher, moved):
        await connection.close()


async def test_what_was_not_sealed_with_the_librarys_key_is_not_relayed(pair: Pair) -> None:
    right = await hello(pair.other, pair.user, 2)
    await heard_own(right, 2)
    pair.one.app.bus.publish(PresenceSaid(pair.user.library_id, bytes(64)))
    pair.one.app.bus.publish(PresenceSaid(uuid4(), bytes(64)))
    left = await hello(pair.one, pair.user, 1)
    assert await heard(right, 1, 1) == '{"name":"a"}'
    await left.close()
    await right.close()
