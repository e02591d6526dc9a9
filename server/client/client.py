"""A client that stays in step: it connects, reconnects, and loses nothing that was pushed."""

import asyncio
import random
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit
from uuid import UUID

import websockets
from websockets.asyncio.client import ClientConnection

from protocol.client import ClientSession
from protocol.client_events import LibraryClosed, Postponed, Received
from protocol.client_states import ClientState, LibraryState
from protocol.closes import Close
from protocol.codec import FRAME_BYTES
from protocol.errors import ProtocolError
from protocol.messages import Pong, Welcome
from server.client.backoff import Backoff
from server.client.bell import Bell
from server.client.connection import Connected, Disconnected, Token, current
from server.client.document import Document, trusted
from server.client.errors import ClientError, ClosedForGood, QueueBusy
from server.client.here import RENEW_SECONDS, Here
from server.client.library import Library
from server.client.queue_file import Queue, QueueFile
from storage.errors import DataFolderBusy
from storage.folder_lock import FolderLock

DIALECT = websockets.Subprotocol("promptsync.v1")
OPEN_SECONDS = 10.0
WELCOME_SECONDS = 20.0
"""A server that has accepted the socket and says nothing for so long is not there."""
PING_SECONDS = 20.0
PONG_SECONDS = 40.0
"""A frame of 1 MiB before the pong takes its time on a slow link."""
CLOSE_SECONDS = 2.0
WRITE_DOWN_SECONDS = 0.2
"""Until what was acknowledged is noted in the file of the queue."""


class SyncClient:
    """Use it as an asynchronous context manager, on one event loop.

    Args:
        url: The server, `https://host`.
        token: A sync or access token, or what returns one, asked before each connection.
        queue: A folder of this process's own for unsaved updates. Without it they are in memory, and lost with the process.
        on_connection: Called when the connection comes and goes.
        proxy: As `websockets` takes it.
    """

    def __init__(
        self,
        url: str,
        token: Token,
        *,
        queue: Path | str | None = None,
        on_connection: Callable[[Connected | Disconnected], None] | None = None,
        proxy: str | None = None,
        name: str = "promptsync",
    ) -> None:
        if urlsplit(url).scheme not in ("http", "https", "ws", "wss"):
            raise ValueError(f"{url} is no address of a server: https://host")
        self._address = url.rstrip("/").replace("http", "ws", 1) if url.startswith("http") else url.rstrip("/")
        self._token = token
        self._folder = None if queue is None else Path(queue)
        self._lock = None if self._folder is None else FolderLock(self._folder)
        self._on_connection = on_connection or (lambda event: None)
        self._proxy = proxy
        self._session = ClientSession(client_name=name)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="promptsync-queue")
        self._libraries: dict[UUID, Library] = {}
        self._bell = Bell()
        self._wake = asyncio.Event()
        self._backoff = Backoff(random.random)
        self._running: asyncio.Task[None] | None = None
        self._socket: ClientConnection | None = None
        self._paused = False
        self._refused_token: str | None = None
        self.failure: Exception | None = None
        """Why there will be no further connection."""
        self.trouble: Exception | None = None
        """Why the last connection ended, or did not come about."""
        self.connections = 0
        """How often the server has let us in."""

    async def __aenter__(self) -> Self:
        if self._lock is not None:
            try:
                self._lock.acquire()
            except DataFolderBusy:
                raise QueueBusy(f"{self._folder} is used by another process") from None
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._running is not None  # noqa: S101
        self._running.cancel()
        with suppress(asyncio.CancelledError):
            await self._running
        async with AsyncExitStack() as stack:
            if self._lock is not None:
                stack.callback(self._lock.release)
            stack.callback(self._executor.shutdown)
            for library in self._libraries.values():
                stack.push_async_callback(library.end)

    @property
    def connected(self) -> bool:
        """Whether the server knows us on a socket that is open."""
        return self._session.state is ClientState.READY

    @property
    def unsaved(self) -> int:
        """How many updates of all libraries the server has not acknowledged."""
        return sum(library.unsaved for library in self._libraries.values())

    async def saved(self) -> None:
        """Wait until everything that was pushed is stored. Raises PushRefused, ClosedForGood, or what a document raised."""
        for library in list(self._libraries.values()):
            await library.saved()

    async def open(self, library_id: UUID | str, document: Document, *, read_only: bool = False) -> Library:
        """Keep a document in step with a library from now on. Needs no connection: `synced` of what is returned waits for that.

        What the queue's file has kept is put into the document first. With `read_only` nothing of the document is ever sent.
        Raises QueueBroken, OSError, or what the document raises.
        """
        key = UUID(str(library_id))
        if key in self._libraries:
            raise ValueError(f"library {key} is open already")
        path = None if self._folder is None else self._folder / f"{key}.queue"
        queue = await asyncio.get_running_loop().run_in_executor(self._executor, lambda: Queue() if path is None else QueueFile(path))
        place = trusted(queue.kept, document)
        for entry in queue.entries:
            document.apply(entry.update)
        self._session.follow(key, queue.entries, place)
        here = Here(secrets.randbits(32))
        library = Library(key, document, session=self._session, queue=queue, executor=self._executor, here=here, read_only=read_only)
        library.wake = self._wake.set
        self._libraries[key] = library
        if self.failure is not None:
            library.fail(self.failure)
        self._reopen(library)
        self._bell.ring()
        return library

    async def close(self, library: Library) -> None:
        """Keep a library in step no longer. What is unsaved stays in the queue's file, for the next time."""
        self._session.leave(library.id)
        del self._libraries[library.id]
        library.fail(ClientError("the library was closed"))
        await library.end()

    async def pause(self) -> None:
        """Go offline, and stay so until `resume`. Pushes are kept."""
        self._paused = True
        if self._socket is not None:
            await self._socket.close()
        await self._bell.until(lambda: self._session.state is ClientState.OFFLINE)

    def resume(self) -> None:
        """Connect again, at once."""
        self._paused = False
        self._bell.ring()

    # -- connections ---------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._renew())
            group.create_task(self._write_down())
            while True:
                await self._bell.until(self._is_wanted)
                try:
                    await self._converse()
                except (OSError, websockets.WebSocketException, TimeoutError, ProtocolError) as error:
                    self.trouble = error
                except Exception as error:
                    self._fail(error)
                    return
                finally:
                    self._lost()
                if not self._paused:
                    seconds = self._backoff.delay(_now())
                    self._on_connection(Disconnected(_sentence(self.trouble), seconds))
                    await asyncio.sleep(seconds)

    def _is_wanted(self) -> bool:
        return not self._paused and any(library.failure is None for library in self._libraries.values())

    async def _converse(self) -> None:
        first = next(library.id for library in self._libraries.values() if library.failure is None)
        token = await current(self._token)
        async with websockets.connect(
            f"{self._address}/sync/{first}",
            subprotocols=[DIALECT, websockets.Subprotocol(f"bearer.{token}")],
            compression=None,
            max_size=FRAME_BYTES,
            open_timeout=OPEN_SECONDS,
            close_timeout=CLOSE_SECONDS,
            ping_interval=PING_SECONDS,
            ping_timeout=PONG_SECONDS,
            proxy=self._proxy,
        ) as socket:
            if self._paused:
                return
            self._socket = socket
            self._session.connect()
            for library in self._libraries.values():
                self._reopen(library)
            writer = asyncio.create_task(self._write(socket))
            try:
                await self._read(socket)
            except ProtocolError as error:
                await socket.close(error.close, error.reason[:100])
                raise
            finally:
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)
            self._ended(socket.close_code or 1006, socket.close_reason or "", token)

    def _ended(self, code: int, reason: str, token: str) -> None:
        self.trouble = ConnectionError(f"closed with {code}: {reason}")
        if code == Close.UNAUTHENTICATED and callable(self._token) and token != self._refused_token:
            self._refused_token = token  # it may just have expired: another one is asked for
        elif 4400 <= code < 4500:
            raise ClosedForGood(code, reason)

    async def _read(self, socket: ClientConnection) -> None:
        with suppress(websockets.ConnectionClosed):
            self._take(await asyncio.wait_for(socket.recv(), WELCOME_SECONDS))
            async for frame in socket:
                self._take(frame)

    async def _write(self, socket: ClientConnection) -> None:
        with suppress(websockets.ConnectionClosed):
            while True:
                self._wake.clear()
                while (frame := self._session.next_frame()) is not None:
                    await socket.send(frame)
                await self._wake.wait()

    def _take(self, frame: str | bytes) -> None:
        if isinstance(frame, str):
            raise ProtocolError("text")
        event = self._session.receive(frame)
        self._wake.set()
        if event is None or isinstance(event, Pong):
            return
        if isinstance(event, Welcome):
            self._let_in()
            return
        library = self._libraries.get(event.library) if event.library is not None else None
        if library is not None:
            library.take(event)
            self._follow_up(library, event)
            if library.dirty:
                self._bell.ring()

    def _let_in(self) -> None:
        self.connections += 1
        self.trouble = None
        self._backoff.worked(_now())
        self._on_connection(Connected(self.connections))
        self._bell.ring()

    def _follow_up(self, library: Library, event: object) -> None:
        match event:
            case Received(catching_up=True):
                library.backoff.worked(_now())
            case Postponed(until_opened=False):
                self._later(library, lambda: self._session.retry(library.id))
            case LibraryClosed(permanent=False):
                self._later(library, lambda: self._reopen(library))

    def _later(self, library: Library, what: Callable[[], None]) -> None:
        def act() -> None:
            if self._libraries.get(library.id) is library:
                what()
                self._wake.set()

        asyncio.get_running_loop().call_later(library.backoff.delay(_now()), act)

    def _reopen(self, library: Library) -> None:
        shut = self._session.state_of(library.id) is LibraryState.SHUT
        if shut and library.failure is None and self._session.state is not ClientState.OFFLINE:
            self._session.open(library.id, library.document.state_vector())
            self._wake.set()

    def _lost(self) -> None:
        self._socket = None
        self._session.disconnect()
        self._bell.ring()
        for library in self._libraries.values():
            library.lost()
            library.bell.ring()

    def _fail(self, error: Exception) -> None:
        self.failure = error
        for library in self._libraries.values():
            library.fail(error)
        self._on_connection(Disconnected(_sentence(error), None))

    # -- besides -------------------------------------------------------------------------------------------------

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            for library in self._libraries.values():
                library.renew()
            self._wake.set()

    async def _write_down(self) -> None:
        while True:
            await self._bell.until(lambda: any(library.dirty for library in self._libraries.values()))
            await asyncio.sleep(WRITE_DOWN_SECONDS)  # acks come in crowds
            for library in list(self._libraries.values()):
                with suppress(OSError):  # the next push tells it
                    await library.write_down()


def connect(url: str, token: Token, *, queue: Path | str | None = None) -> SyncClient:
    """A client of this server: `async with connect("https://host", token, queue=folder) as client`. See SyncClient."""
    return SyncClient(url, token, queue=queue)


def _sentence(error: Exception | None) -> str:
    return "closed" if error is None else str(error) or type(error).__name__


def _now() -> float:
    return asyncio.get_running_loop().time()
