"""The bounds of `promptsync.v1` sockets and what happens at each; what one socket, push or library does costs nobody else."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from crdt.presence import Entry as Present
from crdt.presence import decode as decode_presence
from crdt.presence import encode as encode_presence
from crdt.replica import Replica
from protocol import ysync
from protocol.closes import Close
from protocol.codec import PART_BYTES, decode_from_server, encode
from protocol.messages import Ack, CloseChannel, Closed, Error, Hello, Open, Opened, Part, Ping, Pong, Presence, Push
from protocol.session import ServerSession
from server import census as censuses
from server.status import Overseer
from tests.support.born import BORN
from tests.support.core import typed, until
from tests.support.database import Databases
from tests.support.link_client import LinkClient, bare_link, link
from tests.support.running import RawSocket, Running, User, masked, running_server

BIG = "x" * (200 << 10)


async def fill(server: Running, user: User, library: UUID, text: str = BIG) -> Replica:
    """Store a large prompt in the library."""
    async with server.device(user, library) as stock:
        await stock.push(stock.replica.write_prompt("big", text))
        await stock.confirmed()
        return stock.replica


# --- A: behind a proxy


async def test_channels_behind_a_proxy_are_counted_for_the_device_and_not_for_the_proxy(database_dsn: str) -> None:
    async with running_server(database_dsn, trusted_proxies="127.0.0.1", openings_a_minute=4) as server:
        user = await server.user()
        for place in range(6):  # six devices, one socket and one library each
            socket = await server.open(
                "/sync",
                subprotocols=["promptsync.v1", f"bearer.{user.sync_token}"],
                additional_headers={"X-Forwarded-For": f"203.0.113.{place}"},
            )
            client = LinkClient(socket)
            await client.hello()
            await client.send(Open(channel=0, library=user.library_id, vector=b"\x00"))
            answer = await client.next()
            await socket.close()
            assert isinstance(answer, Opened), (place, answer)


# --- B: an opening that waits for the budget while its channel is closed


async def test_an_opening_that_waits_says_nothing_on_a_channel_that_stands_for_another_library(server: Running, user: User) -> None:
    other = await server.library(user)
    await fill(server, user, other)
    hall = server.app.hall
    async with link(server, user) as client:
        async with hall.opening_budget.taken(hall.settings.opening_bytes):
            await client.send(Open(channel=0, library=other, vector=b"\x00"))
            await client.expect(Opened)
            await until(lambda: len(hall.opening_budget._line) == 1, "the opening in line")
            await client.send(CloseChannel(0))
            assert (await client.expect(Closed)).code == 1000
            await client.open(0, user.library_id)
        await asyncio.sleep(0.05)
        await client.send(Ping(1))
        assert await client.next() == Pong(1), "the other library's content came on this channel"


async def test_who_is_no_member_any_more_is_sent_nothing_by_an_opening_that_waits(server: Running, user: User) -> None:
    guest = await server.user()
    await server.add_member(user.library_id, guest, "viewer")
    await fill(server, user, user.library_id)
    hall = server.app.hall
    async with link(server, guest) as client:
        async with hall.opening_budget.taken(hall.settings.opening_bytes):
            await client.send(Open(channel=0, library=user.library_id, vector=b"\x00"))
            await client.expect(Opened)
            await until(lambda: len(hall.opening_budget._line) == 1, "the opening in line")
            await server.execute("DELETE FROM members WHERE user_id = $1 AND library_id = $2", guest.id, user.library_id)
            assert (await client.expect(Closed)).code == Close.NOT_FOUND
        await asyncio.sleep(0.05)
        await client.send(Ping(1))
        assert await client.next() == Pong(1), "content came after the membership had ended"


# --- C: pushes in parts that never end


@pytest.fixture(scope="module")
async def small(databases: Databases, template_database: str) -> AsyncIterator[Running]:
    """A server that may hold little."""
    dsn = databases.create(template_database)
    async with running_server(dsn, max_update_bytes=400 << 10, writer_queue_bytes=600 << 10) as server:
        yield server
    databases.drop(dsn)


async def test_pushes_in_parts_that_never_end_keep_nobody_from_writing(small: Running) -> None:
    hoarder, user = await small.user(), await small.user()
    async with link(small, hoarder) as left, link(small, hoarder) as right, link(small, user) as client, small.device(user) as stock:
        for hoarding in (left, right):
            await hoarding.open(0, hoarder.library_id)
            await hoarding.send(Part(0, 1, bytes(290 << 10)), Ping(1))
            await hoarding.expect(Pong)
        await client.open(0, user.library_id)
        await client.send(Push(0, 1, Replica().write_prompt("p", "y" * (100 << 10))))
        assert (await client.expect(Ack)).new
        await stock.push(stock.replica.write_prompt("q", "z" * (100 << 10)))  # was closed with 1013, for ever
        await stock.confirmed()
        await client.send(Part(0, 2, bytes(200 << 10)), Ping(2))
        await client.expect(Pong)  # its socket was closed


async def test_of_pushes_in_parts_past_the_bound_the_one_begun_first_fails_alone(small: Running) -> None:
    user = await small.user()
    large = Replica().write_prompt("p", "y" * (300 << 10))
    async with link(small, user) as first, link(small, user) as second:
        for client in (first, second):
            await client.open(0, user.library_id)
            await client.send(Part(0, 1, large[: 250 << 10]), Ping(1))
            await client.expect(Pong)
        third = Replica().write_prompt("q", "y" * (300 << 10))
        async with link(small, user) as client:
            await client.open(0, user.library_id)
            await client.send(Part(0, 1, third[: 250 << 10]), Push(0, 1, third[250 << 10 :]))
            assert (await client.expect(Ack)).new
        await first.send(Push(0, 1, large[250 << 10 :]))
        assert (await first.expect(Error)).code == "try_later"
        await second.send(Push(0, 1, large[250 << 10 :]))
        assert (await second.expect(Ack)).new
        await first.send(Part(0, 2, large[: 250 << 10]), Push(0, 2, large[250 << 10 :]))
        assert (await first.expect(Ack)).ref == 2


# --- D: several large openings on one slow socket


async def test_a_slow_reader_of_two_openings_is_not_taken_for_one_that_does_not_read(database_dsn: str) -> None:
    async with running_server(database_dsn, opening_stall_seconds=0.5, ping_seconds=5) as server:
        user = await server.user()
        other = await server.library(user)
        for library in (user.library_id, other):
            await fill(server, user, library, "x" * (3 << 20))
        raw = await RawSocket.connected(server.port, receive_buffer=1 << 16)
        raw.send(
            f"GET /sync HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            f"Sec-WebSocket-Protocol: promptsync.v1\r\nAuthorization: Bearer {user.sync_token}\r\n\r\n".encode()
        )
        await raw.reader.readuntil(b"\r\n\r\n")
        raw.send(masked(encode(Hello())), masked(encode(Open(channel=0, library=user.library_id, vector=b"\x00"))))
        left = 6 << 20
        began, asked = asyncio.get_running_loop().time(), False
        while left > 0:
            read = await asyncio.wait_for(raw.reader.readexactly(min(left, 48 << 10)), 10)
            left -= len(read)
            if not asked and asyncio.get_running_loop().time() - began > 0.2:
                asked = True
                raw.send(masked(encode(Open(channel=1, library=other, vector=b"\x00"))))
            await asyncio.sleep(0.03)
        assert [device.closed for device in server.app.hall.devices] == [False, False]
        raw.abort()


# --- E: what a channel keeps


async def test_a_channel_keeps_nothing_of_its_vector(server: Running, user: User) -> None:
    vector = bytes(1 << 20)  # it is not even read where a cursor tells
    async with link(server, user) as client:
        opened, _ = await client.open(0, user.library_id)
        tracemalloc.start()
        try:
            for number in range(1, 33):
                await client.open(number, user.library_id, vector, epoch=opened.epoch, cursor=opened.head)
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert kept < 8 << 20, f"{kept >> 20} MiB for 32 channels"


# --- F: before welcome


async def test_before_welcome_no_update_is_joined_past_what_a_frame_may_have(
    server: Running, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = asyncio.Event()
    sessions = server.services.sessions
    authenticate = sessions.authenticate

    async def slowly(*args: Any, **kwargs: Any) -> Any:
        await known.wait()
        return await authenticate(*args, **kwargs)

    monkeypatch.setattr(type(sessions), "authenticate", lambda self, *args, **kwargs: slowly(*args, **kwargs))
    async with bare_link(server) as client:
        await client.send(Hello(token="nonsense"), Open(channel=0, library=user.library_id, vector=b"\x00"))
        await client.send(*(Part(0, 1, bytes(60 << 10)) for _ in range(50)))
        assert await client.close_code() == Close.TOO_LARGE
    known.set()


# --- G: a socket without libraries


async def test_a_socket_without_libraries_ends_with_its_session_too(server: Running) -> None:
    user, other = await server.user(), await server.user()
    async with link(server, user) as client, link(server, other) as polled:
        async with server.http(user) as http:
            await http.post("/api/auth/logout", json={"refresh_token": user.refresh_token})
        assert await asyncio.wait_for(client.close_code(), 3) == Close.UNAUTHENTICATED
        await server.execute("UPDATE sessions SET revoked_at = now() WHERE id = $1", other.session_id)
        assert await asyncio.wait_for(polled.close_code(), 3) == Close.UNAUTHENTICATED


# --- H: who is asked to exchange


async def test_an_exchange_that_is_given_up_leaves_nothing_behind(server: Running, user: User) -> None:
    async with link(server, user) as client:
        await client.open(0, user.library_id)
        (channel,) = [device for device in server.app.hall.devices if device.library_id == user.library_id]
        for _ in range(3):
            await censuses._exchanged([channel], 0.02)
        await asyncio.sleep(0.01)
        assert channel._exchanges == []  # type: ignore[attr-defined]
    raw = await server.socket(user)
    await until(lambda: len(server.stock) == 1 and server.stock[0].room is not None, "the stock device")
    (device,) = server.stock
    for _ in range(3):
        await censuses._exchanged([device], 0.02)
    await asyncio.sleep(0.01)
    assert device._asked == []
    await raw.close()


async def test_a_stock_device_that_is_closed_for_what_it_brings_is_waited_for_no_longer(server: Running, user: User) -> None:
    raw = await server.socket(user)
    await until(lambda: any(device.user_id == user.id and device.room for device in server.stock), "the stock device")
    (device,) = [device for device in server.stock if device.user_id == user.id]
    exchange = asyncio.create_task(device.exchange())
    await asyncio.sleep(0)
    await raw.send(ysync.encode_step2(b"\xff"))
    await asyncio.wait_for(exchange, 2)


async def test_a_stock_device_that_has_not_asked_is_not_known_to_have_anything(server: Running, user: User) -> None:
    await fill(server, user, user.library_id, "small")
    raw = await server.socket(user)
    await until(lambda: any(device.user_id == user.id and device.room for device in server.stock), "the stock device")
    (device,) = [device for device in server.stock if device.user_id == user.id]
    device.pinged()
    device.ponged()
    assert device.known_seq is None
    await raw.send(ysync.encode_step1(b"\x00"))
    await until(lambda: device.pinged() or device.ponged() or device.known_seq == BORN + 1, "the answer")  # type: ignore[func-returns-value]
    await raw.close()


# --- J, K: what is larger than a message may be


async def test_a_library_whose_vector_fits_no_message_closes_its_channel_alone(
    server: Running, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with link(server, user) as client:
        await client.open(1, await server.library(user))
        room = await server.app.rooms.open(user.library_id)
        monkeypatch.setattr(type(room), "state_vector", lambda self: bytes(PART_BYTES + 2000))
        await client.send(Open(channel=0, library=user.library_id, vector=b"\x00"))
        assert (await client.expect(Closed)).code == Close.TOO_LARGE
        await client.send(Ping(1))
        await client.expect(Pong)


async def test_a_room_full_of_presence_is_told_in_messages_that_may_be_read(server: Running, user: User) -> None:
    async with link(server, user) as client:
        await client.open(0, user.library_id)
        room = server.app.rooms.get(user.library_id)
        assert room is not None
        state = '{"a":"' + "x" * ((64 << 10) - 8) + '"}'
        for place in range(16):
            room.overhear(uuid4(), [Present(1000 + place, 1, state)], server.app.hall.now(), claimed=True)
        heard: set[int] = set()
        while len(heard) < 16:
            frame = await asyncio.wait_for(client.connection.recv(), 5)
            assert isinstance(frame, bytes)
            message = decode_from_server(frame)
            if isinstance(message, Presence):
                heard |= {entry.client for entry in decode_presence(message.entries)}


async def test_presence_past_what_welcome_told_is_refused(server: Running, user: User) -> None:
    async with link(server, user) as client:
        welcome_bound = 64 << 10
        await client.open(0, user.library_id)
        entries = [Present(1 + place, 1, '{"a":"' + "x" * 1000 + '"}') for place in range(100)]
        assert len(encode_presence(entries)) > welcome_bound
        await client.send(Presence(0, encode_presence(entries)))
        assert (await client.expect(Error)).code == "invalid_presence"


# --- L: forced compactions and the others


async def test_forced_compactions_do_not_stand_in_line_before_everybody_else() -> None:
    order: list[UUID] = []

    class Compactions:
        def __init__(self) -> None:
            self.one = asyncio.Lock()

        async def compact(self, library_id: UUID) -> Any:
            async with self.one:
                await asyncio.sleep(0.01)
                order.append(library_id)
                from server.compactor import Kind, Outcome

                return Outcome(kind=Kind.NOTHING)

    compactor = Compactions()
    overseer = Overseer(None, None, compactor)  # type: ignore[arg-type]  # neither is asked
    forced = [overseer._compaction(uuid4()) for _ in range(20)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    urgent = uuid4()
    await compactor.compact(urgent)
    assert order.index(urgent) <= 2
    await asyncio.gather(*forced)


# --- M: an exception in one member


async def test_a_member_that_raises_costs_nobody_else_anything(server: Running, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    async with link(server, user) as broken, link(server, user) as left, link(server, user) as right:
        await broken.open(0, user.library_id)
        await left.open(1, user.library_id)
        await right.open(2, user.library_id)
        (channel,) = [device for device in server.app.hall.devices if getattr(device, "number", None) == 0 and device.user_id == user.id]

        def fail(*args: object) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr(channel, "relay", fail, raising=False)
        monkeypatch.setattr(channel, "stored", fail, raising=False)
        await broken.send(Push(0, 1, typed("b", 2, 0)))
        await left.send(Push(1, 1, typed("a", 11, 0)))
        assert (await left.expect(Ack)).new
        await left.send(Push(1, 2, typed("a", 11, 1)))
        assert (await left.expect(Ack)).new
        room = server.app.rooms.get(user.library_id)
        assert room is not None
        await until(lambda: room.unstored == 0 and room.relayed == room.head == BORN + 3, "everything told")
        await broken.expect(Closed)


def test_a_push_that_is_given_up_ends_with_its_error() -> None:
    session = ServerSession(max_update_bytes=1000, max_channels=2)
    for message in (Hello(), Open(channel=0, library=uuid4(), vector=b"\x00"), Part(0, 1, bytes(500))):
        session.receive(encode(message))
    session.give_up("try_later", "too much")
    assert session.joining_bytes == 0
    assert session.receive(encode(Part(0, 1, bytes(500)))) is None
    assert session.receive(encode(Push(0, 1, b"x"))) == Error(0, 1, "try_later", "too much")
    assert session.receive(encode(Push(0, 1, b"x"))) == Push(0, 1, b"x")
