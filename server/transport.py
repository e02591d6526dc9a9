"""The way in: the listening socket, and uvicorn on it with what we changed."""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from server.config import Settings
from server.errors import ServerError
from server.heads import BoundedHttp
from server.siblings import Siblings
from server.tls import Certificate
from server.wire import WireProtocol

BACKLOG = 2048
HANDSHAKE_SECONDS = 10.0
"""From a connection to the end of its TLS handshake; past it the connection is closed."""
GOODBYE_SECONDS = 2.0
"""What a peer has to answer the end of a TLS connection; past it the connection is aborted."""
GRACE_SECONDS = 1
"""What connections have to take their close when the server stops."""


class CannotListen(ServerError):
    """The address or port cannot be listened on."""


class Transport(uvicorn.Server):
    """uvicorn's server, with the signals left to us and an event for the moment it listens."""

    def __init__(self, settings: Settings, app: ASGIApp, siblings: Siblings | None = None, certificate: Certificate | None = None) -> None:
        """With a certificate it serves https and wss, and no connection goes on to `siblings`: its keys are this process's."""
        super().__init__(_config(settings, app, siblings if certificate is None else None))
        self._certificate = certificate
        self.listening = asyncio.Event()

    def taken_over(self, handed: bytes) -> BoundedHttp:
        """What serves a connection that another process has handed here."""
        return BoundedHttp(config=self.config, server_state=self.server_state, app_state=self.lifespan.state, handed=handed)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            if self._certificate is None:
                await super().startup(sockets=sockets)
            else:
                await self._listen_for_tls(self._certificate.context, sockets or [])
        finally:
            self.listening.set()

    async def _listen_for_tls(self, context: ssl.SSLContext, sockets: list[socket.socket]) -> None:
        """As uvicorn does it, with times of ours: by default a peer that says nothing has a minute."""
        await self.lifespan.startup()
        listen = partial(
            asyncio.get_running_loop().create_server,
            partial(self.taken_over, b""),  # nothing has been read, and it goes to nobody else
            ssl=context,
            backlog=BACKLOG,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
            ssl_shutdown_timeout=GOODBYE_SECONDS,
        )
        self.servers = [await listen(sock=sock) for sock in sockets]
        self.started = True


def _config(settings: Settings, app: ASGIApp, siblings: Siblings | None) -> uvicorn.Config:
    options: dict[str, Any] = {
        "http": partial(BoundedHttp, siblings=siblings),
        "ws": WireProtocol,
        "loop": "none",
        "lifespan": "off",
        "log_config": None,
        "access_log": False,
        "proxy_headers": False,
        "server_header": False,
        "date_header": False,
        "ws_per_message_deflate": False,  # 10 KB would inflate to 10 MB
        "ws_ping_interval": settings.ping_seconds,
        "ws_ping_timeout": settings.ping_seconds,
        "timeout_graceful_shutdown": GRACE_SECONDS,
        "timeout_keep_alive": settings.idle_seconds,
        "backlog": BACKLOG,
    }
    return uvicorn.Config(app, **options)


def listen(settings: Settings, *, sockets: int = 1) -> list[socket.socket]:
    """So many listening sockets on one address: the kernel gives each its even share of the connections.

    On one socket whoever wakes first takes all that wait: of 200 devices that came at once one of two processes took 179.

    Raises:
        CannotListen: the address is taken, or not ours; the text says what to set.
    """
    try:
        infos = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = infos[0]
        with ExitStack() as opened:
            made = [opened.enter_context(_bound(family, address, joins=False, joinable=sockets > 1))]
            while len(made) < sockets:
                made.append(opened.enter_context(_bound(family, made[0].getsockname(), joins=True, joinable=True)))
            for listener in made:
                listener.listen(BACKLOG)
            opened.pop_all()
            return made
    except (OSError, UnicodeError) as error:  # the latter of a name with a label that is empty or too long
        reason = error.strerror if isinstance(error, OSError) else "no such name"
        raise CannotListen(f"cannot listen on {settings.host}:{settings.port}: {reason}; choose another with HOST and PORT") from error


def _bound(family: int, address: Any, *, joins: bool, joinable: bool) -> socket.socket:
    """A bound socket. The first of ours joins nobody, so that a port that another server has counts as taken, though it were joinable."""
    # the protocol is named: by it asyncio knows that an accepted socket is to send small answers at once (TCP_NODELAY)
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(joins))
        made.bind(address)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(joinable))
    except BaseException:
        made.close()
        raise
    return made


def url_of(listener: socket.socket, *, tls: bool = False) -> str:
    """The address of what listens there."""
    host, port = listener.getsockname()[:2]
    return f"http{'s' if tls else ''}://{f'[{host}]' if ':' in host else host}:{port}"
