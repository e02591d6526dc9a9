"""What a device is sent: presence, large answers, keep-alives; and when it does not read them."""

import asyncio

import pytest

from crdt.updates import EMPTY_STATE_VECTOR
from protocol import ysync
from protocol.closes import Close
from server import wire
from tests.support.core import until
from tests.support.running import (
    RawSocket,
    Running,
    User,
    masked,
    next_data,
    next_presence,
    running_server,
    undisturbed,
)
from tests.support.wire_client import WireClient

pytestmark = pytest.mark.usefixtures("raw_sockets")


# --- presence


def state(client: int, clock: int, text: str = "{}") -> bytes:
    return ysync.encode_awareness(bytes((1, client, clock, len(text))) + text.encode())


async def test_presence_reaches_the_others_and_goes_with_its_socket(server: Running, user: User) -> None:
    one, two = await server.socket(user), await server.socket(user)
    await one.send(state(1, 1, '{"n":1}'))
    await two.send(state(2, 1, '{"n":2}'))
    assert await next_presence(two, state(1, 1, '{"n":1}'))
    assert await next_presence(one, state(2, 1, '{"n":2}'))
    await one.send(state(2, 9, '{"n":9}'))  # not its own
    await one.close()
    seen = await next_presence(two, state(1, 1, "null"))
    assert state(2, 9, '{"n":9}') not in seen
    await two.close()


# --- slow readers and large messages


LARGE = "x" * (5 << 20)


async def test_a_large_update_reaches_everybody_and_what_follows_it_closes_nobody(server: Running, user: User) -> None:
    async with server.device(user) as left, server.device(user) as right:
        await left.push(left.replica.write_prompt("p", LARGE))
        await left.push(left.replica.write_prompt("q", "after"))
        for number in range(20):
            await right.push(right.replica.write_prompt(f"r{number}", "meanwhile"))
            await asyncio.sleep(0.005)
        await left.confirmed()
        await right.confirmed()
        await right.until(lambda: "q" in right.replica.prompts())
        assert len(right.replica.prompts()["p"]) == len(LARGE)
        await undisturbed(left)
        await undisturbed(right)


async def test_a_large_library_that_is_being_edited_can_be_opened_again_and_again(server: Running, user: User) -> None:
    async with server.device(user) as editor:
        await editor.push(editor.replica.write_prompt("p", LARGE))
        await editor.confirmed()
        for _ in range(3):  # the first one makes the answer, the others get it from the cache
            raw = await RawSocket.open(server.port, user.library_id, user.sync_token, receive_buffer=1 << 16)
            raw.send(masked(ysync.encode_step1(EMPTY_STATE_VECTOR)))
            await until(lambda: any(device._outbox.exempt for device in server.stock), "an answer on its way")
            await editor.push(editor.replica.edit_text("p", 0, "x"))
            await editor.confirmed()
            seen: list[int] = []
            while len(seen) < 3:
                opcode, payload = await raw.frame()
                assert opcode == 2, payload
                seen.append(len(payload))
            assert sorted(seen)[-1] > len(LARGE)


async def test_a_device_that_does_not_read_is_closed_and_the_others_go_on(database_dsn: str) -> None:
    async with running_server(database_dsn, outbox_bytes=100_000) as server:
        user = await server.user()
        async with server.device(user) as writer, server.device(user) as reader:
            slow = await RawSocket.open(server.port, user.library_id, user.sync_token, receive_buffer=4096)
            slow.stop_reading()
            await until(lambda: len(server.stock) == 3, "the slow device")
            most = 0
            for number in range(60):
                await writer.push(writer.replica.write_prompt(f"p{number}", "x" * 20_000))
                await writer.confirmed()
                most = max([most, *(device._wire.unsent for device in server.stock)])
            assert most < 100_000 + 4 * 20_100  # what one batch may add
            await until(lambda: len(server.stock) == 2, "the end of the slow device", within=wire.CLOSE_SECONDS + 3)
            await reader.until(lambda: len(reader.replica.prompts()) == 60)
            await undisturbed(reader)
            await undisturbed(writer)
        async with server.device(user) as again:
            assert len(again.replica.prompts()) == 61 + 1


async def test_an_opening_answer_that_is_not_read_is_given_up(database_dsn: str) -> None:
    async with running_server(database_dsn, opening_stall_seconds=0.2, opening_bytes=6 << 20) as server:
        user = await server.user()
        async with server.device(user) as writer:
            await writer.push(writer.replica.write_prompt("p", LARGE))
            await writer.confirmed()
            async with server.device(user):
                pass  # the answer is in the cache now
            stuck = [await RawSocket.open(server.port, user.library_id, user.sync_token, receive_buffer=4096) for _ in range(2)]
            for raw in stuck:
                raw.stop_reading()
                raw.send(masked(ysync.encode_step1(EMPTY_STATE_VECTOR)))
            async with server.device(user) as patient:  # waits for those who hold the budget
                assert len(patient.replica.prompts()["p"]) == len(LARGE)
            await until(lambda: len(server.stock) == 1, "the end of those that do not read", within=wire.CLOSE_SECONDS + 3)
            await undisturbed(writer)


async def test_a_device_that_says_goodbye_and_does_not_read_is_forgotten(
    server: Running, user: User, bystander: WireClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "CLOSE_SECONDS", 0.2)
    await bystander.push(bystander.replica.write_prompt("p", LARGE))
    await bystander.confirmed()
    raw = await RawSocket.open(server.port, user.library_id, user.sync_token, receive_buffer=4096)
    raw.stop_reading()
    raw.send(masked(ysync.encode_step1(EMPTY_STATE_VECTOR)))
    await until(lambda: any(device._wire.unsent > 1 << 20 for device in server.stock), "an answer that is not read")
    transport = next(device._wire._protocol.transport for device in server.stock if device._wire.unsent > 1 << 20)
    raw.send(masked(b"\x03\xe8", 8))
    await until(transport.is_closing, "the goodbye")
    await until(lambda: not transport.get_write_buffer_size(), "the end of what is not read")


async def test_silence_is_broken_by_a_keep_alive(database_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.sockets.SWEEP_SECONDS", 0.02)
    async with running_server(database_dsn, keepalive_seconds=0.1) as server:
        user = await server.user()
        async with await server.socket(user) as socket:
            while await next_data(socket) == ysync.KEEP_ALIVE:
                pass  # an opening may take longer
            for _ in range(3):
                assert await next_data(socket) == ysync.KEEP_ALIVE


# --- viewers


async def test_a_viewer_reads_and_repeats_but_is_closed_when_it_writes(server: Running, user: User, bystander: WireClient) -> None:
    viewer = await server.user()
    await server.add_member(user.library_id, viewer, "viewer")
    await bystander.push(bystander.replica.write_prompt("p", "text"))
    await bystander.confirmed()
    device = server.device(viewer, user.library_id)
    await device.connect()
    assert device.replica.prompts()["p"] == "text"
    await device.push(bystander.replica.dump())
    await device.confirmed()
    await device.push(device.replica.write_prompt("q", "mine"))
    await device.until(lambda: not device.online)
    assert device.close_code == Close.FORBIDDEN
    assert "q" not in bystander.replica.prompts()
    await device.disconnect()
