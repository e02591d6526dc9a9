"""SIGKILL of the server, of PostgreSQL, of both, under load: nothing that anyone was told or shown is lost.

`PROMPTSYNC_TEST_ROUNDS` says how often each (5 by default, `make torture` for more). A round that fails prints its seed.
"""

import asyncio
import os
import random
from collections.abc import Iterator

import pytest

from tests.faults.writers import Library, close_libraries, load, lost, open_libraries, wait_for_acknowledgements
from tests.support.server import Server

pytestmark = pytest.mark.faults

ROUNDS = int(os.environ.get("PROMPTSYNC_TEST_ROUNDS", "5"))
LIBRARIES = 4
MOST_UPDATES_BEFORE_THE_KILL = 800

every_round = pytest.mark.parametrize("seed", range(1, ROUNDS + 1))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One server and one data folder, killed round after round."""
    with Server() as server:
        yield server


async def wait_until_offline(libraries: list[Library]) -> None:
    for library in libraries:
        for device in library.devices:
            await device.wire.offline()


async def check_nothing_is_lost(libraries: list[Library]) -> None:
    """What devices know is stored is given to a device that has nothing."""
    for library in libraries:
        told = {device.name: device.told for device in library.devices}
        new = await library.opened_by_a_new_device()
        missing = {name: len(gone) for name, updates in told.items() if (gone := lost(updates, new))}
        await new.wire.disconnect()
        assert not missing, f"lost of { ({name: len(updates) for name, updates in told.items()}) }: {missing}"


async def check_everybody_converges(libraries: list[Library]) -> None:
    """The devices come back, hand over what was not stored, and all hold the same, a new one too."""
    for library in libraries:
        await asyncio.gather(*(device.wire.reconnect() for device in library.devices if not device.wire.online))
    for library in libraries:
        for device in library.devices:
            await device.wire.confirmed()
        new = await library.opened_by_a_new_device()
        await library.wait_until_converged([*library.devices, new])
        vectors = {device.replica.state_vector() for device in [*library.devices, new]}
        await new.wire.disconnect()
        assert len({tuple(sorted(vector)) for vector in vectors}) == 1
    await close_libraries(libraries)


@every_round
async def test_a_killed_server_loses_nothing(server: Server, seed: int) -> None:
    random_source = random.Random(seed)
    libraries = await open_libraries(server, LIBRARIES)

    async with load(libraries, random_source):
        await wait_for_acknowledgements(libraries, random_source.randrange(1, MOST_UPDATES_BEFORE_THE_KILL))
        server.kill9()
    await wait_until_offline(libraries)
    await asyncio.to_thread(server.start)

    await check_nothing_is_lost(libraries)
    await check_everybody_converges(libraries)


@every_round
async def test_a_killed_postgresql_loses_nothing(server: Server, seed: int) -> None:
    random_source = random.Random(seed)
    libraries = await open_libraries(server, LIBRARIES)
    former = server.postmaster()
    assert former is not None

    async with load(libraries, random_source):
        await wait_for_acknowledgements(libraries, random_source.randrange(1, MOST_UPDATES_BEFORE_THE_KILL))
        await asyncio.to_thread(server.kill9_postgres)
        await asyncio.to_thread(server.wait_for_postgres_after, former)

    # those whose connection held may have been told and shown more since: all of it counts
    await check_nothing_is_lost(libraries)
    await check_everybody_converges(libraries)


@every_round
async def test_both_killed_lose_nothing(server: Server, seed: int) -> None:
    random_source = random.Random(seed)
    libraries = await open_libraries(server, LIBRARIES)

    async with load(libraries, random_source):
        await wait_for_acknowledgements(libraries, random_source.randrange(1, MOST_UPDATES_BEFORE_THE_KILL))
        kills = [server.kill9, server.kill9_postgres]
        if random_source.random() < 0.5:
            kills.reverse()
        for kill in kills:
            kill()
    await wait_until_offline(libraries)
    await asyncio.to_thread(server.start)

    await check_nothing_is_lost(libraries)
    await check_everybody_converges(libraries)


async def test_edits_go_on_while_postgresql_is_killed_again_and_again(server: Server) -> None:
    libraries = await open_libraries(server, 2)

    async with load(libraries, random.Random(0)):
        for _ in range(3):
            await wait_for_acknowledgements(libraries, 50)
            former = server.postmaster()
            assert former is not None
            await asyncio.to_thread(server.kill9_postgres)
            await asyncio.to_thread(server.wait_for_postgres_after, former)
            await asyncio.gather(
                *(device.wire.reconnect() for library in libraries for device in library.devices if not device.wire.online)
            )

    await check_nothing_is_lost(libraries)
    await check_everybody_converges(libraries)
