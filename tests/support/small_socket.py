"""The small server on a real socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import websockets
from websockets.asyncio.server import Server, ServerConnection, serve

from tests.support.small_server import SmallPeer, SmallServer


class SmallSocket:
    """Where it listens, and how often it was connected to. `close_with` closes each socket with this code instead of serving it."""

    def __init__(self, small: SmallServer) -> None:
        self.small = small
        self.url = ""
        self.port = 0
        self.close_with: int | None = None
        self.paths: list[str] = []
        self.tokens: list[str] = []
        self.peers: list[SmallPeer] = []
        self.sockets: list[ServerConnection] = []

    async def handle(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        offered = socket.request.headers["Sec-WebSocket-Protocol"].split(", ")
        self.paths.append(socket.request.path)
        self.tokens.append(next(name for name in offered if name.startswith("bearer.")).removeprefix("bearer."))
        if self.close_with is not None:
            await socket.close(self.close_with, "told to")
            return
        peer = self.small.connect()
        self.peers.append(peer)
        self.sockets.append(socket)
        writer = asyncio.create_task(self._write(socket, peer))
        try:
            with suppress(websockets.ConnectionClosed):
                async for frame in socket:
                    assert isinstance(frame, bytes)
                    peer.receive(frame)
        finally:
            peer.gone()
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    async def _write(self, socket: ServerConnection, peer: SmallPeer) -> None:
        wake = asyncio.Event()
        peer.on_output = wake.set
        with suppress(websockets.ConnectionClosed):
            while True:
                wake.clear()
                while peer.outbox:
                    await socket.send(peer.outbox.popleft())
                await wake.wait()


@asynccontextmanager
async def small_socket(small: SmallServer | None = None, port: int = 0) -> AsyncIterator[SmallSocket]:
    """The small server, listening; a later one with the same store and port is the same after a restart."""
    listening = SmallSocket(small or SmallServer())
    options = {"subprotocols": ["promptsync.v1"], "compression": None, "max_size": None}
    async with serve(listening.handle, "127.0.0.1", port, **options) as server:  # type: ignore[arg-type]  # named one by one
        listening.port = _port(server)
        listening.url = f"http://127.0.0.1:{listening.port}"
        yield listening


def _port(server: Server) -> int:
    return int(next(iter(server.sockets)).getsockname()[1])
