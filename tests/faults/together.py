"""Two server processes on one library, under load, while one of them or what lies between them fails. Each case is one round."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from tests.faults.judge import Archive, Verdict, confirmed, converge, judge
from tests.faults.writers import Bystander, Device, Library, bystander, close_libraries, load, open_libraries, wait_for_acknowledgements
from tests.support.many import Fleet, Node

LIBRARIES = 2
MOST_UPDATES_BEFORE = 200
BUS = "promptsync bus"
OFTEN = {"PROMPTSYNC_COMPACT_UPDATES": "60", "PROMPTSYNC_COMPACT_BYTES": "4096", "PROMPTSYNC_TRIM_AFTER_SECONDS": "1"}
"""Compaction and trimming go on under the faults."""

Case = Callable[[Fleet, int], Awaitable[Verdict]]


class Round:
    """Libraries whose devices are spread over two processes: `here` is about to fail, `there` goes on."""

    def __init__(self, fleet: Fleet, seed: int, libraries: list[Library]) -> None:
        self.fleet, self.random, self.libraries = fleet, random.Random(seed), libraries
        pair = list(fleet.nodes)
        self.random.shuffle(pair)
        self.here, self.there = pair[:2]
        self.archive = Archive(fleet.postgres.dsn, fleet.keys)

    @classmethod
    async def begin(cls, fleet: Fleet, seed: int) -> "Round":
        return cls(fleet, seed, await open_libraries(LIBRARIES, *fleet.nodes))

    def devices_at(self, node: Node) -> list[Device]:
        return [device for library in self.libraries for device in library.at_home(node)]

    async def some_edits(self, *, at: Node | None = None, least: int = 1) -> None:
        """Wait until some edits are acknowledged in every library, at one process if it is given."""
        count = least + self.random.randrange(MOST_UPDATES_BEFORE)
        await wait_for_acknowledgements(self.libraries, count, among=self.devices_at(at) if at else ())

    async def close_with(self, beside: Bystander | None, began: float, *, fresh: list[Node] | None = None) -> Verdict:
        """Judge before anybody comes back, then let everybody come back and converge."""
        verdict = await judge(self.libraries, self.archive, fresh or self.fleet.nodes)
        if verdict.lost:
            await close_libraries(self.libraries)
            return verdict
        await asyncio.gather(*(device.come_back() for library in self.libraries for device in library.devices))
        await confirmed(self.libraries)
        verdict = replace(verdict, recovery=time.monotonic() - began)
        for node in self.fleet.nodes:
            await node.again()
        await converge(self.libraries)
        if beside is not None:
            await beside.has_arrived()
        return replace(verdict, bystander=beside.p99 if beside else 0.0)


async def nothing_happens(fleet: Fleet, seed: int) -> Verdict:
    """Two processes and no fault: what one stores the other shows, and everybody sees one order."""
    it = await Round.begin(fleet, seed)
    async with bystander(it.there, it.here) as beside:
        async with load(it.libraries, it.random):
            await it.some_edits(least=100)
        began = time.monotonic()
        await confirmed(it.libraries)
        for library in it.libraries:
            await library.wait_until_converged(library.devices)
            near, far = (device.wire.shown for device in library.devices[2:])
            assert len(near) == len(far)
            assert near == far, "two processes relayed in different orders"
    return await it.close_with(beside, began)


async def one_killed(fleet: Fleet, seed: int) -> Verdict:
    """SIGKILL of one process; its devices go to the other."""
    it = await Round.begin(fleet, seed)
    async with bystander(it.there, it.there) as beside:
        async with load(it.libraries, it.random):
            await it.some_edits()
            it.here.kill9()
            began = time.monotonic()
            await it.some_edits(at=it.there)
        return await it.close_with(beside, began, fresh=[it.there])


async def one_restarted(fleet: Fleet, seed: int) -> Verdict:
    """SIGTERM of one process and a new start, as in a rolling restart; devices come back by themselves."""
    it = await Round.begin(fleet, seed)
    async with bystander(it.there, it.there) as beside:
        async with load(it.libraries, it.random, coming_back=True):
            await it.some_edits()
            began = time.monotonic()
            await it.here.stop()
            await it.some_edits()
            await it.here.again()
            await it.some_edits()
        return await it.close_with(beside, began)


async def one_paused(fleet: Fleet, seed: int, *, seconds: float = 3.0) -> Verdict:
    """SIGSTOP of one process for a while, as when its machine hangs: the others go on, and it catches up."""
    it = await Round.begin(fleet, seed)
    async with bystander(it.there, it.there) as beside:
        async with load(it.libraries, it.random):
            await it.some_edits()
            it.here.pause()
            until = time.monotonic() + seconds
            try:
                await it.some_edits(at=it.there)  # the library's row is not locked for longer than the database allows
                await asyncio.sleep(until - time.monotonic())  # the length of the pause is what is tested
            finally:
                it.here.resume()
            began = time.monotonic()
            await it.some_edits(at=it.here)
        return await it.close_with(beside, began)


async def one_paused_long(fleet: Fleet, seed: int) -> Verdict:
    """The same for 10 s."""
    return await one_paused(fleet, seed, seconds=10.0)


async def postgres_crashes(fleet: Fleet, seed: int) -> Verdict:
    """SIGKILL of PostgreSQL under both, and a new start."""
    it = await Round.begin(fleet, seed)
    async with load(it.libraries, it.random):
        await it.some_edits()
        began = time.monotonic()
        await fleet.postgres.crash_and_recover()
        await fleet.all_answer()
    return await it.close_with(None, began)


async def postgres_restarts(fleet: Fleet, seed: int) -> Verdict:
    """PostgreSQL is stopped in order under both, and started again."""
    it = await Round.begin(fleet, seed)
    async with load(it.libraries, it.random, coming_back=True):
        await it.some_edits()
        began = time.monotonic()
        await fleet.postgres.restart()
        await fleet.all_answer()
        await it.some_edits()
    return await it.close_with(None, began)


async def postgres_stalls(fleet: Fleet, seed: int, *, seconds: float = 3.0) -> Verdict:
    """PostgreSQL stands still for a while: nobody is told anything, and then everything is stored."""
    it = await Round.begin(fleet, seed)
    async with load(it.libraries, it.random):
        await it.some_edits()
        async with fleet.postgres.stalled():
            before = sum(library.acknowledged for library in it.libraries)
            await asyncio.sleep(seconds)
            told = sum(library.acknowledged for library in it.libraries) - before
        began = time.monotonic()
        await fleet.all_answer()
        await it.some_edits()
    # what had been committed when it stopped may still have been on its way
    assert told <= 2 * LIBRARIES * 4, f"{told} updates were acknowledged by a database that stood still"
    return await it.close_with(None, began)


async def postgres_stalls_long(fleet: Fleet, seed: int) -> Verdict:
    """The same for 20 s: longer than a statement may take."""
    return await postgres_stalls(fleet, seed, seconds=20.0)


async def bus_cut(fleet: Fleet, seed: int) -> Verdict:
    """The connections that carry messages between the processes are cut again and again."""
    it = await Round.begin(fleet, seed)
    async with bystander(it.here, it.there) as beside:
        async with load(it.libraries, it.random):
            for _ in range(4):
                await it.some_edits()
                await fleet.postgres.end_backends(BUS)
            await it.some_edits()
        began = time.monotonic()
        return await it.close_with(beside, began)


async def bus_gone(fleet: Fleet, seed: int) -> Verdict:
    """No message gets through: each process finds what the other has stored by asking. Needs valves."""
    it = await Round.begin(fleet, seed)
    for valve in fleet.valves:
        valve.refused.add(BUS)
        valve.cut(BUS)
    try:
        async with bystander(it.here, it.there) as beside:
            async with load(it.libraries, it.random):
                await it.some_edits()
            began = time.monotonic()
            verdict = await it.close_with(beside, began)
    finally:
        await fleet.restore()
    assert all(valve.turned_away for valve in fleet.valves), "nobody asked for the bus: this was no test"
    return verdict


async def one_way_to_postgres_stalls(fleet: Fleet, seed: int, *, seconds: float = 3.0) -> Verdict:
    """One process's way to PostgreSQL stands still, amid whatever it was saying; the other one goes on. Needs valves."""
    it = await Round.begin(fleet, seed)
    stalled = fleet.valves[fleet.nodes.index(it.here)]
    async with bystander(it.there, it.there) as beside:
        async with load(it.libraries, it.random):
            await it.some_edits()
            stalled.stall()
            until = time.monotonic() + seconds
            try:
                await it.some_edits(at=it.there)
                await asyncio.sleep(until - time.monotonic())
            finally:
                stalled.open()
            began = time.monotonic()
            await it.some_edits(at=it.here)
        return await it.close_with(beside, began)


async def one_way_to_postgres_cut(fleet: Fleet, seed: int) -> Verdict:
    """One process loses every connection to PostgreSQL, again and again. Needs valves."""
    it = await Round.begin(fleet, seed)
    cut = fleet.valves[fleet.nodes.index(it.here)]
    async with bystander(it.there, it.there) as beside:
        async with load(it.libraries, it.random):
            for _ in range(5):
                await it.some_edits(at=it.here)
                cut.cut()
            await it.some_edits()
        began = time.monotonic()
        return await it.close_with(beside, began)


TOGETHER: dict[str, Case] = {
    "two processes, no fault": nothing_happens,
    "one of two killed": one_killed,
    "one of two restarted": one_restarted,
    "one of two paused 10 s": one_paused_long,
    "PostgreSQL killed under two": postgres_crashes,
    "PostgreSQL restarted under two": postgres_restarts,
    "PostgreSQL stalled 20 s under two": postgres_stalls_long,
    "the bus cut": bus_cut,
    "no bus": bus_gone,
    "one's way to PostgreSQL stalled": one_way_to_postgres_stalls,
    "one's way to PostgreSQL cut": one_way_to_postgres_cut,
}
"""The long forms, as `make torture` runs them."""
