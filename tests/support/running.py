"""A server on a real socket in the test's own event loop: the Application under uvicorn with WireProtocol, as `serve` runs it."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID, uuid4

import httpx2
import websockets
from websockets.asyncio.client import ClientConnection

from auth.sessions import Device, Grant
from crdt.replica import Replica
from protocol import ysync
from server.app import Application
from server.config import Settings
from server.member import Device as StockDevice
from server.services import Services, make_services
from server.times import utc_now
from server.tls import certificate_of
from server.transport import Transport, listen
from storage import updates
from storage.cipher import library_key_place, update_place
from storage.cluster import claim
from storage.keyring import Keyring
from storage.libraries import draw_client_id
from storage.pool import Database
from tests.support.born import make_older
from tests.support.calling import InThisProcess
from tests.support.core import new_keyring
from tests.support.generous import GENEROUS
from tests.support.plain_http import plain_client
from tests.support.rest import PASSWORD, cheap_passwords
from tests.support.wire_client import WireClient

SIGNING_KEY = ("s1", bytes(range(32)))


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user, one of the user's sessions, and the library that belongs to the account."""

    id: UUID
    session_id: UUID
    library_id: UUID
    access_token: str
    refresh_token: str
    sync_token: str


class Running:
    """A server that runs. Its parts are there to be looked at and meddled with."""

    def __init__(self, app: Application, port: int) -> None:
        self.app = app
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.sync_url = f"ws://127.0.0.1:{port}/sync"

    @property
    def services(self) -> Services:
        return self.app.services

    async def user(self) -> User:
        """A new user with a session."""
        grant = await self.services.accounts.register(
            email=f"{uuid4().hex}@example.com", password=PASSWORD, name=None, device=_device(), now=utc_now()
        )
        return _user(grant)

    async def library(self, user: User) -> UUID:
        """A further library of the user's."""
        async with self.http(user) as client:
            answer = await client.post("/api/libraries", json={"name": "Prompts"})
        assert answer.status_code == 201, answer.text
        return UUID(answer.json()["id"])

    async def identity(self, user: User) -> UUID:
        """An identity that signs the user in, beside the password."""
        identity_id = uuid4()
        await self.execute(
            "INSERT INTO identities (id, user_id, provider, created_at, last_used_at) VALUES ($1, $2, 'google', now(), now())",
            identity_id,
            user.id,
        )
        return identity_id

    async def add_member(self, library_id: UUID, user: User, role: str) -> None:
        await self.execute("INSERT INTO members (library_id, user_id, role) VALUES ($1, $2, $3)", library_id, user.id, role)

    @property
    def stock(self) -> list[StockDevice]:
        """The devices that are connected on the y-websocket dialect."""
        return [device for device in self.app.hall.devices if isinstance(device, StockDevice)]

    def http(self, user: User | None = None) -> httpx2.AsyncClient:
        """A REST client, signed in as `user`."""
        headers = {} if user is None else {"Authorization": f"Bearer {user.access_token}"}
        return plain_client(base_url=self.url, headers=headers, timeout=30)

    async def older_library(self, user: User) -> UUID:
        """A further library of the user's, as one was made before there was a seed."""
        library_id = await self.library(user)
        async with self.services.database.acquire() as connection:
            await make_older(connection, library_id)
        return library_id

    async def log(self, library_id: UUID) -> list[tuple[int, bytes]]:
        """What the database holds of a library: each row's seq and its opened update."""
        async with self.services.database.acquire() as connection:
            loaded = await updates.since(connection, library_id, 0)
        key = self.services.keyring.unwrap(loaded.key_id, loaded.wrapped_key, library_key_place(library_id))
        return [(row.seq, key.open(row.sealed, update_place(library_id, row.epoch, row.seq))) for row in loaded.tail]

    async def execute(self, statement: str, *arguments: object) -> str:
        """Change something behind the server's back."""
        async with self.services.database.acquire() as connection:
            return str(await connection.execute(statement, *arguments))

    def device(self, user: User, library_id: UUID | None = None, replica: Replica | None = None) -> WireClient:
        """A device of the user's with a document of its own, not connected yet."""
        return WireClient(self.sync_url, str(library_id or user.library_id), user.sync_token, replica or Replica())

    async def open(self, path: str, **options: Any) -> ClientConnection:
        """A bare WebSocket."""
        options = {"compression": None, "ping_interval": None, "max_size": None, "proxy": None, "close_timeout": 5} | options
        return await websockets.connect(f"ws://127.0.0.1:{self.port}{path}", **options)

    async def socket(self, user: User, library_id: UUID | None = None, **options: Any) -> ClientConnection:
        """A bare WebSocket on a library."""
        return await self.open(f"/sync/{library_id or user.library_id}", subprotocols=["yjs", f"bearer.{user.sync_token}"], **options)


def _device() -> Device:
    return Device(id=uuid4(), name="test", platform="test")


def _user(grant: Grant) -> User:
    return User(
        id=grant.user.id,
        session_id=grant.session_id,
        library_id=grant.user.library_id,
        access_token=grant.access_token,
        refresh_token=grant.refresh_token,
        sync_token=grant.sync_token,
    )


async def closed(connection: ClientConnection, within: float = 10.0) -> tuple[int | None, str]:
    """Read until the socket is closed: the code and the reason it was closed with."""
    async with asyncio.timeout(within):
        with suppress(websockets.ConnectionClosed):
            while True:
                await connection.recv()
        await connection.wait_closed()
    return connection.close_code, connection.close_reason or ""


async def next_data(connection: ClientConnection) -> bytes:
    """The next frame."""
    frame = await asyncio.wait_for(connection.recv(), 10)
    assert isinstance(frame, bytes)
    return frame


async def next_update(connection: ClientConnection) -> bytes:
    """The next update that is relayed."""
    while not isinstance(message := ysync.decode(await next_data(connection)), ysync.Update):
        pass
    return message.update


async def next_presence(connection: ClientConnection, wanted: bytes) -> list[bytes]:
    """Wait for this frame; every presence frame up to it."""
    seen: list[bytes] = []
    while not seen or seen[-1] != wanted:
        frame = await next_data(connection)
        if frame[0] == ysync.AWARENESS:
            seen.append(frame)
    return seen


async def undisturbed(device: WireClient) -> None:
    """The device is still connected, and what it writes is stored and echoed."""
    assert device.online, f"closed with {device.close_code}"
    await device.push(device.replica.write_prompt(uuid4().hex, "still here"))
    await device.confirmed()


class RawSocket:
    """A WebSocket client by hand, to do what no library lets one do."""

    opened: ClassVar[list["RawSocket"]] = []

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.opened.append(self)

    @classmethod
    async def begin(cls, port: int, library_id: UUID, token: str, *, receive_buffer: int | None = None) -> "RawSocket":
        """Connected, with the handshake asked for."""
        raw = await cls.connected(port, receive_buffer=receive_buffer)
        raw.send(
            f"GET /sync/{library_id} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            f"Authorization: Bearer {token}\r\n\r\n".encode()
        )
        return raw

    @classmethod
    async def connected(cls, port: int, *, receive_buffer: int | None = None) -> "RawSocket":
        """Connected, with nothing asked for."""
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=1 << 16)
        return cls(reader, writer)

    @classmethod
    async def open(cls, port: int, library_id: UUID, token: str, *, receive_buffer: int | None = None) -> "RawSocket":
        """Connected, with the handshake done."""
        raw = await cls.begin(port, library_id, token, receive_buffer=receive_buffer)
        async with asyncio.timeout(10):
            head = await raw.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        return raw

    def send(self, *frames: bytes) -> None:
        """Write frames, all in one segment."""
        self.writer.write(b"".join(frames))

    async def frame(self) -> tuple[int, bytes]:
        """The next frame's opcode and payload."""
        head = await self.reader.readexactly(2)
        size = head[1] & 0x7F
        if size > 125:
            size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
        return head[0] & 0x0F, await self.reader.readexactly(size)

    async def close_code(self, within: float = 10.0) -> int | None:
        """Read until the end: the code of the first close frame, or None where the connection just ended."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            async with asyncio.timeout(within):
                while True:
                    opcode, payload = await self.frame()
                    if opcode == 8:
                        return int.from_bytes(payload[:2], "big")
        return None

    async def ended(self, within: float = 10.0) -> None:
        """Wait until the server has closed the connection, throwing away what still comes."""
        with suppress(ConnectionError):
            async with asyncio.timeout(within):
                while await self.reader.read(1 << 16):
                    pass

    def stop_reading(self) -> None:
        """Leave what comes in the kernel's buffers, which fill up."""
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport goes both ways

    def abort(self) -> None:
        """Break the connection."""
        self.writer.transport.abort()

    @classmethod
    def abort_all(cls) -> None:
        """Break every connection that was opened since the last time."""
        while cls.opened:
            cls.opened.pop().abort()


def masked(payload: bytes, opcode: int = 2, *, fin: bool = True) -> bytes:
    """One frame as a client sends it."""
    size = len(payload)
    head = bytes(((0x80 if fin else 0) | opcode,))
    if size < 126:
        head += bytes((0x80 | size,))
    elif size < 1 << 16:
        head += b"\xfe" + size.to_bytes(2, "big")
    else:
        head += b"\xff" + size.to_bytes(8, "big")
    return head + b"\x00\x00\x00\x00" + payload  # a mask of zeros changes nothing


@asynccontextmanager
async def running_server(dsn: str, *, keyring: Keyring | None = None, port: int = 0, **settings: Any) -> AsyncIterator[Running]:
    """A server over this database. A later one with the same keyring (and port) is the same server after a restart."""
    configured = Settings(**GENEROUS | {"host": "127.0.0.1", "port": port} | settings)
    database = await Database.open(dsn, size=configured.database_pool)
    keyring = keyring or new_keyring()
    async with database.acquire() as connection:
        await claim(connection, keyring, new_client_id=lambda: draw_client_id(os.urandom))
    services = make_services(
        configured,
        database=database,
        keyring=keyring,
        signing_keys=[SIGNING_KEY],
        passwords=cheap_passwords(),
        random=os.urandom,
        make_caller=InThisProcess,
    )
    app = Application(services)
    (listener,) = listen(configured)
    server = Transport(configured, app, certificate=certificate_of(configured))
    try:
        async with app.running():
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            await server.listening.wait()
            try:
                yield Running(app, listener.getsockname()[1])
            finally:
                await app.writer.drain(2)
                server.should_exit = True
                await asyncio.wait_for(serving, 10)
    finally:
        listener.close()
        await services.models.close()
        services.passwords.close()
        await services.limits.close()
        await database.close()
