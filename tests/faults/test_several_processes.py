"""`serve --workers`: several processes on one port live, die and end as one server."""

import asyncio
import errno
import http.client
import os
import random
import re
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import pytest

from protocol.closes import Close
from server.config import load_settings
from server.siblings import SILENT_SECONDS
from server.stopping import Stop
from server.supervisor import ProcessFailed, Supervisor
from server.transport import listen
from tests.faults.writers import load, lost, open_libraries, wait_for_acknowledgements
from tests.support.core import eventually
from tests.support.database import Databases
from tests.support.running import RawSocket
from tests.support.server import STOP_SECONDS, Account, Server, wait_until

pytestmark = pytest.mark.faults

WORKERS = 2


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(env={"PROMPTSYNC_WORKERS": str(WORKERS), "PROMPTSYNC_LOG_LEVEL": "info"}) as server:
        yield server


def children(server: Server) -> list[int]:
    """The serving processes, once all are there."""
    wait_until(lambda: len(server.facts()["workers"]) == WORKERS, within=30, what="all processes")
    # the facts have them in the order in which they were started; the number is the last argument
    return sorted((int(pid) for pid in server.facts()["workers"]), key=lambda pid: Path(f"/proc/{pid}/cmdline").read_bytes())


def connections(pid: int, port: int) -> int:
    """How many established connections to `port` the process holds."""
    ours = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, *rest = line.split()
        if int(local.rpartition(":")[2], 16) == port and state == "01":
            ours.add(f"socket:[{rest[5]}]")
    found = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found += os.readlink(descriptor) in ours
    return found


def library_of(number: int, server: Server, account: Account) -> UUID:
    """A new library that belongs to process `number`."""
    while True:
        library = UUID(server.create_library(account))
        if library.int % WORKERS + 1 == number:
            return library


async def gather(server: Server, account: Account, number: int) -> list[RawSocket]:
    """So many open sockets, in turns on libraries of either process."""
    libraries = [await asyncio.to_thread(library_of, each + 1, server, account) for each in range(WORKERS)]
    sockets = []
    for start in range(0, number, 50):
        opening = (
            RawSocket.open(server.port, libraries[each % WORKERS], account.sync_token) for each in range(start, min(start + 50, number))
        )
        sockets += await asyncio.gather(*opening)
    return sockets


async def closing(raw: RawSocket) -> tuple[float, int]:
    """When the server's close came, and with which code."""
    while True:
        opcode, payload = await raw.frame()
        if opcode == 8:
            at = time.monotonic()
            raw.writer.close()
            return at, int.from_bytes(payload[:2], "big")


async def test_the_devices_of_a_library_meet_in_one_process_whichever_the_kernel_chose(server: Server) -> None:
    account = await asyncio.to_thread(server.register)
    sockets = await gather(server, account, 200)
    share = [connections(pid, server.port) for pid in children(server)]
    (library,) = await open_libraries(1, server)
    async with load([library], random.Random(1)):
        await wait_for_acknowledgements([library], 50)
    await library.wait_until_converged(library.devices)
    for device in library.devices:
        await device.wire.disconnect()
    for raw in sockets:
        raw.writer.close()

    assert share == [100, 100]
    assert asked(server, "promptsync_connections_handed_on_total") > 50, "of 200, the kernel gives about half to the other process"


async def test_a_library_of_a_process_that_hangs_is_served_by_the_other(server: Server) -> None:
    account = await asyncio.to_thread(server.register)
    library = await asyncio.to_thread(library_of, 1, server, account)
    first, second = children(server)
    os.kill(first, signal.SIGSTOP)
    try:
        await asyncio.sleep(SILENT_SECONDS)  # what is meant is the time itself: it is taken for hung after so long
        sockets = [await RawSocket.begin(server.port, library, account.sync_token) for _ in range(20)]  # the kernel gives it half of them
        heads = [asyncio.create_task(raw.reader.readuntil(b"\r\n\r\n")) for raw in sockets]
        await asyncio.wait(heads, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        assert connections(second, server.port) > 0
        assert any(head.done() and head.result().startswith(b"HTTP/1.1 101 ") for head in heads)
    finally:
        os.kill(first, signal.SIGCONT)
    answers = await asyncio.wait_for(asyncio.gather(*heads), 20)
    assert {answer[:13] for answer in answers} == {b"HTTP/1.1 101 "}, "and those that waited are served once it goes on"
    for raw in sockets:
        raw.writer.close()


def asked(server: Server, metric: str) -> float:
    """A metric, as whichever process that is asked says it."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if re.match(rf"{metric}(\{{|\s)", line))


async def test_a_process_that_has_no_descriptor_left_is_handed_nothing(server: Server) -> None:
    account = await asyncio.to_thread(server.register)
    library = await asyncio.to_thread(library_of, 1, server, account)
    first, second = children(server)
    before = resource.prlimit(first, resource.RLIMIT_NOFILE)
    resource.prlimit(first, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{first}/fd")) + 30, before[1]))
    sockets = []
    try:
        for _ in range(60):
            sockets.append(await RawSocket.begin(server.port, library, account.sync_token))
            with suppress(TimeoutError, asyncio.IncompleteReadError, ConnectionError):
                await asyncio.wait_for(sockets[-1].reader.readuntil(b"\r\n\r\n"), 2)
            if connections(second, server.port) > 0:
                break
        assert connections(second, server.port) > 0
    finally:
        resource.prlimit(first, resource.RLIMIT_NOFILE, before)
        for raw in sockets:
            raw.abort()


async def test_whoever_is_asked_counts_for_all(server: Server) -> None:
    account = await asyncio.to_thread(server.register)
    await asyncio.to_thread(wait_until, lambda: asked(server, "promptsync_sockets") == 0, within=20, what="a server without devices")
    refused = asked(server, "promptsync_opening_refusals_total")
    sockets = await gather(server, account, 30)
    for _ in range(20):
        raw = await RawSocket.open(server.port, account.library_id, "no token")  # type: ignore[arg-type]  # its text will do
        await closing(raw)

    for _ in range(10):
        assert asked(server, "promptsync_sockets") == 30
        assert asked(server, "promptsync_opening_refusals_total") == refused + 20
    for raw in sockets:
        raw.writer.close()


def test_the_list_of_processes_shows_no_address_and_log_lines_name_the_process(server: Server) -> None:
    shown = [Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0") for pid in children(server)]

    assert [line[-2] for line in shown] == ["1", "2"]
    for pid, line in zip(children(server), shown, strict=True):
        assert "postgresql" not in " ".join(line)
        assert b"postgresql://" not in Path(f"/proc/{pid}/environ").read_bytes()
    assert re.search(r"bus_connected .*process=1", server.output(last=1 << 20))
    assert re.search(r"bus_connected .*process=2", server.output(last=1 << 20))


async def test_a_process_that_was_killed_is_replaced_and_the_others_serve_on(server: Server) -> None:
    account = await asyncio.to_thread(server.register)
    first, second = children(server)
    await asyncio.to_thread(wait_until, lambda: asked(server, "promptsync_sockets") == 0, within=20, what="a server without devices")
    sockets = await gather(server, account, 100)
    kept = connections(second, server.port)
    os.kill(first, signal.SIGKILL)

    def replaced() -> bool:
        workers = server.facts()["workers"]
        return len(workers) == WORKERS and first not in workers and server.answers("/readyz")

    await asyncio.to_thread(wait_until, replaced, within=30, what="another process")
    assert second in children(server)
    assert server.process is not None
    assert server.process.poll() is None
    assert connections(second, server.port) >= kept
    assert asked(server, "promptsync_sockets") == kept, "those of the killed process are counted no more"
    for raw in sockets:
        raw.writer.close()


def test_all_processes_end_with_a_parent_that_was_killed_and_the_next_start_takes_the_port(server: Server) -> None:
    pids = children(server)

    assert server.process is not None
    killed = server.process.pid
    server.kill9()
    wait_until(lambda: not any(_alive(pid) for pid in pids), within=5, what="the end of all processes")
    port = server.port
    server.start()

    assert server.port == port
    assert set(children(server)).isdisjoint(pids)
    assert not list(Path(tempfile.gettempdir()).glob(f"promptsync-metrics-{killed}-*")), "what it left is removed"


def test_a_second_server_on_the_same_data_is_refused(server: Server) -> None:
    second = server.spawn(port=0)
    code = second.wait(30)

    assert code == 1
    assert "in use by another server" in server.output()
    assert server.answers("/readyz")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_a_stop_under_load_ends_all_processes_and_loses_nothing(server: Server, number: signal.Signals) -> None:
    pids = children(server)
    libraries = await open_libraries(4, server)
    async with load(libraries, random.Random(number)):
        await wait_for_acknowledgements(libraries, 100)
        took = await asyncio.to_thread(server.terminate, number)
        for library in libraries:
            for device in library.devices:
                await device.wire.offline()

    assert took <= STOP_SECONDS
    assert not any(_alive(pid) for pid in pids)
    assert {device.wire.close_code for library in libraries for device in library.devices} <= {Close.GOING_AWAY, Close.RESTART}
    await asyncio.to_thread(server.start)
    for library in libraries:
        new = await library.opened_by_a_new_device()
        assert not lost(library.told, new)
        await new.wire.disconnect()


async def test_five_hundred_sockets_are_sent_away_one_after_the_other_within_ten_seconds(server: Server) -> None:
    account = await asyncio.to_thread(server.register)
    sockets = await gather(server, account, 500)
    ends = asyncio.gather(*(closing(raw) for raw in sockets))
    share = max(connections(pid, server.port) for pid in children(server))
    began = time.monotonic()

    took = await asyncio.to_thread(server.terminate)

    closes = await asyncio.wait_for(ends, 10)
    times = sorted(at - began for at, _ in closes)
    print(f"500 sockets on {WORKERS} processes: closes from {times[0]:.2f} to {times[-1]:.2f} s, all ended after {took:.2f} s")
    assert took < STOP_SECONDS
    assert {code for _, code in closes} == {Close.RESTART}
    # each process closes 200 a second, and the fuller one takes so long that no two thirds can go in the first third of it
    assert times[len(times) * 2 // 3] > share / 200 / 3
    await asyncio.to_thread(server.start)


async def test_a_stop_with_a_handful_of_sockets_is_quick(server: Server) -> None:
    account = await asyncio.to_thread(server.register)
    sockets = await gather(server, account, 5)
    ends = asyncio.gather(*(closing(raw) for raw in sockets))

    took = await asyncio.to_thread(server.terminate, signal.SIGINT)

    await ends
    print(f"stopped within {took:.2f} s")
    assert took < 3, "0.7 s on a machine that does nothing else"
    await asyncio.to_thread(server.start)


async def test_a_process_that_hangs_is_killed_before_the_ten_seconds_are_over(server: Server) -> None:
    first, second = children(server)
    os.kill(first, signal.SIGSTOP)

    took = await asyncio.to_thread(server.terminate)

    print(f"stopped within {took:.1f} s though a process was frozen")
    assert not _alive(first)
    assert not _alive(second)
    await asyncio.to_thread(server.start)


async def test_a_process_that_does_not_come_up_ends_the_start() -> None:
    settings = load_settings(workers=2, host="127.0.0.1", port=0)
    with ExitStack() as stack:
        listeners = [stack.enter_context(listener) for listener in listen(settings, sockets=2)]
        supervisor = Supervisor(settings, "postgresql://nobody@/nothing?host=/nonexistent&port=5432", listeners)
        with pytest.raises(ProcessFailed, match=r"process \d of 2 ended with 1"):
            await supervisor.run(Stop(), ready=lambda: pytest.fail("it is not"))

    async def gone() -> bool:
        return not supervisor.pids

    await eventually(gone, "the end of the others")


async def test_a_process_that_cannot_be_started_again_at_once_is_tried_again_and_the_others_serve_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, tries = asyncio.create_subprocess_exec, count(1)

    async def scarce(*arguments: Any, **options: Any) -> asyncio.subprocess.Process:
        if next(tries) == 3:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return await real(sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(60)", **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", scarce)
    settings, stop, ready = load_settings(workers=2, host="127.0.0.1", port=0), Stop(), asyncio.Event()
    with ExitStack() as stack:
        listeners = [stack.enter_context(listener) for listener in listen(settings, sockets=2)]
        supervisor = Supervisor(settings, "postgresql://nobody@/nothing", listeners)
        running = asyncio.create_task(supervisor.run(stop, ready=ready.set))
        await asyncio.wait_for(ready.wait(), 20)
        first, second = supervisor.pids
        os.kill(first, signal.SIGKILL)

        async def replaced() -> bool:
            return running.done() or (len(supervisor.pids) == 2 and first not in supervisor.pids)

        await eventually(replaced, "another in its place")
        assert not running.done()
        assert second in supervisor.pids
        assert next(tries) == 5
        stop.ask()
        await asyncio.wait_for(running, 20)


def test_a_database_that_cannot_take_all_connections_is_refused_at_the_start(databases: Databases, database_dsn: str) -> None:
    name = urlsplit(database_dsn).path.removeprefix("/")
    databases.run(_limit(database_dsn, name, 27))
    server = Server(env={"PROMPTSYNC_DATABASE_URL": database_dsn, "PROMPTSYNC_WORKERS": "2"})
    try:
        process = server.spawn(port=0)
        assert process.wait(30) == 1
        assert "takes 27 connections, and this server may need 28: lower PROMPTSYNC_WORKERS" in server.output()
    finally:
        server.cleanup()


async def _limit(dsn: str, name: str, connections: int) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(f'ALTER DATABASE "{name}" CONNECTION LIMIT {connections}')
    await connection.close()


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
