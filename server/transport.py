"""The way in: the listening socket, and uvicorn on it with what we changed."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from server.config import Settings
from server.errors import ServerError
from server.heads import BoundedHttp
from server.wire import WireProtocol

BACKLOG = 2048
GRACE_SECONDS = 1
"""What connections have to take their close when the server stops."""


class CannotListen(ServerError):
    """The address or port cannot be listened on."""


class Transport(uvicorn.Server):
    """uvicorn's server, with the signals left to us and an event for the moment it listens."""

    def __init__(self, settings: Settings, app: ASGIApp) -> None:
        super().__init__(_config(settings, app))
        self.listening = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets=sockets)
        finally:
            self.listening.set()


def _config(settings: Settings, app: ASGIApp) -> uvicorn.Config:
    options: dict[str, Any] = {
        "http": BoundedHttp,
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
        "timeout_keep_alive": 30,
        "backlog": BACKLOG,
    }
    return uvicorn.Config(app, **options)


def listen(settings: Settings) -> socket.socket:
    """The listening socket.

    Raises:
        CannotListen: the address is taken, or not ours; the text says what to set.
    """
    try:
        infos = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = infos[0]
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:  # the latter of a name with a label that is empty or too long
        reason = error.strerror if isinstance(error, OSError) else "no such name"
        raise CannotListen(f"cannot listen on {settings.host}:{settings.port}: {reason}; choose another with HOST and PORT") from error


def url_of(listener: socket.socket) -> str:
    """The address of what listens there."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
