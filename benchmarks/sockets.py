"""A WebSocket client as light as it gets: it shares two cores with the server and PostgreSQL that it measures.

Client frames carry a mask of zeros, which RFC 6455 allows and which spares the masking. Frames of the server are cut out of
what arrived in one loop; nothing is copied twice.
"""

import asyncio
import struct
from typing import NoReturn

from protocol import ysync

BINARY, CLOSE, PING, PONG = 0x82, 0x88, 0x89, 0x8A
KEY = "MDEyMzQ1Njc4OWFiY2RlZg=="  # any 16 bytes do
ASK_FOR_ALL = ysync.encode_step1(b"\x00")
NOTHING_TO_GIVE = ysync.encode_step2(b"\x00\x00")

_SHORT_HEADS = [bytes((BINARY, 0x80 | size, 0, 0, 0, 0)) for size in range(126)]


def client_frame(payload: bytes, opcode: int = BINARY) -> bytes:
    """`payload` as one frame of a client."""
    size = len(payload)
    if size < 126:
        head = _SHORT_HEADS[size] if opcode == BINARY else bytes((opcode, 0x80 | size, 0, 0, 0, 0))
    elif size < 65536:
        head = struct.pack("!BBHI", opcode, 0x80 | 126, size, 0)
    else:
        head = struct.pack("!BBQI", opcode, 0x80 | 127, size, 0)
    return head + payload


class ServerClosed(Exception):
    """The server closed a socket or broke the protocol; a measurement is void then."""


class Socket(asyncio.Protocol):
    """One connection to one library: the upgrade, the frames, and the two steps of syncing.

    `synced` is done with the update of step 2. Subclasses take messages in `message`, or everything in `parse`.
    """

    def __init__(self, *, answer_with: bytes = NOTHING_TO_GIVE, ask_with: bytes = ASK_FOR_ALL) -> None:
        self.synced: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.failure: ServerClosed | None = None
        self.leaving = False
        self._answer_with, self._ask_with = answer_with, ask_with
        self._upgraded = False
        self._rest = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's are no subclass of asyncio.Transport

    def upgrade(self, host: str, path: str, token: str) -> None:
        """Ask for the WebSocket, and at once for the library: a frame may follow before the answer is read."""
        self.transport.write(
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Protocol: yjs, bearer.{token}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        if not self._upgraded:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._rest = data
                return
            if not data.startswith(b"HTTP/1.1 101"):
                self.fail(f"the upgrade was answered with {data[:200]!r}")
            self._upgraded = True
            self.send(self._ask_with)
            data = data[end + 4 :]
        taken = self.parse(data)
        self._rest = data[taken:] if taken < len(data) else b""

    def parse(self, data: bytes) -> int:
        """Take all whole frames at the start of `data` and return their length in bytes."""
        at, end = 0, len(data)
        while end - at >= 2:
            size, start = data[at + 1], at + 2
            if size == 126:
                size, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            elif size == 127:
                size, start = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
            if start > end or start + size > end:
                break
            opcode, payload, at = data[at], data[start : start + size], start + size
            if opcode == BINARY:
                self.message(payload)
            else:
                self.control(opcode, payload)
        return at

    def message(self, payload: bytes) -> None:
        """Take one message: by default the two steps of syncing, everything else is ignored."""
        if payload.startswith(b"\x00\x00"):
            self.send(self._answer_with)
        elif payload.startswith(b"\x00\x01") and not self.synced.done():
            step = ysync.decode(payload)
            assert isinstance(step, ysync.Step2)
            self.synced.set_result(step.update)

    def control(self, opcode: int, payload: bytes) -> None:
        """Answer pings; a close voids the measurement."""
        if opcode == PING:
            self.transport.write(client_frame(payload, PONG))
        elif opcode == CLOSE and not self.leaving:
            self.fail(f"the server closed with {int.from_bytes(payload[:2], 'big')} {payload[2:].decode(errors='replace')}")

    def send(self, payload: bytes) -> None:
        self.transport.write(client_frame(payload))

    def leave(self) -> None:
        """Close without waiting."""
        self.leaving = True
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.leaving and self.failure is None:
            self.failure = ServerClosed(f"the connection was lost: {exc}")
        if not self.synced.done():
            self.synced.cancel()

    def fail(self, reason: str) -> NoReturn:
        """Note why and give the connection up."""
        self.failure = ServerClosed(reason)
        self.transport.abort()
        raise self.failure


async def open_socket(socket: Socket, address: tuple[str, int], path: str, token: str) -> bytes:
    """Connect `socket` to the library at `path` and return the update of its first step 2.

    Raises ServerClosed or OSError.
    """
    await asyncio.get_running_loop().create_connection(lambda: socket, *address)
    socket.upgrade(f"{address[0]}:{address[1]}", path, token)
    try:
        return await socket.synced
    except asyncio.CancelledError:
        if socket.failure is not None:
            raise socket.failure from None
        raise
