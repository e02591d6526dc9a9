"""Where the database is: an external one, or the embedded one, which this process starts, watches over and stops."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

import structlog

from server.config import Settings, load_settings
from storage import schema
from storage.cluster import claim
from storage.embedded import Embedded
from storage.errors import DataFolderBusy, EmbeddedFailed
from storage.keyring import Keyring
from storage.libraries import draw_client_id
from storage.pool import Connection, Database
from storage.privatefile import replace_private

T = TypeVar("T")
Beside = Callable[[], Awaitable[None]]
"""Work that runs beside a server until cancelled."""

log = structlog.get_logger(__name__)

MIGRATIONS = Path(__file__).resolve().parents[1] / "migrations"
FACTS_FILE = "server.json"
WATCH_SECONDS = 0.25
"""How often it is asked whether PostgreSQL still runs."""


@contextmanager
def reachable_dsn(settings: Settings) -> Iterator[str]:
    """The address of the database, for a command: the external one, the one a running server has started, or started for the time.

    Raises:
        EmbeddedFailed: the embedded PostgreSQL cannot be started.
        DataFolderBusy: a server is just starting or stopping.
    """
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    embedded = Embedded(settings.data_dir)
    try:
        dsn = embedded.start()
    except DataFolderBusy:
        running = read_facts(settings.data_dir).get("database")
        if not isinstance(running, str):
            raise
        yield running
        return
    try:
        yield dsn
    finally:
        embedded.stop()


def ask(question: Callable[[Connection], Awaitable[T]]) -> T:
    """Ask the database something, for a command.

    Raises:
        SchemaMismatch: the database is not of this version.
        StorageError: it cannot be reached; as `reachable_dsn`.
    """

    async def asked(dsn: str) -> T:
        async with opened(dsn) as database, database.acquire() as connection:
            return await question(connection)

    with reachable_dsn(load_settings()) as dsn:
        return asyncio.run(asked(dsn))


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[Database]:
    """The database of a command, closed at the end. Raises SchemaMismatch, StorageError."""
    await schema.check(dsn, MIGRATIONS)
    database = await Database.open(dsn, size=2)
    try:
        yield database
    finally:
        await database.close()


async def claim_database(database: Database, keyring: Keyring) -> None:
    """Make sure that these keys seal this database, and that it was not put back to an earlier time.

    Raises:
        WrongKeys: other keys do.
        Unavailable: it cannot be asked.
    """
    async with database.acquire() as connection:
        claimed = await claim(connection, keyring, new_client_id=lambda: draw_client_id(os.urandom))
    if claimed.raised:
        log.warning("epochs_raised", libraries=claimed.raised, reason="the database is another or was put back")


def write_facts(data_dir: Path, **facts: object) -> None:
    """Tell commands and supervisors about the running server: `<data_dir>/server.json`, 0600, replaced in one step. Raises OSError."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_private(data_dir / FACTS_FILE, json.dumps(facts).encode() + b"\n")


async def keep_facts(data_dir: Path, facts: Callable[[], dict[str, object]], changed: asyncio.Event) -> None:
    """Write what `facts` says of the running server now, and again whenever something has `changed`."""
    while True:
        changed.clear()
        try:
            write_facts(data_dir, pid=os.getpid(), **facts())
        except OSError as error:  # a full disk is no reason to send devices away: PostgreSQL may have room
            log.error("server_json_not_written", reason=error.strerror)
        await changed.wait()


def read_facts(data_dir: Path) -> dict[str, object]:
    """What the last server wrote; empty when there is nothing readable."""
    try:
        facts = json.loads((data_dir / FACTS_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def forget_facts(data_dir: Path) -> None:
    """The server has stopped."""
    with contextlib.suppress(FileNotFoundError):
        (data_dir / FACTS_FILE).unlink()


async def keep_running(embedded: Embedded, restarted: asyncio.Event) -> None:
    """Bring PostgreSQL back whenever it ends: the server goes on with what it holds, and stores it then."""
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        status = embedded.poll()
        if status is None:
            continue
        log.error("postgres_ended", status=status)
        try:
            await asyncio.to_thread(embedded.start)
        except (EmbeddedFailed, DataFolderBusy) as error:  # the latter while a command has it up for itself
            log.error("postgres_not_restarted", reason=str(error))
        else:
            log.warning("postgres_restarted", pid=embedded.pid)
            restarted.set()
