"""What large work in the background costs somebody in another library: compaction of a long or large one, and the purge of a deleted one.

One pair of devices exchanges edits all the while, one at a time. Its latencies are told apart by when they were measured: inside the
work, from what starts it until the database shows that it is done, or outside of it. So both numbers are of one server and one run.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from benchmarks.edits import Typist
from benchmarks.job import until
from benchmarks.opening import Filler
from benchmarks.scenarios import Plan, Row, Subject, measure
from benchmarks.sockets import client_frame, open_socket
from crdt.replica import Replica
from tests.support.server import Account, Server

ROWS = 10_000
AT_ONCE = 500
LARGE_BYTES = 7_000_000
PURGED_ROWS = 100_000
LOOK_SECONDS = 0.05
WORK_SECONDS = 60.0
"""Work that takes longer is given up, and so is the measurement."""
QUIET_SECONDS = 2.0
"""Between two works, and before the first: what is measured here is what the works are compared with."""
NEVER = {"compact_updates": str(1 << 40), "compact_bytes": str(1 << 50)}

_COMPACTED = "SELECT EXISTS (SELECT 1 FROM snapshots WHERE library_id = $1 AND verified_at IS NOT NULL)"
_PURGED = "SELECT NOT EXISTS (SELECT 1 FROM updates WHERE library_id = $1)"
# Behind the seed, which every library begins with.
_FILL = """
    INSERT INTO updates (library_id, seq, epoch, session_id, sealed)
    SELECT $1, seq, 1, NULL, decode(repeat(md5(seq::text), 6), 'hex') FROM generate_series(2, $2) AS seq
"""
_HEAD = "UPDATE libraries SET head = $2 WHERE id = $1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Something large that goes on in the background."""

    name: str
    fill: Callable[[Server, Account, str], None]
    settings: dict[str, str]
    """What the server that does it is started with, so that it does nothing else."""
    begin: Callable[[Server, Account, str], None]
    done: str
    """The question to the database that is true once it is done; the library is its parameter."""


def _fill_with_edits(server: Server, account: Account, library: str) -> None:
    async def send() -> None:
        socket, payloads = Filler(), Typist(1_000_000, "long").take(0, ROWS)
        await open_socket(socket, ("127.0.0.1", server.port), f"/sync/{library}", account.sync_token)
        for sent in range(0, ROWS, AT_ONCE):
            socket.transport.write(b"".join(map(client_frame, payloads[sent : sent + AT_ONCE])))
            await until(lambda: socket.failure is not None or socket.echoed >= sent + AT_ONCE, what="echoes")  # noqa: B023
            if socket.failure is not None:
                raise socket.failure
        socket.leave()

    asyncio.run(send())


def _fill_with_a_large_update(server: Server, account: Account, library: str) -> None:
    replica = Replica(client_id=7)
    for number in range(LARGE_BYTES // 10_000):
        replica.write_prompt(f"prompt {number}", f"You are a careful translator, number {number}. " * 217)
    server.upload(account, library, replica.dump())


def _fill_with_rows(server: Server, account: Account, library: str) -> None:
    async def insert() -> None:
        connection = await asyncpg.connect(server.facts()["database"])
        await connection.execute(_FILL, UUID(library), PURGED_ROWS)
        await connection.execute(_HEAD, UUID(library), PURGED_ROWS)
        await connection.close()

    asyncio.run(insert())


def _write_once(server: Server, account: Account, library: str) -> None:
    server.upload(account, library, Replica().write_prompt("one more", "x"))


def _delete(server: Server, account: Account, library: str) -> None:
    status, _ = server.request("DELETE", f"/api/libraries/{library}", token=account.access_token)
    assert status == 204, status


WORKS = (
    Work(
        name=f"{ROWS:,} updates are compacted",
        fill=_fill_with_edits,
        settings=NEVER | {"compact_updates": str(ROWS + 1)},  # with the seed
        begin=_write_once,
        done=_COMPACTED,
    ),
    Work(
        name=f"a library of {LARGE_BYTES // 1_000_000} MB is compacted",
        fill=_fill_with_a_large_update,
        settings=NEVER | {"compact_bytes": str(1 << 20)},
        begin=_write_once,
        done=_COMPACTED,
    ),
    Work(name=f"a library of {PURGED_ROWS:,} rows is purged", fill=_fill_with_rows, settings=NEVER, begin=_delete, done=_PURGED),
)


def disturbance(subject: Subject, plan: Plan) -> Iterator[Row]:
    """Each work `plan.runs` times, each on a library of its own."""
    for work in WORKS:
        yield from _rows(subject, plan, work)


def _rows(subject: Subject, plan: Plan, work: Work) -> Iterator[Row]:
    server = subject.server
    _start_with(server, NEVER)
    account = server.register()
    libraries = [server.create_library(account) for _ in range(plan.runs)]
    for library in libraries:
        work.fill(server, account, library)
    _start_with(server, work.settings)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as other:
        enough = Path(folder) / "enough"
        answering = other.submit(measure, subject.job("relay", plan, 1, writers=1, in_flight=1, until_file=str(enough)))
        try:
            windows = asyncio.run(_perform(work, server, account, libraries))
        finally:
            enough.touch()
        answer = answering.result()
    inside, outside = told_apart(answer, windows)
    took = statistics.median(end - begin for begin, end in windows)
    each = tuple(map(p99, inside))
    note = f"against {p99(outside):.1f} ms without; the work took {took:.2f} s"
    yield Row(work=f"another library's p99 while {work.name}", unit="ms", value=statistics.median(each), all=each, note=note)


def _start_with(server: Server, settings: dict[str, str]) -> None:
    server.set(**settings)
    server.terminate()
    server.start()


async def _perform(work: Work, server: Server, account: Account, libraries: list[str]) -> list[tuple[float, float]]:
    """Do the works one after the other; from when to when each went on."""
    windows = []
    connection = await asyncpg.connect(server.facts()["database"])
    try:
        await asyncio.sleep(QUIET_SECONDS * 2)
        for library in libraries:
            begin = time.perf_counter()
            await asyncio.to_thread(work.begin, server, account, library)
            while not await connection.fetchval(work.done, UUID(library)):
                if time.perf_counter() - begin > WORK_SECONDS:
                    raise AssertionError(f"not done within {WORK_SECONDS} s: {work.name}\n{server.output(last=2000)}")
                await asyncio.sleep(LOOK_SECONDS)
            windows.append((begin, time.perf_counter()))
            await asyncio.sleep(QUIET_SECONDS)
    finally:
        await connection.close()
    return windows


def told_apart(answer: dict[str, Any], windows: list[tuple[float, float]]) -> tuple[list[list[float]], list[float]]:
    """The latencies inside of each window, and those outside of all. An edit counts inside if any part of its way was."""
    inside, outside = [list[float]() for _ in windows], list[float]()
    for arrived, milliseconds in zip(answer["arrived_at"], answer["latencies_ms"], strict=True):
        sent = arrived - milliseconds / 1000
        within = [number for number, (begin, end) in enumerate(windows) if begin <= arrived and sent <= end]
        (inside[within[0]] if within else outside).append(milliseconds)
    return inside, outside


def p99(values: list[float]) -> float:
    """The 99th of a hundred."""
    return statistics.quantiles(values, n=100)[98]
