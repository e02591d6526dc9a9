"""What hostile pages and clients try on a socket before, and beside, what they may do there."""

import asyncio
from contextlib import suppress

import pytest
import websockets
from websockets import Subprotocol

from protocol.closes import Close
from protocol.messages import Ack, Closed, Hello, Open, Push
from server import link as links
from server.cookies import REFRESH
from tests.support.core import typed
from tests.support.link_client import bare_link
from tests.support.running import RawSocket, Running, User, closed, masked, running_server
from tests.support.wire_client import WireClient

pytestmark = pytest.mark.usefixtures("raw_sockets")
DIALECTS = ["yjs", "promptsync.v1"]


async def refused(server: Running, user: User, dialect: str, headers: dict[str, str], *, token: bool = True) -> int | None:
    """The code that an opening with these headers is closed with."""
    offers = [Subprotocol(dialect), *([Subprotocol(f"bearer.{user.sync_token}")] if token else [])]
    return (await closed(await server.open(f"/sync/{user.library_id}", subprotocols=offers, additional_headers=headers)))[0]


# --- pages


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_pages_of_other_origins_open_nothing_whatever_they_bring(database_dsn: str, dialect: str) -> None:
    async with running_server(database_dsn, allowed_origins="https://app.example", public_url="https://sync.example/base") as server:
        user = await server.user()
        cookie = {"Cookie": f"{REFRESH}={user.refresh_token}; access_token={user.access_token}"}
        for origin in (
            "https://evil.example",
            "null",
            "https://app.example.evil",
            "https://evilapp.example",
            "https://APP.example",
            "https://app.example:443",
            "https://app.example:8443",
            "http://app.example",
            "https://sub.app.example",
            "https://sync.example/base",
            f"http://127.0.0.1:{server.port}",
        ):
            for headers in ({"Origin": origin}, {"Origin": origin} | cookie):
                assert await refused(server, user, dialect, headers) == Close.FORBIDDEN, origin
        for origin in ("https://app.example", "https://sync.example"):
            socket = await server.open(
                f"/sync/{user.library_id}",
                subprotocols=[Subprotocol(dialect), Subprotocol(f"bearer.{user.sync_token}")],
                additional_headers={"Origin": origin},
            )
            await socket.close()
            assert socket.close_code == 1000


async def test_a_cookie_opens_no_socket(server: Running, user: User) -> None:
    cookie = {"Cookie": f"{REFRESH}={user.refresh_token}; access_token={user.access_token}; token={user.sync_token}"}
    for headers in (cookie, cookie | {"Origin": f"http://127.0.0.1:{server.port}", "Sec-Fetch-Site": "same-origin"}):
        assert await refused(server, user, "yjs", headers, token=False) == Close.UNAUTHENTICATED


# --- before anybody is known


async def test_the_time_to_say_hello_is_not_made_longer_by_pings(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "HELLO_SECONDS", 0.4)
    raw = await RawSocket.connected(server.port)
    raw.send(
        b"GET /sync HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: promptsync.v1\r\n\r\n"
    )
    assert (await raw.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    ended = asyncio.create_task(raw.close_code())
    while not ended.done():
        with suppress(ConnectionError):
            raw.send(masked(b"", opcode=9))
        await asyncio.wait({ended}, timeout=0.05)
    assert ended.result() is not None


async def test_a_flood_before_hello_ends_with_its_first_frame(server: Running, user: User, bystander: WireClient) -> None:
    async with bare_link(server) as client:
        with suppress(websockets.ConnectionClosed):
            for number in range(2_000):
                await client.send(Open(channel=1 + number % 60, library=user.library_id, vector=b"\0"), Push(1, number, b"\0\0"))
        assert await client.close_code() == Close.MALFORMED
    assert bystander.online


async def test_a_large_frame_before_hello_is_not_kept(server: Running) -> None:
    async with bare_link(server) as client:
        with suppress(websockets.ConnectionClosed):
            await client.connection.send(b"\0" * (20 << 20))
        assert await client.close_code() == Close.TOO_LARGE


async def test_compression_is_not_agreed_on(server: Running, user: User) -> None:
    """Ten kilobytes would inflate to ten megabytes."""
    socket = await server.open(
        f"/sync/{user.library_id}", subprotocols=[Subprotocol("yjs"), Subprotocol(f"bearer.{user.sync_token}")], compression="deflate"
    )
    assert socket.response is not None
    assert "sec-websocket-extensions" not in socket.response.headers
    await socket.close()
    raw = await RawSocket.open(server.port, user.library_id, user.sync_token)
    raw.send(b"\xc2" + masked(b"\0" * 10)[1:])  # RSV1: a compressed message
    assert await raw.close_code() == Close.MALFORMED


# --- other people's libraries


async def test_on_a_socket_that_is_let_in_another_users_library_stays_out_of_reach(server: Running, user: User) -> None:
    owner = await server.user()
    async with server.device(owner) as device:
        before = await server.log(owner.library_id)
        async with bare_link(server, f"bearer.{user.sync_token}") as client:
            await client.send(Hello(client_name="x", client_version="1"))
            await client.open(1, user.library_id)
            await client.send(Open(channel=2, library=owner.library_id, vector=b"\0"), Push(2, 1, typed("theirs", 4711, 0)))
            assert (await client.expect(Closed)).code == Close.NOT_FOUND
            await client.send(Push(1, 2, typed("mine", 4712, 0)))
            assert (await client.expect(Ack)).channel == 1, "the user's own library is open as before"
        assert await server.log(owner.library_id) == before
        assert device.online
