"""Calls of models for users: what an id means, the limits, and one row for each call however it ends."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from auth.errors import ModelKeyElsewhere, ModelKeyMissing
from auth.sessions import Principal
from auth.tokens import Audience
from crdt import operations
from crdt.operations import Missing
from server import metrics
from server.ai.calls import Finished, Piece, Target
from server.ai.failures import ModelFailed, Outcome
from server.errors import ModelDisabled, ModelIncomplete, TooManyAttempts
from server.times import utc_now
from storage.errors import NotFound
from tests.support.calling import KEY, InThisProcess, call_of, target_at
from tests.support.core import new_keyring
from tests.support.library_replica import newcomer, store
from tests.support.model_calls import kept_call
from tests.support.running import Running, User, running_server
from tests.support.scripted_provider import ScriptedProvider, fails, never_ends, says, stalls

SHARED_KEY = "sk-operators-own-0123456789abcd"


@asynccontextmanager
async def serving(dsn: str, provider: ScriptedProvider, folder: Path, **settings: Any) -> AsyncIterator[Running]:
    """A server whose operator shares a model at this provider, for 2 and 8 dollars a million tokens."""
    file = folder / "models.json"
    model: dict[str, Any] = {"id": "fast", "name": "Fast", "provider": "custom", "model": "gpt-5-mini", "base_url": f"{provider.url}/v1"}
    model |= {"api_key": SHARED_KEY, "params": {"temperature": 0.5}, "price": {"input": 2, "output": 8, "currency": "USD"}}
    file.write_text(json.dumps({"models": [model]}))
    async with running_server(dsn, model_hosts=(provider.host,), models_file=file, **settings) as running:
        yield running


@pytest.fixture
async def running(database_dsn: str, provider: ScriptedProvider, tmp_path: Path) -> AsyncIterator[Running]:
    async with serving(database_dsn, provider, tmp_path) as running:
        yield running


async def rows(running: Running) -> list[dict[str, Any]]:
    assert await running.services.models.ledger.settled(within=5)
    async with running.services.database.acquire() as connection:
        return [dict(row) for row in await connection.fetch("SELECT * FROM model_calls ORDER BY at, outcome")]


async def outcomes(running: Running) -> list[str]:
    return [row["outcome"] for row in await rows(running)]


async def listen(running: Running, user: User, target: Target) -> list[Piece]:
    async with aclosing(running.services.models.stream(call_of(target), user.id)) as pieces:
        return [piece async for piece in pieces]


async def principal(running: Running, user: User) -> Principal:
    return await running.services.sessions.authenticate(user.access_token, {Audience.ACCESS}, now=utc_now())


async def target(running: Running, user: User, config_id: str, **params: Any) -> Target:
    return await running.services.models.target(await principal(running, user), config_id, running.app.editor, params=params)


async def write(running: Running, user: User, config_id: str, **fields: Any) -> None:
    """Set fields of a configuration as a device does, which may write anything."""
    async with running.http(user) as client:
        update = operations.set_model_fields((await newcomer(client, user.library_id)).library, config_id, fields)
        assert (await store(client, user.library_id, update)).is_success


async def configure(running: Running, user: User, config_id: str = "mine", **fields: Any) -> httpx2.Response:
    async with running.http(user) as client:
        return await client.put(f"/api/models/config/{config_id}", json=fields)


# --- what an id means


async def test_a_configuration_of_ones_own_is_called_with_its_key_and_only_what_was_set(
    running: Running, provider: ScriptedProvider
) -> None:
    user = await running.user()
    answer = await configure(
        running,
        user,
        provider="custom",
        model="gpt-5-mini",
        base_url=f"{provider.url}/v1/",
        parameters={"temperature": 0.2, "top_k": 5},
        api_key=KEY,
        extra_headers={"x-gateway": "gate-Qm3"},
    )
    assert answer.status_code in (200, 201), answer.text

    await listen(running, user, await target(running, user, "mine", temperature=0.7))

    (asked,) = provider.calls
    assert (asked.key, asked.headers["x-gateway"]) == (KEY, "gate-Qm3")
    assert {name: asked.body.get(name) for name in ("model", "temperature", "top_k", "max_tokens")} == {
        "model": "gpt-5-mini",
        "temperature": 0.7,
        "top_k": 5,
        "max_tokens": None,
    }


async def test_a_model_of_the_operators_is_called_with_the_operators_key(running: Running, provider: ScriptedProvider) -> None:
    user = await running.user()

    await listen(running, user, await target(running, user, "shared:fast"))

    assert [(asked.key, asked.body["temperature"]) for asked in provider.calls] == [(SHARED_KEY, 0.5)]


async def test_a_plain_id_never_means_one_of_the_operators(running: Running) -> None:
    user = await running.user()

    with pytest.raises(Missing):
        await target(running, user, "fast")


async def test_a_configuration_that_a_device_has_given_the_id_of_a_shared_model_does_not_stand_in_for_it(
    running: Running, provider: ScriptedProvider
) -> None:
    user = await running.user()
    await write(running, user, "shared:fast", provider="custom", model="evil", base_url=f"{provider.url}/v1", enabled=True)

    assert (await target(running, user, "shared:fast")).model == "gpt-5-mini"


async def test_a_configuration_with_the_id_of_a_shared_model_that_is_no_more_is_not_called(
    running: Running, provider: ScriptedProvider
) -> None:
    user = await running.user()
    await write(running, user, "shared:gone", provider="custom", model="evil", base_url=f"{provider.url}/v1", enabled=True)

    with pytest.raises(NotFound):
        await target(running, user, "shared:gone")


async def test_an_id_that_a_device_has_made_up_with_characters_that_no_database_takes_is_called_or_refused(
    running: Running, provider: ScriptedProvider
) -> None:
    user = await running.user()
    await write(running, user, "a\0b", provider="custom", model="gpt-5-mini", base_url=f"{provider.url}/v1", enabled=True)

    with pytest.raises((NotFound, ModelIncomplete)):
        await target(running, user, "a\0b")


async def test_anothers_configuration_is_as_one_that_is_not_there(running: Running, provider: ScriptedProvider) -> None:
    owner, other = await running.user(), await running.user()
    await configure(running, owner, provider="custom", model="m", base_url=f"{provider.url}/v1", api_key=KEY)

    with pytest.raises(Missing):
        await target(running, other, "mine")


async def test_a_configuration_that_is_switched_off_or_incomplete_is_refused(running: Running, provider: ScriptedProvider) -> None:
    user = await running.user()
    written: dict[str, dict[str, Any]] = {
        "off": {"provider": "custom", "model": "m", "base_url": f"{provider.url}/v1", "enabled": False},
        "strange": {"provider": "nobody", "model": "m"},
        "nameless": {"provider": "custom", "base_url": f"{provider.url}/v1"},
        "homeless": {"provider": "custom", "model": "m"},
        "keyless": {"provider": "deepseek", "model": "m"},
        "inside": {"provider": "custom", "model": "m", "base_url": "https://169.254.169.254/v1"},
    }
    for config_id, fields in written.items():
        await write(running, user, config_id, **{"enabled": True, **fields})

    found: dict[str, object] = {}
    for config_id in written:
        try:
            await target(running, user, config_id)
        except (ModelDisabled, ModelIncomplete, ModelKeyMissing, ModelFailed) as error:
            found[config_id] = getattr(error, "what", None) or getattr(error, "outcome", None) or type(error)

    assert found == {
        "off": ModelDisabled,
        "strange": "provider",
        "nameless": "model",
        "homeless": "base_url",
        "keyless": ModelKeyMissing,
        "inside": Outcome.REFUSED_ADDRESS,
    }


async def test_a_key_goes_nowhere_else_when_a_device_points_its_configuration_elsewhere(
    running: Running, provider: ScriptedProvider
) -> None:
    user = await running.user()
    await configure(running, user, provider="deepseek", model="deepseek-chat", api_key=KEY)
    await write(running, user, "mine", base_url=f"{provider.url}/v1")

    with pytest.raises(ModelKeyElsewhere):
        await target(running, user, "mine")
    assert provider.asked == []


# --- what is written down


async def test_a_call_leaves_one_row_with_what_it_took_and_cost(running: Running, provider: ScriptedProvider) -> None:
    provider.answer(says("Hello", usage=(1000, 500)))
    user = await running.user()
    called = target_at(provider, "custom", config_id="shared:fast", is_shared=True)

    await listen(running, user, called)

    (row,) = await rows(running)
    assert (row["user_id"], row["kind"], row["config_id"], row["shared"]) == (user.id, "optimize", "shared:fast", True)
    assert (row["provider"], row["model"], row["outcome"]) == ("custom", "gpt-5-mini", "ok")
    assert (row["input_tokens"], row["output_tokens"], row["estimated"]) == (1000, 500, False)
    assert (str(row["cost"]), row["currency"]) == ("0.006000000", "USD")
    assert 0 <= row["first_milliseconds"] <= row["milliseconds"] < 5000


@pytest.mark.parametrize(("status", "outcome"), [(401, "invalid_key"), (404, "unknown_model"), (400, "rejected")])
async def test_a_failure_leaves_a_row_of_its_outcome_without_tokens(
    running: Running, provider: ScriptedProvider, status: int, outcome: str
) -> None:
    provider.answer(fails(status))

    with pytest.raises(ModelFailed):
        await listen(running, await running.user(), target_at(provider))

    (row,) = await rows(running)
    assert (row["outcome"], row["input_tokens"], row["first_milliseconds"], row["cost"]) == (outcome, None, None, None)


async def test_an_answer_that_breaks_off_is_guessed_at(running: Running, provider: ScriptedProvider) -> None:
    provider.answer(says("12345678", "12345678", cut_after=2))

    with pytest.raises(ModelFailed) as caught:
        await listen(running, await running.user(), target_at(provider))

    (row,) = await rows(running)
    assert (caught.value.outcome, row["outcome"], row["estimated"]) == (Outcome.CUT_OFF, "cut_off", True)
    assert row["input_tokens"] > 0


async def test_a_reader_who_closes_the_stream_has_cancelled_the_call(running: Running, provider: ScriptedProvider) -> None:
    provider.answer(never_ends("12345678", pause=0.01))
    user = await running.user()

    async with aclosing(running.services.models.stream(call_of(target_at(provider)), user.id)) as pieces:
        await anext(pieces)

    await provider.disconnected()
    (row,) = await rows(running)
    assert (row["outcome"], row["estimated"]) == ("cancelled", True)
    assert row["output_tokens"] >= 2


async def test_a_task_that_is_cancelled_while_it_waits_has_cancelled_the_call(running: Running, provider: ScriptedProvider) -> None:
    provider.answer(stalls())
    task = asyncio.create_task(listen(running, await running.user(), target_at(provider)))
    await provider.until(lambda: bool(provider.calls))

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await provider.disconnected()
    assert await outcomes(running) == ["cancelled"]


async def test_a_reader_who_leaves_after_the_end_has_had_the_answer(running: Running, provider: ScriptedProvider) -> None:
    async with aclosing(running.services.models.stream(call_of(target_at(provider)), (await running.user()).id)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Finished):
                break

    assert await outcomes(running) == ["ok"]


async def test_a_fault_of_ours_leaves_a_row_too(running: Running, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> AsyncIterator[Piece]:
        raise RuntimeError("ours")
        yield

    monkeypatch.setattr(InThisProcess, "stream", broken)

    with pytest.raises(RuntimeError):
        await listen(running, await running.user(), target_at(provider))

    assert await outcomes(running) == ["internal"]


async def test_a_check_of_a_configuration_is_a_call_as_well(running: Running, provider: ScriptedProvider) -> None:
    user = await running.user()
    provider.keys = {KEY}

    await running.services.models.check(target_at(provider), user.id)
    provider.keys = {"another"}
    with pytest.raises(ModelFailed) as raised:
        await running.services.models.check(target_at(provider), user.id)
    assert raised.value.outcome is Outcome.INVALID_KEY

    assert [(row["kind"], row["outcome"]) for row in await rows(running)] == [("validate", "ok"), ("validate", "invalid_key")]


async def test_an_answer_is_there_though_its_row_cannot_be_written(
    running: Running, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await running.user()
    await running.execute("ALTER TABLE model_calls RENAME TO elsewhere")
    before = metrics.registry.get_sample_value("promptsync_model_rows_lost_total", {"reason": "refused"}) or 0

    pieces = await listen(running, user, target_at(provider))

    assert isinstance(pieces[-1], Finished)
    assert await running.services.models.ledger.settled(within=5)
    await running.execute("ALTER TABLE elsewhere RENAME TO model_calls")
    assert metrics.registry.get_sample_value("promptsync_model_rows_lost_total", {"reason": "refused"}) == before + 1


async def test_the_rows_of_the_last_calls_are_stored_at_a_stop(database_dsn: str, provider: ScriptedProvider, tmp_path: Path) -> None:
    keyring = new_keyring()
    async with serving(database_dsn, provider, tmp_path, keyring=keyring) as running:
        await listen(running, await running.user(), target_at(provider))

    async with serving(database_dsn, provider, tmp_path, keyring=keyring) as running:
        assert await outcomes(running) == ["ok"]


# --- limits


async def test_past_so_many_calls_a_minute_nothing_is_called_and_nothing_written_down(
    database_dsn: str, provider: ScriptedProvider, tmp_path: Path
) -> None:
    async with serving(database_dsn, provider, tmp_path, model_calls_a_minute=2) as running:
        user = await running.user()
        for _ in range(2):
            await listen(running, user, await target(running, user, "shared:fast"))

        with pytest.raises(TooManyAttempts) as caught:
            await target(running, user, "shared:fast")

        assert (len(provider.calls), await outcomes(running)) == (2, ["ok", "ok"])
        assert 1 <= caught.value.retry_after <= 60
        await target(running, await running.user(), "shared:fast")  # others are not held up


async def test_asking_for_a_model_counts_whether_there_is_one_or_not(database_dsn: str, provider: ScriptedProvider, tmp_path: Path) -> None:
    async with serving(database_dsn, provider, tmp_path, model_calls_a_minute=2) as running:
        user = await running.user()
        for config_id in ("shared:none", "none"):
            with pytest.raises((NotFound, Missing)):
                await target(running, user, config_id)

        with pytest.raises(TooManyAttempts):
            await target(running, user, "none")


async def test_a_model_that_is_asked_for_too_often_is_not_looked_up_beyond_the_answer(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, ended = running.services.models, asyncio.Event()

    async def named(*_: Any) -> None:
        try:
            async with running.services.database.acquire() as connection:
                await connection.fetchval("SELECT 1")
        finally:
            ended.set()

    async def count(_: UUID) -> None:
        raise TooManyAttempts(1)

    monkeypatch.setattr(models.targets, "named", named)
    monkeypatch.setattr(models._allowance, "count", count)
    with pytest.raises(TooManyAttempts):
        await target(running, await running.user(), "any")

    assert ended.is_set()


async def test_so_many_calls_may_run_at_a_time_and_each_end_makes_room(
    database_dsn: str, provider: ScriptedProvider, tmp_path: Path
) -> None:
    provider.answer(never_ends(pause=0.01))
    async with serving(database_dsn, provider, tmp_path, model_calls_at_once=2) as running:
        user, models = await running.user(), running.services.models
        first, second = (models.stream(call_of(target_at(provider)), user.id) for _ in range(2))
        await anext(first)
        await anext(second)
        assert metrics.registry.get_sample_value("promptsync_model_calls_running") == 2

        with pytest.raises(TooManyAttempts):
            await listen(running, user, target_at(provider))
        await first.aclose()
        third = models.stream(call_of(target_at(provider)), user.id)
        await anext(third)
        await second.aclose()
        await third.aclose()

        assert metrics.registry.get_sample_value("promptsync_model_calls_running") == 0
        assert await outcomes(running) == ["cancelled"] * 3


async def test_who_asks_again_while_too_many_run_is_not_counted(database_dsn: str, provider: ScriptedProvider, tmp_path: Path) -> None:
    provider.answer(never_ends(pause=0.01))
    async with serving(database_dsn, provider, tmp_path, model_calls_at_once=1, model_calls_a_minute=2) as running:
        user = await running.user()
        async with aclosing(running.services.models.stream(call_of(await target(running, user, "shared:fast")), user.id)) as pieces:
            await anext(pieces)
            for _ in range(3):
                with pytest.raises(TooManyAttempts):
                    await target(running, user, "shared:fast")

        await target(running, user, "shared:fast")


async def test_the_operators_models_answer_until_the_days_tokens_are_used(
    database_dsn: str, provider: ScriptedProvider, tmp_path: Path
) -> None:
    provider.answer(says("Hello", usage=(60, 40)))
    async with serving(database_dsn, provider, tmp_path, shared_model_tokens_a_day=150) as running:
        user = await running.user()
        shared = await target(running, user, "shared:fast")
        running.services.models.ledger.note(kept_call(user.id, shared=True, input_tokens=1000))  # of another day
        for _ in range(2):
            await listen(running, user, shared)

        with pytest.raises(TooManyAttempts) as caught:
            await listen(running, user, shared)

        assert 1 <= caught.value.retry_after <= 86_400
        await listen(running, user, target_at(provider))  # with a key of one's own


async def test_hanging_up_before_the_end_does_not_save_tokens(database_dsn: str, provider: ScriptedProvider, tmp_path: Path) -> None:
    provider.answer(never_ends("12345678" * 100, pause=0.01))
    async with serving(database_dsn, provider, tmp_path, shared_model_tokens_a_day=100) as running:
        user = await running.user()
        shared = await target(running, user, "shared:fast")
        async with aclosing(running.services.models.stream(call_of(shared), user.id)) as pieces:
            await anext(pieces)

        with pytest.raises(TooManyAttempts):
            await listen(running, user, shared)


async def test_metrics_name_providers_and_outcomes_and_nobodys_configuration(running: Running, provider: ScriptedProvider) -> None:
    config_id = f"mine-{uuid4().hex}"
    await listen(running, await running.user(), target_at(provider, "custom", config_id=config_id, model=config_id))

    text = metrics.exposition().decode()

    assert 'promptsync_model_calls_total{outcome="ok",provider="custom"}' in text
    assert config_id not in text
