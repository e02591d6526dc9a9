"""Prompts that a model improves, over real sockets, with a provider that says what it is told to."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from crdt.operations import merge_preferences, set_model_fields
from tests.support.core import until
from tests.support.improving import CONFIG, MODEL, Improving, improving_server, member, token_text
from tests.support.library_replica import LibraryReplica, newcomer, store
from tests.support.rest import code_of
from tests.support.running import Running
from tests.support.scripted_provider import ScriptedProvider, echoes, fails, says

RESULT = "# Role\nYou write reports for {{team}}."


@pytest.fixture(scope="module")
async def running(shared_dsn: str) -> AsyncIterator[tuple[Running, ScriptedProvider]]:
    async with improving_server(shared_dsn) as running:
        yield running


@pytest.fixture
async def world(running: tuple[Running, ScriptedProvider]) -> AsyncIterator[Improving]:
    server, provider = running
    provider.asked.clear()
    provider.answer(says(RESULT[:10], RESULT[10:], reasoning=("think", "ing")))
    user = await server.user()
    async with server.http(user) as client:
        yield await Improving.begin(server, provider, client, user)


def asked(provider: ScriptedProvider, number: int = -1) -> list[dict[str, Any]]:
    """The messages that the provider was asked with."""
    found: list[dict[str, Any]] = provider.calls[number].body["messages"]
    return found


# --- the answer, and the version


async def test_the_result_is_a_version_and_the_current_one(world: Improving) -> None:
    prompt_id = await world.prompt()
    answer = await world.optimize(prompt_id, target="system", params={"temperature": 0.2}, note="first")
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["text"], made["reasoning"], made["prompt_id"]) == (RESULT, "thinking", prompt_id)
    assert made["usage"] == {"input_tokens": 7, "output_tokens": 5}
    assert (made["lost_variables"], made["new_variables"], made["finish_reason"]) == ([], [], "stop")
    version = made["version"]
    assert (version["kind"], version["note"], version["model"], version["model_name"]) == ("optimize", "first", MODEL, "Home")
    assert (version["current"], version["parent"], version["template"]) == (True, None, "general-system")
    assert answer.headers["location"] == f"/api/prompts/{prompt_id}/history/{made['version_id']}"
    shown = await world.client.get(f"/api/prompts/{prompt_id}")
    assert shown.headers["etag"] == answer.headers["etag"]
    assert (shown.json()["optimized_text"], shown.json()["version_id"]) == (RESULT, made["version_id"])
    whole = (await world.library()).view.version(prompt_id, made["version_id"])
    assert whole is not None
    assert whole.params == {"temperature": 0.2}
    assert whole.input == "write a report for {{team}}"
    assert {"input_tokens": 7, "output_tokens": 5, "finish_reason": "stop"}.items() <= whole.usage.items()
    assert world.provider.calls[0].body["temperature"] == 0.2
    system, user = asked(world.provider)
    assert system["content"].startswith("## Role")
    assert '{"originalPrompt": "write a report for {{team}}"}' in user["content"]


async def test_iterating_changes_the_current_version_by_an_instruction(world: Improving) -> None:
    prompt_id = await world.prompt()
    first = (await world.optimize(prompt_id)).json()
    world.provider.then(says("Shorter for {{team}} in {{tone}} {{mood}}"))
    second = (await world.optimize(prompt_id, mode="iterate", instruction="shorter, with a {{tone}}")).json()
    assert (second["version"]["kind"], second["version"]["parent"]) == ("iterate", first["version_id"])
    assert second["version"]["note"] == "shorter, with a {{tone}}"
    assert (second["lost_variables"], second["new_variables"]) == ([], ["mood"])
    assert '"lastOptimizedPrompt": "# Role\\nYou write' in asked(world.provider)[1]["content"]
    third = (await world.optimize(prompt_id, mode="iterate", instruction="x", base_version_id=first["version_id"])).json()
    assert third["version"]["parent"] == first["version_id"]
    assert [version["id"] for version in await world.versions(prompt_id)] == [made["version_id"] for made in (third, second, first)]


async def test_a_variable_that_is_lost_is_told_and_the_version_is_made(world: Improving) -> None:
    prompt_id = await world.prompt("hello {{a}} and {{b}}")
    world.provider.then(says("only {{b}}"))
    made = (await world.optimize(prompt_id)).json()
    assert made["lost_variables"] == ["a"]
    assert made["version"]["current"] is True


async def test_a_text_without_a_prompt_is_improved_and_nothing_is_stored(world: Improving) -> None:
    before = await world.server.log(world.user.library_id)
    answer = await world.optimize(None, text="写一份周报 {{team}}", target="user")
    assert (answer.status_code, answer.json()["text"], answer.json()["template"]) == (200, RESULT, "user-basic")
    assert "version_id" not in answer.json()
    assert asked(world.provider)[0]["content"].startswith("## 角色")  # the text is Chinese, and nothing else says a language
    assert await world.server.log(world.user.library_id) == before


async def test_the_language_is_as_asked_as_preferred_as_accepted_or_as_the_text_is(world: Improving) -> None:
    async def heading(body: dict[str, Any], **headers: str) -> str:
        body = {"text": "hello", "model_config_id": CONFIG} | body
        answer = await world.client.post("/api/optimize", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return str(asked(world.provider)[0]["content"]).splitlines()[0]

    assert await heading({}) == "## Role"
    assert await heading({}, **{"Accept-Language": "zh-CN,en;q=0.5"}) == "## 角色"
    await world.client.patch("/api/users/me/preferences", json={"template_language": "zh-CN"})
    assert await heading({}, **{"Accept-Language": "en"}) == "## 角色"
    assert await heading({"language": "en"}) == "## Role"


async def test_a_template_of_the_library_is_used_and_one_that_is_none_refused(world: Improving) -> None:
    made = {}
    for name, content in {
        "text": "Shorten what you get",
        "list": [{"role": "user", "content": "As {{who}}: {{#helpers.toJson}}{{{originalPrompt}}}{{/helpers.toJson}}"}],
        "bad": [{"role": "user", "content": "{{#open}}"}],
    }.items():
        answer = await world.client.post("/api/templates", json={"name": name, "content": content})
        made[name] = answer.json()["id"]
    await world.optimize(None, text='say "x"', template_id=made["text"])
    assert asked(world.provider)[0] == {"role": "system", "content": "Shorten what you get"}
    await world.optimize(None, text='say "x"', template_id=made["list"], variables={"who": "Bo"})
    assert asked(world.provider) == [{"role": "user", "content": 'As Bo: "say \\"x\\""'}]
    refused = await world.optimize(None, text="x", template_id=made["bad"])
    assert (refused.status_code, code_of(refused)) == (422, "invalid_template")
    await world.client.delete(f"/api/templates/{made['text']}")
    assert code_of(await world.optimize(None, text="x", template_id=made["text"])) == "unknown_reference"


async def test_the_preferred_model_is_taken_where_none_is_named(world: Improving) -> None:
    body = {"text": "hello"}
    assert code_of(await world.client.post("/api/optimize", json=body)) == "model_not_chosen"
    await world.client.patch("/api/users/me/preferences", json={"default_model": CONFIG})
    assert (await world.client.post("/api/optimize", json=body)).status_code == 200


async def test_concurrent_improvements_both_survive(world: Improving) -> None:
    prompt_id = await world.prompt()
    gate = asyncio.Event()
    world.provider.then(says("slow", " one", gate=gate), says("fast one"))
    slow = asyncio.create_task(world.optimize(prompt_id))
    await world.provider.until(lambda: len(world.provider.calls) == 1)
    fast = (await world.optimize(prompt_id)).json()
    gate.set()
    slower = (await slow).json()
    found = await world.versions(prompt_id)
    assert [(version["id"], version["current"]) for version in found] == [(slower["version_id"], True), (fast["version_id"], False)]


async def test_what_others_type_meanwhile_stays(world: Improving) -> None:
    prompt_id = await world.prompt(optimized_text="one")
    gate = asyncio.Event()
    world.provider.then(says("new", gate=gate))
    running = asyncio.create_task(world.optimize(prompt_id))
    await world.provider.until(lambda: len(world.provider.calls) == 1)
    await world.client.patch(f"/api/prompts/{prompt_id}", json={"optimized_text": "one, typed on", "title": "renamed"})
    gate.set()
    assert (await running).status_code == 201
    shown = (await world.client.get(f"/api/prompts/{prompt_id}?fields=title,optimized_text,optimization_history")).json()
    assert (shown["title"], shown["optimized_text"]) == ("renamed", "new")
    first = shown["optimization_history"][-1]["id"]
    assert (await world.client.get(f"/api/prompts/{prompt_id}/history/{first}")).json()["text"] == "one, typed on"


# --- where the result cannot be kept


async def test_a_prompt_that_is_destroyed_meanwhile_is_404_with_the_result(world: Improving) -> None:
    prompt_id = await world.prompt()
    gate = asyncio.Event()
    world.provider.answer(says("the ", "result", gate=gate))
    plain = asyncio.create_task(world.optimize(prompt_id))
    streamed = asyncio.create_task(world.read(prompt_id))
    await world.provider.until(lambda: len(world.provider.calls) == 2)
    assert (await world.client.delete(f"/api/prompts/{prompt_id}?purge=true")).status_code == 204
    gate.set()
    answer = await plain
    assert (answer.status_code, code_of(answer), answer.json()["result"]["text"]) == (404, "not_found", "the result")
    last = (await streamed)[-1]
    assert (last.name, last.data["code"], last.data["result"]["text"]) == ("error", "not_found", "the result")


async def test_a_prompt_in_the_bin_gets_its_version_and_stays_there(world: Improving) -> None:
    prompt_id = await world.prompt()
    gate = asyncio.Event()
    world.provider.then(says("result", gate=gate))
    running = asyncio.create_task(world.optimize(prompt_id))
    await world.provider.until(lambda: len(world.provider.calls) == 1)
    await world.client.delete(f"/api/prompts/{prompt_id}")
    gate.set()
    assert (await running).status_code == 201
    shown = (await world.client.get(f"/api/prompts/{prompt_id}")).json()
    assert shown["optimized_text"] == "result"
    assert shown["deleted_at"] is not None


async def test_who_may_not_write_any_more_gets_the_result_and_no_version(world: Improving) -> None:
    library_id = await world.server.library(world.user)
    query = f"?library={library_id}"
    prompt_id = await world.prompt(query=query)
    editor = await member(world.server, library_id, "editor")
    gate = asyncio.Event()
    world.provider.then(says("result", gate=gate))
    async with world.server.http(editor) as client:
        theirs = await Improving.begin(world.server, world.provider, client, editor)
        running = asyncio.create_task(theirs.optimize(prompt_id, query))
        await world.provider.until(lambda: len(world.provider.calls) == 1)
        await world.server.execute("UPDATE members SET role = 'viewer' WHERE user_id = $1 AND library_id = $2", editor.id, library_id)
        gate.set()
        answer = await running
    assert (answer.status_code, answer.json()["result"]["text"]) == (403, "result")


async def test_in_a_shared_library_writers_use_their_own_models_and_viewers_none(world: Improving) -> None:
    library_id = await world.server.library(world.user)
    query = f"?library={library_id}"
    prompt_id = await world.prompt(query=query)
    editor, viewer = await member(world.server, library_id, "editor"), await member(world.server, library_id, "viewer")
    for who, status in ((editor, 201), (viewer, 403)):
        async with world.server.http(who) as client:
            theirs = await Improving.begin(world.server, world.provider, client, who)
            await theirs.configure("mine", provider="openai-compatible", model="their-own", base_url=f"{world.provider.url}/v1")
            calls = len(world.provider.calls)
            answer = await theirs.optimize(prompt_id, query, model_config_id="mine")
            assert answer.status_code == status, answer.text
            assert len(world.provider.calls) == calls + (status == 201)
            await client.patch("/api/users/me/preferences", json={"default_model": "mine"})
            if status == 201:
                assert answer.headers["location"].endswith(query)
                preferred = await client.post(f"/api/prompts/{prompt_id}/optimize{query}", json={})
                assert preferred.json()["model"] == "their-own"
    assert code_of(await world.optimize(prompt_id, query, model_config_id="mine")) == "unknown_reference"


async def test_a_model_that_lies_in_a_shared_library_is_none_to_call(world: Improving) -> None:
    library_id = await world.server.library(world.user)
    prompt_id = await world.prompt(query=f"?library={library_id}")
    fields = {"enabled": True, "provider": "openai-compatible", "model": "planted", "base_url": f"{world.provider.url}/v1"}
    update = set_model_fields((await newcomer(world.client, library_id)).library, "planted", fields)
    assert (await store(world.client, library_id, update)).is_success
    answer = await world.optimize(prompt_id, f"?library={library_id}", model_config_id="planted")
    assert code_of(answer) == "unknown_reference"
    assert world.provider.calls == []


@pytest.mark.parametrize("config_id", ["", "nul\0", "no/such", "shared:", "x" * 300])
async def test_a_preferred_model_that_is_none_is_refused(world: Improving, config_id: str) -> None:
    update = merge_preferences((await world.library()).library, {"default_model": config_id})
    assert (await store(world.client, world.user.library_id, update)).is_success
    answer = await world.client.post("/api/optimize", json={"text": "x"})
    assert (answer.status_code, code_of(answer)) == (422, "unknown_reference" if config_id else "model_not_chosen")
    assert world.provider.calls == []


# --- failures


@pytest.mark.parametrize(
    ("reply", "status", "code"),
    [
        (fails(401), 409, "model_invalid_key"),
        (fails(429, retry_after=1), 429, "model_rate_limited"),
        (says("half", " and", " half", cut_after=2), 502, "model_cut_off"),
        (says("", "  "), 502, "model_empty"),
        (says("```\n\n", "```"), 502, "model_empty"),
        (echoes(), 409, "model_invalid_key"),
    ],
    ids=["key", "rate", "cut", "empty", "fence", "echo"],
)
async def test_a_call_that_fails_makes_no_version(world: Improving, reply: Any, status: int, code: str) -> None:
    prompt_id = await world.prompt()
    before = await world.server.log(world.user.library_id)
    world.provider.answer(reply)
    answer = await world.optimize(prompt_id)
    assert (answer.status_code, code_of(answer)) == (status, code)
    assert await world.server.log(world.user.library_id) == before
    assert await world.versions(prompt_id) == []


async def test_a_failure_after_the_first_token_is_an_event_and_before_it_an_ordinary_answer(world: Improving) -> None:
    prompt_id = await world.prompt()
    world.provider.then(says("half", " and", " half", cut_after=3))
    found = await world.read(prompt_id)
    assert found[0].name == "token"
    assert (found[-1].name, found[-1].data["code"], found[-1].data["status"]) == ("error", "model_cut_off", 502)
    world.provider.then(fails(401))
    answer = await world.optimize(prompt_id, stream=True)
    assert (answer.status_code, code_of(answer)) == (409, "model_invalid_key")
    assert await world.versions(prompt_id) == []


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"mode": "iterate"}, []),
        ({"mode": "iterate", "instruction": "  "}, []),
        ({"mode": "rewrite"}, ["mode"]),
        ({"target": "both"}, ["target"]),
        ({"text": "x" * 50_001}, ["text"]),
        ({"instruction": "x" * 10_001}, ["instruction"]),
        ({"text": "nul \0 in it"}, ["text"]),
        ({"secretfield": "canary"}, []),
        ({"variables": {"a b": "canary"}}, ["variables"]),
        ({"variables": {"a": 5}}, ["variables"]),
        ({"variables": {"a": "x" * 10_001}}, ["variables"]),
        ({"variables": {f"v{number}": "" for number in range(201)}}, ["variables"]),
        ({"params": {"": 1}}, ["params"]),
        ({"params": {f"p{number}": 1 for number in range(51)}}, ["params"]),
        ({"params": {"n": 2**60}}, ["params"]),
        ({"messages": [{"role": "tool", "content": "canary"}]}, ["messages", 0, "role"]),
        ({"messages": [{"role": "user", "content": "x"}] * 101}, ["messages"]),
        ({"messages": [{"role": "user", "content": "x" * 50_000}] * 5}, []),
        ({"language": "dk"}, ["language"]),
        ({"stream": "yes"}, ["stream"]),
        ({"note": "x" * 1001}, ["note"]),
        ({"base_version_id": ""}, ["base_version_id"]),
        ({"model_config_id": 5}, ["model_config_id"]),
    ],
    ids=lambda value: None,
)
async def test_what_cannot_be_is_refused_without_being_repeated(world: Improving, body: dict[str, Any], where: list[Any]) -> None:
    answer = await world.optimize(await world.prompt(), **body)
    assert (answer.status_code, code_of(answer)) == (422, "invalid_request")
    assert answer.json()["errors"][0]["where"] == ["body", *where]
    assert "canary" not in answer.text
    assert world.provider.calls == []


async def test_surrogates_and_equal_keys_are_no_json(world: Improving) -> None:
    path = f"/api/prompts/{await world.prompt()}/optimize"
    for body in (b'{"text": "\\ud800"}', b'{"text": "a", "text": "b"}', b'{"params": {"a": NaN}}', b""):
        answer = await world.client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 415, 422)
    assert world.provider.calls == []


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"model_config_id": "nobody's"}, 422, "unknown_reference"),
        ({"base_version_id": "none"}, 422, "unknown_reference"),
        ({"template_id": "none"}, 422, "unknown_reference"),
        ({"text": " \n"}, 422, "nothing_to_optimize"),
    ],
)
async def test_what_is_not_there_is_refused_before_anybody_is_asked(world: Improving, body: dict[str, Any], status: int, code: str) -> None:
    answer = await world.optimize(await world.prompt(), **body)
    assert (answer.status_code, code_of(answer)) == (status, code)
    assert world.provider.calls == []


async def test_no_such_prompt_and_nobody_signed_in(world: Improving) -> None:
    assert code_of(await world.optimize(str(uuid4()))) == "not_found"
    assert code_of(await world.optimize(await world.prompt(""))) == "nothing_to_optimize"
    async with world.server.http() as stranger:
        assert (await stranger.post("/api/optimize", json={"text": "x"})).status_code == 401
    assert world.provider.calls == []


# --- read along


async def test_an_event_stream_has_what_comes_and_then_the_version(world: Improving) -> None:
    prompt_id = await world.prompt()
    found = await world.read(prompt_id)
    assert {event.name for event in found} == {"reasoning", "token", "done"}
    assert found[0].name == "reasoning"
    assert (token_text(found), token_text(found, "reasoning")) == (RESULT, "thinking")
    done = found[-1]
    assert (done.name, done.data["text"]) == ("done", RESULT)
    assert (await world.versions(prompt_id))[0]["id"] == done.data["version_id"]


async def test_accept_asks_for_a_stream_too(world: Improving) -> None:
    body = {"text": "x", "model_config_id": CONFIG}
    answer = await world.client.post("/api/optimize", json=body, headers={"Accept": "text/event-stream"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-store", "no")


async def test_tokens_come_before_the_answer_is_over(world: Improving) -> None:
    gate = asyncio.Event()
    world.provider.then(says("first", " last", gate=gate))
    async with world.reading(await world.prompt()) as found:
        event = await anext(found)
        assert event.name == "token"
        assert "first last".startswith(event.data["text"])
        gate.set()
        rest = [event async for event in found]
    assert token_text([event, *rest]) == rest[-1].data["text"] == "first last"


async def test_a_second_device_watches_the_version_arrive(world: Improving) -> None:
    prompt_id = await world.prompt()
    replica = LibraryReplica()
    gate = asyncio.Event()
    world.provider.then(says("first", " last", gate=gate))
    async with world.server.device(world.user, replica=replica) as device:
        updates = len(device.shown)
        async with world.reading(prompt_id) as found:
            await anext(found)
            assert len(device.shown) == updates  # tokens are no edits
            gate.set()
            done = [event async for event in found][-1]
        await device.until(lambda: replica.view.version(prompt_id, done.data["version_id"]) is not None, what="the version")
        state = replica.view.full(prompt_id)
        assert state is not None
        assert state.optimized == "first last"
        assert len(device.shown) == updates + 1  # one transaction


async def test_preferences_that_devices_write_wrongly_do_no_harm(world: Improving) -> None:
    device = await world.library()
    for name in ("default_model", "template_language"):
        await store(world.client, world.user.library_id, merge_preferences(device.library, {name: {"not": "a text"}}))
    assert code_of(await world.client.post("/api/optimize", json={"text": "x"})) == "model_not_chosen"
    assert (await world.optimize(None, text="x")).status_code == 200
    await until(lambda: len(world.server.app.optimizer) == 0)


async def test_the_templates_of_ours_are_listed(world: Improving) -> None:
    listed = (await world.client.get("/api/templates?builtin=true&language=zh-CN")).json()["templates"]
    assert [each["id"] for each in listed] == ["general-system", "user-basic", "user-professional", "iterate"]
    assert {each["language"] for each in listed} == {"zh"}
    (one,) = (await world.client.get("/api/templates?builtin=true&language=en&type=iterate")).json()["templates"]
    assert [message["role"] for message in one["content"]] == ["system", "user"]
