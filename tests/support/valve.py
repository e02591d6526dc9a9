"""A way to PostgreSQL that one server process has for itself: it can be stalled, cut, closed to some, and it counts bytes."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

_SOCKET = ".s.PGSQL.5432"
_PIECE = 1 << 16


class Valve:
    """Passes everything on while it is open. Connect to its `dsn`."""

    def __init__(self, dsn: str) -> None:
        parts = urlsplit(dsn)
        query = parse_qs(parts.query)
        self._upstream = str(Path(query["host"][0]) / _SOCKET)
        self._folder = Path(tempfile.mkdtemp(prefix="promptsync-valve-"))
        self.dsn = urlunsplit(parts._replace(query=urlencode(query | {"host": [str(self._folder)]}, doseq=True)))
        self.answered_bytes = 0
        """What PostgreSQL has sent through it."""
        self.refused: set[str] = set()
        """Application names whose connections are turned away."""
        self.turned_away = 0
        """How many connections were, by their names."""
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.StreamWriter, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self._folder / _SOCKET)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        shutil.rmtree(self._folder)

    def stall(self) -> None:
        """Nothing passes in either direction, and nobody is told."""
        self._flowing.clear()

    def shut(self) -> None:
        """The database is away: connections break, and new ones are turned away."""
        self._refusing = True
        self.cut()

    def open(self) -> None:
        """Pass everything again."""
        self.refused.clear()
        self._refusing = False
        self._flowing.set()

    def cut(self, name: str | None = None) -> int:
        """Break every connection now, or those of one application name; how many those were."""
        chosen = [writer for writer, known in self._open.items() if name in (None, known)]
        for writer in chosen:
            writer.transport.abort()
        return len(chosen)

    def names(self) -> list[str]:
        """The application names of the connections that are open."""
        return sorted(self._open.values())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._flowing.wait()
            if not self._refusing:
                with suppress(OSError, asyncio.IncompleteReadError):
                    await self._relay(reader, writer)
        except asyncio.CancelledError:
            pass
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(_PIECE)
        name = application_name(first)
        if name in self.refused:
            self.turned_away += 1
            return
        up_reader, up_writer = await asyncio.open_unix_connection(self._upstream)
        up_writer.write(first)
        self._open[writer] = name
        ways = [asyncio.create_task(self._pass(reader, up_writer, 0)), asyncio.create_task(self._pass(up_reader, writer, 1))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._open.pop(writer, None)
            up_writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: int) -> None:
        while data := await reader.read(_PIECE):
            await self._flowing.wait()
            self.answered_bytes += len(data) * answers
            writer.write(data)
            await writer.drain()


def application_name(startup: bytes) -> str:
    """The name in a connection's first message, or nothing where it has none."""
    fields = startup[8:].split(b"\0")
    pairs = dict(zip(fields[::2], fields[1::2], strict=False))
    return pairs.get(b"application_name", b"").decode(errors="replace")


@asynccontextmanager
async def valve(dsn: str) -> AsyncIterator[Valve]:
    """An open valve before this database."""
    passing = Valve(dsn)
    await passing.start()
    try:
        yield passing
    finally:
        await passing.stop()
