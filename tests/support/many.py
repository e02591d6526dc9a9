"""Several server processes on one PostgreSQL: started, stopped, paused, killed, and asked, each by itself.

The cluster is durable (every commit is synced to disk) and outlives the processes. Where a test wants it, each process reaches it through
a `Valve` of its own, which stalls, cuts, and counts.
"""

import asyncio
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import asyncpg

from storage.embedded import Embedded, remove
from storage.schema import migrate
from tests.support.database import SCRIPTS
from tests.support.server import COMMAND, ROOT, START_SECONDS, STOP_SECONDS, Server, ServerFailed, wait_until
from tests.support.valve import Valve, valve

_HELLO = re.compile(r"promptsync is ready on http://127\.0\.0\.1:(\d+)")
_BACKENDS = "SELECT pid, application_name FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


class Postgres:
    """A cluster of the test's own, which a test may kill and start again."""

    def __init__(self, folder: Path) -> None:
        self._cluster = Embedded(folder)
        self.dsn = ""

    async def start(self) -> None:
        """Bring it up, with our schema."""
        self.dsn = await asyncio.to_thread(self._cluster.start)
        await migrate(self.dsn, SCRIPTS)

    async def stop(self) -> None:
        await asyncio.to_thread(self._cluster.stop)

    @property
    def pid(self) -> int:
        """The postmaster."""
        pid = self._cluster.pid
        assert pid is not None, "PostgreSQL does not run"
        return pid

    async def kill9(self) -> None:
        """SIGKILL the postmaster; its backends notice and go."""
        os.kill(self.pid, signal.SIGKILL)
        await asyncio.to_thread(wait_until, lambda: self._cluster.pid is None, within=10, what="the end of PostgreSQL")

    async def crash_and_recover(self) -> None:
        """SIGKILL it and start it again on what it left."""
        await self.kill9()
        await asyncio.to_thread(self._cluster.start)

    async def restart(self) -> None:
        """Stop it in order, cutting everybody off, and start it again."""
        await asyncio.to_thread(self._cluster.stop)
        await asyncio.to_thread(self._cluster.start)

    def processes(self) -> list[int]:
        """The postmaster and its children."""
        return family(self.pid)

    @asynccontextmanager
    async def stalled(self) -> AsyncIterator[None]:
        """Nothing of it runs inside the block: connections stay open and nobody answers."""
        pids = self.processes()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    async def execute(self, statement: str, *arguments: object) -> str:
        """Change something behind everybody's back."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return str(await connection.execute(statement, *arguments))
        finally:
            await connection.close()

    async def fetch(self, statement: str, *arguments: object) -> list["asyncpg.Record"]:
        """Ask something behind everybody's back."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return await connection.fetch(statement, *arguments)
        finally:
            await connection.close()

    async def end_backends(self, name: str) -> int:
        """End every connection of this application name; how many there were."""
        ended = await self.fetch(f"SELECT pg_terminate_backend(pid) FROM ({_BACKENDS}) AS a WHERE application_name = $1", name)  # noqa: S608
        return len(ended)

    async def backends(self, name: str) -> int:
        """How many connections of this application name there are."""
        return sum(1 for row in await self.fetch(_BACKENDS) if row["application_name"] == name)


class Node(Server):
    """One server process on a database that others use as well. Its data folder holds nothing but what the process writes."""

    def __init__(self, dsn: str, keys: Path, *, env: Mapping[str, str] | None = None, options: Sequence[str] = ()) -> None:
        given = {"PROMPTSYNC_DATABASE_URL": dsn, "PROMPTSYNC_KEYS_FILE": str(keys)}
        super().__init__(env=given | dict(env or {}), options=options)
        self._read = 0

    def start(self, *, within: float = START_SECONDS) -> "Node":
        with suppress(FileNotFoundError):
            self._read = self.log_file.stat().st_size
        super().start(within=within)
        return self

    def _ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise ServerFailed(f"it ended with exit code {self.process.returncode}")
        said = _HELLO.search(self.said())
        if said is None:
            return False
        self.port = int(said[1])
        return self.answers("/healthz") and self.answers("/readyz")

    def said(self) -> str:
        """What it has printed since its last start."""
        with suppress(OSError), self.log_file.open("rb") as log:
            log.seek(self._read)
            return log.read().decode(errors="replace")
        return ""

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def pause(self) -> None:
        """SIGSTOP the process and its children: the machine it is on hangs."""
        assert self.process is not None
        for pid in family(self.process.pid):
            os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        for pid in family(self.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    async def stop(self) -> float:
        """SIGTERM; the seconds it took. Raises ServerFailed when it does not stop in order."""
        return await asyncio.to_thread(self.terminate)

    async def again(self) -> None:
        """Start it if it does not run."""
        if not self.running:
            await asyncio.to_thread(self.start)

    def resident_bytes(self) -> int:
        """Memory of the serving process (RSS)."""
        assert self.process is not None
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def metric(self, name: str) -> float:
        """The sum of a metric's samples, as `/metrics` has them; 0 when there are none."""
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        finally:
            connection.close()
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if re.match(rf"{name}(\{{|\s)", line))


class Fleet:
    """The processes, their database and what they share."""

    def __init__(self, postgres: Postgres, nodes: list[Node], valves: list[Valve], keys: Path) -> None:
        self.postgres, self.nodes, self.valves, self.keys = postgres, nodes, valves, keys

    async def restore(self) -> None:
        """After a case: all valves open, every process running."""
        for passing in self.valves:
            passing.open()
        for node in self.nodes:
            await node.again()

    async def all_answer(self, *, within: float = 30.0) -> float:
        """Wait until every process commits; the seconds it took."""
        began = time.monotonic()
        for node in self.nodes:
            await asyncio.to_thread(wait_until, lambda node=node: node.answers("/readyz"), within=within, what=f"readiness of {node.url}")  # type: ignore[misc]
        return time.monotonic() - began

    async def command(self, *arguments: str, within: float = 120.0) -> str:
        """Run `promptsync ...` on the same database and return what it printed; AssertionError when it fails."""
        env = self.nodes[0].environment()
        process = await asyncio.create_subprocess_exec(
            *COMMAND, *arguments, cwd=ROOT, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        try:
            printed, _ = await asyncio.wait_for(process.communicate(), within)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise AssertionError(f"{' '.join(arguments)} did not end within {within} s") from None
        text = printed.decode(errors="replace")
        assert process.returncode == 0, f"{' '.join(arguments)} ended with {process.returncode}:\n{text}"
        return text


@asynccontextmanager
async def fleet(count: int = 2, *, valves: bool = False, env: Mapping[str, str] | None = None) -> AsyncIterator[Fleet]:
    """`count` running processes on one PostgreSQL of their own; everything is removed afterwards.

    With `valves`, each reaches PostgreSQL through one of its own.
    """
    folder = Path(tempfile.mkdtemp(prefix="promptsync-many-"))
    postgres, nodes = Postgres(folder), list[Node]()
    try:
        async with AsyncExitStack() as stack:
            await postgres.start()
            passing = [await stack.enter_async_context(valve(postgres.dsn)) for _ in range(count if valves else 0)]
            addresses = [each.dsn for each in passing] or [postgres.dsn] * count
            nodes += [Node(address, folder / "keys.json", env=env) for address in addresses]
            for node in nodes:  # one after the other: the first makes the key file
                await asyncio.to_thread(node.start)
            try:
                yield Fleet(postgres, nodes, passing, folder / "keys.json")
            except BaseException as error:
                for number, node in enumerate(nodes):
                    error.add_note(f"process {number} printed:\n{node.output(last=3000)}")
                raise
            finally:
                for node in nodes:
                    await asyncio.to_thread(_end, node)
    finally:
        await postgres.stop()
        remove(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _end(node: Node) -> None:
    if node.running:
        node.resume()
    node.cleanup()


def family(pid: int) -> list[int]:
    """`pid` and every living descendant, parents first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for each in found:
        found += children.get(each, ())
    return found


__all__ = ["STOP_SECONDS", "Fleet", "Node", "Postgres", "family", "fleet"]
