"""SIGKILL and SIGTERM of a server that has prompts improved: one version and one call however it ends, and nobody waits for a stop."""

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx2
import pytest

from server.idempotency import ABANDONED_AFTER
from tests.support.calling import model_processes_of
from tests.support.core import eventually
from tests.support.improving import events, path_of
from tests.support.rest import code_of
from tests.support.scripted_provider import ScriptedProvider, never_ends, says, scripted_provider
from tests.support.server import STOP_SECONDS, Account, Server

pytestmark = pytest.mark.faults

CONFIG, RESULT = "home", "the result"


@dataclass(frozen=True, kw_only=True)
class World:
    """A server process, the provider that it may ask, and an account on it."""

    server: Server
    provider: ScriptedProvider
    account: Account
    client: httpx2.AsyncClient

    async def prompt(self) -> str:
        answer = await self.client.post("/api/prompts", json={"title": "p", "original_text": "write a report"})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def versions(self, prompt_id: str) -> list[dict[str, Any]]:
        answer = await self.client.get(f"/api/prompts/{prompt_id}/history")
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["versions"]
        return found

    async def calls_in_usage(self) -> dict[str, Any]:
        answer = await self.client.get("/api/usage")
        assert answer.status_code == 200, answer.text
        total: dict[str, Any] = answer.json()["total"]
        return total

    def optimize(self, prompt_id: str, key: str, **body: Any) -> "asyncio.Task[httpx2.Response]":
        headers = {"Idempotency-Key": key}
        return asyncio.create_task(self.client.post(path_of(prompt_id), json={"model_config_id": CONFIG} | body, headers=headers))

    @asynccontextmanager
    async def locked(self, table: str, where: str, value: object) -> AsyncIterator[None]:
        """Rows that nobody can write while the block runs, or until the database goes."""
        connection = await asyncpg.connect(self.server.facts()["database"])
        try:
            await connection.execute("BEGIN")
            locked = await connection.fetch(f"SELECT 1 FROM {table} WHERE {where} = $1 FOR UPDATE", value)  # noqa: S608  # a test's words
            assert locked
            yield
        finally:
            connection.terminate()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with scripted_provider() as provider:
        server = Server(env={"PROMPTSYNC_MODEL_HOSTS": provider.host})
        try:
            await asyncio.to_thread(server.start)
            account = await asyncio.to_thread(server.register)
            headers = {"Authorization": f"Bearer {account.access_token}"}
            async with httpx2.AsyncClient(base_url=server.url, headers=headers, timeout=30) as client:
                fields = {"name": "Home", "provider": "custom", "model": "gpt-5-mini", "base_url": f"{provider.url}/v1"}
                answer = await client.put(f"/api/models/config/{CONFIG}", json=fields)
                assert answer.is_success, answer.text
                yield World(server=server, provider=provider, account=account, client=client)
        finally:
            await asyncio.to_thread(server.cleanup)


async def test_a_server_killed_between_the_version_and_its_answer_has_made_one_and_paid_once(world: World) -> None:
    prompt_id, key, gate = await world.prompt(), uuid.uuid4().hex, asyncio.Event()
    world.provider.answer(says("the ", "result", gate=gate))
    asking = world.optimize(prompt_id, key)
    await world.provider.until(lambda: len(world.provider.calls) == 1)

    async def is_made() -> bool:
        return len(await world.versions(prompt_id)) == 1

    async with world.locked("idempotency_keys", "user_id", await own_id(world)):  # the answer cannot be kept, and so is not given
        gate.set()
        await eventually(is_made, "the version")
        await asyncio.to_thread(world.server.kill9)
    with pytest.raises(httpx2.HTTPError):
        await asking
    (made,) = await again(world, prompt_id)

    async with asyncio.timeout(ABANDONED_AFTER.total_seconds() + 20):
        while (answer := await world.optimize(prompt_id, key)).status_code == 409:  # whether the last one is dead shows only with time
            assert code_of(answer) == "idempotency_in_progress"
            await asyncio.sleep(0.5)  # it is in another process
    assert (answer.status_code, answer.json()["version_id"], answer.json()["text"]) == (201, made["id"], RESULT)
    assert await world.versions(prompt_id) == [made]
    assert len(world.provider.calls) == 1


async def test_a_server_asked_to_stop_ends_what_runs_and_keeps_what_is_made(world: World) -> None:
    prompt_id, key = await world.prompt(), uuid.uuid4().hex
    world.provider.answer(never_ends(pause=0.01))
    plain = world.optimize(prompt_id, key)
    body = {"model_config_id": CONFIG, "stream": True}
    async with world.client.stream("POST", path_of(prompt_id), json=body) as streamed:
        found = events(streamed.aiter_text())
        assert (await anext(found)).name == "token"
        await world.provider.until(lambda: len(world.provider.calls) == 2)
        stopping = asyncio.create_task(asyncio.to_thread(world.server.terminate))
        last = [event async for event in found][-1]
    assert (last.name, last.data["code"]) == ("error", "try_later")
    answer = await plain
    assert (answer.status_code, code_of(answer)) == (503, "try_later")
    assert await stopping < STOP_SECONDS / 2

    assert await again(world, prompt_id) == []
    total = await world.calls_in_usage()
    assert (total["calls"], total["cancelled"], total["failed"]) == (2, 2, 0)
    world.provider.answer(says("the ", "result"))
    assert (await world.optimize(prompt_id, key)).status_code == 201
    assert len(await world.versions(prompt_id)) == 1


async def test_calls_are_cut_off_when_the_process_that_makes_them_is_killed_and_the_next_one_succeeds(world: World) -> None:
    prompt_id = await world.prompt()
    world.provider.answer(never_ends(pause=0.01))
    body = {"model_config_id": CONFIG, "stream": True}
    async with world.client.stream("POST", path_of(prompt_id), json=body) as streamed:
        found = events(streamed.aiter_text())
        assert (await anext(found)).name == "token"
        assert world.server.process is not None
        (calling,) = model_processes_of(world.server.process.pid)
        os.kill(calling, signal.SIGKILL)
        async with asyncio.timeout(10):
            last = [event async for event in found][-1]
    assert (last.name, last.data["code"]) == ("error", "model_cut_off")
    assert await world.versions(prompt_id) == []

    world.provider.answer(says("the ", "result"))
    assert (await world.optimize(prompt_id, uuid.uuid4().hex)).status_code == 201
    (made,) = await world.versions(prompt_id)
    assert made["model"] == "gpt-5-mini"
    assert "promptsync_model_processes_ended_total 1.0" in (await world.client.get("/metrics")).text


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_a_server_that_cannot_store_stops_in_time_and_gives_the_result_out(world: World, stream: bool) -> None:
    prompt_id, key, gate = await world.prompt(), uuid.uuid4().hex, asyncio.Event()
    world.provider.answer(says("the ", "result", gate=gate))
    asking = world.optimize(prompt_id, key, stream=stream)
    await world.provider.until(lambda: len(world.provider.calls) == 1)
    async with (
        world.locked("libraries", "id", uuid.UUID(world.account.library_id)),
        world.locked("idempotency_keys", "user_id", await own_id(world)),
    ):
        gate.set()

        async def is_over() -> bool:
            return bool((await world.calls_in_usage())["calls"] == 1)

        await eventually(is_over, "the end of the call")
        took = await asyncio.to_thread(world.server.terminate)
    assert took < STOP_SECONDS
    answer = await asking
    assert RESULT in answer.text
    assert "try_later" in answer.text
    await again(world, prompt_id)
    assert (await world.calls_in_usage())["calls"] == 1


async def own_id(world: World) -> uuid.UUID:
    return uuid.UUID((await world.client.get("/api/users/me")).json()["id"])


async def again(world: World, prompt_id: str) -> list[dict[str, Any]]:
    """The prompt's versions once the server has started again."""
    await asyncio.to_thread(world.server.start)
    return await world.versions(prompt_id)
