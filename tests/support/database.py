"""Real databases for tests: one private cluster a test process, one migrated template, a fresh copy of it for each test."""

import asyncio
import itertools
import os
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
        remove(folder)  # a run that was killed could not
        cluster = Embedded(folder, durable=False)
        try:
            yield cluster.start()
        finally:
            cluster.stop()
            remove(folder)


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
