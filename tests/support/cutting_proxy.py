"""A proxy before PostgreSQL's socket that cuts connections at the worst moments: around a COMMIT, or all at once."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import Enum
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

_COMMIT = b"COMMIT;"
_AT_ONCE = b"WITH standing"  # the statement that is its own transaction, prepared under a name before it is used
_SOCKET = ".s.PGSQL.5432"


class Cut(Enum):
    """What becomes of the next COMMIT."""

    BEFORE = "the server never hears of it"
    AFTER = "the server commits, and the answer is lost"


class CuttingProxy:
    """Passes everything on until it is told to cut."""

    def __init__(self, dsn: str) -> None:
        parts = urlsplit(dsn)
        query = parse_qs(parts.query)
        self._upstream = str(Path(query["host"][0]) / _SOCKET)
        self._folder = Path(tempfile.mkdtemp(prefix="promptsync-proxy-"))
        self.dsn = urlunsplit(parts._replace(query=urlencode(query | {"host": [str(self._folder)]}, doseq=True)))
        self.cuts: list[Cut] = []
        """What to do to the COMMITs to come, in order; after that they pass."""
        self.refusing = False
        """Whether new connections are turned away: the database is away."""
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self._folder / _SOCKET)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut_all()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        shutil.rmtree(self._folder)

    def cut_all(self) -> None:
        """Break every connection now."""
        for writer in tuple(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if self.refusing:
                return
            self.connections += 1
            with suppress(OSError):
                await self._relay(reader, writer)
        except asyncio.CancelledError:
            pass
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_unix_connection(self._upstream)
        self._open |= {writer, up_writer}
        answers = asyncio.create_task(_copy(up_reader, writer))
        names: set[bytes] = set()
        try:
            while data := await reader.read(1 << 16):
                if _commits(data, names) and self.cuts:
                    await self._cut(self.cuts.pop(0), data, reader, up_reader, up_writer, answers)
                    return
                up_writer.write(data)
                await up_writer.drain()
        finally:
            answers.cancel()
            await asyncio.gather(answers, return_exceptions=True)
            up_writer.transport.abort()
            self._open -= {writer, up_writer}

    async def _cut(
        self,
        cut: Cut,
        data: bytes,
        reader: asyncio.StreamReader,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
        answers: asyncio.Task[None],
    ) -> None:
        if cut is Cut.BEFORE:
            return
        answers.cancel()
        await asyncio.gather(answers, return_exceptions=True)
        up_writer.write(data)
        rest = asyncio.create_task(_copy(reader, up_writer))
        await up_reader.read(1)  # it has committed and answers; nobody hears
        rest.cancel()
        await asyncio.gather(rest, return_exceptions=True)


def _commits(data: bytes, names: set[bytes]) -> bool:
    """Whether these messages to the server end a transaction; `names` collects what statements are prepared under."""
    if data[:1] == b"P" and _AT_ONCE in data:
        names.add(data[5 : data.index(b"\0", 5)])
    return _COMMIT in data or (data[:1] == b"B" and any(b"\0" + name + b"\0" in data for name in names))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.transport.abort()


@asynccontextmanager
async def cutting_proxy(dsn: str) -> AsyncIterator[CuttingProxy]:
    """A proxy before this database; connect to its `dsn`."""
    proxy = CuttingProxy(dsn)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
