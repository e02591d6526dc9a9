"""`promptsync serve`: everything started in order, everything stopped in order, within ten seconds."""

import asyncio
import contextlib
import gc
import os
import secrets
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
import uvicorn

from server.app import Application
from server.config import Settings
from server.database import MIGRATIONS, STOP_SECONDS, forget_facts, keep_running, write_facts
from server.errors import ServerError
from server.heads import BoundedHttp
from server.keys import open_key_file
from server.services import make_services
from server.wire import WireProtocol
from storage import schema
from storage.cluster import claim
from storage.embedded import Embedded
from storage.folder_lock import FolderLock
from storage.libraries import draw_client_id
from storage.pool import Database

log = structlog.get_logger(__name__)

DRAIN_SECONDS = 2.5
"""What was taken before the signal is stored and acknowledged within this, or its devices send it again."""
GRACE_SECONDS = 1
"""What connections have after that to take their close."""
BACKLOG = 2048
COLLECT_AFTER = (20_000, 20, 50)
"""The garbage collector's thresholds: the hot path makes thousands of short-lived objects a second and hardly any cycle."""


class CannotListen(ServerError):
    """The address or port cannot be listened on."""


def serve(settings: Settings) -> None:
    """Run a server until SIGINT or SIGTERM.

    Raises:
        StorageError: the database, its schema or the key file does not allow a start; the text says why and what to do.
        CannotListen: the address is taken or not ours.
    """
    with contextlib.ExitStack() as stack:
        if settings.database_url is not None:
            asyncio.run(_serve(settings, settings.database_url.get_secret_value(), None))
            return
        stack.enter_context(FolderLock(settings.data_dir))
        embedded = Embedded(settings.data_dir)
        stack.callback(embedded.stop, STOP_SECONDS)
        with _uninterrupted():
            dsn = embedded.start()
        if embedded.notice:
            print(embedded.notice, flush=True)
        asyncio.run(_serve(settings, dsn, embedded))


async def _serve(settings: Settings, dsn: str, embedded: Embedded | None) -> None:
    if embedded is None:
        await schema.check(dsn, MIGRATIONS)
    else:
        await schema.migrate(dsn, MIGRATIONS)
    database = await Database.open(dsn, size=settings.database_pool)
    try:
        key_file, made = await open_key_file(settings, database)
        keyring = key_file.live_keyring()
        async with database.acquire() as connection:
            claimed = await claim(connection, keyring, new_client_id=lambda: draw_client_id(os.urandom))
        if claimed.raised:
            log.warning("epochs_raised", libraries=claimed.raised, reason="the database is another or was put back")
        services = make_services(
            settings, database=database, keyring=keyring, signing_keys=[(key.id, key.seed) for key in key_file.signing]
        )
        try:
            listener = _listen(settings)
            try:
                await _run(settings, Application(services), listener, embedded, dsn, key_file_made=made)
            finally:
                listener.close()
        finally:
            services.passwords.close()
    finally:
        await database.close()


async def _run(
    settings: Settings, app: Application, listener: socket.socket, embedded: Embedded | None, dsn: str, *, key_file_made: bool
) -> None:
    server = _Server(_uvicorn_config(settings, app))
    gc.collect()
    gc.freeze()  # what was made so far lives as long as the process: a collection need not look at it again
    gc.set_threshold(*COLLECT_AFTER)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _on_signal, stop, server)
    host, port = listener.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    restarted = asyncio.Event()
    async with app.running(), asyncio.TaskGroup() as group:
        watch = group.create_task(_keep_facts(settings, embedded, url, port, dsn, restarted)) if embedded else None
        keeper = group.create_task(keep_running(embedded, restarted)) if embedded else None
        serving = group.create_task(server.serve(sockets=[listener]))
        stopping = group.create_task(_stop_in_order(stop, app, server))
        await server.listening.wait()
        if not serving.done():
            _say_hello(settings, url, key_file_made=key_file_made)
        await serving
        for task in (watch, keeper, stopping):
            if task is not None:
                task.cancel()
    if embedded is not None:
        forget_facts(settings.data_dir)


async def _stop_in_order(stop: asyncio.Event, app: Application, server: "_Server") -> None:
    """On a signal: store and acknowledge what was taken, then close the connections."""
    await stop.wait()
    log.info("stopping")
    await app.writer.drain(DRAIN_SECONDS)
    server.should_exit = True


def _on_signal(stop: asyncio.Event, server: "_Server") -> None:
    if stop.is_set():
        server.force_exit = True  # asked twice: do not wait for connections
    stop.set()


async def _keep_facts(settings: Settings, embedded: Embedded, url: str, port: int, dsn: str, restarted: asyncio.Event) -> None:
    while True:
        restarted.clear()
        try:
            write_facts(settings.data_dir, pid=os.getpid(), port=port, url=url, postgres_pid=embedded.pid, database=dsn)
        except OSError as error:  # a full disk is no reason to send devices away: PostgreSQL may have room
            log.error("server_json_not_written", reason=error.strerror)
        await restarted.wait()


class _Server(uvicorn.Server):
    """uvicorn's server, with the signals left to us and an event for the moment it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets=sockets)
        finally:
            self.listening.set()


def _uvicorn_config(settings: Settings, app: Application) -> uvicorn.Config:
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
    }
    return uvicorn.Config(app, **options)


def _listen(settings: Settings) -> socket.socket:
    try:
        infos = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = infos[0]
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:  # the latter of a name with a label that is empty or too long
        reason = error.strerror if isinstance(error, OSError) else "no such name"
        raise CannotListen(f"cannot listen on {settings.host}:{settings.port}: {reason}; choose another with HOST and PORT") from error


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """SIGTERM during the start ends it like Ctrl-C does, so that what was started is stopped again."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _say_hello(settings: Settings, url: str, *, key_file_made: bool) -> None:
    if key_file_made:
        print(f"Made {settings.key_path}: it seals everything. Keep a copy apart from the database; without it the data is lost.")
    print(
        f"promptsync is ready on {url}  (devices: {url.replace('http', 'ws', 1)}/sync/<library id>)\n"
        f"  Make an account:  curl -s {url}/api/auth/register -H 'content-type: application/json' \\\n"
        f"""                      -d '{{"email": "me@example.com", "password": "{secrets.token_urlsafe(9)}"}}'\n"""
        f"  Then connect any Yjs client: see README.md, quick start. Stop with Ctrl-C.",
        flush=True,
    )
