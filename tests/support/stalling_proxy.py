"""A proxy before PostgreSQL that stalls and delays each direction, and cuts around a COMMIT at any byte; on a Unix socket and on TCP."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

from tests.support.cutting_proxy import _commits

_SOCKET = ".s.PGSQL.5432"
_PIECE = 1 << 16
_READY_BYTES = 6  # ReadyForQuery, the last message of an answer


@dataclass(frozen=True)
class Cut:
    """Where the next COMMIT's connection breaks."""

    sent: float = 1.0
    """The share of the COMMIT's bytes that reaches the server."""
    answered: float | None = None
    """The share of the server's answer that reaches the client; None does not wait for one."""


class Direction:
    """One way through the proxy."""

    def __init__(self) -> None:
        self.delay_seconds = 0.0
        self._flowing = asyncio.Event()
        self._flowing.set()

    def stall(self) -> None:
        """Nothing passes this way, and nobody is told."""
        self._flowing.clear()

    def go(self) -> None:
        """Everything passes again, first what has waited."""
        self._flowing.set()

    async def pass_on(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        await self._flowing.wait()
        writer.write(data)
        await writer.drain()


class StallingProxy:
    """Passes everything on until it is told otherwise. Connect to `dsn`, or to `tcp_dsn`."""

    def __init__(self, dsn: str) -> None:
        self._parts = urlsplit(dsn)
        self._query = parse_qs(self._parts.query)
        self._upstream = str(Path(self._query["host"][0]) / _SOCKET)
        self._folder = Path(tempfile.mkdtemp(prefix="promptsync-proxy-"))
        self.dsn = urlunsplit(self._parts._replace(query=urlencode(self._query | {"host": [str(self._folder)]}, doseq=True)))
        self.tcp_dsn = ""
        self.to_server, self.to_client = Direction(), Direction()
        self.cuts: list[Cut] = []
        """What to do to the COMMITs to come, in order; after that they pass."""
        self.refusing = False
        """Whether new connections are turned away: the database is away."""
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        tcp = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._servers = [tcp, await asyncio.start_unix_server(self._serve, self._folder / _SOCKET)]
        port = tcp.sockets[0].getsockname()[1]
        self.tcp_dsn = f"postgresql://{self._parts.username}@127.0.0.1:{port}{self._parts.path}?sslmode=disable"

    async def stop(self) -> None:
        for server in self._servers:
            server.close()
        self.cut_all()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        shutil.rmtree(self._folder)

    def stall(self) -> None:
        """Nothing passes either way, and nobody is told."""
        self.to_server.stall()
        self.to_client.stall()

    def go(self) -> None:
        """Everything passes again."""
        self.to_server.go()
        self.to_client.go()

    def cut_all(self) -> None:
        """Break every connection now."""
        for writer in tuple(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        try:
            if not self.refusing:
                with suppress(OSError):
                    up_reader, up_writer = await asyncio.open_unix_connection(self._upstream)
                    await _Pair(self, reader, writer, up_reader, up_writer).run()
        except asyncio.CancelledError:
            pass
        finally:
            self._open.discard(writer)
            writer.transport.abort()
            self._tasks.discard(task)


@dataclass
class _Pair:
    """A client's connection and its own to the server."""

    proxy: StallingProxy
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    up_reader: asyncio.StreamReader
    up_writer: asyncio.StreamWriter

    async def run(self) -> None:
        answers = asyncio.create_task(self._answer())
        asking = asyncio.create_task(self._ask(answers))
        try:
            await asyncio.wait((asking, answers), return_when=asyncio.FIRST_COMPLETED)
            if answers.done() and not answers.cancelled():
                asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        finally:
            for task in (asking, answers):
                task.cancel()
            await asyncio.gather(asking, answers, return_exceptions=True)
            self.up_writer.transport.abort()

    async def _answer(self) -> None:
        while data := await self.up_reader.read(_PIECE):
            await self.proxy.to_client.pass_on(data, self.writer)

    async def _ask(self, answers: "asyncio.Task[None]") -> None:
        names: set[bytes] = set()
        while data := await self.reader.read(_PIECE):
            if _commits(data, names) and self.proxy.cuts:
                await self._cut(self.proxy.cuts.pop(0), data, answers)
                return
            await self.proxy.to_server.pass_on(data, self.up_writer)

    async def _cut(self, cut: Cut, data: bytes, answers: "asyncio.Task[None]") -> None:
        answers.cancel()
        await asyncio.gather(answers, return_exceptions=True)
        self.up_writer.write(data[: round(len(data) * cut.sent)])
        await self.up_writer.drain()
        if cut.answered is None:
            return
        answer = b""
        while answer[-_READY_BYTES:-1] != b"Z\x00\x00\x00\x05":
            if not (piece := await self.up_reader.read(_PIECE)):
                break
            answer += piece
        self.writer.write(answer[: round(len(answer) * cut.answered)])
        await self.writer.drain()
        self.writer.close()  # what was written is read before the end


@asynccontextmanager
async def stalling_proxy(dsn: str) -> AsyncIterator[StallingProxy]:
    """An open proxy before this database."""
    proxy = StallingProxy(dsn)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
