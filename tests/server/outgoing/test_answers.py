"""What comes back from a host of a user's choice: bounded in bytes and time, sent nowhere else, and without anything kept of it."""

import asyncio
import gzip
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import httpx2
import pytest

from server.config import Settings, load_settings
from server.outgoing import client as client_module
from server.outgoing import transport
from server.outgoing.client import make_client
from server.outgoing.errors import AnswerCompressed, AnswerTooLarge, Redirected, TotalTimeout, UnfitAnswer
from tests.support.upstream import PRIVATE, Answer, Names, Upstream, answered, upstream

KEY = {"Authorization": "Bearer sk-canary", "x-api-key": "sk-canary"}


def settings_for(host: Upstream, **given: object) -> Settings:
    return load_settings(model_hosts=f"{host.address}:{host.port}", **given)


def url(host: Upstream) -> str:
    return f"http://{host.address}:{host.port}/v1/chat/completions"


@pytest.fixture
async def host() -> AsyncIterator[Upstream]:
    async with upstream() as host:
        yield host


@pytest.fixture
async def client(host: Upstream) -> AsyncIterator[httpx2.AsyncClient]:
    async with make_client(settings_for(host)) as client:
        yield client


def streamed(*pieces: bytes, headers: str = "") -> Answer:
    """An answer in chunks, each sent by itself, which then is complete."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{headers}\r\n".encode())
        for piece in (*pieces, b""):
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()

    return answer


def without_end(piece: bytes) -> Answer:
    """A stream of this piece that never ends; as fast as it is read."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        block = (b"%x\r\n%b\r\n" % (len(piece), piece)) * max(1, 65536 // len(piece))
        while True:
            writer.write(block)
            await writer.drain()

    return answer


async def read_all(client: httpx2.AsyncClient, host: Upstream) -> bytes:
    async with client.stream("POST", url(host), json={"stream": True}, headers=KEY) as answer:
        return b"".join([piece async for piece in answer.aiter_raw()])


async def test_a_streamed_answer_comes_piece_by_piece(client: httpx2.AsyncClient, host: Upstream) -> None:
    go_on = asyncio.Event()

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await writer.drain()
        await go_on.wait()
        writer.write(b"4\r\nlast\r\n0\r\n\r\n")
        await writer.drain()

    host.answer = answer
    async with asyncio.timeout(10), client.stream("POST", url(host), json={}) as response:
        pieces = response.aiter_raw()
        assert await anext(pieces) == b"first"
        go_on.set()
        assert [piece async for piece in pieces] == [b"last"]
    assert (await client.get(url(host))).status_code == 200
    assert host.connections == 1


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 307, 308, 399])
@pytest.mark.parametrize("follow", [False, True])
async def test_a_redirect_is_a_failure_and_the_key_goes_nowhere(
    client: httpx2.AsyncClient, host: Upstream, status: int, follow: bool
) -> None:
    async with upstream(PRIVATE) as elsewhere:
        for target in (f"http://{PRIVATE}:{elsewhere.port}/", url(host), "/v1/models", "//127.0.0.2/"):
            host.answer = answered(b"", f"Location: {target}", status=f"{status} Elsewhere")
            asked = len(host.requests)
            with pytest.raises(Redirected):
                await client.post(url(host), json={}, headers=KEY, follow_redirects=follow)
            assert len(host.requests) == asked + 1
        assert elsewhere.connections == 0


async def test_another_protocol_is_not_switched_to(client: httpx2.AsyncClient, host: Upstream) -> None:
    host.answer = answered(b"", "Connection: upgrade", "Upgrade: websocket", status="101 Switching Protocols")
    with pytest.raises(httpx2.TransportError):
        await client.get(url(host))


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "deflate", "GZIP", "identity, gzip", "gzip\r\nContent-Encoding: identity", "x"])
async def test_a_compressed_answer_is_refused_unread(client: httpx2.AsyncClient, host: Upstream, encoding: str) -> None:
    host.answer = answered(gzip.compress(bytes(1 << 20)), f"Content-Encoding: {encoding}")
    with pytest.raises(AnswerCompressed):
        await client.post(url(host), json={}, headers=KEY | {"Accept-Encoding": "gzip"})
    head = host.requests[0].lower()
    assert b"accept-encoding: identity" in head
    assert b"gzip" not in head


async def test_an_answer_that_says_it_is_not_compressed_is_read(client: httpx2.AsyncClient, host: Upstream) -> None:
    host.answer = answered(b"ok", "Content-Encoding: Identity")
    assert (await client.get(url(host))).text == "ok"


@pytest.mark.parametrize("piece", [bytes(65536), b"data: x\n\n"])
async def test_an_answer_without_end_is_cut_off(
    client: httpx2.AsyncClient, host: Upstream, piece: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_ANSWER_BYTES", 1 << 20)
    host.answer = without_end(piece)
    async with asyncio.timeout(20):
        with pytest.raises(AnswerTooLarge):
            await read_all(client, host)
        with pytest.raises(AnswerTooLarge):
            await client.get(url(host))
    assert host.connections == 2  # neither was kept


async def test_an_answer_of_just_the_bound_is_read(client: httpx2.AsyncClient, host: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_ANSWER_BYTES", 100_000)
    host.answer = answered(bytes(100_000))
    assert len((await client.get(url(host))).content) == 100_000
    host.answer = answered(bytes(100_001))
    with pytest.raises(AnswerTooLarge):
        await client.get(url(host))


async def test_tiny_pieces_count_for_more_than_their_bytes_and_let_others_run(
    client: httpx2.AsyncClient, host: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_ANSWER_BYTES", 20_000 * transport.MIN_PIECE_BYTES)
    host.answer = without_end(b"x")
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(others())
    pieces: list[bytes] = []
    async with client.stream("GET", url(host)) as answer:
        with pytest.raises(AnswerTooLarge):
            await _gather(answer, pieces)
    running.cancel()
    assert len(pieces) == 20_000
    assert turns >= len(pieces) / transport.PIECES_A_TURN


async def _gather(answer: httpx2.Response, pieces: list[bytes]) -> None:
    async for piece in answer.aiter_raw():
        pieces.append(piece)


async def test_a_head_without_end_is_cut_off(client: httpx2.AsyncClient, host: Upstream) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X-Filler: " + b"x" * 1000 + b"\r\n")
            await writer.drain()

    host.answer = answer
    async with asyncio.timeout(20):
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get(url(host))


@pytest.mark.parametrize(
    "junk",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x00" * 100,
        b"HTTP/1.1 200\r\nContent-Length: -1\r\n\r\n",
        b"<html>\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_an_error_of_the_protocol(client: httpx2.AsyncClient, host: Upstream, junk: bytes) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(junk)
        await writer.drain()
        writer.close()

    host.answer = answer
    with pytest.raises(httpx2.RemoteProtocolError):
        await client.get(url(host))


async def test_an_answer_that_breaks_off_is_told_from_one_that_ends(client: httpx2.AsyncClient, host: Upstream) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await writer.drain()
        writer.close()

    host.answer = answer
    with pytest.raises(httpx2.RemoteProtocolError):
        await read_all(client, host)


async def test_a_host_that_says_nothing_is_given_up(host: Upstream) -> None:
    host.answer = _silent
    async with asyncio.timeout(10), make_client(settings_for(host, model_idle_seconds=0.1)) as client:
        with pytest.raises(httpx2.ReadTimeout):
            await client.get(url(host))
        with pytest.raises(httpx2.ReadTimeout):
            await client.get(url(host), timeout=None)  # whatever a caller asks for
        with pytest.raises(httpx2.ReadTimeout):
            await client.get(url(host), timeout=3600)


async def test_a_caller_may_be_less_patient(client: httpx2.AsyncClient, host: Upstream) -> None:
    host.answer = _silent
    started = time.monotonic()
    with pytest.raises(httpx2.ReadTimeout):
        await client.get(url(host), timeout=0.1)
    assert time.monotonic() - started < 5


async def test_a_stream_that_falls_silent_is_given_up(host: Upstream) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await _silent(writer)

    host.answer = answer
    async with asyncio.timeout(10), make_client(settings_for(host, model_idle_seconds=0.1)) as client:
        with pytest.raises(httpx2.ReadTimeout):
            await read_all(client, host)


@pytest.mark.parametrize("drip", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"])
async def test_a_host_that_drips_is_given_up_when_the_time_of_a_call_is_over(host: Upstream, drip: bytes) -> None:
    """Each drop in time, but never an end: of a head, of a body."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(drip)
        while True:
            writer.write(b"1\r\nx\r\n" if b"chunked" in drip else drip)
            await writer.drain()
            await asyncio.sleep(0.005)

    host.answer = answer
    async with asyncio.timeout(10), make_client(settings_for(host, model_call_seconds=0.3)) as client:
        with pytest.raises(TotalTimeout):
            await read_all(client, host)
        with pytest.raises(TotalTimeout):
            await client.get(url(host), timeout=None)
    assert host.connections == 2


async def test_a_host_that_drips_what_is_no_piece_is_given_up_when_the_time_of_a_call_is_over(host: Upstream) -> None:
    """The length of a chunk, byte by byte: each in time, and none of them is anything that could be handed on."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    host.answer = answer
    async with make_client(settings_for(host, model_call_seconds=0.4, model_idle_seconds=0.1)) as client:
        async with asyncio.timeout(5):
            with pytest.raises(TotalTimeout):
                await read_all(client, host)


async def _silent(writer: asyncio.StreamWriter) -> None:
    await writer.drain()
    await asyncio.Event().wait()


@pytest.mark.parametrize("failing", ["redirect", "compressed", "large", "junk", "silent", "refused"])
async def test_a_failure_gives_its_connection_back(host: Upstream, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    monkeypatch.setattr(client_module, "MAX_CONNECTIONS", 1)
    monkeypatch.setattr(transport, "MAX_ANSWER_BYTES", 1000)
    answers = {
        "redirect": answered(b"", "Location: /", status="302 Found"),
        "compressed": answered(b"x", "Content-Encoding: gzip"),
        "large": without_end(bytes(500)),
        "junk": streamed(b"x", headers="Content-Length: x\r\n"),
        "silent": _silent,
        "refused": answered(),
    }
    host.answer = answers[failing]
    names = Names()
    names.leads("llm.test", [PRIVATE])
    names.leads(host.address, [host.address])
    async with asyncio.timeout(10), make_client(settings_for(host, model_idle_seconds=0.1), resolve=names) as client:
        for _ in range(3):
            with pytest.raises(httpx2.TransportError):
                await client.get("https://llm.test/" if failing == "refused" else url(host))
        assert names.asked["llm.test"] == (3 if failing == "refused" else 0)
        host.answer = answered(b"well")
        assert (await client.get(url(host))).text == "well"


async def test_a_call_waits_for_a_connection_as_long_as_for_connecting(host: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_CONNECTIONS", 1)
    async with asyncio.timeout(10), make_client(settings_for(host, model_connect_seconds=0.1)) as client:
        async with client.stream("GET", url(host)):
            with pytest.raises(httpx2.PoolTimeout):
                await client.get(url(host))
        assert (await client.get(url(host))).text == "ok"


async def test_who_goes_away_closes_the_connection(client: httpx2.AsyncClient, host: Upstream) -> None:
    gone = asyncio.Event()

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        try:
            while True:
                writer.write(b"1\r\nx\r\n")
                await writer.drain()
                await asyncio.sleep(0.001)
        except OSError:
            gone.set()

    host.answer = answer
    async with asyncio.timeout(10):
        async with client.stream("GET", url(host)) as response, aclosing(response.aiter_raw()) as pieces:
            await anext(pieces)
        await gone.wait()
        gone.clear()
        reading = asyncio.create_task(read_all(client, host))
        while len(host.requests) < 2:  # noqa: ASYNC110  # the host has no event for it
            await asyncio.sleep(0.001)
        reading.cancel()
        await gone.wait()


async def test_no_cookie_is_kept_for_the_next_user(client: httpx2.AsyncClient, host: Upstream) -> None:
    host.answer = answered(b"ok", "Set-Cookie: session=of-one-user; Path=/", "set-cookie: b=2")
    assert "set-cookie" not in (await client.get(url(host))).headers
    await client.get(url(host))
    assert b"cookie" not in host.requests[1].lower()
    assert len(client.cookies) == 0


async def test_a_configuration_s_headers_do_not_name_another_host(client: httpx2.AsyncClient, host: Upstream) -> None:
    await client.get(url(host), headers={"Host": "internal.example"}, extensions={"sni_hostname": "internal.example"})
    assert [line for line in host.requests[0].split(b"\r\n") if line.lower().startswith(b"host:")] == [
        f"Host: 127.0.0.1:{host.port}".encode()
    ]


async def test_every_error_of_the_transport_is_one_of_httpx2() -> None:
    assert issubclass(UnfitAnswer, httpx2.TransportError)
    assert all(issubclass(kind, UnfitAnswer) for kind in (AnswerTooLarge, AnswerCompressed, Redirected))
    assert issubclass(TotalTimeout, httpx2.TimeoutException)
