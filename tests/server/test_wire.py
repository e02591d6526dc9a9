"""Bytes that break the rules: each is answered with its code, on its own socket, and disturbs nobody else."""

import asyncio

import pytest
import websockets

from protocol import ysync
from protocol.closes import Close
from server import wire
from tests.support.core import typed, until
from tests.support.running import (
    RawSocket,
    Running,
    User,
    closed,
    masked,
    next_update,
    running_server,
    undisturbed,
)
from tests.support.wire_client import WireClient

pytestmark = pytest.mark.usefixtures("raw_sockets")


BAD_FRAMES = {
    "empty": b"",
    "truncated": b"\x00",
    "length missing": b"\x00\x02",
    "cut": ysync.encode_update(typed("hello", 11, 0))[:-2],
    "longer than announced": ysync.encode_update(typed("a", 11, 0)) + b"x",
    "unknown message": b"\x09\x01\x00",
    "unknown sync message": b"\x00\x07\x01\x00",
    "endless number": b"\x00\x02" + b"\xff" * 50,
    "announces more than 2^53": b"\x00\x02\xff\xff\xff\xff\xff\xff\xff\x7f",
    "no update": ysync.encode_update(b"hello"),
    "no bytes": ysync.encode_update(b""),
    "announces 235 million clients": ysync.encode_update(bytes.fromhex("c8eedb70")),
    "announces structs": ysync.encode_step2(bytes.fromhex("01ffffffff0f0100")),
    "bad state vector": ysync.encode_step1(b"\xff\xff\xff\xff\x0f"),
    "endless state vector": ysync.encode_step1(b"\x01" + b"\x80" * 40),
    "broken awareness": ysync.encode_awareness(b"\x01\x01\x01\x05{oops"),
    "awareness that is no JSON": ysync.encode_awareness(b"\x01\x01\x01\x02{]"),
    "awareness with NaN": ysync.encode_awareness(b'\x01\x01\x01\x09{"a":NaN}'),
    "awareness of endless clients": ysync.encode_awareness(b"\xff\xff\xff\xff\x0f"),
}


@pytest.mark.parametrize("frame", BAD_FRAMES.values(), ids=BAD_FRAMES.keys())
async def test_a_malformed_frame_closes_its_own_socket_and_disturbs_nobody(
    server: Running, user: User, bystander: WireClient, frame: bytes
) -> None:
    async with await server.socket(user) as socket:
        await socket.send(frame)
        code, reason = await closed(socket, within=2)
    assert code == Close.MALFORMED
    assert reason
    assert bystander.presence == []
    assert bystander.online


async def test_a_text_frame_is_malformed(server: Running, user: User, bystander: WireClient) -> None:
    async with await server.socket(user) as socket:
        await socket.send("hello")
        assert (await closed(socket))[0] == Close.MALFORMED
    async with await server.socket(user) as socket:
        await socket.send(["he", "llo"])
        assert (await closed(socket))[0] == Close.MALFORMED


async def test_an_unmasked_frame_is_malformed(server: Running, user: User, bystander: WireClient) -> None:
    raw = await RawSocket.open(server.port, user.library_id, user.sync_token)
    raw.send(wire.encode_frame(ysync.encode_update(typed("a", 11, 0))))
    assert await raw.close_code() == Close.MALFORMED


@pytest.mark.parametrize(
    "frame",
    [
        b"\xf2\x80\x00\x00\x00\x00",
        b"\x83\x80\x00\x00\x00\x00",
        b"\x80\x80\x00\x00\x00\x00",
        b"\x09\x80\x00\x00\x00\x00",
        b"\x88\x81\x00\x00\x00\x00\x01",
    ],
)
async def test_a_breach_of_the_framing_rules_is_malformed(server: Running, user: User, bystander: WireClient, frame: bytes) -> None:
    raw = await RawSocket.open(server.port, user.library_id, user.sync_token)
    raw.send(frame)
    assert await raw.close_code() == Close.MALFORMED


async def test_a_bad_message_before_a_bad_frame_is_still_answered_with_its_code(server: Running, user: User, bystander: WireClient) -> None:
    for second in (b"\x82\x05hello", b"\xff" * 20):
        raw = await RawSocket.open(server.port, user.library_id, user.sync_token)
        raw.send(masked(b"\x09"), second)
        assert await raw.close_code() == Close.MALFORMED


async def test_what_is_stored_before_a_bad_frame_is_still_stored(server: Running, user: User, bystander: WireClient) -> None:
    raw = await RawSocket.open(server.port, user.library_id, user.sync_token)
    raw.send(masked(ysync.encode_update(typed("a", 11, 0))), masked(b"\x09"), masked(ysync.encode_update(typed("b", 11, 1))))
    await bystander.until(lambda: typed("a", 11, 0) in bystander.shown)
    assert await raw.close_code() == Close.MALFORMED
    await undisturbed(bystander)
    assert typed("b", 11, 1) not in bystander.shown


async def test_a_frame_past_the_limit_is_refused_by_its_header_alone(server: Running, user: User, bystander: WireClient) -> None:
    for size in (wire.TRUSTED_MESSAGE_BYTES + 1, 1 << 40, (1 << 63) - 1):
        raw = await RawSocket.open(server.port, user.library_id, user.sync_token)
        await raw.frame()
        raw.send(b"\x82\xff" + size.to_bytes(8, "big") + b"\x00\x00\x00\x00" + b"x" * 100)
        assert await raw.close_code(within=3) == Close.TOO_LARGE


async def test_a_message_past_the_limit_is_refused_in_fragments_too(
    server: Running, user: User, bystander: WireClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "TRUSTED_MESSAGE_BYTES", 100_000)
    raw = await RawSocket.open(server.port, user.library_id, user.sync_token)
    await raw.frame()
    raw.send(masked(b"x" * 60_000, fin=False), masked(b"x" * 60_000, 0, fin=False))
    assert await raw.close_code() == Close.TOO_LARGE


async def test_a_client_that_is_still_sending_a_message_past_the_limit_learns_why(
    server: Running, user: User, bystander: WireClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "TRUSTED_MESSAGE_BYTES", 1 << 20)
    for _ in range(5):
        async with await server.socket(user) as socket:
            with pytest.raises(websockets.ConnectionClosed):  # noqa: PT012  # whichever of the two notices
                await socket.send(ysync.encode_update(b"x" * (24 << 20)))
                await closed(socket)
                await socket.send(b"")
            assert socket.close_code == Close.TOO_LARGE


async def test_an_update_past_the_limit_is_refused_and_names_the_other_door(database_dsn: str) -> None:
    async with running_server(database_dsn, max_update_bytes=1000) as server:
        user = await server.user()
        async with server.device(user) as bystander, await server.socket(user) as socket:
            await socket.send(ysync.encode_update(typed("x" * 900, 11, 0)))
            assert await next_update(socket) == typed("x" * 900, 11, 0)
            await socket.send(ysync.encode_update(typed("x" * 1200, 11, 900)))
            code, reason = await closed(socket)
            assert code == Close.TOO_LARGE
            assert "POST /api/sync" in reason
            await undisturbed(bystander)


async def test_before_a_socket_is_trusted_large_messages_are_refused(database_dsn: str) -> None:
    async with running_server(database_dsn) as server:
        user = await server.user()
        connection = await server.services.database.connect("holder")
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("LOCK TABLE sessions")  # authenticating takes as long as this is held
        raw = await RawSocket.begin(server.port, user.library_id, user.sync_token)
        await until(lambda: bool(server.app.services.database._pool.get_size()), "the server at work")
        await asyncio.sleep(0.05)  # the handshake and this in two segments, as a client sends them that does not wait
        raw.send(b"\x82\xff" + (wire.UNTRUSTED_MESSAGE_BYTES + 1).to_bytes(8, "big") + bytes(4) + b"x" * 100)
        await raw.ended(within=wire.CLOSE_SECONDS - 1)
        await transaction.rollback()
        await connection.close()


async def test_fragments_without_end_are_refused(server: Running, user: User, bystander: WireClient) -> None:
    raw = await RawSocket.open(server.port, user.library_id, user.sync_token)
    raw.send(masked(b"\x00", fin=False))
    empty = masked(b"", 0, fin=False) * 1000
    for _ in range(200):
        raw.send(empty)
        if raw.writer.transport.is_closing():
            break
        await raw.writer.drain()
    assert await raw.close_code() == Close.MALFORMED
