"""A provider of models on loopback that says what a test tells it to, on the real wires: for tests and benchmarks.

It is an HTTP/1.1 server by hand, so that it can do what no well-behaved server does. It speaks chat completions and responses as
OpenAI does, messages as Anthropic does, and chat completions as Gemini does (below `/v1beta/openai`), plain and streamed, told apart by
the path:

    async with scripted_provider() as provider:
        provider.answer(says("Hello", " world"))         # every call from now on
        provider.then(fails(429, retry_after=1))         # but first, once, this
        settings = Settings(model_hosts=(provider.host,))
        ...  # call provider.url + "/v1" (OpenAI) or provider.url (Anthropic)
        assert provider.calls[0].body["model"] == "gpt-5-mini"
        await provider.disconnected()                    # whoever asked last has hung up before the end

A reply is a coroutine function that writes to the asking connection, so that a test can bring its own; here are `says`, `fails`, `echoes`,
`raw`, `stalls`, `redirects` and `never_ends`. `provider.keys` are the keys that are taken (None: any, or none at all), and
`provider.models` what the list of models has.
"""

import argparse
import asyncio
import json
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tests.support import provider_wires
from tests.support.provider_wires import Said, wire_of

WAIT_SECONDS = 10.0
MAX_HEAD = 256 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request that came. Header names are in lower case; `body` is the JSON in it, None where there is none."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any

    @property
    def key(self) -> str | None:
        """The API key it came with, wherever the wire has it."""
        bearer = self.headers.get("authorization", "").removeprefix("Bearer ")
        return bearer or self.headers.get("x-api-key") or self.headers.get("x-goog-api-key")

    @property
    def is_call(self) -> bool:
        """Whether it asks a model, rather than for the list of models."""
        return self.method == "POST"

    @property
    def is_streamed(self) -> bool:
        return isinstance(self.body, dict) and self.body.get("stream") is True


class Line:
    """The connection that a request came on, to write the reply to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._reader = reader
        self.keeps = True

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def head(self, status: int, headers: Mapping[str, str]) -> None:
        lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
        await self.write("\r\n".join([*lines, "", ""]).encode())

    async def whole(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """A reply whose length is told."""
        await self.head(status, {**headers, "content-length": str(len(body))})
        await self.write(body)

    async def chunk(self, data: bytes) -> None:
        """A chunk of a reply that began with `transfer-encoding: chunked`; an empty one ends it."""
        await self.write(b"%x\r\n%b\r\n" % (len(data), data))

    def cut(self) -> None:
        """Break the connection off, whatever has been promised."""
        self.keeps = False
        self._writer.transport.abort()


Reply: TypeAlias = Callable[[Asked, Line], Awaitable[None]]
CHUNKED = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
JSON = {"content-type": "application/json"}


def says(
    *pieces: str,
    reasoning: Sequence[str] = (),
    usage: tuple[int, int] | None = (7, 5),
    finish: str = "stop",
    pause: float = 0.0,
    gate: asyncio.Event | None = None,
    cut_after: int | None = None,
    error_after: tuple[int, Mapping[str, Any]] | None = None,
) -> Reply:
    """A reply that says these pieces, reasoning first, streamed or plain as it is asked for.

    `usage` is (input, output) tokens, None: it does not say. `pause` is in seconds, before each event. `gate` is waited for before the
    last piece. `cut_after` so many events the connection breaks; `error_after` so many an error event comes, and nothing more.
    """

    async def reply(asked: Asked, line: Line) -> None:
        said = Said(tuple(pieces), tuple(reasoning), usage, finish, str((asked.body or {}).get("model", "m")))
        wire = wire_of(asked.path)
        if not asked.is_streamed:
            if gate is not None:
                await gate.wait()
            await asyncio.sleep(pause)
            await line.whole(200, json.dumps(wire.plain(said)).encode(), JSON)
            return
        await line.head(200, CHUNKED)
        events = wire.events(said, asked.body or {})
        for number, event in enumerate(events):
            if number == cut_after:
                line.cut()
                return
            if error_after is not None and number == error_after[0]:
                await line.chunk(wire.error_event(error_after[1]))
                break
            if gate is not None and number == len(events) - wire.closing_events:
                await gate.wait()
            if pause:
                await asyncio.sleep(pause)
            await line.chunk(event)
        await line.chunk(b"")

    return reply


def fails(
    status: int,
    body: Mapping[str, Any] | str | None = None,
    *,
    retry_after: int | str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """A refusal: of this body, or of one as the asked vendor writes it."""

    async def reply(asked: Asked, line: Line) -> None:
        content = wire_of(asked.path).error(status) if body is None else body
        told = {} if retry_after is None else {"retry-after": str(retry_after)}
        kind = {"content-type": "text/html"} if isinstance(content, str) else JSON
        data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        await line.whole(status, data, {**kind, **told, **(headers or {})})

    return reply


def echoes(status: int = 401) -> Reply:
    """A refusal that repeats everything that it was sent: the key, every header, the body."""

    async def reply(asked: Asked, line: Line) -> None:
        repeated = f"Incorrect API key provided: {asked.key}. You sent {dict(asked.headers)} and {json.dumps(asked.body)}"
        await line.whole(
            status, json.dumps({"error": {"message": repeated, "type": "invalid_request_error", "code": "invalid"}}).encode(), JSON
        )

    return reply


def raw(data: bytes, *, status: int = 200, headers: Mapping[str, str] = CHUNKED, ends: bool = True) -> Reply:
    """These very bytes as the body, in one chunk; without `ends` the connection then stays open and silent."""

    async def reply(asked: Asked, line: Line) -> None:
        if headers.get("transfer-encoding") != "chunked":
            await line.whole(status, data, headers)
            return
        await line.head(status, headers)
        await line.chunk(data)
        if not ends:
            await asyncio.Event().wait()
        await line.chunk(b"")

    return reply


def stalls(*, after_head: bool = False) -> Reply:
    """Silence, from the start or once the head of a stream has gone out."""

    async def reply(asked: Asked, line: Line) -> None:
        if after_head:
            await line.head(200, CHUNKED)
        await asyncio.Event().wait()

    return reply


def redirects(to: str, status: int = 307) -> Reply:
    """A redirection to this address."""

    async def reply(asked: Asked, line: Line) -> None:
        await line.whole(status, b"", {"location": to})

    return reply


def never_ends(piece: str = "again and again ", pause: float = 0.0) -> Reply:
    """A stream that says the same for ever."""

    async def reply(asked: Asked, line: Line) -> None:
        await line.head(200, CHUNKED)
        begin, event = wire_of(asked.path).endless(piece)
        for each in begin:
            await line.chunk(each)
        while True:
            await line.chunk(event)
            await asyncio.sleep(pause)

    return reply


@dataclass(kw_only=True)
class ScriptedProvider:
    """A provider that runs. See the module."""

    port: int
    asked: list[Asked] = field(default_factory=list)
    keys: set[str] | None = None
    models: list[str] = field(default_factory=lambda: ["gpt-5-mini", "deepseek-chat"])
    listing: Reply | None = None
    """What answers for the list of models instead of it."""
    hung_up: int = 0
    """How many replies were broken off by whoever asked."""
    open_connections: int = 0
    accepted: int = 0
    """How many connections were made."""
    _default: Reply = field(default_factory=lambda: says("Hello", " world"))
    _next: deque[Reply] = field(default_factory=deque)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def host(self) -> str:
        """As `model_hosts` takes it."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    @property
    def calls(self) -> list[Asked]:
        """The calls of models that came, in order."""
        return [asked for asked in self.asked if asked.is_call]

    def answer(self, reply: Reply) -> None:
        """Reply so to every call from now on."""
        self._default = reply

    def then(self, *replies: Reply) -> None:
        """Reply so to the next calls, one each, before what every call gets."""
        self._next.extend(replies)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until this holds; it is asked at each request and each end of one."""
        async with asyncio.timeout(WAIT_SECONDS), self._changed:
            await self._changed.wait_for(condition)

    async def disconnected(self, times: int = 1) -> None:
        """Wait until so many replies were broken off by whoever asked."""
        await self.until(lambda: self.hung_up >= times)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(reader, writer)
        self.open_connections += 1
        self.accepted += 1
        try:
            while line.keeps and (asked := await _read(reader)) is not None:
                self.asked.append(asked)
                await self._tell()
                await self._reply(asked, line, reader)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open_connections -= 1
            writer.close()
            await self._tell()

    async def _reply(self, asked: Asked, line: Line, reader: asyncio.StreamReader) -> None:
        """Reply, and watch meanwhile whether the asking side hangs up: nobody sends a second request before the first is answered."""
        replying = asyncio.ensure_future(self._choose(asked)(asked, line))
        watching = asyncio.ensure_future(reader.read(1))
        await asyncio.wait({replying, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not replying.done() or (line.keeps and isinstance(replying.exception(), ConnectionError)):
            self.hung_up += 1
            line.keeps = False
        for task in (replying, watching):
            task.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await task
        if watching.done() and not watching.cancelled():
            line.keeps = False
        await self._tell()

    def _choose(self, asked: Asked) -> Reply:
        if self.keys is not None and asked.key not in self.keys:
            return fails(401)
        if not asked.is_call:
            return self.listing or self._list
        return self._next.popleft() if self._next else self._default

    async def _list(self, asked: Asked, line: Line) -> None:
        await line.whole(200, json.dumps(provider_wires.models(asked.path, asked.headers, self.models)).encode(), JSON)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return None
    method, path, _ = head[0].split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (each.partition(":") for each in head[1:] if each)}
    content = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method=method, path=path, headers=headers, body=json.loads(content) if content else None)


@asynccontextmanager
async def scripted_provider(port: int = 0) -> AsyncIterator[ScriptedProvider]:
    """A provider that runs in this event loop until the block is left."""
    provider = ScriptedProvider(port=port)
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            await provider._serve(reader, writer)
        except asyncio.CancelledError:
            pass  # the test is over; asyncio.streams would report it
        finally:
            running.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", port, limit=MAX_HEAD)
    provider.port = server.sockets[0].getsockname()[1]
    try:
        yield provider
    finally:
        server.close()
        for task in tuple(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _serve_for_ever(port: int) -> None:
    async with scripted_provider(port) as provider:
        words = "# Role\nYou write weekly reports: short, in plain words, the most important thing first."
        provider.answer(says(*re.findall(r"\S+\s*", words), reasoning=("Who reads it?",), usage=(210, 18), pause=0.05))
        provider.keys = {"sk-demo-0123456789abcdef"}
        print(f"a provider of models at {provider.url}/v1, which takes the key sk-demo-0123456789abcdef; Ctrl-C ends it", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description="A provider of models on loopback that always says the same, for a try.")
    asked.add_argument("--port", type=int, default=9999)
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve_for_ever(asked.parse_args().port))
