"""Requests are answered for our own hosts: a page that leads another name to this address reads nothing, over HTTP or a socket."""

import asyncio
import json

import pytest
from starlette.datastructures import Headers

from protocol.closes import Close
from server.config import Settings, load_settings
from server.hosts import is_served
from tests.support.raw_http import raw_request
from tests.support.rest import PRODUCTION
from tests.support.running import RawSocket, Running, User, running_server

pytestmark = pytest.mark.usefixtures("raw_sockets")


def development(**given: object) -> Settings:
    return load_settings(**given)


def production(**given: object) -> Settings:
    return load_settings(env="production", **PRODUCTION | {"public_url": "https://sync.example"} | given)


@pytest.mark.parametrize(
    ("settings", "served", "refused"),
    [
        (
            development(),
            ["localhost", "localhost:8000", "LOCALHOST.", "127.0.0.1:1", "[::1]:8000", "192.168.1.5", "[fe80::1]:80"],
            ["evil.example", "localhost.evil.example", "", " ", "127.0.0.1.nip.example", "localhost:x", "a b", "localhost/", "[::1"],
        ),
        (
            production(),
            ["sync.example", "SYNC.example", "sync.example:443", "sync.example.", "localhost", "127.0.0.1"],
            [
                "other.example",
                "sync.example.evil",
                "evilsync.example",
                "192.168.1.5",
                "sync.example@evil.example",
                "sync.example, evil.example",
            ],
        ),
        (
            production(public_url="https://sync.example:8443/path", allowed_hosts="b.example, C.example."),
            ["sync.example:8443", "sync.example", "b.example:1", "c.example"],
            ["d.example", "path"],
        ),
    ],
)
def test_hosts_of_ours_are_served_and_no_others(settings: Settings, served: list[str], refused: list[str]) -> None:
    for host in served:
        assert is_served(Headers({"host": host}), settings), host
    for host in refused:
        assert not is_served(Headers({"host": host}), settings), host
    assert not is_served(Headers({}), settings)


@pytest.mark.parametrize("hosts", ["*", "https://a.example", "a.example:80", "a.example/x", "*.example", "a b"])
def test_a_listed_host_is_a_name_alone(hosts: str) -> None:
    with pytest.raises(ValueError, match="name or address alone"):
        load_settings(allowed_hosts=hosts)


async def test_another_host_reads_nothing(server: Running, user: User) -> None:
    async def asked(path: str, host: str) -> tuple[int, str]:
        raw = await RawSocket.connected(server.port)
        head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {user.access_token}\r\nConnection: close\r\n\r\n"
        raw.send(head.encode())
        async with asyncio.timeout(10):
            answer, _, body = (await raw.reader.read()).partition(b"\r\n\r\n")
        return int(answer.split(b" ")[1]), str(json.loads(body).get("code")) if body.startswith(b"{") else ""

    for path in ("/api/users/me", "/api/prompts", "/openapi.json", "/nothing", "/healthz/"):
        assert await asked(path, "evil.example") == (421, "unknown_host")
    assert await asked("/api/users/me", f"127.0.0.1:{server.port}") == (200, "None")
    for path in ("/healthz", "/readyz", "/metrics"):
        assert (await asked(path, "10.1.2.3"))[0] == (await asked(path, "internal-name"))[0] == 200


@pytest.mark.parametrize("protocol", ["yjs", "promptsync.v1"])
async def test_a_socket_for_another_host_is_closed_with_a_code(server: Running, user: User, protocol: str) -> None:
    async def opened(host: str) -> tuple[int, bytes]:
        raw = await RawSocket.connected(server.port)
        raw.send(
            f"GET /sync/{user.library_id} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://{host}\r\n"
            f"Sec-WebSocket-Protocol: {protocol}, bearer.{user.sync_token}\r\n\r\n".encode()
        )
        async with asyncio.timeout(10):
            assert (await raw.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            if host == "localhost" and protocol != "yjs":
                return 0, b""  # it waits for hello
            return await raw.frame()

    opcode, payload = await opened("evil.example")
    assert (opcode, int.from_bytes(payload[:2], "big")) == (8, Close.FORBIDDEN)
    assert (await opened("localhost"))[0] != 8


async def test_what_a_proxy_would_say_is_believed_of_none(database_dsn: str) -> None:
    """No header but Host names the host, whoever sends it: links are made from settings."""
    async with running_server(database_dsn, public_url="https://sync.example", trusted_proxies="127.0.0.1") as server:
        headers = [("X-Forwarded-Host", "evil.example"), ("Forwarded", "host=evil.example;proto=http"), ("X-Forwarded-Proto", "http")]
        answer = await raw_request(server, "GET", "/api/users/me", headers)
        assert (answer.status, answer.code) == (401, "not_authenticated")
        assert "evil.example" not in str(answer)
