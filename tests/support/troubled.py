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

import asyncpg

from storage.cluster import claim
from storage.embedded import Embedded, remove
from storage.schema import migrate
from tests.support.core import new_keyring, until
from tests.support.database import SCRIPTS
from tests.support.stalling_proxy import StallingProxy

LANES = ("promptsync small", "promptsync large")
TINY_BYTES = 24 << 20
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
        filler = self._tiny / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(1 << 16))
        with filler.open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"\0")
        try:
            yield
        finally:
            filler.unlink()

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
        await self.ask(f"CREATE TABLESPACE tiny LOCATION '{self._tiny}/log'")
        for part in range(16):
            await self.ask(f"ALTER TABLE updates_{part} SET TABLESPACE tiny")


def _children(pid: int) -> list[int]:
    return [int(child) for child in subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=True).stdout.split()]


def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="promptsync-test-"))
    folder.chmod(0o711)  # PostgreSQL's account passes through
    return folder


@contextmanager
def _tiny_file_system(uid: int, folder: Path) -> Iterator[Path]:
    place = folder / "tiny"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={TINY_BYTES},mode=0711", "tmpfs", str(place)], check=True)
    try:
        log = place / "log"
        log.mkdir(mode=0o700)
        os.chown(log, uid, -1)
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@asynccontextmanager
async def troubled(start_proxy: Callable[[str], AbstractAsyncContextManager[StallingProxy]]) -> AsyncIterator[Troubled]:
    """A migrated cluster of its own behind a proxy; where we may mount, its log lies in a place that can be filled."""
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
            with _tiny_file_system(cluster.data.stat().st_uid, folder) as tiny:
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
