"""What whoever has the code of a share link reads: the prompt, and nothing that tells whose it is."""

import asyncio
import re
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx2

from crdt.library import Root
from crdt.operations import add_version, set_fields
from crdt.operations.versions import NewVersion
from tests.support.core import eventually
from tests.support.editing import large_library
from tests.support.library_replica import newcomer, store
from tests.support.prompts import made
from tests.support.rest import code_of
from tests.support.running import Running, User, running_server
from tests.support.sharing import listed, opens_nothing, read, shared

UUIDS = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


async def test_whoever_has_the_code_reads_the_prompt_as_it_is_now(client: httpx2.AsyncClient, nobody: httpx2.AsyncClient) -> None:
    variables = {"team": "我们", "count": 3, "tone": {"type": "enum", "options": ["dry", "warm"], "required": True}}
    prompt = await made(
        client,
        "周报 📝",
        description="每周一次",
        original_text="写一份周报",
        tags=["Work", "周报"],
        category="cat-writing",
        variables=variables,
    )
    share = await shared(client, prompt["id"])
    assert share["url"].endswith(f"/api/prompt-source/{share['code']}")
    source = await read(nobody, share["code"])
    assert source == {
        "schema": "prompt-garden.prompt.v1",
        "schemaVersion": 1,
        "importCode": share["code"],
        "optimizerTarget": {"subModeKey": "basic-system"},
        "prompt": {"format": "text", "text": "写一份周报"},
        "variables": [
            {"name": "count", "type": "number", "defaultValue": "3"},
            {"name": "team", "type": "string", "defaultValue": "我们"},
            {"name": "tone", "type": "enum", "options": ["dry", "warm"], "required": True},
        ],
        "meta": {"title": "周报 📝", "description": "每周一次", "tags": ["Work", "周报"], "categoryKey": "Writing"},
    }
    await client.patch(f"/api/prompts/{prompt['id']}", json={"optimized_text": "# 角色", "mode": "basic-user", "category": None})
    source = await read(nobody, share["code"])
    assert (source["prompt"]["text"], source["optimizerTarget"]["subModeKey"]) == ("# 角色", "basic-user")
    assert "categoryKey" not in source["meta"]
    assert (await nobody.get(share["url"])).json() == source


async def test_a_shared_version_stays_what_it_was(client: httpx2.AsyncClient, nobody: httpx2.AsyncClient) -> None:
    prompt = await made(client, optimized_text="one")
    path = f"/api/prompts/{prompt['id']}"
    first = (await shared(client, prompt["id"], {"version": prompt["version_id"]}))["code"]
    current = (await shared(client, prompt["id"], {"version": "current"}))["code"]
    await client.patch(path, json={"optimized_text": "two", "new_version": True})
    assert [(await read(nobody, code))["prompt"]["text"] for code in (first, current)] == ["one", "two"]
    for version in (str(uuid4()), "1"):
        answer = await client.post(f"{path}/share", json={"version": version})
        assert (answer.status_code, code_of(answer), answer.json()["detail"]) == (422, "unknown_reference", "version")


async def test_nothing_tells_whose_it_is(server: Running, user: User, client: httpx2.AsyncClient, nobody: httpx2.AsyncClient) -> None:
    category = (await client.post("/api/categories", json={"name": "Mine", "parent": "cat-writing"})).json()["id"]
    prompt = await made(client, optimized_text="t", note="a private remark", model_used="my-model", category=category)
    await client.patch(f"/api/prompts/{prompt['id']}", json={"optimized_text": "second", "new_version": True})
    history = (await client.get(f"/api/prompts/{prompt['id']}/history")).json()["versions"]
    share = await shared(client, prompt["id"], {"note": "for the newsletter"})
    answer = await nobody.get(share["url"])
    text = answer.text + str(answer.headers)
    me = (await client.get("/api/users/me")).json()
    assert not UUIDS.findall(text)
    for secret in (
        user.id, user.library_id, user.session_id, category, prompt["id"], share["id"], *(version["id"] for version in history),
        me["email"], me["name"], "cat-writing", "a private remark", "my-model", "newsletter", "created", "history",
    ):  # fmt: skip
        assert str(secret) not in text
    assert answer.json()["meta"]["categoryKey"] == "Mine"
    assert answer.headers["cache-control"] == "no-store"


async def test_what_a_variable_was_filled_in_with_is_not_shared_where_it_is_a_secret(
    client: httpx2.AsyncClient, nobody: httpx2.AsyncClient
) -> None:
    key = "sk-abcdefghijklmnop"
    variables = {"apiKey": "hunter2", "note": key, "team": "us", "password": {"type": "string", "defaultValue": "hunter2"},
                 "endpoint": {"type": "string", "defaultValue": f"Bearer {key}"}, "token": {"defaultValue": "design"}}  # fmt: skip
    prompt = await made(client, variables=variables)
    assert (await read(nobody, (await shared(client, prompt["id"]))["code"]))["variables"] == [
        {"name": "apiKey", "type": "string"},
        {"name": "endpoint", "type": "string"},
        {"name": "note", "type": "string"},
        {"name": "password", "type": "string"},
        {"name": "team", "type": "string", "defaultValue": "us"},
        {"name": "token", "defaultValue": "design"},
    ]


async def test_a_conversation_is_read_as_messages(user: User, client: httpx2.AsyncClient, nobody: httpx2.AsyncClient) -> None:
    prompt = await made(client, "多轮对话", mode="pro-multi", original_text="原文")
    device = await newcomer(client, user.library_id)
    messages: list[Any] = [
        {"id": "private-id", "role": "system", "content": "你是客服 {{product}}", "originalContent": "private"},
        {"role": "user", "content": "你好 😀"},
    ]
    unsound: list[Any] = [{"role": "robot", "content": "x"}, {"role": ["system"], "content": "x"}, {"role": "user", "content": ""},
                          {"role": "user", "content": 7}, "text", None, []]  # fmt: skip
    await store(client, user.library_id, set_fields(device.library, prompt["id"], {"messages": [*messages, *unsound]}))
    code = (await shared(client, prompt["id"]))["code"]
    assert (await read(nobody, code))["prompt"] == {
        "format": "messages",
        "messages": [{"role": "system", "content": "你是客服 {{product}}"}, {"role": "user", "content": "你好 😀"}],
    }
    # elsewhere than in conversations readers refuse messages, and without sound ones there is the text
    await client.patch(f"/api/prompts/{prompt['id']}", json={"mode": "pro-variable"})
    assert (await read(nobody, code))["prompt"] == {"format": "text", "text": "原文"}
    await client.patch(f"/api/prompts/{prompt['id']}", json={"mode": "pro-multi"})
    await device_catches_up(client, user, device)
    await store(client, user.library_id, set_fields(device.library, prompt["id"], {"messages": unsound}))
    assert (await read(nobody, code))["prompt"] == {"format": "text", "text": "原文"}


async def device_catches_up(client: httpx2.AsyncClient, user: User, device: Any) -> None:
    device.apply((await newcomer(client, user.library_id)).library.content())


async def test_a_damaged_prompt_is_read_as_far_as_it_goes(user: User, client: httpx2.AsyncClient, nobody: httpx2.AsyncClient) -> None:
    prompt = await made(client, original_text="fine", tags=["t"], variables={"v": 1})
    code = (await shared(client, prompt["id"]))["code"]
    device = await newcomer(client, user.library_id)
    there = device.library.root(Root.PROMPTS)[prompt["id"]]

    def damage() -> None:
        there["title"], there["variables"], there["mode"], there["messages"], there["category"], there["current"] = 7, [1], "x", {}, 3, [9]

    await store(client, user.library_id, device.library.edit(damage))
    source = await read(nobody, code)
    assert (source["meta"]["title"], source["variables"], source["prompt"]["text"]) == ("", [], "fine")
    assert source["optimizerTarget"]["subModeKey"] == "basic-system"
    (share,) = await listed(client)
    assert (share["prompt_title"], share["live"]) == ("", True)


async def test_a_large_library_is_shared_too(server: Running, nobody: httpx2.AsyncClient) -> None:
    user = await large_library(server)
    async with server.http(user) as client:
        code = (await shared(client, "large"))["code"]
        assert (await read(nobody, code))["meta"]["title"] == "large"
        await opens_nothing(nobody, "z" * 32)


async def test_readings_are_counted_once_each_on_however_many_servers(database_dsn: str) -> None:
    async with running_server(database_dsn) as one, running_server(database_dsn, keyring=one.services.keyring) as other:
        user = await one.user()
        async with one.http(user) as client, one.http() as here, other.http() as there:
            share = await shared(client, (await made(client))["id"])
            quiet = await shared(client, (await made(client))["id"])
            before = datetime.now(UTC)
            await asyncio.gather(*(read(nobody, share["code"]) for nobody in (here, there) for _ in range(30)))
            await here.get("/api/prompt-source/unknown")

            async def counted() -> bool:
                found = {each["id"]: each for each in await listed(client)}
                assert found[quiet["id"]]["last_opened_at"] is None
                last = found[share["id"]]["last_opened_at"]
                return found[share["id"]]["opened"] == 60 and before < datetime.fromisoformat(last) < datetime.now(UTC)

            await eventually(counted, "sixty readings")
            await read(there, share["code"])
            await read(here, quiet["code"])
    # what was not noted yet is noted by a server that stops
    async with running_server(database_dsn, keyring=one.services.keyring) as third, third.services.database.acquire() as connection:
        rows = await connection.fetch("SELECT opened FROM shares ORDER BY opened")
    assert [row["opened"] for row in rows] == [1, 61]


async def test_a_link_to_a_version_that_a_device_made_is_no_others(
    user: User, client: httpx2.AsyncClient, nobody: httpx2.AsyncClient
) -> None:
    prompt, other = await made(client), await made(client, "other")
    device = await newcomer(client, user.library_id)
    version = NewVersion(id="v-device", text="设备", kind="edit", at=5, device="d")
    await store(client, user.library_id, add_version(device.library, prompt["id"], version, current=False))
    assert (await read(nobody, (await shared(client, prompt["id"], {"version": "v-device"}))["code"]))["prompt"]["text"] == "设备"
    answer = await client.post(f"/api/prompts/{other['id']}/share", json={"version": "v-device"})
    assert code_of(answer) == "unknown_reference"
