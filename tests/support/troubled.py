"""A server whose PostgreSQL gets into real trouble and out of it: stalled, away, restarted, read-only, full, frozen."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from uuid import UUID

import asyncpg

from storage.cluster import claim
from storage.embedded import Embedded, remove
from storage.schema import migrate
from tests.support.core import new_keyring, until
from tests.support.database import SCRIPTS
from tests.support.stalling_proxy import StallingProxy

LANES = ("promptsync small", "promptsync large")
TINY_BYTES = 24 << 20
WAL_BYTES = 112 << 20
"""Seven segments: PostgreSQL keeps five."""
CAN_MOUNT = os.geteuid() == 0


class Troubled:
    """A cluster of its own, reached through a proxy, and what can happen to it. Each trouble is a context manager."""

    def __init__(self, cluster: Embedded, direct_dsn: str, proxy: StallingProxy, tiny: Path | None) -> None:
        self.cluster = cluster
        self.direct_dsn = direct_dsn
        self.proxy = proxy
        self.keyring = new_keyring()
        """What its content is sealed with: a server that comes back asks whether the keys are its own."""
        self._tiny = tiny
        self.kinds: dict[str, Callable[[], AbstractAsyncContextManager[None]]] = {
            "stalled": lambda: self.stalled(),
            "stalled on the way there": lambda: self.stalled(back=False),
            "stalled on the way back": lambda: self.stalled(there=False),
            "away": self.away,
            "killed": lambda: self.stopped(signal.SIGKILL),
            "restarted": lambda: self.stopped(signal.SIGQUIT),
            "read-only": self.read_only,
            "full": self.full,
            "full with its journal": self.journal_full,
            "frozen writers": self.frozen_writers,
            "frozen": self.frozen,
        }

    async def ask(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Ask the database itself, past the proxy."""
        connection = await asyncpg.connect(self.direct_dsn)
        try:
            return list(await connection.fetch(statement, *arguments))
        finally:
            await connection.close()

    @asynccontextmanager
    async def stalled(self, *, there: bool = True, back: bool = True) -> AsyncIterator[None]:
        """Nothing passes, and nobody is told."""
        if there:
            self.proxy.to_server.stall()
        if back:
            self.proxy.to_client.stall()
        try:
            yield
        finally:
            self.proxy.go()

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Connections break, and new ones are turned away."""
        self.proxy.refusing = True
        self.proxy.cut_all()
        try:
            yield
        finally:
            self.proxy.refusing = False

    @asynccontextmanager
    async def stopped(self, number: signal.Signals) -> AsyncIterator[None]:
        """The postmaster ends without a checkpoint, and is started again afterwards."""
        assert self.cluster.pid is not None
        os.kill(self.cluster.pid, number)
        await until(lambda: self.cluster.poll() is not None, "the end of PostgreSQL")
        try:
            yield
        finally:
            await asyncio.to_thread(self.cluster.start)

    @asynccontextmanager
    async def read_only(self) -> AsyncIterator[None]:
        """As a standby is, or a database whose provider has shut its door."""
        await self._configure("ALTER SYSTEM SET default_transaction_read_only = on")
        try:
            yield
        finally:
            await self._configure("ALTER SYSTEM RESET default_transaction_read_only")

    async def _configure(self, statement: str) -> None:
        connection = await asyncpg.connect(self.direct_dsn, server_settings={"default_transaction_read_only": "off"})
        try:
            await connection.execute(statement)
            await connection.execute("SELECT pg_reload_conf()")
        finally:
            await connection.close()

    @asynccontextmanager
    async def full(self) -> AsyncIterator[None]:
        """The file system that holds the log has no byte left."""
        assert self._tiny is not None
        with _filled(self._tiny):
            yield

    @asynccontextmanager
    async def journal_full(self) -> AsyncIterator[None]:
        """The file system that holds the write-ahead log has no byte left: PostgreSQL ends itself, and cannot come back."""
        assert self._tiny is not None
        with _filled(self._tiny.with_name("wal")):
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                while True:
                    await self.ask("SELECT pg_logical_emit_message(true, 'x', 'x'), pg_switch_wal()")
            await until(lambda: self.cluster.poll() is not None, "the end of PostgreSQL", within=30)
            yield
        await asyncio.to_thread(self.cluster.start)

    @asynccontextmanager
    async def damaged(self, library_id: UUID) -> AsyncIterator[None]:
        """Every page of the table that holds this library's log is spoilt, while PostgreSQL did not look."""
        (row,) = await self.ask(
            "SELECT pg_relation_filepath(tableoid::regclass) AS path FROM updates WHERE library_id = $1 LIMIT 1", library_id
        )
        assert self.cluster.data is not None
        file = self.cluster.data / row["path"]
        await asyncio.to_thread(self.cluster.stop)
        whole = file.read_bytes()
        file.write_bytes(bytes(byte ^ 0x55 for byte in whole))
        await asyncio.to_thread(self.cluster.start)
        try:
            yield
        finally:
            await asyncio.to_thread(self.cluster.stop)
            file.write_bytes(whole)
            await asyncio.to_thread(self.cluster.start)

    @asynccontextmanager
    async def frozen_writers(self) -> AsyncIterator[None]:
        """The processes that store do not run; the others do."""
        rows = await self.ask("SELECT pid FROM pg_stat_activity WHERE application_name = ANY($1)", LANES)
        async with self._frozen([row["pid"] for row in rows]):
            yield

    @asynccontextmanager
    async def frozen(self) -> AsyncIterator[None]:
        """No process of PostgreSQL runs."""
        assert self.cluster.pid is not None
        async with self._frozen([self.cluster.pid, *_children(self.cluster.pid)]):
            yield

    @asynccontextmanager
    async def _frozen(self, pids: list[int]) -> AsyncIterator[None]:
        assert pids
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    async def begin(self) -> None:
        """Let the database know its keys."""
        connection = await asyncpg.connect(self.direct_dsn)
        try:
            await claim(connection, self.keyring, new_client_id=lambda: 1 << 31)
        finally:
            await connection.close()

    async def keep_the_log_in_a_tiny_place(self) -> None:
        """Move the log of updates to a file system of its own."""
        await self.ask(f"CREATE TABLESPACE tiny LOCATION '{self._tiny}/data'")
        for part in range(16):
            await self.ask(f"ALTER TABLE updates_{part} SET TABLESPACE tiny")


def _children(pid: int) -> list[int]:
    return [int(child) for child in subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=True).stdout.split()]


def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="promptsync-test-"))
    folder.chmod(0o711)  # PostgreSQL's account passes through
    return folder


@contextmanager
def _filled(place: Path) -> Iterator[None]:
    """Not a byte is left on this file system."""
    filler = place / "filler"
    for size in (1 << 16, 1):
        with filler.open("ab", buffering=0) as file, suppress(OSError):
            while file.write(bytes(size)):
                pass
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def _file_system(place: Path, size: int, uid: int) -> Iterator[Path]:
    """A file system of its own, with a folder `data` for PostgreSQL's account."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0711", "tmpfs", str(place)], check=True)
    try:
        (place / "data").mkdir(mode=0o700)
        os.chown(place / "data", uid, -1)
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def _move_journal(data: Path, place: Path) -> None:
    """Let the write-ahead log of a cluster that is stopped lie elsewhere."""
    journal = data / "pg_wal"
    subprocess.run(["cp", "-a", f"{journal}/.", str(place)], check=True)
    shutil.rmtree(journal)
    journal.symlink_to(place)


@asynccontextmanager
async def troubled(start_proxy: Callable[[str], AbstractAsyncContextManager[StallingProxy]]) -> AsyncIterator[Troubled]:
    """A migrated cluster of its own behind a proxy; where we may mount, its data and its journal lie in places that can be filled."""
    folder = _folder()
    cluster = Embedded(folder / "data", durable=False)
    try:
        dsn = await asyncio.to_thread(cluster.start)
        await migrate(dsn, SCRIPTS)
        assert cluster.data is not None
        async with start_proxy(dsn) as proxy:
            if not CAN_MOUNT:
                made = Troubled(cluster, dsn, proxy, None)
                await made.begin()
                yield made
                return
            uid = cluster.data.stat().st_uid
            with _file_system(folder / "tiny", TINY_BYTES, uid) as tiny, _file_system(folder / "wal", WAL_BYTES, uid) as wal:
                await asyncio.to_thread(cluster.stop)
                _move_journal(cluster.data, wal / "data")
                await asyncio.to_thread(cluster.start)
                made = Troubled(cluster, dsn, proxy, tiny)
                await made.begin()
                await made.keep_the_log_in_a_tiny_place()
                try:
                    yield made
                finally:
                    await asyncio.to_thread(cluster.stop)
    finally:
        await asyncio.to_thread(cluster.stop)
        remove(folder / "data")
        shutil.rmtree(folder)
