"""A device in Python that speaks the y-websocket dialect and keeps count of what it was told and shown.

"Acknowledged" is what the server said to hold of this device's own edits (by an echo, or by its state vector after a reconnect),
"shown" what it relayed from others: the two things it promises never to lose. Both are kept as the bytes of updates, so that a
test can look for them in what a new device gets.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

import websockets
from websockets.asyncio.client import ClientConnection

from crdt.knowledge import Knowledge
from crdt.replica import Replica
from crdt.updates import decode_state_vector, inspect
from protocol import ysync

WAIT_SECONDS = 20.0


class WireClient:
    """One device's connection to one library. Reconnects only when told to; edits made while offline wait in its replica."""

    def __init__(self, sync_url: str, library_id: str, token: str, replica: Replica) -> None:
        self.replica = replica
        self.unconfirmed: list[bytes] = []
        self.acknowledged: list[bytes] = []
        self.shown: list[bytes] = []
        self.presence: list[bytes] = []
        self.synced = False
        self.close_code: int | None = None
        self._stored = Knowledge()  # what the server has said to hold
        self._library_id = library_id
        self._address = f"{sync_url}/{library_id}"
        self._token = token
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()

    def move(self, sync_url: str) -> None:
        """Use another server process from the next connection on."""
        self._address = f"{sync_url}/{self._library_id}"

    # -- the connection -----------------------------------------------------------------------------------------

    async def connect(self, *, within: float = WAIT_SECONDS) -> Self:
        """Open a socket and ask for what is missing; returns when the server has answered.

        Raises OSError or websockets.WebSocketException when the server cannot be reached, ConnectionError when it closed first.
        """
        await self.disconnect()
        self.synced, self.close_code = False, None
        self._socket = await websockets.connect(
            self._address,
            subprotocols=[websockets.Subprotocol("yjs"), websockets.Subprotocol(f"bearer.{self._token}")],
            compression=None,
            max_size=None,
            max_queue=None,
            ping_interval=None,
            open_timeout=within,
            close_timeout=2,
            proxy=None,
        )
        self._reader = asyncio.create_task(self._read(self._socket))
        with suppress(websockets.ConnectionClosed):
            await self._socket.send(ysync.encode_step1(self.replica.state_vector()))
        await self.until(lambda: self.synced or not self.online, within=within, what="the answer to step 1")
        if not self.synced:
            raise ConnectionError(f"closed with {self.close_code} before the answer to step 1")
        return self

    async def reconnect(self, *, within: float = 60.0) -> Self:
        """Connect again and again, as devices do, until it works; raise TimeoutError after `within` seconds."""
        async with asyncio.timeout(within):
            while True:
                try:
                    return await self.connect(within=within)
                except (OSError, websockets.WebSocketException, AssertionError):
                    await asyncio.sleep(0.05)

    async def disconnect(self) -> None:
        """Close the socket; what is not confirmed stays in the replica."""
        socket, reader, self._socket, self._reader = self._socket, self._reader, None, None
        if socket is not None:
            await socket.close()
        if reader is not None:
            await reader

    @property
    def online(self) -> bool:
        """Whether the socket is open as far as this side knows."""
        return self._reader is not None and not self._reader.done() and self.close_code is None

    async def __aenter__(self) -> Self:
        return await self.connect()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.disconnect()

    # -- edits --------------------------------------------------------------------------------------------------

    async def push(self, update: bytes) -> None:
        """Send an edit the replica has made; offline it waits for the next connection, which takes it along in step 2."""
        self.unconfirmed.append(update)
        if self._socket is not None and self.online:
            with suppress(websockets.ConnectionClosed):
                await self._socket.send(ysync.encode_update(update))

    async def send(self, frame: bytes | str) -> None:
        """Send a frame as it is, however wrong."""
        assert self._socket is not None, "not connected"
        await self._socket.send(frame)

    async def until(self, condition: Callable[[], bool], *, within: float = WAIT_SECONDS, what: str = "the condition") -> None:
        """Wait until `condition` holds, looked at after every message; raise AssertionError naming `what` after `within` seconds."""
        try:
            async with asyncio.timeout(within), self._changed:
                await self._changed.wait_for(condition)
        except TimeoutError:
            raise AssertionError(f"{what} did not come about within {within} s (close code {self.close_code})") from None

    async def confirmed(self, *, within: float = WAIT_SECONDS) -> None:
        """Wait until everything sent was acknowledged."""
        await self.until(lambda: not self.unconfirmed, within=within, what="the acknowledgement of everything")

    async def offline(self, *, within: float = WAIT_SECONDS) -> None:
        """Wait until the connection has ended."""
        await self.until(lambda: not self.online, within=within, what="the end of the connection")

    # -- what comes ---------------------------------------------------------------------------------------------

    async def _read(self, socket: ClientConnection) -> None:
        try:
            async for frame in socket:
                assert isinstance(frame, bytes), "the server sent text"
                await self._take(socket, ysync.decode(frame))
                await self._tell()
        except websockets.ConnectionClosed:
            pass
        finally:
            self.close_code = socket.close_code or 1006
            await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _take(self, socket: ClientConnection, message: ysync.Message) -> None:
        match message:
            case ysync.Step1(state_vector):
                for client, clock in decode_state_vector(state_vector).items():
                    self._stored.held.add(client, 0, clock)
                self._settle()
                with suppress(websockets.ConnectionClosed):
                    await socket.send(ysync.encode_step2(self.replica.missing(state_vector)))
            case ysync.Step2(update):
                self._learn(update)
                self.synced = True
            case ysync.Update(update):
                self._learn(update)
            case ysync.Awareness(entries):
                self.presence.append(entries)
            case ysync.QueryAwareness():
                pass

    def _learn(self, update: bytes) -> None:
        """Apply what came, and tell apart what echoes our own edits (alone, or merged with others) from what is news."""
        self.replica.apply(update)
        self._stored.learn(inspect(update))
        if update in self.unconfirmed:
            self.unconfirmed.remove(update)
            self.acknowledged.append(update)
            return
        self.shown.append(update)
        self._settle()

    def _settle(self) -> None:
        """Count as acknowledged what the server has said to hold, in whatever message."""
        settled = [mine for mine in self.unconfirmed if not self._stored.adds(inspect(mine))]
        self.unconfirmed = [mine for mine in self.unconfirmed if mine not in settled]
        self.acknowledged += settled
