"""`/api/models/config` on a real server, with a scripted provider: configurations, their keys, and what is told of them."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from crdt import operations
from crdt.library import MODEL_FIELDS, Root
from server.intents import model_configs as intents
from tests.support.audited import events
from tests.support.database import Databases
from tests.support.library_replica import LibraryReplica
from tests.support.rest import code_of
from tests.support.running import Running, User, running_server
from tests.support.samples import CANARY, app_file, json_bytes
from tests.support.scripted_provider import ScriptedProvider, fails, says, scripted_provider

KEY, OTHER = "sk-canary-0123456789-abcd", "sk-canary-9876543210-wxyz"
PATH = "/api/models/config"


@pytest.fixture(scope="module")
async def provider() -> AsyncIterator[ScriptedProvider]:
    async with scripted_provider() as provider:
        yield provider


@pytest.fixture(scope="module")
async def server(shared_dsn: str, provider: ScriptedProvider) -> AsyncIterator[Running]:
    async with running_server(shared_dsn, model_hosts=(provider.host,)) as server:
        yield server


@pytest.fixture
def nobody() -> str:
    """A place where nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{bound.getsockname()[1]}"


def config(provider: ScriptedProvider, **fields: Any) -> dict[str, Any]:
    """A configuration that calls the scripted provider."""
    return {"provider": "custom", "model": "gpt-5-mini", "base_url": f"{provider.url}/v1", "api_key": KEY} | fields


async def put(client: httpx2.AsyncClient, config_id: str = "mine", **fields: Any) -> dict[str, Any]:
    answer = await client.put(f"{PATH}/{config_id}", json=fields)
    assert answer.is_success, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def write_on_a_device(server: Running, user: User, config_id: str, **fields: Any) -> None:
    """Set fields of a configuration as a device does, which may write anything."""
    replica = LibraryReplica()
    async with server.device(user, replica=replica) as device:
        await device.until(lambda: replica.view.model(config_id) is not None)
        await device.push(operations.set_model_fields(replica.library, config_id, fields))
        await device.confirmed()


async def test_a_key_that_was_given_is_told_by_its_end_and_by_nothing_else(
    client: httpx2.AsyncClient, user: User, server: Running, provider: ScriptedProvider
) -> None:
    made = await client.put(
        f"{PATH}/mine", json=config(provider, name="Mine", parameters={"temperature": 0.5}, extra_headers={"X-Team": "canary-h"})
    )
    assert made.status_code == 201
    shown = made.json()
    assert shown["key"] | {"created_at": None, "fingerprint": None} == {
        "last4": "abcd",
        "fingerprint": None,
        "origin": provider.url,
        "created_at": None,
        "last_used_at": None,
        "checked_at": None,
        "status": "unchecked",
    }
    assert (shown["extra_headers"], shown["needs_key"], shown["problem"]) == ({"X-Team": "***"}, False, None)
    assert (shown["user_id"], shown["model_type"], shown["parameters"]) == (str(user.id), "custom", {"temperature": 0.5})
    assert shown["created_at"] == shown["updated_at"] is not None
    assert (await client.get(f"{PATH}/mine")).json() == shown
    assert (await client.get(PATH)).json() == {"configs": [shown], "orphaned_keys": []}
    assert await events(server.services.database, user.id) == ["registered", "model_key_set"]


async def test_devices_see_a_configuration_as_it_is_made_and_where_its_key_is_and_never_the_key(
    client: httpx2.AsyncClient, server: Running, user: User, provider: ScriptedProvider
) -> None:
    replica = LibraryReplica()
    async with server.device(user, replica=replica) as device:
        await put(client, **config(provider, extra_headers={"X-Team": "canary-h"}))
        await device.until(lambda: any(each.key_ref for each in replica.view.models()))
    (seen,) = replica.view.models()
    assert seen.key_ref is not None
    assert (seen.key_ref["mode"], seen.key_ref["hint"], seen.provider) == ("server", "abcd", "custom")
    assert KEY.encode() not in replica.library.content()
    assert b"canary-h" not in replica.library.content()


async def test_what_is_left_out_stays_and_null_drops_the_key(client: httpx2.AsyncClient, provider: ScriptedProvider) -> None:
    before = await put(client, **config(provider, name="Mine"))
    after = await put(client, enabled=False)
    assert after | {"enabled": True, "updated_at": before["updated_at"]} == before
    dropped = await put(client, api_key=None)
    assert (dropped["key"], dropped["name"], dropped["needs_key"]) == (None, "Mine", False)


@pytest.mark.parametrize("again", [{}, {"extra_headers": {"X-Team": "new"}}, {"api_key": OTHER}])
async def test_another_address_takes_all_of_the_secret_again(
    client: httpx2.AsyncClient, provider: ScriptedProvider, again: dict[str, Any]
) -> None:
    await put(client, **config(provider, extra_headers={"X-Team": "old"}))
    moved = await client.put(f"{PATH}/mine", json={"base_url": "https://api.example.com/v1", **again})
    assert (moved.status_code, code_of(moved)) == (409, "model_key_elsewhere")
    shown = (await client.get(f"{PATH}/mine")).json()
    assert (shown["base_url"], shown["key"]["origin"]) == (f"{provider.url}/v1", provider.url), "nothing was half done"
    moved_too = await put(client, base_url="https://api.example.com/v1", api_key=OTHER, extra_headers={"X-Team": None})
    assert (moved_too["key"]["origin"], moved_too["extra_headers"]) == ("https://api.example.com", {})
    assert (await put(client, base_url=f"{provider.url}/v1", api_key=None))["key"] is None


async def test_a_key_is_not_sent_where_a_device_points_its_configuration_to(
    client: httpx2.AsyncClient, server: Running, user: User, provider: ScriptedProvider
) -> None:
    await put(client, **config(provider))
    async with scripted_provider() as thief:
        await write_on_a_device(server, user, "mine", base_url=f"{thief.url}/v1")
        shown = (await client.get(f"{PATH}/mine")).json()
        assert (shown["key"]["status"], shown["key"]["origin"]) == ("elsewhere", provider.url)
        assert (await client.post(f"{PATH}/mine/validate")).json() == {"status": "refused_address", "said": "scheme"}
        renamed = await put(client, name="Renamed")
        assert (renamed["name"], renamed["key"]["status"]) == ("Renamed", "elsewhere")
        assert thief.asked == []


async def test_a_new_key_is_not_sent_where_a_device_points_its_configuration_to_either(
    client: httpx2.AsyncClient, server: Running, user: User, provider: ScriptedProvider
) -> None:
    await put(client, **config(provider))
    await write_on_a_device(server, user, "mine", base_url="https://api.example.com/v1")
    for action, body in (("validate", None), ("rotate", {"api_key": OTHER})):
        refused = await client.post(f"{PATH}/mine/{action}", json=body)
        assert (refused.status_code, code_of(refused)) == (409, "model_key_elsewhere")
    shown = (await client.get(f"{PATH}/mine")).json()["key"]
    assert (shown["last4"], shown["origin"], shown["status"]) == ("abcd", provider.url, "elsewhere")


@pytest.mark.parametrize(
    "body",
    [
        *(
            {"api_key": key}
            for key in ("sk-…abcd", "***", "sk-***", "sk-...abcd", "••••", "", " ", "a b", "sk-\r\nX-Evil: 1", "schlüssel", "k\0", 5, ["k"])
        ),
        {"api_key": "k" * 4097},
        *({"extra_headers": {"X-A": value}} for value in ("***", "a\r\nX-Evil: 1", "ä", "", " a", "v" * 4097, 5, ["v"])),
        *({"extra_headers": {name: "v"}} for name in ("", "a b", "a:", "ä", "a\r\n", "n" * 101)),
        *(
            {"extra_headers": {name: "v"}}
            for name in ("Host", "content-length", "Authorization", "x-api-key", "Cookie", "Transfer-Encoding", "TE")
        ),
        {"extra_headers": {"X-A": "1", "x-a": "2"}},
        {"extra_headers": {f"X-{number}": "v" for number in range(21)}},
        {"extra_headers": ["v"]},
        {"parameters": {"api_key": "sk-canary-in-parameters-0123"}},
        {"capabilities": {"headers": {"X-A": "canary-in-capabilities"}}},
        {"base_url": "https://api.example.com/v1?key=canary-in-query"},
        {"model": "sk-canary-as-a-model-0123456789"},
        {"provider": "no-such-provider"},
        {"request_style": "messages"},
        {"key": KEY},
        {"user_id": KEY},
    ],
)
async def test_what_cannot_be_kept_is_refused_unsaid_and_overwrites_nothing(
    client: httpx2.AsyncClient, provider: ScriptedProvider, body: dict[str, Any]
) -> None:
    before = await put(client, **config(provider, extra_headers={"X-A": "1"}))
    answer = await client.put(f"{PATH}/mine", json=body)
    assert answer.status_code == 422
    assert "canary" not in answer.text
    assert "Evil" not in answer.text
    assert (await client.get(f"{PATH}/mine")).json() == before


async def test_the_end_of_a_key_is_not_taken_for_a_key(client: httpx2.AsyncClient, provider: ScriptedProvider) -> None:
    before = await put(client, **config(provider))
    for shown in (before["key"]["last4"], before["key"]["fingerprint"]):
        assert (await client.put(f"{PATH}/mine", json={"api_key": shown})).status_code == 422


async def test_a_check_says_what_the_provider_said_and_it_is_kept(client: httpx2.AsyncClient, provider: ScriptedProvider) -> None:
    await put(client, **config(provider))
    assert (await client.post(f"{PATH}/mine/validate")).json() == {"status": "ok", "said": ""}
    key = (await client.get(f"{PATH}/mine")).json()["key"]
    assert (key["status"], key["checked_at"] is None) == ("ok", False)
    assert provider.asked[-1].key == KEY
    provider.keys = {OTHER}
    try:
        answer = await client.post(f"{PATH}/mine/validate")
    finally:
        provider.keys = None
    assert answer.json()["status"] == "invalid_key"
    assert KEY not in answer.text
    assert (await client.get(f"{PATH}/mine")).json()["key"]["status"] == "invalid_key"
    provider.then(fails(404, {"error": {"message": f"no model gpt-5-mini for {KEY}", "code": "model_not_found"}}))
    answer = await client.post(f"{PATH}/mine/validate")
    assert answer.json() == {"status": "unknown_model", "said": "no model gpt-5-mini for ***"}


async def test_a_check_says_what_is_wrong_in_one_word(
    databases: Databases, template_database: str, provider: ScriptedProvider, nobody: str
) -> None:
    dsn = databases.create(template_database)
    places = {"ok": provider.host, "invalid_key": provider.host, "no_quota": provider.host, "unreachable": nobody}
    replies = {"no_quota": fails(402, {"error": {"message": "pay first"}}), "invalid_key": fails(401)}
    async with running_server(dsn, model_hosts=(provider.host, nobody)) as server:
        user = await server.user()
        async with server.http(user) as client:
            for word, place in places.items():
                provider.then(*([replies[word]] if word in replies else []))
                await put(client, word, **config(provider, base_url=f"http://{place}/v1"))
                assert (await client.post(f"{PATH}/{word}/validate")).json()["status"] == word
                assert (await client.get(f"{PATH}/{word}")).json()["key"]["status"] == word
            await write_on_a_device(server, user, "ok", base_url="https://169.254.169.254/v1")
            answer = await client.post(f"{PATH}/ok/validate")
            assert answer.json() == {"status": "refused_address", "said": "private"}
            await put(client, "ok", base_url=f"{provider.url}/v1")
            assert (await client.get(f"{PATH}/ok")).json()["key"]["status"] == "ok", "the key was not asked about there"
    databases.drop(dsn)


async def test_a_provider_may_be_called_by_the_name_of_the_apps_data_model(client: httpx2.AsyncClient, provider: ScriptedProvider) -> None:
    asked = config(provider)
    asked["model_type"] = asked.pop("provider")
    shown = await put(client, **asked)
    assert (shown["provider"], shown["model_type"], shown["needs_key"]) == ("custom", "custom", False)
    refused = await client.put(f"{PATH}/mine", json={"provider": "custom", "model_type": "deepseek"})
    assert (refused.status_code, code_of(refused)) == (422, "invalid_request")
    assert (await client.get(f"{PATH}/mine")).json() == shown


async def test_a_call_ends_with_the_key_that_it_began_with_and_the_next_one_has_the_new_key(
    client: httpx2.AsyncClient, provider: ScriptedProvider
) -> None:
    await put(client, **config(provider))
    prompt = (await client.post("/api/prompts", json={"title": "p", "original_text": "write a report"})).json()["id"]
    asked, gate = len(provider.calls), asyncio.Event()
    provider.then(says("half", " and half", gate=gate))
    running = asyncio.create_task(client.post(f"/api/prompts/{prompt}/optimize", json={"model_config_id": "mine"}))
    await provider.until(lambda: len(provider.calls) == asked + 1)
    rotated = await client.post(f"{PATH}/mine/rotate", json={"api_key": OTHER})
    assert rotated.status_code == 200, rotated.text
    gate.set()
    assert ((await running).status_code, (await running).json()["text"]) == (201, "half and half")
    assert (await client.post(f"/api/prompts/{prompt}/optimize", json={"model_config_id": "mine"})).status_code == 201
    assert [call.key for call in provider.calls[asked:]] == [KEY, OTHER, OTHER], "the call, the check of the new key, the next call"


async def test_calls_find_one_key_or_the_other_while_it_is_rotated(client: httpx2.AsyncClient, provider: ScriptedProvider) -> None:
    await put(client, **config(provider))

    async def call() -> None:
        for _ in range(12):
            answer = await client.post("/api/optimize", json={"text": "t", "model_config_id": "mine"})
            assert answer.status_code == 200, answer.text

    async def rotate() -> None:
        for key in (OTHER, KEY, OTHER):
            answer = await client.post(f"{PATH}/mine/rotate", json={"api_key": key})
            assert answer.status_code == 200, answer.text

    asked = len(provider.calls)
    await asyncio.gather(call(), call(), rotate())
    assert {each.key for each in provider.calls[asked:]} == {KEY, OTHER}
    await client.post("/api/optimize", json={"text": "t", "model_config_id": "mine"})
    assert provider.calls[-1].key == OTHER


async def test_what_cannot_be_called_as_it_stands_is_not_checked(
    client: httpx2.AsyncClient, server: Running, user: User, provider: ScriptedProvider
) -> None:
    await put(client, **config(provider, model=""))
    refused = await client.post(f"{PATH}/mine/validate")
    assert (refused.status_code, code_of(refused), refused.json()["detail"]) == (409, "model_incomplete", "model")
    await write_on_a_device(server, user, "mine", provider="made-up")
    for path, body in (("validate", None), ("rotate", {"api_key": OTHER})):
        refused = await client.post(f"{PATH}/mine/{path}", json=body)
        assert (refused.status_code, code_of(refused), refused.json()["detail"]) == (409, "model_incomplete", "provider"), path


async def test_a_key_that_is_used_says_when_and_a_check_is_told_apart(client: httpx2.AsyncClient, provider: ScriptedProvider) -> None:
    shown = await put(client, **config(provider))
    await client.post(f"{PATH}/mine/validate")
    await client.post(f"{PATH}/mine/rotate", json={"api_key": OTHER})
    assert (await client.get(f"{PATH}/mine")).json()["key"]["last_used_at"] is None
    assert (await client.post("/api/optimize", json={"text": "t", "model_config_id": "mine"})).status_code == 200
    async with asyncio.timeout(5):
        while (used := (await client.get(f"{PATH}/mine")).json()["key"]["last_used_at"]) is None:
            pass
    assert used >= shown["key"]["created_at"]


@pytest.mark.parametrize("config_id", ["shared:fast", "shared:"])
async def test_ids_of_the_operators_models_are_no_configurations(
    client: httpx2.AsyncClient, provider: ScriptedProvider, config_id: str
) -> None:
    refused = await client.put(f"{PATH}/{config_id}", json=config(provider))
    assert (refused.status_code, refused.json()["errors"][0]["where"]) == (422, ["config_id"])
    assert (await client.get(PATH)).json() == {"configs": [], "orphaned_keys": []}


async def test_a_configuration_for_which_there_is_no_room_leaves_no_key_behind(
    client: httpx2.AsyncClient, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intents, "MOST_CONFIGS", 1)
    await put(client, **config(provider))
    refused = await client.put(f"{PATH}/another", json=config(provider))
    assert (refused.status_code, code_of(refused)) == (409, "too_many")
    assert (await client.get(PATH)).json()["orphaned_keys"] == []
    await put(client, name="room for what is there")


async def test_headers_that_are_given_one_after_the_other_are_no_more_than_at_once(
    client: httpx2.AsyncClient, provider: ScriptedProvider
) -> None:
    await put(client, **config(provider, extra_headers={f"X-A-{number}": "a" for number in range(20)}))
    refused = await client.put(f"{PATH}/mine", json={"extra_headers": {"X-B": "b"}})
    assert (refused.status_code, code_of(refused)) == (409, "too_many")
    assert len((await put(client, extra_headers={"X-B": "b", "X-A-0": None}))["extra_headers"]) == 20
    refused = await client.put(f"{PATH}/mine", json={"extra_headers": {f"X-A-{number}": "a" * 4096 for number in range(1, 4)}})
    assert (refused.status_code, code_of(refused)) == (409, "too_many")


async def test_a_rotation_keeps_the_old_key_until_the_provider_takes_the_new_one(
    client: httpx2.AsyncClient, server: Running, user: User, provider: ScriptedProvider
) -> None:
    before = await put(client, **config(provider, extra_headers={"X-Team": "t"}))
    provider.keys = {KEY}
    try:
        refused = await client.post(f"{PATH}/mine/rotate", json={"api_key": OTHER})
        assert (refused.status_code, code_of(refused)) == (409, "model_invalid_key")
        assert (await client.get(f"{PATH}/mine")).json() == before
        provider.keys = {OTHER}
        rotated = (await client.post(f"{PATH}/mine/rotate", json={"api_key": OTHER})).json()
    finally:
        provider.keys = None
    assert (rotated["key"]["last4"], rotated["key"]["status"], rotated["extra_headers"]) == ("wxyz", "ok", {"X-Team": "***"})
    assert (await server.services.vault.open(user.id, "mine", provider.url)).api_key == OTHER
    assert (await events(server.services.database, user.id))[-1] == "model_key_rotated"


async def test_rotations_at_once_leave_one_whole_key_and_the_document_says_which(
    client: httpx2.AsyncClient, server: Running, user: User, provider: ScriptedProvider
) -> None:
    await put(client, **config(provider))
    keys = [f"sk-canary-of-a-rotation-{number:04}" for number in range(4)]
    answers = await asyncio.gather(*(client.post(f"{PATH}/mine/rotate", json={"api_key": key}) for key in keys))
    assert [answer.status_code for answer in answers] == [200] * 4
    kept = (await server.services.vault.kept(user.id))["mine"]
    replica = LibraryReplica()
    async with server.device(user, replica=replica) as device:
        await device.until(lambda: bool(replica.view.models()))
    assert (replica.view.models()[0].key_ref or {})["secret_id"] == str(kept.id)


async def test_a_key_whose_configuration_a_device_took_away_is_told_and_can_be_destroyed(
    client: httpx2.AsyncClient, server: Running, user: User, provider: ScriptedProvider
) -> None:
    await put(client, **config(provider))
    replica = LibraryReplica()
    async with server.device(user, replica=replica) as device:
        await device.until(lambda: bool(replica.view.models()))
        await device.push(operations.remove_model(replica.library, "mine"))
        await device.confirmed()
    listed = (await client.get(PATH)).json()
    assert (listed["configs"], [(each["id"], each["last4"]) for each in listed["orphaned_keys"]]) == ([], [("mine", "abcd")])
    assert (await client.get(f"{PATH}/mine")).status_code == 404
    assert (await client.delete(f"{PATH}/mine")).status_code == 204
    assert (await client.delete(f"{PATH}/mine")).status_code == 404
    assert (await client.get(PATH)).json()["orphaned_keys"] == []


async def test_deleting_takes_the_configuration_and_destroys_the_key(
    client: httpx2.AsyncClient, server: Running, user: User, provider: ScriptedProvider
) -> None:
    await put(client, **config(provider))
    assert (await client.delete(f"{PATH}/mine")).status_code == 204
    assert (await client.get(PATH)).json() == {"configs": [], "orphaned_keys": []}
    assert (await events(server.services.database, user.id))[-1] == "model_key_removed"


async def test_anothers_configuration_is_none(client: httpx2.AsyncClient, server: Running, provider: ScriptedProvider) -> None:
    await put(client, **config(provider))
    async with server.http(await server.user()) as stranger:
        answers = [
            await stranger.get(f"{PATH}/mine"),
            await stranger.delete(f"{PATH}/mine"),
            await stranger.post(f"{PATH}/mine/validate"),
            await stranger.post(f"{PATH}/mine/rotate", json={"api_key": OTHER}),
        ]
        assert {(answer.status_code, code_of(answer)) for answer in answers} == {(404, "not_found")}
        assert (await stranger.get(PATH)).json()["configs"] == []


async def test_a_new_configuration_needs_a_provider_and_an_address_that_is_asked(client: httpx2.AsyncClient) -> None:
    missing = await client.put(f"{PATH}/new", json={"name": "New"})
    assert (missing.status_code, missing.json()["errors"][0]["where"]) == (422, ["body", "provider"])
    missing = await client.put(f"{PATH}/new", json={"provider": "custom"})
    assert (missing.status_code, missing.json()["errors"][0]["where"]) == (422, ["body", "base_url"])
    for address in (
        "http://169.254.169.254/v1",
        "https://localhost/v1",
        "http://127.0.0.1:9/v1",
        "ftp://api.example.com",
        "https://u:p@api.example.com",
    ):
        refused = await client.put(f"{PATH}/new", json={"provider": "custom", "base_url": address, "api_key": KEY})
        assert refused.status_code == 422
        assert code_of(refused) in {"model_refused_address", "invalid_request"}
    assert (await client.get(PATH)).json() == {"configs": [], "orphaned_keys": []}, "nothing was kept of what was refused"


async def test_a_key_that_does_not_open_says_so_and_is_mended_by_another_one(
    client: httpx2.AsyncClient, server: Running, user: User, provider: ScriptedProvider
) -> None:
    await put(client, **config(provider))
    await server.execute("UPDATE model_secrets SET sealed = '' WHERE user_id = $1", user.id)
    shown = (await client.get(f"{PATH}/mine")).json()
    assert (shown["key"]["status"], shown["key"]["last4"]) == ("unreadable", None)
    refused = await client.post(f"{PATH}/mine/validate")
    assert (refused.status_code, code_of(refused)) == (409, "model_key_unreadable")
    assert (await events(server.services.database, user.id))[-1] == "model_key_unreadable"
    assert (await put(client, api_key=OTHER))["key"]["last4"] == "wxyz"


async def test_so_many_checks_a_minute_and_no_more(databases: Databases, template_database: str, provider: ScriptedProvider) -> None:
    dsn = databases.create(template_database)
    async with (
        running_server(dsn, model_hosts=(provider.host,), model_validations_a_minute=2) as server,
        server.http(await server.user()) as client,
    ):
        await put(client, **config(provider))
        answers = [await client.post(f"{PATH}/mine/validate") for _ in range(3)]
    databases.drop(dsn)
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert code_of(answers[2]) == "too_many_attempts"


async def test_an_imported_configuration_has_no_key_and_one_request_completes_it(
    client: httpx2.AsyncClient, server: Running, user: User, provider: ScriptedProvider
) -> None:
    file = json_bytes(app_file())
    answer = await client.post("/api/import", content=file, headers={"Content-Type": "application/octet-stream"})
    assert answer.is_success, answer.text
    assert CANARY not in answer.text
    shown = (await client.get(PATH)).json()["configs"]
    assert ("deepseek", None, True) in [(each["id"], each["key"], each["needs_key"]) for each in shown]
    completed = await put(client, "deepseek", api_key=OTHER)
    assert (completed["needs_key"], completed["key"]["origin"]) == (False, "https://api.deepseek.com")


async def test_a_provider_that_fails_does_not_repeat_the_key(client: httpx2.AsyncClient, provider: ScriptedProvider) -> None:
    await put(client, **config(provider))
    provider.then(fails(400))
    answer = await client.post(f"{PATH}/mine/validate")
    assert answer.json()["status"] != "ok"
    assert KEY not in answer.text


@pytest.mark.parametrize("nonsense", [5, 1e300, "x", "\0", "http://127.0.0.1:1", ["x"], {"mode": "server", "secret_id": "x"}, True])
async def test_what_a_device_has_written_as_nonsense_is_read_and_can_be_mended(
    client: httpx2.AsyncClient, server: Running, user: User, provider: ScriptedProvider, nonsense: Any
) -> None:
    await put(client, **config(provider))
    replica = LibraryReplica()
    async with server.device(user, replica=replica) as device:
        await device.until(lambda: bool(replica.view.models()))

        def damage() -> None:
            for name in MODEL_FIELDS:
                replica.library.root(Root.MODELS)[f"mine/{name}"] = nonsense

        await device.push(replica.library.edit(damage))
        await device.confirmed()
    for path in (PATH, f"{PATH}/mine"):
        assert (await client.get(path)).status_code == 200
    for action, body in (("validate", None), ("rotate", {"api_key": OTHER})):
        answer = await client.post(f"{PATH}/mine/{action}", json=body)
        assert 400 <= answer.status_code < 500, answer.text
    mended = await put(client, **config(provider, enabled=True, parameters={}, capabilities={}, request_style=""))
    assert (mended["problem"], mended["key"]["status"]) == (None, "unchecked")
    assert (await client.delete(f"{PATH}/mine")).status_code == 204
