"""SIGKILL of one server, of its PostgreSQL, of both, under load. Each case is one round, told apart by its seed."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from tests.faults.judge import Archive, Verdict, confirmed, converge, judge
from tests.faults.writers import Library, close_libraries, load, open_libraries, wait_for_acknowledgements
from tests.support.server import Server, wait_until

LIBRARIES = 4
MOST_UPDATES_BEFORE_THE_KILL = 400

SingleCase = Callable[[Server, int], Awaitable[Verdict]]


async def server_killed(server: Server, seed: int) -> Verdict:
    """SIGKILL of the server."""
    random_source = random.Random(seed)
    libraries = await open_libraries(LIBRARIES, server)
    async with load(libraries, random_source):
        await wait_for_acknowledgements(libraries, random_source.randrange(1, MOST_UPDATES_BEFORE_THE_KILL))
        server.kill9()
    return await _after_a_start(server, libraries, time.monotonic())


async def postgres_killed(server: Server, seed: int) -> Verdict:
    """SIGKILL of PostgreSQL, which the server starts again."""
    random_source = random.Random(seed)
    libraries = await open_libraries(LIBRARIES, server)
    former = server.postmaster()
    assert former is not None
    async with load(libraries, random_source):
        await wait_for_acknowledgements(libraries, random_source.randrange(1, MOST_UPDATES_BEFORE_THE_KILL))
        began = time.monotonic()
        await asyncio.to_thread(server.kill9_postgres)
        await asyncio.to_thread(server.wait_for_postgres_after, former)
    # those whose connection held may have been told and shown more since: all of it counts
    return await _judged(server, libraries, began)


async def both_killed(server: Server, seed: int) -> Verdict:
    """SIGKILL of both, in either order."""
    random_source = random.Random(seed)
    libraries = await open_libraries(LIBRARIES, server)
    async with load(libraries, random_source):
        await wait_for_acknowledgements(libraries, random_source.randrange(1, MOST_UPDATES_BEFORE_THE_KILL))
        kills = [server.kill9, server.kill9_postgres]
        if random_source.random() < 0.5:
            kills.reverse()
        for kill in kills:
            kill()
    return await _after_a_start(server, libraries, time.monotonic())


async def _after_a_start(server: Server, libraries: list[Library], began: float) -> Verdict:
    for library in libraries:
        for device in library.devices:
            await device.wire.offline()
    await asyncio.to_thread(server.start)
    return await _judged(server, libraries, began)


async def _judged(server: Server, libraries: list[Library], began: float) -> Verdict:
    verdict = await judge(libraries, Archive.of(server), [server])
    if verdict.lost:
        await close_libraries(libraries)
        return verdict
    await asyncio.gather(*(device.come_back() for library in libraries for device in library.devices))
    await confirmed(libraries)
    verdict = replace(verdict, recovery=time.monotonic() - began)
    await converge(libraries)
    return verdict


async def worker_killed(server: Server, seed: int) -> Verdict:
    """SIGKILL of one of the processes that serve one port; the server puts another in its place."""
    random_source = random.Random(seed)
    await asyncio.to_thread(wait_until, lambda: len(_workers(server)) > 1, within=30, what="both processes")
    libraries = await open_libraries(LIBRARIES, server)
    async with load(libraries, random_source):
        await wait_for_acknowledgements(libraries, random_source.randrange(1, MOST_UPDATES_BEFORE_THE_KILL))
        os.kill(random_source.choice(_workers(server)), signal.SIGKILL)
        began = time.monotonic()
    return await _judged(server, libraries, began)


def _workers(server: Server) -> list[int]:
    """The processes that serve the port."""
    return list(server.facts().get("workers", ()))


SINGLE: dict[str, SingleCase] = {
    "server killed": server_killed,
    "PostgreSQL killed": postgres_killed,
    "server and PostgreSQL killed": both_killed,
}
ON_ONE_PORT: dict[str, SingleCase] = {"one worker of two killed": worker_killed}
"""On a server with two workers."""
