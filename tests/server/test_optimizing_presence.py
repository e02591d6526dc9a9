"""That a prompt is being improved is seen by the library's devices, on both dialects and in other processes."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from crdt.presence import GONE, Entry, decode
from protocol.messages import Presence
from server import announcer
from tests.support.core import new_keyring, until
from tests.support.improving import Improving, improving_server
from tests.support.link_client import link
from tests.support.running import Running, running_server
from tests.support.scripted_provider import ScriptedProvider, fails, says
from tests.support.wire_client import WireClient


@pytest.fixture
async def world(database_dsn: str) -> AsyncIterator[Improving]:
    async with improving_server(database_dsn) as (server, provider):
        user = await server.user()
        async with server.http(user) as client:
            yield await Improving.begin(server, provider, client, user)


def heard(device: WireClient) -> list[Entry]:
    """What the device was told of others, in order."""
    return [entry for message in device.presence for entry in decode(message)]


def shown(entries: list[Entry]) -> list[dict[str, Any]]:
    """The improvements among them."""
    return [state for entry in entries if "optimizing" in (state := json.loads(entry.state) or {})]


async def test_a_device_sees_that_it_runs_and_that_it_is_over(world: Improving) -> None:
    prompt_id, gate = await world.prompt(), asyncio.Event()
    world.provider.then(says("x", gate=gate))
    async with world.server.device(world.user) as device:
        await until(
            lambda: any(room.presence.greeted(member) for room in world.server.app.rooms for member in room.members), "the greeting"
        )
        running = asyncio.create_task(world.optimize(prompt_id))
        await device.until(lambda: bool(shown(heard(device))), what="the news that it runs")
        state = shown(heard(device))[0]
        assert state["optimizing"].keys() == {"prompt", "mode", "by", "since"}
        assert (state["optimizing"]["prompt"], state["optimizing"]["mode"]) == (prompt_id, "optimize")
        assert state["user"]["id"] == str(world.user.id)
        gate.set()
        assert (await running).status_code == 201
        await device.until(lambda: heard(device)[-1].state == GONE, what="the news that it is over")
        assert len({entry.client for entry in heard(device)}) == 1


async def test_a_device_that_comes_later_and_one_on_the_other_dialect_see_it_too(world: Improving) -> None:
    prompt_id, gate = await world.prompt(), asyncio.Event()
    world.provider.then(says("x", gate=gate))
    running = asyncio.create_task(world.optimize(prompt_id))
    await world.provider.until(lambda: len(world.provider.calls) == 1)
    async with world.server.device(world.user) as device, link(world.server, world.user) as other:
        await other.open(1, world.user.library_id)
        said = await other.expect(Presence, lambda message: bool(shown(decode(message.entries))))
        assert shown(decode(said.entries))[0]["optimizing"]["prompt"] == prompt_id
        await device.until(lambda: bool(shown(heard(device))), what="the news that it runs")
        gate.set()
        await running
        await other.expect(Presence, lambda message: decode(message.entries)[0].state == GONE)
        await device.until(lambda: heard(device)[-1].state == GONE, what="the news that it is over")


async def test_it_is_taken_back_after_a_failure_and_renewed_while_it_lasts(world: Improving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcer, "RENEW_SECONDS", 0.02)
    prompt_id, gate = await world.prompt(), asyncio.Event()

    async def fails_later(asked: Any, line: Any) -> None:
        await gate.wait()
        await fails(401)(asked, line)

    world.provider.then(fails_later)
    async with world.server.device(world.user) as device:
        running = asyncio.create_task(world.optimize(prompt_id))
        await device.until(lambda: len(shown(heard(device))) >= 3, what="renewals")
        clocks = [entry.clock for entry in heard(device)]
        assert clocks == sorted(set(clocks))
        gate.set()
        await running
        await device.until(lambda: heard(device)[-1].state == GONE, what="the news that it is over")


async def test_devices_of_another_process_see_it(database_dsn: str) -> None:
    keyring = new_keyring()
    async with AsyncExitStack() as stack:
        one, provider = await stack.enter_async_context(improving_server(database_dsn, keyring=keyring))
        other = await stack.enter_async_context(running_server(database_dsn, keyring=keyring))
        await until(lambda: not one.app.bus.alone and not other.app.bus.alone, "the two to find each other")
        user = await one.user()
        world = await Improving.begin(one, provider, await stack.enter_async_context(one.http(user)), user)
        prompt_id, gate = await world.prompt(), asyncio.Event()
        world.provider.then(says("x", gate=gate))
        device = await stack.enter_async_context(other.device(user))
        await until(lambda: _greets(other), "the greeting")
        running = asyncio.create_task(world.optimize(prompt_id))
        await device.until(lambda: bool(shown(heard(device))), what="the news that it runs")
        gate.set()
        assert (await running).status_code == 201
        await device.until(lambda: heard(device)[-1].state == GONE, what="the news that it is over")


def _greets(server: Running) -> bool:
    return any(room.presence.greeted(member) for room in server.app.rooms for member in room.members)


async def test_a_text_alone_is_nobodys_business(world: Improving) -> None:
    gate = asyncio.Event()
    provider: ScriptedProvider = world.provider
    provider.then(says("x", gate=gate))
    async with world.server.device(world.user) as device:
        await until(lambda: _greets(world.server), "the greeting")
        running = asyncio.create_task(world.optimize(None, text="x"))
        await provider.until(lambda: len(provider.calls) == 1)
        gate.set()
        assert (await running).status_code == 200
        await device.push(device.replica.write_prompt("after", "it"))
        await device.confirmed()
        assert shown(heard(device)) == []
