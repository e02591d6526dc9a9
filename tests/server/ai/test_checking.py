"""Checking a configuration by the cheapest real call, and asking a provider what models it has."""

import time

import pytest

from auth.model_secret import ModelSecret
from server.ai import listed_models
from server.ai import wires as wires_module
from server.ai.calls import Target
from server.ai.failures import ModelFailed, Outcome
from server.ai.listed_models import ListedModel, ListedModels, listed_in
from server.ai.wires import Wires
from tests.support.calling import KEY, WIRES, target_at
from tests.support.scripted_provider import ScriptedProvider, echoes, fails, raw, says, stalls


async def checked(wires: Wires, target: Target) -> Outcome:
    """What a check comes to."""
    try:
        await wires.check(target)
    except ModelFailed as error:
        return error.outcome
    return Outcome.OK


@pytest.mark.parametrize("wire", WIRES)
async def test_a_configuration_that_works_is_ok_for_a_few_tokens(wires: Wires, provider: ScriptedProvider, wire: str) -> None:
    provider.answer(says("ok", finish="length"))
    assert await checked(wires, target_at(provider, wire, params={"temperature": 9})) is Outcome.OK
    [call] = provider.calls
    names = {"chat": "max_completion_tokens", "responses": "max_output_tokens"}
    assert call.body[names.get(wire, "max_tokens")] == 16
    assert "temperature" not in call.body


@pytest.mark.parametrize("wire", WIRES)
async def test_a_wrong_key_is_found_without_a_call_that_costs(wires: Wires, provider: ScriptedProvider, wire: str) -> None:
    provider.keys = {"sk-another"}
    assert await checked(wires, target_at(provider, wire)) is Outcome.INVALID_KEY
    assert [asked.method for asked in provider.asked] == ["GET"]


@pytest.mark.parametrize(
    ("status", "outcome"), [(402, Outcome.NO_QUOTA), (404, Outcome.UNKNOWN_MODEL), (429, Outcome.RATE_LIMITED), (500, Outcome.FAILED)]
)
async def test_what_only_a_call_tells_is_told(wires: Wires, provider: ScriptedProvider, status: int, outcome: Outcome) -> None:
    provider.answer(fails(status, {"error": {"message": "no"}} if status == 402 else None))
    assert await checked(wires, target_at(provider)) is outcome
    assert len(provider.calls) == 1


@pytest.mark.parametrize("listing", [fails(404, "nothing"), fails(403), fails(501), raw(b"<html>", headers={"content-type": "text/html"})])
async def test_a_provider_without_a_list_can_still_be_ok(wires: Wires, provider: ScriptedProvider, listing: object) -> None:
    provider.listing = listing  # type: ignore[assignment]  # one of the replies above
    assert await checked(wires, target_at(provider)) is Outcome.OK


async def test_a_list_that_everybody_gets_says_nothing_about_a_key(wires: Wires, provider: ScriptedProvider) -> None:
    assert await checked(wires, target_at(provider, "openrouter")) is Outcome.OK
    assert [asked.method for asked in provider.asked] == ["POST"]


async def test_a_model_that_only_thinks_within_so_few_tokens_is_ok(wires: Wires, provider: ScriptedProvider) -> None:
    provider.answer(says(reasoning=["hm"], finish="length"))
    assert await checked(wires, target_at(provider)) is Outcome.OK


async def test_a_check_ends_in_time(wires: Wires, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wires_module, "CHECK_SECONDS", 0.2)
    for provider.listing in (None, stalls()):
        provider.answer(stalls())
        assert await checked(wires, target_at(provider)) is Outcome.TIMEOUT


async def test_an_address_that_is_not_asked(wires: Wires, provider: ScriptedProvider) -> None:
    assert await checked(wires, target_at(provider, base_url="https://169.254.169.254/v1")) is Outcome.REFUSED_ADDRESS


@pytest.mark.parametrize("wire", WIRES)
async def test_the_live_list_is_by_id_and_is_kept_for_its_key_alone(wires: Wires, provider: ScriptedProvider, wire: str) -> None:
    lists = ListedModels(time.monotonic)

    async def listed(target: Target) -> list[str]:
        return [model.id for model in await lists.get(target, wires.list_models)]

    provider.models = ["zeta", "alpha"]
    target = target_at(provider, wire)
    assert await listed(target) == ["alpha", "zeta"]
    provider.models = ["other"]
    assert await listed(target) == ["alpha", "zeta"]
    [asked] = provider.asked
    assert asked.key == KEY
    assert await listed(target_at(provider, wire, secret=ModelSecret("sk-of-another"))) == ["other"]


async def test_a_list_is_asked_for_again_after_a_while_and_few_are_kept(
    provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listed_models, "MAX_KEPT", 2)
    now, asked = 0.0, []

    async def ask(target: object) -> list[ListedModel]:
        asked.append(target)
        return []

    lists = ListedModels(lambda: now)
    targets = [target_at(provider, secret=ModelSecret(f"sk-{number}")) for number in range(3)]
    for target in (targets[0], targets[0], targets[1], targets[2], targets[0]):
        await lists.get(target, ask)
    assert len(asked) == 4  # the first was forgotten for the third
    now = listed_models.KEPT_SECONDS
    await lists.get(targets[0], ask)
    assert len(asked) == 5


async def test_a_failure_to_list_is_told_without_the_key_and_not_kept(wires: Wires, provider: ScriptedProvider) -> None:
    provider.listing = echoes(401)
    with pytest.raises(ModelFailed) as raised:
        await wires.list_models(target_at(provider))
    assert raised.value.outcome is Outcome.INVALID_KEY
    assert KEY[:8] not in raised.value.said
    provider.listing = None
    assert await wires.list_models(target_at(provider))


async def test_a_list_past_its_bound_is_not_read(wires: Wires, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wires_module, "MAX_LIST_BYTES", 1_000)
    provider.models = [f"model-{number}" for number in range(100)]
    with pytest.raises(ModelFailed) as raised:
        await wires.list_models(target_at(provider))
    assert raised.value.outcome is Outcome.TOO_LARGE


def test_of_a_list_only_what_can_be_shown_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        {"id": "b", "name": "B"},
        {"id": "a", "display_name": 7},
        {"id": 3},
        {"id": ""},
        {"id": "x\n"},
        {"id": "y" * 201},
        None,
        {"id": "b"},
    ]
    assert listed_in({"data": entries}) == [ListedModel("a", "a"), ListedModel("b", "b")]
    monkeypatch.setattr(listed_models, "MAX_LISTED", 1)
    assert len(listed_in({"data": entries})) == 1
