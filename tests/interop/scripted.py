"""A server of promptsync.v1 that says what a test tells it to, when the test tells it to."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeVar
from uuid import UUID

from websockets import Subprotocol
from websockets.sync.server import ServerConnection, serve

from protocol.codec import decode_from_client, encode
from protocol.messages import FromClient, FromServer, Hello, Limits, Open, Opened, Ping, Presence, Welcome

Kind = TypeVar("Kind", bound=FromClient)
LIBRARY = UUID("6f1b2a3c-0000-4000-8000-000000000001")
LIMITS = Limits(update=32 << 20, part=1 << 20, channels=64, presence=64 << 10)
WAIT_SECONDS = 10.0


class ScriptedServer:
    """Takes one socket after the other."""

    def __init__(self) -> None:
        self._sockets: SimpleQueue[ServerConnection] = SimpleQueue()
        self._socket: ServerConnection | None = None
        self._over = threading.Event()
        self.url = ""

    def handle(self, socket: ServerConnection) -> None:
        """Keep a socket open until the test is over; the test's thread reads and writes."""
        self._sockets.put(socket)
        self._over.wait()

    def end(self) -> None:
        self._over.set()

    def welcome(self) -> None:
        """Take the next socket."""
        self._socket = self._sockets.get(timeout=WAIT_SECONDS)
        self.heard(Hello)
        self.say(Welcome(session=LIBRARY, user=LIBRARY, limits=LIMITS, time=0))

    def greet(self) -> Open:
        """Take the next socket and return what it opens."""
        self.welcome()
        return self.heard(Open)

    def opened(self, *, epoch: int = 1, head: int = 0, vector: bytes = b"\x00") -> None:
        """Say that the library is open."""
        self.say(Opened(channel=0, library=LIBRARY, role="owner", epoch=epoch, head=head, vector=vector))

    def say(self, *messages: FromServer) -> None:
        assert self._socket is not None
        for message in messages:
            self._socket.send(encode(message))

    def heard(self, kind: type[Kind]) -> Kind:
        """The client's next message, presence and pings left out, which has to be of this kind."""
        message = self.next()
        assert isinstance(message, kind), message
        return message

    def next(self, *, within: float = WAIT_SECONDS) -> FromClient:
        """The client's next message; raise TimeoutError when none comes."""
        assert self._socket is not None
        while True:
            frame = self._socket.recv(timeout=within)
            assert isinstance(frame, bytes)
            message = decode_from_client(frame)
            if not isinstance(message, Presence | Ping):
                return message

    def hang_up(self, code: int) -> None:
        """Close the socket."""
        assert self._socket is not None
        self._socket.close(code)


@contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    """A server on a port of its own."""
    server = ScriptedServer()
    handler: Callable[[ServerConnection], None] = server.handle
    with serve(handler, "127.0.0.1", 0, subprotocols=[Subprotocol("promptsync.v1")], compression=None) as listener:
        server.url = f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/sync"
        thread = threading.Thread(target=listener.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.end()
            listener.shutdown()
            thread.join()
