"""Random walks of devices around one server: in the end all hold the same, and nothing that anyone was told or shown is missing.

A walk that fails prints its seed; `PROMPTSYNC_TEST_WALKS` says how many there are.
"""

import os

import pytest

from crdt.knowledge import Knowledge
from crdt.updates import inspect
from tests.simulation.world import World
from tests.support.core import new_keyring

WALKS = int(os.environ.get("PROMPTSYNC_TEST_WALKS", "25"))
STEPS = 400
KEYRING = new_keyring()


@pytest.mark.parametrize("seed", range(1, WALKS + 1))
async def test_everybody_converges_and_nothing_told_is_missing(shared_dsn: str, seed: int) -> None:
    world = World(shared_dsn, KEYRING, seed, devices=2 + seed % 4)
    print(f"walk {seed}")
    await world.begin()
    try:
        for _ in range(STEPS):
            await world.walk()
        if seed % 3 == 0:
            await world.restart(orderly=False, fold=True)
        await world.settle()
        assert_converged(world)  # one connection is enough
        newcomer = world.newcomer()
        await world.settle()
        check(world, newcomer.told)
    finally:
        await world.end()


def assert_converged(world: World) -> None:
    prompts = [device.replica.prompts() for device in world.devices]
    assert all(held == prompts[0] for held in prompts)
    assert len({tuple(sorted(device.replica.state_vector())) for device in world.devices}) == 1
    assert all(not device.replica.waiting for device in world.devices)


def check(world: World, given: list[bytes]) -> None:
    assert_converged(world)
    held = Knowledge()
    for update in given:
        held.learn(inspect(update))
    told = [update for device in world.devices for update in device.told]
    assert told
    assert not [update for update in told if held.adds(inspect(update))], "something that was told is missing"
    assert not [update for device in world.devices for update in device.unconfirmed if held.adds(inspect(update))]
