"""Real databases for tests: one private cluster a test process, one migrated template, a fresh copy of it for each test.

A database is some five hundred files. Copying them takes 15 ms in memory, and up to 400 ms on a disk which has seen many come and go.
"""

import asyncio
import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from storage.embedded import Embedded, remove
from storage.errors import DataFolderBusy
from storage.folder_lock import FolderLock, make_private
from storage.schema import migrate

SCRIPTS = Path(__file__).parents[2] / "migrations"
TEMPLATE = "template_for_tests"
MEMORY = Path("/dev/shm")
"""Where Linux keeps files in memory."""
ENOUGH_MEMORY = 2 << 30
"""For the databases of a process (8 MiB each, those of a module's servers and of one test) and what the tests write into them."""

T = TypeVar("T")


def database_named(dsn: str, name: str) -> str:
    """The address of another database of the same cluster."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


class Databases:
    """Makes and drops databases of a cluster, for synchronous and asynchronous tests alike: it works on a thread of its own."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._numbers = itertools.count(1)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="test-databases", daemon=True)
        self._thread.start()
        self._admin: asyncpg.Connection[asyncpg.Record] = self.run(asyncpg.connect(database_named(dsn, "postgres")))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end on the thread, and return what it returns."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def create(self, template: str = "template1") -> str:
        """Make a database and return its address."""
        name = f"test_{next(self._numbers)}"
        self.run(self._admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy'))
        return database_named(self._dsn, name)

    def drop(self, dsn: str) -> None:
        """Drop a database, whoever is connected."""
        name = urlsplit(dsn).path.removeprefix("/")
        self.run(self._admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))

    def make_template(self) -> str:
        """Make the migrated database that tests copy, and return its name."""
        self.run(self._admin.execute(f'CREATE DATABASE "{TEMPLATE}"'))
        self.run(migrate(database_named(self._dsn, TEMPLATE), SCRIPTS))
        return TEMPLATE

    def close(self) -> None:
        """End the connection and the thread."""
        self.run(self._admin.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextmanager
def private_cluster() -> Iterator[str]:
    """A running cluster nobody else uses, as the address of its database; stopped and removed at the end."""
    with _slot() as folder:
        place = _place_in_memory(folder.name)
        _clear(folder, place)  # a run that was killed could not
        cluster = Embedded(folder, durable=False)
        try:
            dsn = cluster.start()
            if place is not None:
                assert cluster.data is not None
                place.mkdir(mode=0o700)
                os.chown(place, cluster.data.stat().st_uid, -1)
                asyncio.run(_keep_databases_in(place, dsn))
            yield dsn
        finally:
            cluster.stop()
            _clear(folder, place)


def _place_in_memory(name: str) -> Path | None:
    """Where a folder of that name may be made, or None where there is no room in memory."""
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < ENOUGH_MEMORY:
        return None
    base = MEMORY / f"promptsync-tests-{os.geteuid()}"
    base.mkdir(mode=0o711, exist_ok=True)  # PostgreSQL's account passes through
    return base / name


def _clear(folder: Path, place: Path | None) -> None:
    remove(folder)
    if place is not None and place.exists():
        shutil.rmtree(place)


async def _keep_databases_in(place: Path, dsn: str) -> None:
    """Let the databases that are made from now on lie in this folder."""
    connection = await asyncpg.connect(database_named(dsn, "postgres"))
    try:
        await connection.execute(f"CREATE TABLESPACE in_memory LOCATION '{place}'")
        await connection.execute("ALTER DATABASE template1 SET TABLESPACE in_memory")  # a new database lies where its template does
    finally:
        await connection.close()


@contextmanager
def _slot() -> Iterator[Path]:
    """The first folder that no other test process holds. Numbered, so that what killed runs leave is found and does not pile up."""
    base = Path(tempfile.gettempdir()) / f"promptsync-tests-{os.geteuid()}"
    make_private(base)
    for number in itertools.count():
        lock = FolderLock(base / str(number))
        try:
            lock.acquire()
        except DataFolderBusy:
            continue
        try:
            yield base / str(number)
        finally:
            lock.release()
        return
