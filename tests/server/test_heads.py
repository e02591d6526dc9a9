import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from server import heads
from tests.support.running import Running

CHUNK = b"a" * 65536


@pytest.fixture
async def connection(server: Running) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    yield reader, writer
    await aborted(writer)


async def aborted(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()


async def sent_without_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, start: bytes, more: bytes) -> bytes:
    """Send `start` and then `more` again and again until the server has had enough; its first line, if it got through."""
    writer.write(start)
    taken = 0
    try:
        async with asyncio.timeout(20):
            while not reader.at_eof() and not reader._buffer:  # type: ignore[attr-defined]  # whether something has come
                writer.write(more)
                await writer.drain()
                taken += len(more)
                assert taken < 64 << 20, "the server takes it without end"
            return await reader.readline()
    except ConnectionError:
        return b""


@pytest.mark.parametrize(
    "start",
    [
        b"GET /",
        b"GET / HTTP/1.1\r\nX: ",
        b"GET / HTTP/1.1\r\nX",
        b"POST /api/auth/login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1;x=",
    ],
)
async def test_a_head_without_end_is_cut_off(
    server: Running, connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], start: bytes
) -> None:
    assert await sent_without_end(*connection, start, CHUNK) in (b"", b"HTTP/1.1 400 Bad Request\r\n")


async def test_many_headers_are_cut_off(server: Running, connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    assert await sent_without_end(*connection, b"GET / HTTP/1.1\r\n", b"X: y\r\n" * 5000) in (b"", b"HTTP/1.1 400 Bad Request\r\n")


async def test_trailers_without_end_are_cut_off(server: Running, connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    start = b"POST /api/auth/login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    assert await sent_without_end(*connection, start, b"X: y\r\n" * 5000) in (b"", b"HTTP/1.1 400 Bad Request\r\n")


@pytest.mark.parametrize("start", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nX: y\r\n"])
async def test_a_head_that_does_not_come_is_not_waited_for(server: Running, monkeypatch: pytest.MonkeyPatch, start: bytes) -> None:
    monkeypatch.setattr(heads, "HEAD_SECONDS", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(start)
    async with asyncio.timeout(10):
        assert (await reader.read()).startswith(b"HTTP/1.1 400 " if start else b"")
    await aborted(writer)


async def test_a_body_in_tiny_chunks_and_further_requests_on_one_connection_are_served(
    server: Running, connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    reader, writer = connection
    for _ in range(3):
        writer.write(
            b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 20_000 + b"0\r\n\r\n"
        )
        async with asyncio.timeout(10):
            assert (await reader.readuntil(b"\r\n")) == b"HTTP/1.1 404 Not Found\r\n"
            await reader.readuntil(b'"}')
