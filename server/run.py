"""`promptsync serve`: everything started in order, everything stopped in order, within ten seconds."""

import asyncio
import contextlib
import resource
import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from server.ai.shared_models import load_shared_models
from server.config import Settings
from server.database import MIGRATIONS, Beside, claim_database, forget_facts, keep_facts, keep_running
from server.keys import open_key_file
from server.stopping import Stop
from server.supervisor import Supervisor
from server.tls import certificate_of
from server.transport import listen, url_of
from storage import capacity, schema
from storage.embedded import Embedded
from storage.folder_lock import FolderLock
from storage.pool import Database

CONNECTIONS_BESIDE_POOL = 6
"""What a process may hold besides its pool: two to write, one each for the bus, compaction and jobs, and one being replaced."""
CONNECTIONS_OF_OTHERS = 10
"""What is kept free in the embedded PostgreSQL: for commands, the start, and a connection whose end it has not noticed yet."""
LEAST_CONNECTIONS = 100


def allow_many_descriptors() -> None:
    """Let this process and those it starts hold as many sockets as the system allows: the soft limit is 1,024 in many places."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def connections_needed(settings: Settings) -> int:
    """How many connections to the database all processes of this server may hold at a time."""
    return settings.workers * (settings.database_pool + CONNECTIONS_BESIDE_POOL)


def serve(settings: Settings) -> None:
    """Run a server until SIGINT or SIGTERM.

    Raises:
        StorageError: the database, its schema or the key file does not allow a start; the text says why and what to do.
        ServerError: the address is taken or not ours, the certificate or the models file cannot be used, or another setting does not fit.
    """
    certificate_of(settings)  # what is wrong with it is said before anything is opened
    load_shared_models(settings)
    allow_many_descriptors()
    if settings.workers == 1:
        # Most of what a start takes, and before anything is opened. The parent of several processes needs none of it, so not above.
        import server.process  # noqa: F401
    stop = Stop()
    with contextlib.ExitStack() as stack:
        if settings.database_url is not None:
            asyncio.run(_serve(settings, settings.database_url.get_secret_value(), None, stop))
            return
        stack.enter_context(FolderLock(settings.data_dir))
        connections = max(LEAST_CONNECTIONS, connections_needed(settings) + CONNECTIONS_OF_OTHERS)
        embedded = Embedded(settings.data_dir, max_connections=connections)
        stack.callback(lambda: embedded.stop(stop.database_seconds))
        with _uninterrupted():
            dsn = embedded.start()
        if embedded.notice:
            print(embedded.notice, flush=True)
        asyncio.run(_serve(settings, dsn, embedded, stop))


async def _serve(settings: Settings, dsn: str, embedded: Embedded | None, stop: Stop) -> None:
    key_file_made = await _prepare(settings, dsn, embedded)
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(listener) for listener in listen(settings, sockets=settings.workers)]
        url = url_of(listeners[0], tls=settings.tls_cert is not None)
        changed = asyncio.Event()
        supervisor = Supervisor(settings, dsn, listeners, changed.set) if settings.workers > 1 else None
        beside: tuple[Beside, ...] = ()
        if embedded is not None:
            port = listeners[0].getsockname()[1]

            def facts() -> dict[str, object]:
                serving = supervisor.pids if supervisor is not None else []
                return {"port": port, "url": url, "postgres_pid": embedded.pid, "database": dsn, "workers": serving}

            beside = (lambda: keep_facts(settings.data_dir, facts, changed), lambda: keep_running(embedded, changed))

        def ready() -> None:
            _say_hello(settings, url, key_file_made=key_file_made)

        if supervisor is None:
            from server.process import serve_until_stopped  # imported above

            await serve_until_stopped(settings, dsn, listeners[0], stop, ready=ready, beside=beside)
        else:
            await supervisor.run(stop, ready=ready, beside=beside)
    if embedded is not None:
        forget_facts(settings.data_dir)


async def _prepare(settings: Settings, dsn: str, embedded: Embedded | None) -> bool:
    """All that is done once, however many processes serve then; whether a key file was made."""
    if settings.redis_url is not None:
        from server.redis_bus import check_address

        check_address(settings.redis_url)
    if embedded is None:
        (await capacity.facts(dsn)).check(needed=connections_needed(settings))
        await schema.check(dsn, MIGRATIONS)
    else:
        await schema.migrate(dsn, MIGRATIONS)
    database = await Database.open(dsn, size=1)
    try:
        key_file, made = await open_key_file(settings, database)
        await claim_database(database, key_file.live_keyring())
    finally:
        await database.close()
    return made


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
