"""A TCP connection, with TLS or without, as httpcore2 wants one: what comes is read by the loop as it comes, and waits here.

In the place of httpcore2's own by anyio, which watches the socket anew and opens two cancel scopes for every piece that is read: of a
stream of tokens that was a sixth of all the work.
"""

import asyncio
import select
import ssl
from typing import Any

import httpcore2

from server.moving_deadline import MovingDeadline

MAX_WAITING_BYTES = 256 << 10
"""Of what has come and nobody has read yet. Past it nothing is read from the socket: the other side has to wait."""


class Connection(asyncio.Protocol, httpcore2.AsyncNetworkStream):
    """A connection. Made by `connected`."""

    def __init__(self) -> None:
        self._transport: Any = None  # of asyncio or of uvloop, whose transports have no common type
        self._received = bytearray()
        self._is_paused = False
        self._ended = False
        self._error: Exception | None = None
        self._more: asyncio.Future[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._patience = MovingDeadline(self._give_up)

    # --- what httpcore2 does with it

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """What has come, up to so many bytes; nothing once the other side has ended.

        Raises:
            httpcore2.ReadTimeout: nothing comes for so many seconds.
            httpcore2.ReadError: the connection broke.
        """
        if not self._received and not self._ended:
            await self._wait(timeout)
        if not self._received and self._error is not None:
            raise httpcore2.ReadError(type(self._error).__name__) from self._error
        data = bytes(self._received[:max_bytes])
        del self._received[:max_bytes]
        if self._is_paused and len(self._received) < MAX_WAITING_BYTES:
            self._is_paused = False
            self._transport.resume_reading()
        return data

    async def _wait(self, timeout: float | None) -> None:
        self._more = asyncio.get_running_loop().create_future()
        if timeout is not None:
            self._patience.move(timeout)
        try:
            await self._more
        finally:
            self._more = None
            self._patience.lift()

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send this.

        Raises:
            httpcore2.WriteTimeout: the other side takes nothing for so many seconds.
            httpcore2.WriteError: the connection broke, or has ended.
        """
        if not buffer:
            return
        if not self._ended:
            self._transport.write(buffer)
        if not self._writable.is_set():
            try:
                async with asyncio.timeout(timeout):
                    await self._writable.wait()
            except TimeoutError as error:
                raise httpcore2.WriteTimeout from error
        if self._ended:
            raise httpcore2.WriteError("the connection has ended") from self._error

    async def aclose(self) -> None:
        """End it at once, whatever is still on its way."""
        self._patience.close()
        self._transport.abort()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        """The same connection with TLS.

        Raises httpcore2.ConnectTimeout, httpcore2.ConnectError. The connection is closed then.
        """
        loop = asyncio.get_running_loop()
        try:
            if self._received:  # in the clear, by anybody: it would count as said by whom the certificate names
                raise ConnectionAbortedError("something came before the handshake")
            if self._ended:  # the handshake would wait for an answer until its time is over
                raise ConnectionAbortedError("it ended before the handshake")
            async with asyncio.timeout(timeout):
                self._transport = await loop.start_tls(self._transport, self, ssl_context, server_hostname=server_hostname)
        except TimeoutError as error:
            await self.aclose()
            raise httpcore2.ConnectTimeout from error
        except OSError as error:
            await self.aclose()
            raise httpcore2.ConnectError(str(error)) from error
        except BaseException:
            await self.aclose()
            raise
        return self

    def get_extra_info(self, info: str) -> Any:
        """`ssl_object`, `socket`, `client_addr`, `server_addr`; `is_readable`: whether something has come that nobody has asked for, or
        the other side has ended: such a connection is not used again."""
        match info:
            case "is_readable":
                return bool(self._received) or self._ended or self._transport.is_closing() or self._has_come()
            case "client_addr":
                return self._transport.get_extra_info("sockname")
            case "server_addr":
                return self._transport.get_extra_info("peername")
            case _:
                return self._transport.get_extra_info(info)

    def _has_come(self) -> bool:
        """Whether the socket has something that the loop has not read yet."""
        socket = self._transport.get_extra_info("socket")
        if socket is None or socket.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(socket.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def _give_up(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_exception(httpcore2.ReadTimeout())

    # --- what the loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) >= MAX_WAITING_BYTES and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._error = exc
        self._writable.set()
        self._wake()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)


async def connected(address: str, port: int, timeout: float | None) -> Connection:
    """A connection to this address, which is none that has to be looked up, within so many seconds.

    Raises httpcore2.ConnectTimeout, httpcore2.ConnectError.
    """
    try:
        async with asyncio.timeout(timeout):
            _, connection = await asyncio.get_running_loop().create_connection(Connection, address, port)
    except TimeoutError as error:
        raise httpcore2.ConnectTimeout from error
    except OSError as error:
        raise httpcore2.ConnectError(type(error).__name__) from error
    return connection
