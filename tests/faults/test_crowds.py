"""Many sockets: they come back in waves when a process dies or is drained, and a reader that stopped costs next to no memory."""

import asyncio
import os
import random
import resource
import time
from collections.abc import AsyncIterator, Callable
from uuid import UUID

import pytest

from protocol import ysync
from protocol.closes import Close
from tests.faults.crowd import Crowd, come_in_waves
from tests.faults.judge import Archive, converge, judge
from tests.faults.test_together import BYSTANDER_MS
from tests.faults.writers import bystander, load, open_libraries, wait_for_acknowledgements
from tests.support.core import deleted, typed
from tests.support.many import Fleet, Node, fleet
from tests.support.running import RawSocket, masked
from tests.support.server import STOP_SECONDS

pytestmark = pytest.mark.faults

SOCKETS = int(os.environ.get("PROMPTSYNC_TEST_SOCKETS", "1000"))
FLOOD_BYTES = 300 << 20
FLOOD_PIECE = 60_000
WARM_BYTES = 8 << 20
FLOOD_IN_FLIGHT = 8
GROWTH_BYTES = 20 << 20
"""What a reader that stopped may cost a process."""


@pytest.fixture(scope="module")
async def plain() -> AsyncIterator[Fleet]:
    """Two processes with the settings of a normal start."""
    async with fleet(2) as two:
        yield two


@pytest.fixture(autouse=True)
def enough_files() -> None:
    """Every socket is a file on either side."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def test_sockets_come_back_in_waves_and_none_is_short(plain: Fleet) -> None:
    waves, verdict = await come_in_waves(plain, SOCKETS)

    for name, wave in waves.items():
        print(f"{name}: {wave}")
    print(f"bystander's p99 {verdict.bystander:.0f} ms, RSS {[node.resident_bytes() >> 20 for node in plain.nodes]} MiB")
    verdict.check(bystander=BYSTANDER_MS)


async def test_a_drain_under_load_is_spread_announced_and_loses_nothing(plain: Fleet) -> None:
    here, there = plain.nodes
    count = 300
    crowd = await Crowd.gather(plain.nodes, count, libraries=10)
    await crowd.come(range(count), [here])
    libraries = await open_libraries(2, here, there)

    async with load(libraries, random.Random(11), coming_back=True):
        await wait_for_acknowledgements(libraries, 100)
        began = time.monotonic()
        stopping = asyncio.create_task(here.stop())
        announced = await _draining(here, stopping)
        took = await stopping
        await crowd.wait_until_cut_off(range(count))
        await wait_for_acknowledgements(libraries, 50)
    ends = sorted(socket.ended_at - began for socket in crowd.sockets if socket is not None)
    codes = {socket.close_code for socket in crowd.sockets if socket is not None}

    print(f"stopped within {took:.1f} s; sockets closed from {ends[0]:.2f} s to {ends[-1]:.2f} s after the signal")
    assert announced, "/readyz did not say that it is draining"
    assert took < STOP_SECONDS
    assert codes == {Close.RESTART}
    assert ends[-1] - ends[0] > 0.5, "all were closed at once"
    (await judge(libraries, Archive(plain.postgres.dsn, plain.keys), [there])).check(duplicates=True)
    await here.again()
    await converge(libraries)


async def _draining(node: Node, stopping: "asyncio.Task[float]") -> bool:
    """Ask `/readyz` until the process is gone; whether it said that it is draining."""
    while not stopping.done():
        try:
            status, answer = await asyncio.to_thread(node.request, "GET", "/readyz", within=5)
        except OSError:
            return False
        if status == 503:
            return "drain" in str(answer).lower()
    return False


async def test_a_reader_that_stopped_costs_little_while_300_mb_pass(plain: Fleet) -> None:
    here, there = plain.nodes
    account = await asyncio.to_thread(here.register)
    library = UUID(account.library_id)
    writer = await RawSocket.open(here.port, library, account.sync_token)
    stopped = [await RawSocket.open(node.port, library, account.sync_token, receive_buffer=4096) for node in plain.nodes]
    for reader in stopped:
        reader.send(masked(ysync.encode_step1(b"\x00")))
        reader.stop_reading()
    writer.send(masked(ysync.encode_step1(b"\x00")))
    async with bystander(there, here) as beside:
        await _flood(writer, WARM_BYTES)  # code, pools and caches are in memory by now
        before = [node.resident_bytes() for node in plain.nodes]
        most = list(before)

        def look() -> None:
            most[:] = [max(pair) for pair in zip(most, (node.resident_bytes() for node in plain.nodes), strict=True)]

        began = time.monotonic()
        await _flood(writer, FLOOD_BYTES, look, start=WARM_BYTES // FLOOD_PIECE)
        took = time.monotonic() - began

    grown = [after - earlier for after, earlier in zip(most, before, strict=True)]
    print(f"{FLOOD_BYTES >> 20} MiB in {took:.0f} s; grown by {[size >> 10 for size in grown]} KiB; bystander's p99 {beside.p99:.0f} ms")
    RawSocket.abort_all()
    assert all(node.metric("promptsync_socket_closes_total") for node in plain.nodes), "the readers are still connected"
    assert max(grown) < GROWTH_BYTES
    assert beside.p99 < BYSTANDER_MS


async def _flood(writer: RawSocket, size: int, look: Callable[[], None] = lambda: None, *, start: int = 0) -> None:
    """Write text and delete it again, so many bytes of it, a few updates on the way at a time."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    waiting = 0
    for number in range(start, start + size // FLOOD_PIECE):
        text = letters[number % 26] * FLOOD_PIECE
        writer.send(
            masked(ysync.encode_update(_piece(text, number))), masked(ysync.encode_update(deleted(99, number * FLOOD_PIECE, FLOOD_PIECE)))
        )
        waiting += 2
        while waiting > FLOOD_IN_FLIGHT:
            waiting -= await _echoes(writer)
        if number % 50 == 0:
            look()
    while waiting:
        waiting -= await _echoes(writer)
    look()


def _piece(text: str, number: int) -> bytes:
    return typed(text, 99, number * FLOOD_PIECE)


async def _echoes(writer: RawSocket) -> int:
    """Read one frame; how many of our updates it says are stored."""
    opcode, payload = await asyncio.wait_for(writer.frame(), 60)
    assert opcode != 8, f"closed with {int.from_bytes(payload[:2], 'big')}"
    return int(payload[:2] == b"\x00\x02")
