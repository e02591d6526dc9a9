"""`GET /api/models`: providers, parameters, the operator's models, and the live list of a configuration of one's own."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from tests.support.calling import KEY
from tests.support.rest import code_of
from tests.support.running import Running, running_server
from tests.support.scripted_provider import ScriptedProvider, echoes, scripted_provider


@pytest.fixture
async def provider() -> AsyncIterator[ScriptedProvider]:
    async with scripted_provider() as running:
        yield running


@pytest.fixture
async def server(database_dsn: str, provider: ScriptedProvider, tmp_path: Path) -> AsyncIterator[Running]:
    path = tmp_path / "models.json"
    entry = {"id": "house", "name": "House model", "provider": "custom", "model": "m1", "base_url": f"{provider.url}/v1", "api_key": KEY}
    path.write_text(json.dumps({"models": [entry]}))
    path.chmod(0o600)
    async with running_server(database_dsn, model_hosts=(provider.host,), models_file=path) as server:
        yield server


@pytest.fixture
async def client(server: Running) -> AsyncIterator[httpx2.AsyncClient]:
    async with server.http(await server.user()) as client:
        yield client


async def configure(client: httpx2.AsyncClient, provider: ScriptedProvider, key: str = "sk-users-own-0123456789") -> None:
    body = {"provider": "custom", "model": "gpt-5-mini", "base_url": f"{provider.url}/v1", "api_key": key}
    answer = await client.put("/api/models/config/mine", json=body)
    assert answer.is_success, answer.text


async def test_providers_come_with_their_parameters_and_the_operators_models(client: httpx2.AsyncClient) -> None:
    found = (await client.get("/api/models")).json()
    providers = {each["id"]: each for each in found["providers"]}
    assert {"openai", "anthropic", "gemini", "deepseek", "dashscope", "siliconflow", "zhipu", "openrouter", "ollama", "custom"} <= set(
        providers
    )
    [temperature] = [each for each in providers["anthropic"]["parameters"] if each["name"] == "temperature"]
    assert (temperature["type"], temperature["minimum"], temperature["maximum"]) == ("number", 0, 1)
    assert providers["ollama"]["needs_key"] is False
    assert found["shared"] == [{"id": "shared:house", "name": "House model", "provider": "custom", "model": "m1"}]
    assert found["live"] is None


async def test_the_live_list_is_asked_for_with_the_users_own_key(client: httpx2.AsyncClient, provider: ScriptedProvider) -> None:
    await configure(client, provider)
    answer = await client.get("/api/models", params={"config": "mine"})
    assert [model["id"] for model in answer.json()["live"]] == ["deepseek-chat", "gpt-5-mini"]
    assert {asked.key for asked in provider.asked} == {"sk-users-own-0123456789"}


async def test_what_a_provider_has_can_be_asked_before_a_model_is_chosen(client: httpx2.AsyncClient, provider: ScriptedProvider) -> None:
    await configure(client, provider)
    await client.put("/api/models/config/mine", json={"model": "", "enabled": False})
    answer = await client.get("/api/models", params={"config": "mine"})
    assert [model["id"] for model in answer.json()["live"]] == ["deepseek-chat", "gpt-5-mini"]


async def test_nobody_is_told_what_the_operators_account_has(client: httpx2.AsyncClient, provider: ScriptedProvider) -> None:
    answer = await client.get("/api/models", params={"config": "shared:house"})
    assert (answer.status_code, code_of(answer)) == (404, "not_found")
    assert provider.asked == []


async def test_lists_count_as_calls_where_the_provider_is_asked(database_dsn: str, provider: ScriptedProvider) -> None:
    async with (
        running_server(database_dsn, model_hosts=(provider.host,), model_calls_a_minute=2) as server,
        server.http(await server.user()) as client,
    ):
        await configure(client, provider)
        assert [(await client.get("/api/models", params={"config": "mine"})).status_code for _ in range(4)] == [200] * 4
        provider.listing = echoes(401)
        await configure(client, provider, "sk-another-0123456789")
        answers = [await client.get("/api/models", params={"config": "mine"}) for _ in range(3)]
        assert [code_of(answer) for answer in answers] == ["model_invalid_key", "too_many_attempts", "too_many_attempts"]
        assert len(provider.asked) == 2


async def test_a_configuration_of_another_user_is_none(server: Running, client: httpx2.AsyncClient, provider: ScriptedProvider) -> None:
    await configure(client, provider)
    async with server.http(await server.user()) as another:
        answer = await another.get("/api/models", params={"config": "mine"})
        missing = await another.get("/api/models", params={"config": "made-up"})
    assert (answer.status_code, code_of(answer)) == (missing.status_code, code_of(missing)) == (404, "not_found")
    assert provider.asked == []


async def test_a_list_that_fails_shows_nothing_of_the_key(client: httpx2.AsyncClient, provider: ScriptedProvider) -> None:
    await configure(client, provider)
    provider.listing = echoes(401)
    answer = await client.get("/api/models", params={"config": "mine"})
    assert (answer.status_code, code_of(answer)) == (409, "model_invalid_key")
    assert "users-own" not in answer.text
    assert "***" in answer.json()["detail"]


async def test_nobody_is_told_who_has_not_signed_in(server: Running) -> None:
    async with server.http() as client:
        assert code_of(await client.get("/api/models")) == "not_authenticated"
