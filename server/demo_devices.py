"""The two devices of the demo: each has its own copy of the library, and each speaks one of the two dialects."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from uuid import uuid4

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from crdt import operations
from crdt.library_copy import LibraryCopy
from crdt.operations import NewPrompt
from protocol import ysync
from server.client import Library, SyncClient
from server.errors import ServerError

WAIT_SECONDS = 20.0


class DemoFailed(ServerError):
    """What the demo tells did not come true."""


def new_prompt(copy: LibraryCopy, title: str, text: str) -> bytes:
    """A new prompt by the layout, whose text nobody has optimised yet."""
    prompt = NewPrompt(id=str(uuid4()), title=title, original=text, created_at=now(), device="demo", order="a0")
    return operations.create_prompt(copy.library, prompt)


def prompts_of(copy: LibraryCopy) -> dict[str, str]:
    """The text of each prompt by its title, which the demo gives once."""
    titles, texts = copy.titles(), copy.prompts()
    return {title: texts[prompt_id] for prompt_id, title in titles.items()}


def prompt_named(copy: LibraryCopy, title: str) -> str:
    """The id of the prompt with this title."""
    return next(prompt_id for prompt_id, found in copy.titles().items() if found == title)


def now() -> int:
    """In ms since 1970, as the layout has its times."""
    return time.time_ns() // 1_000_000


class Laptop:
    """A device on promptsync.v1: what it has not got acknowledged lies in a file, and it knows how much that is."""

    def __init__(self, name: str, token: str, library: str, folder: Path) -> None:
        self.name = name
        self.copy = LibraryCopy()
        self._token = token
        self._id = library
        self._folder = folder
        self._client: SyncClient | None = None
        self._library: Library | None = None
        self._open = AsyncExitStack()

    @property
    def library(self) -> Library:
        assert self._library is not None, "not connected yet"  # noqa: S101
        return self._library

    @property
    def unsaved(self) -> int:
        """Edits that the server has not acknowledged."""
        return self.library.unsaved

    async def connect(self, url: str) -> None:
        """Connect, for the first time or again; returns once what the device lacked has come."""
        if self._client is None:
            self._client = await self._open.enter_async_context(SyncClient(url, self._token, queue=self._folder))
            self._library = await self._client.open(self._id, self.copy)
        self._client.resume()
        await self.until(lambda: self.library.is_synced, "it is synced")

    async def disconnect(self) -> None:
        """Go offline."""
        if self._client is not None:
            await self._client.pause()

    async def end(self) -> None:
        """Switch it off."""
        await self._open.aclose()

    async def edit(self, update: bytes) -> None:
        """Push an edit that the copy has made already; returns once it is kept on the disk."""
        await self.library.push(update)

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until what this device has heard makes the condition true; raises DemoFailed when it does not come true."""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self.library.until(condition)
        except TimeoutError:
            raise DemoFailed(f"{self.name}: waited in vain until {what}") from None


class Phone:
    """A device on the y-websocket dialect, as stock providers are: what it lacks and what others lack is exchanged on each connection."""

    def __init__(self, name: str, token: str, library: str) -> None:
        self.name = name
        self.copy = LibraryCopy()
        self.changed = asyncio.Event()
        self._token = token
        self._library = library
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None

    async def connect(self, url: str) -> None:
        """Connect and exchange what is missing on either side; returns once the server has answered."""
        self._socket = await connect(
            f"{url.replace('http', 'ws', 1)}/sync/{self._library}",
            subprotocols=["yjs", f"bearer.{self._token}"],  # type: ignore[list-item]  # NewType of str
            compression=None,
            max_size=None,
        )
        answered = asyncio.Event()
        self._reader = asyncio.create_task(self._read(self._socket, answered))
        await self._socket.send(ysync.encode_step1(self.copy.state_vector()))
        await asyncio.wait_for(answered.wait(), WAIT_SECONDS)

    async def disconnect(self) -> None:
        """Go offline."""
        if self._socket is not None and self._reader is not None:
            await self._socket.close()
            await self._reader
            self._socket = None

    async def edit(self, update: bytes) -> None:
        """Send an edit that the copy has made already; offline it waits in the copy."""
        if self._socket is not None:
            with suppress(ConnectionClosed):
                await self._socket.send(ysync.encode_update(update))

    async def _read(self, socket: ClientConnection, answered: asyncio.Event) -> None:
        with suppress(ConnectionClosed):
            async for frame in socket:
                message = ysync.decode(frame if isinstance(frame, bytes) else frame.encode())
                match message:
                    case ysync.Step1(state_vector):
                        await socket.send(ysync.encode_step2(self.copy.missing(state_vector)))
                    case ysync.Step2(update):
                        self.copy.apply(update)
                        answered.set()
                    case ysync.Update(update):
                        self.copy.apply(update)
                self.changed.set()

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until what this device has heard makes the condition true; raises DemoFailed when it does not come true."""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while not condition():
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            raise DemoFailed(f"{self.name}: waited in vain until {what}") from None
