"""SIGKILL of the server, of PostgreSQL, of both, under load: nothing that anyone was told or shown is lost.

`PROMPTSYNC_TEST_ROUNDS` says how often each (5 by default; `make torture` for more). A round that fails prints its seed.
"""

import asyncio
import os
import random
from collections.abc import Iterator

import pytest

from tests.faults.judge import Archive, converge, judge
from tests.faults.kills import both_killed, postgres_killed, server_killed
from tests.faults.writers import load, open_libraries, wait_for_acknowledgements
from tests.support.server import Server

pytestmark = pytest.mark.faults

ROUNDS = int(os.environ.get("PROMPTSYNC_TEST_ROUNDS", "5"))

every_round = pytest.mark.parametrize("seed", range(1, ROUNDS + 1))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One server and one data folder, killed round after round."""
    with Server() as server:
        yield server


@every_round
async def test_a_killed_server_loses_nothing(server: Server, seed: int) -> None:
    (await server_killed(server, seed)).check()


@every_round
async def test_a_killed_postgresql_loses_nothing(server: Server, seed: int) -> None:
    (await postgres_killed(server, seed)).check()


@every_round
async def test_both_killed_lose_nothing(server: Server, seed: int) -> None:
    (await both_killed(server, seed)).check()


async def test_edits_go_on_while_postgresql_is_killed_again_and_again(server: Server) -> None:
    libraries = await open_libraries(2, server)

    async with load(libraries, random.Random(0)):
        for _ in range(3):
            await wait_for_acknowledgements(libraries, 50)
            former = server.postmaster()
            assert former is not None
            await asyncio.to_thread(server.kill9_postgres)
            await asyncio.to_thread(server.wait_for_postgres_after, former)
            await asyncio.gather(*(device.come_back() for library in libraries for device in library.devices))

    (await judge(libraries, Archive.of(server), [server])).check()
    await converge(libraries)
