"""A bare client on `promptsync.v1`: it sends messages and hands out what comes, in order."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar
from uuid import UUID

import websockets
from websockets.asyncio.client import ClientConnection

from crdt.updates import EMPTY_STATE_VECTOR
from protocol.codec import decode_from_server, encode
from protocol.messages import FromClient, FromServer, Hello, Open, Opened, Part, Synced, Update, Welcome
from protocol.session import frames
from tests.support.running import Running, User

Kind = TypeVar("Kind")
WAIT_SECONDS = 10.0


class LinkClient:
    """One socket."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self._parts: dict[tuple[int, int], list[bytes]] = {}

    async def send(self, *messages: FromClient) -> None:
        """Send messages, in as many frames as they take."""
        for message in messages:
            for frame in frames(message):
                await self.connection.send(frame)

    async def next(self) -> FromServer:
        """The next message, parts joined."""
        while True:
            frame = await asyncio.wait_for(self.connection.recv(), WAIT_SECONDS)
            assert isinstance(frame, bytes)
            message = decode_from_server(frame)
            match message:
                case Part(channel, number, content):
                    self._parts.setdefault((channel, number), []).append(content)
                case Update(channel, number, content) | Synced(channel, number, content):
                    return type(message)(channel, number, b"".join([*self._parts.pop((channel, number), []), content]))
                case _:
                    return message

    async def expect(self, kind: type[Kind], among: Callable[[Kind], bool] = lambda message: True) -> Kind:
        """The next message of this kind that fits; others before it are left out."""
        while True:
            message = await self.next()
            if isinstance(message, kind) and among(message):
                return message

    async def hello(self, token: str | None = None, device: UUID | None = None) -> Welcome:
        """Say hello and be welcomed."""
        await self.send(Hello(token=token, device=device, client_name="test", client_version="1"))
        welcome = await self.next()
        assert isinstance(welcome, Welcome), welcome
        return welcome

    async def open(
        self, channel: int, library: UUID, vector: bytes = EMPTY_STATE_VECTOR, *, epoch: int | None = None, cursor: int | None = None
    ) -> tuple[Opened, Synced]:
        """Open a library; both answers."""
        await self.send(Open(channel=channel, library=library, vector=vector, epoch=epoch, cursor=cursor))
        opened = await self.expect(Opened, lambda message: message.channel == channel)
        return opened, await self.expect(Synced, lambda message: message.channel == channel)

    async def raw(self, *fields: object) -> None:
        """Send an array that need not be a message."""
        import msgpack

        await self.connection.send(msgpack.packb(list(fields)))

    async def close_code(self) -> int:
        """Wait for the socket's end, and say with which code."""
        async with asyncio.timeout(WAIT_SECONDS):
            try:
                while True:
                    await self.connection.recv()
            except websockets.ConnectionClosed:
                return self.connection.close_code or 1006


@asynccontextmanager
async def bare_link(server: Running, *offers: str, path: str = "/sync") -> AsyncIterator[LinkClient]:
    """A socket on the dialect that has not said hello."""
    connection = await server.open(path, subprotocols=["promptsync.v1", *offers])
    try:
        yield LinkClient(connection)
    finally:
        await connection.close()


@asynccontextmanager
async def link(server: Running, user: User) -> AsyncIterator[LinkClient]:
    """A socket that was welcomed."""
    async with bare_link(server, f"bearer.{user.sync_token}") as client:
        await client.hello()
        yield client


__all__ = ["LinkClient", "bare_link", "encode", "link"]
