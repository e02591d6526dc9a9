"""What two readers of HTTP could read differently is refused, and who sends or reads too slowly is not waited for."""

import asyncio
import json
import socket
from contextlib import suppress

import pytest

from server import heads
from server.heads import BoundedHttp
from tests.support.core import until
from tests.support.running import RawSocket, Running, User, running_server

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /api/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

MALFORMED = {
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "two hosts": GET + b"Host: evil.example\r\n\r\n",
    "two equal hosts": GET + b"Host: localhost\r\n\r\n",
    "two hosts of an upgrade": b"GET /sync HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n" + UPGRADE + b"\r\n",
    "both lengths": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both lengths, the other way": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    "a length of two": POST + b"Content-Length: 2, 2\r\n\r\n{}",
    "a length with a sign": POST + b"Content-Length: +2\r\n\r\n{}",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n{}",
    "a coding that is none": POST + b"Transfer-Encoding: identity\r\n\r\n{}",
    "another coding before chunks": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunks twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a coding by another name": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk of a negative size": POST + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
    "a chunk past all bounds": POST + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\n{}",
    "bare line feeds in chunks": POST + b"Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n",
    "an upgrade with a body": b"GET /sync HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n" + UPGRADE + b"\r\nhello",
    "a space before the colon": b"GET /healthz HTTP/1.1\r\nHost : localhost\r\n\r\n",
    "a folded line": GET + b"X: a\r\n b\r\n\r\n",
    "a bare line feed": b"GET /healthz HTTP/1.1\nHost: localhost\n\n",
    "a bare carriage return": GET + b"X: a\rY: b\r\n\r\n",
    "NUL in a value": GET + b"X: a\0b\r\n\r\n",
    "NUL in a name": GET + b"X\0: b\r\n\r\n",
    "a control character": GET + b"X: a\x01b\r\n\r\n",
    "no name": GET + b": b\r\n\r\n",
    "a tunnel": b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no path": b"GET healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a fragment": b"GET /healthz#x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "bytes that are no address": b"GET /healthz\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an unknown method": b"FOO /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "HTTP/0.9": b"GET /healthz\r\n\r\n",
    "HTTP/1.2": b"GET /healthz HTTP/1.2\r\nHost: localhost\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


pytestmark = pytest.mark.usefixtures("raw_sockets")


async def whole(server: Running, sent: bytes, within: float = 10.0) -> bytes:
    """Everything that is answered until the server closes."""
    raw = await RawSocket.connected(server.port)
    raw.send(sent)
    return await rest_of(raw, within)


async def rest_of(raw: RawSocket, within: float = 10.0) -> bytes:
    with suppress(ConnectionError):
        async with asyncio.timeout(within):
            return await raw.reader.read()
    return b""


def answer(content: bytes) -> tuple[int, str]:
    """Status and code of the one answer, which is a problem and says that the connection ends."""
    head, _, body = content.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    assert b"server:" not in head.lower()
    assert content.count(b"HTTP/1.1 ") == 1
    return int(head.split(b" ")[1]), str(json.loads(body)["code"])


@pytest.mark.parametrize("what", MALFORMED)
async def test_what_can_be_read_in_two_ways_is_refused(server: Running, what: str) -> None:
    assert answer(await whole(server, MALFORMED[what])) == (400, "malformed_http")


async def test_a_request_hidden_behind_another_is_not_served(server: Running) -> None:
    """The classic smuggling: the first length is believed by one reader, the second by the other."""
    hidden = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for head in (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n"):
        assert b"promptsync_" not in await whole(server, POST + head + hidden)


async def test_more_headers_than_anybody_sends_are_refused(server: Running) -> None:
    for count, status in ((heads.MAX_HEADERS - 1, 200), (heads.MAX_HEADERS, 431), (2000, 431)):
        sent = GET + b"".join(b"X-%d: y\r\n" % number for number in range(count - 1)) + b"Connection: close\r\n\r\n"
        assert (await whole(server, sent)).startswith(b"HTTP/1.1 %d " % status)


async def test_a_header_without_end_is_refused(server: Running) -> None:
    assert (await whole(server, GET + b"X: " + b"a" * 200_000 + b"\r\n\r\n"))[:12] in (b"HTTP/1.1 400", b"")


async def test_what_is_odd_and_clear_is_served(server: Running) -> None:
    for sent in (
        b"\r\n\r\n" + GET + b"Connection: close\r\n\r\n",
        b"GET /healthz HTTP/1.0\r\n\r\n",
        GET + b"X: \xff\xfe\r\nConnection: close\r\n\r\n",
        b"GET http://elsewhere.example/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        GET + b"Connection: close, Upgrade\r\nUpgrade: h2c\r\n\r\n",
    ):
        assert (await whole(server, sent)).startswith(b"HTTP/1.1 200 OK\r\n"), sent


# --- time


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "HEAD_SECONDS", 0.4)
    monkeypatch.setattr(heads, "BODY_SECONDS", 0.4)


async def trickled(raw: RawSocket, more: bytes) -> bytes:
    """What is answered though something comes all the time."""
    reading = asyncio.create_task(rest_of(raw))
    while not reading.done():
        with suppress(ConnectionError):
            raw.send(more)
            await raw.writer.drain()
        await asyncio.wait({reading}, timeout=0.05)
    return reading.result()


@pytest.mark.parametrize(
    ("start", "more", "refusal"),
    [
        (b"", b"", None),
        (b"", b"\r\n", (400, "malformed_http")),
        (b"GET /heal", b"t", (400, "malformed_http")),
        (GET, b"X: y\r\n", (400, "malformed_http")),
        (POST + b"Content-Length: 5000\r\n\r\n", b" ", (408, "too_slow")),
        (POST + b"Content-Length: 5000\r\n\r\n", b"", (408, "too_slow")),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", (408, "too_slow")),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n", (408, "too_slow")),
    ],
)
async def test_who_sends_too_slowly_is_not_waited_for(
    server: Running, impatient: None, start: bytes, more: bytes, refusal: tuple[int, str] | None
) -> None:
    raw = await RawSocket.connected(server.port)
    raw.send(start)
    content = await trickled(raw, more)
    assert (answer(content) if content else None) == refusal


async def test_after_an_answer_empty_lines_do_not_keep_a_connection(server: Running, impatient: None) -> None:
    raw = await RawSocket.connected(server.port)
    raw.send(GET + b"\r\n")
    assert (await raw.reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
    assert answer(await trickled(raw, b"\r\n")) == (400, "malformed_http")


async def test_the_rest_of_a_body_that_is_refused_is_not_waited_for(server: Running, impatient: None) -> None:
    raw = await RawSocket.connected(server.port)
    raw.send(POST.replace(b"application/json", b"text/plain") + b"Content-Length: 5000\r\n\r\n")
    content = await trickled(raw, b" ")
    assert content.startswith(b"HTTP/1.1 415 ")
    assert content.count(b"HTTP/1.1 ") == 1


async def test_five_hundred_idle_connections_keep_nobody_out_and_are_closed(server: Running, user: User, impatient: None) -> None:
    idle = [await RawSocket.connected(server.port) for _ in range(500)]
    for raw in idle[::2]:
        raw.send(POST + b"Content-Length: 100\r\n\r\n{")
    async with server.http(user) as client:
        assert (await client.get("/api/users/me")).status_code == 200
    for raw in idle:
        await rest_of(raw)


async def test_a_slow_body_that_comes_steadily_is_taken(server: Running, impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "SLOWEST_BODY_BYTES", 10)
    body = json.dumps({"email": "nobody@example.com", "password": "x" * 200}).encode()
    raw = await RawSocket.connected(server.port)
    raw.send(POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body))
    for at in range(0, len(body), 20):
        raw.send(body[at : at + 20])
        await asyncio.sleep(0.1)
    assert (await rest_of(raw)).startswith(b"HTTP/1.1 401 ")


async def test_who_waits_to_be_asked_for_the_body_is_asked(server: Running) -> None:
    body = b'{"email": "nobody@example.com", "password": "12345678"}'
    raw = await RawSocket.connected(server.port)
    raw.send(POST + b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body))
    assert await raw.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    raw.send(body)
    assert (await rest_of(raw)).startswith(b"HTTP/1.1 401 ")


async def test_a_closed_connection_whose_answer_is_not_read_is_aborted(database_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lost: list[BoundedHttp] = []
    began, ended = BoundedHttp.connection_made, BoundedHttp.connection_lost

    def begin(connection: BoundedHttp, transport: asyncio.Transport) -> None:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # else the kernel takes all of it
        began(connection, transport)

    def lose(connection: BoundedHttp, error: Exception | None) -> None:
        lost.append(connection)
        ended(connection, error)

    monkeypatch.setattr(BoundedHttp, "connection_made", begin)
    monkeypatch.setattr(BoundedHttp, "connection_lost", lose)
    monkeypatch.setattr(heads, "FAREWELL_SECONDS", 0.2)
    async with running_server(database_dsn, idle_seconds=0.2) as server:
        user = await server.user()
        async with server.http(user) as client:
            prompt = (await client.post("/api/prompts", json={"title": "large", "original_text": "\u5199" * 250_000})).json()["id"]
        raw = await RawSocket.connected(server.port, receive_buffer=4096)
        raw.stop_reading()
        raw.send(f"GET /api/prompts/{prompt} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {user.access_token}\r\n\r\n".encode())
        port = raw.writer.get_extra_info("sockname")[1]
        await until(lambda: port in [connection.client[1] for connection in lost if connection.client], "the end of the connection")
        raw.writer.transport.resume_reading()  # type: ignore[attr-defined]  # a socket's transport goes both ways
        assert len(await rest_of(raw)) < 750_000, "all of it was read: nothing was unread"
