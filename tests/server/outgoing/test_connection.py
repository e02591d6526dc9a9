"""A connection to a provider, over real sockets: what comes waits within a bound, and only what was asked for is an answer."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpcore2
import pytest

from server.config import load_settings
from server.outgoing.client import make_client
from server.outgoing.connection import MAX_WAITING_BYTES, connected
from tests.support.certificates import make_certificate
from tests.support.core import until

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@asynccontextmanager
async def served(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A host that serves its connections so; its port."""
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except OSError:
            pass
        finally:
            writer.transport.abort()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(accept(reader, writer)))

    server = await asyncio.start_server(begin, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_nobody_reads_waits_at_the_other_side() -> None:
    size, sent = 8 << 20, 0

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        for _ in range(size // 65536):
            writer.write(bytes(65536))
            await writer.drain()
            sent += 65536
        writer.write_eof()
        await reader.read()

    async with served(pour) as port:
        connection = await connected("127.0.0.1", port, 5)
        await until(lambda: connection.get_extra_info("is_readable"))
        before = -1
        while before != sent:  # until the host can send no more
            before = sent
            await asyncio.sleep(0.2)
        assert sent < size
        assert len(connection._received) < MAX_WAITING_BYTES * 2
        read = 0
        while data := await connection.read(100_000, 5):
            assert len(data) <= 100_000
            read += len(data)
        assert read == size
        await connection.aclose()


async def test_a_host_that_reads_nothing_is_given_up() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # of a transport that reads
        await asyncio.sleep(60)

    async with served(deaf) as port:
        connection = await connected("127.0.0.1", port, 5)
        with pytest.raises(httpcore2.WriteTimeout):
            await connection.write(bytes(32 << 20), 0.2)
        await connection.aclose()


async def test_a_host_that_ends_is_told_from_one_that_breaks() -> None:
    async def ends(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.read(1) == b"e":
            writer.write(b"bye")
            await writer.drain()
            writer.write_eof()
            await reader.read()

    async with served(ends) as port:
        ending = await connected("127.0.0.1", port, 5)
        await ending.write(b"e", 5)
        assert [await ending.read(10, 5), await ending.read(10, 5)] == [b"bye", b""]
        assert ending.get_extra_info("is_readable")
        await until(ending._transport.is_closing)
        with pytest.raises(httpcore2.WriteError):
            await ending.write(b"more", 5)
        breaking = await connected("127.0.0.1", port, 5)
        await breaking.write(b"xx" * 100_000, 5)  # what is not read makes its close a reset
        with pytest.raises(httpcore2.ReadError):
            await breaking.read(10, 5)
        for connection in (ending, breaking):
            await connection.aclose()


async def test_a_port_that_nobody_listens_at_is_no_connection() -> None:
    async with served(lambda reader, writer: asyncio.sleep(0)) as port:
        pass
    with pytest.raises(httpcore2.ConnectError):
        await connected("127.0.0.1", port, 5)


async def test_what_was_not_asked_for_is_no_answer_to_the_next_question() -> None:
    asked = 0

    async def ahead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await reader.readuntil(b"\r\n\r\n")
        asked += 1
        writer.write(ANSWER)
        await writer.drain()
        await asyncio.sleep(0.02)  # so that it does not come with the answer
        writer.write(ANSWER.replace(b"ok", b"no"))
        await writer.drain()
        await reader.read()

    async with served(ahead) as port, make_client(load_settings(model_hosts=f"127.0.0.1:{port}")) as client:
        for _ in range(3):
            assert (await client.get(f"http://127.0.0.1:{port}/")).text == "ok"
            await asyncio.sleep(0.1)  # what comes late shall have come
    assert asked == 3


async def test_nothing_said_before_the_handshake_counts_as_said_by_the_certificates_owner(tmp_path: Path) -> None:
    files = make_certificate(tmp_path, names=("llm.test",))
    server, trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=files.cert)
    server.load_cert_chain(files.cert, files.key)

    async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ANSWER)  # in the clear, by whoever is between; then the host itself
        await writer.drain()
        await writer.start_tls(server)
        await reader.read()

    async with served(between) as port:
        connection = await connected("127.0.0.1", port, 5)
        await until(lambda: bool(connection._received))
        with pytest.raises(httpcore2.ConnectError):
            await connection.start_tls(trust, "llm.test", 5)
        assert connection._transport.is_closing()


async def test_a_handshake_that_does_not_come_is_given_up_and_closed() -> None:
    gone = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass
        gone.set()

    async with served(silent) as port:
        connection = await connected("127.0.0.1", port, 5)
        with pytest.raises(httpcore2.ConnectTimeout):
            await connection.start_tls(ssl.create_default_context(), "llm.test", 0.2)
        async with asyncio.timeout(5):
            await gone.wait()


async def test_no_handshake_is_waited_for_where_the_host_has_hung_up() -> None:
    async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with served(hangs_up) as port:
        connection = await connected("127.0.0.1", port, 5)
        await until(lambda: connection.get_extra_info("is_readable") and connection._ended)
        with pytest.raises(httpcore2.ConnectError):
            await connection.start_tls(ssl.create_default_context(), "llm.test", 1)


async def test_a_kept_connection_that_the_host_has_closed_is_not_used_again() -> None:
    connections = 0

    async def twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        for _ in range(2):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(ANSWER)
            await writer.drain()

    async with served(twice) as port, make_client(load_settings(model_hosts=f"127.0.0.1:{port}")) as client:
        for number in range(6):
            assert (await client.get(f"http://127.0.0.1:{port}/")).text == "ok"
            if number % 2:
                await asyncio.sleep(0.02)  # its end is on its way
    assert connections == 3
