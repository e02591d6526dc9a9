"""Random walks of REST clients on two servers and of devices, all of which edit one library: what anybody meant is kept, and all agree.

A walk that fails prints its seed; `PROMPTSYNC_TEST_WALKS` says how many there are.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence

import httpx2
import pytest

from crdt.library import Library
from crdt.view import View
from tests.simulation.ledger import check_log, states_of
from tests.simulation.rest_world import RestWorld
from tests.support.database import Databases
from tests.support.library_replica import newcomer
from tests.support.pair import Pair, running_pair

WALKS = int(os.environ.get("PROMPTSYNC_TEST_WALKS", "4"))
STEPS = 40


@pytest.fixture(scope="module")
async def pair(databases: Databases, template_database: str) -> AsyncIterator[Pair]:
    async with running_pair(databases, template_database) as pair:
        yield pair


@pytest.mark.parametrize("seed", range(1, WALKS + 1))
async def test_what_rest_and_devices_write_at_the_same_time_is_all_kept(pair: Pair, seed: int) -> None:
    print(f"walk {seed}")
    pair.user = await pair.one.user()
    async with pair.one.http(pair.user) as one, pair.other.http(pair.user) as other:
        world = RestWorld(pair, pair.user.library_id, seed, [one, other])
        for _ in range(STEPS):
            await world.walk()
        await world.settle()
        await check(world, pair)
        for device in world.devices:
            if hasattr(device, "wire"):
                await device.wire.disconnect()


async def check(world: RestWorld, pair: Pair) -> None:
    copies = [await newcomer(client, pair.user.library_id) for client in world.clients]
    for view in (*(copy.view for copy in copies), *(device.replica.view for device in world.devices)):
        world.ledger.check(view)
    states = {f"new device {number}": states_of(copy.view) for number, copy in enumerate(copies)}
    states |= {f"{device.name} read anew": states_of(View(Library.load(device.replica.dump()))) for device in world.devices}
    states |= {f"{device.name} as it is": states_of(device.replica.view) for device in world.devices}
    expected = states["new device 0"]
    states |= {f"server {number}": await answered_states(client, sorted(expected)) for number, client in enumerate(world.clients)}
    assert not {name: set(state.items()) ^ set(expected.items()) for name, state in states.items() if state != expected}
    assert len({(await client.get("/api/tags")).text for client in world.clients}) == 1
    assert all(not device.replica.waiting for device in world.devices)
    check_log([update for _, update in await pair.one.log(pair.user.library_id)], expected, one_client=not world.with_gaps)


async def answered_states(client: httpx2.AsyncClient, prompt_ids: Sequence[str]) -> dict[str, str]:
    answers = await asyncio.gather(*(client.get(f"/api/prompts/{prompt_id}") for prompt_id in prompt_ids))
    assert all(answer.status_code == 200 for answer in answers)
    listed = (await client.get("/api/prompts", params={"deleted": "any"})).json()
    assert listed["total"] == len(prompt_ids)
    return {answer.json()["id"]: answer.headers["etag"].strip('"') for answer in answers}
