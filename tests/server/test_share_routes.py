"""Share links on a real server: made by those who may write, read by anybody who has the code, and by nobody who has not."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
import structlog

from crdt.library import Root
from crdt.operations import add_version, purge_prompt, set_fields
from crdt.operations.versions import NewVersion
from server.routes import shares as routes
from server.times import utc_now
from storage import session_list, shares, users
from storage.errors import Unavailable
from tests.server.test_editor_troubles import large_library
from tests.support.core import eventually
from tests.support.database import Databases
from tests.support.library_replica import newcomer, store
from tests.support.rest import code_of
from tests.support.running import Running, User, running_server

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
UUIDS = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@pytest.fixture
async def nobody(server: Running) -> AsyncIterator[httpx2.AsyncClient]:
    async with server.http() as client:
        yield client


async def made(client: httpx2.AsyncClient, title: str = "Weekly report", **fields: Any) -> dict[str, Any]:
    answer = await client.post("/api/prompts", json={"title": title, **fields})
    assert answer.status_code == 201, answer.text
    prompt: dict[str, Any] = answer.json()
    return prompt


async def shared(client: httpx2.AsyncClient, prompt_id: str, body: object = None, path: str = "") -> dict[str, Any]:
    answer = await client.post(f"/api/prompts/{prompt_id}/share{path}", json=body or {})
    assert answer.status_code == 201, answer.text
    share: dict[str, Any] = answer.json()
    return share


async def listed(client: httpx2.AsyncClient, query: str = "") -> list[dict[str, Any]]:
    answer = await client.get(f"/api/shares{query}")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["shares"]
    return found


async def read(nobody: httpx2.AsyncClient, code: str) -> dict[str, Any]:
    answer = await nobody.get(f"/api/prompt-source/{code}")
    assert answer.status_code == 200, answer.text
    source: dict[str, Any] = answer.json()
    return source


async def opens_nothing(nobody: httpx2.AsyncClient, code: str) -> None:
    """The code answers exactly as one that was never given out."""
    answer, unknown = [await nobody.get(f"/api/prompt-source/{each}") for each in (code, "0" * 32)]
    assert (answer.status_code, code_of(answer), answer.content) == (404, "not_found", unknown.content)
    assert answer.headers.keys() == unknown.headers.keys()


@contextmanager
def later(server: Running, **by: float) -> Iterator[None]:
    """The server's clock goes so much ahead."""
    object.__setattr__(server.services, "clock", lambda: utc_now() + timedelta(**by))
    yield
    object.__setattr__(server.services, "clock", utc_now)


async def test_a_session_that_ends_meanwhile_leaves_no_link(server: Running, user: User, client: httpx2.AsyncClient) -> None:
    prompt = await made(client)
    database = server.services.database
    async with database.transaction() as connection:
        assert await users.lock(connection, user.id)
        asking = asyncio.ensure_future(client.post(f"/api/prompts/{prompt['id']}/share", json={}))

        async def waits() -> bool:
            async with database.acquire() as other:
                return asking.done() or bool(await other.fetchval(WAITING))

        await eventually(waits, "a link that waits for the account")
        assert not asking.done()
        await shares.end_all_of(connection, user.id, now=utc_now())
        await session_list.revoke_all(connection, user.id, now=utc_now(), reason="reclaimed")
    assert code_of(await asking) == "session_ended"
    async with database.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM shares WHERE library_id = $1", user.library_id) == 0


# --- what is read


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


# --- what ends a link


async def test_a_link_ends_when_its_time_is_over(server: Running, client: httpx2.AsyncClient, nobody: httpx2.AsyncClient) -> None:
    prompt = await made(client)
    week = await shared(client, prompt["id"], {"expires_in_days": 7})
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
    moment = await shared(client, prompt["id"], {"expires_at": at.isoformat()})
    assert datetime.fromisoformat(moment["expires_at"]) == at
    forever = (await shared(client, prompt["id"]))["code"]
    await read(nobody, moment["code"])
    with later(server, days=3):
        await opens_nothing(nobody, moment["code"])
        await read(nobody, week["code"])
    with later(server, days=7, seconds=1):
        await opens_nothing(nobody, week["code"])
        await read(nobody, forever)
    for wrong in (
        {"expires_at": "2020-01-01T00:00:00Z"}, {"expires_at": "9999-12-31T23:59:59-14:00"}, {"expires_in_days": 0},
        {"expires_in_days": 3651}, {"expires_in_days": 1.5}, {"expires_in_days": 1, "expires_at": at.isoformat()},
    ):  # fmt: skip
        answer = await client.post(f"/api/prompts/{prompt['id']}/share", json=wrong)
        assert (answer.status_code, code_of(answer)) == (422, "invalid_request"), wrong


async def test_a_revoked_link_stays_revoked(client: httpx2.AsyncClient, nobody: httpx2.AsyncClient) -> None:
    prompt = await made(client)
    share, other = [await shared(client, prompt["id"]) for _ in "ab"]
    assert [(await client.delete(f"/api/shares/{share['id']}")).status_code for _ in "ab"] == [204, 204]
    await opens_nothing(nobody, share["code"])
    await read(nobody, other["code"])
    found = {each["id"]: each for each in await listed(client)}
    assert [(found[each["id"]]["revoked"], found[each["id"]]["live"]) for each in (share, other)] == [(True, False), (False, True)]
    assert (await client.delete(f"/api/shares/{uuid4()}")).status_code == 404


async def test_what_is_in_the_bin_is_not_read_until_it_is_taken_out(client: httpx2.AsyncClient, nobody: httpx2.AsyncClient) -> None:
    prompt = await made(client)
    path, code = f"/api/prompts/{prompt['id']}", (await shared(client, prompt["id"]))["code"]
    await client.delete(path)
    await opens_nothing(nobody, code)
    answer = await client.post(f"{path}/share", json={})
    assert (answer.status_code, code_of(answer)) == (409, "in_bin")
    (share,) = await listed(client)
    assert (share["live"], share["revoked"], share["prompt_title"]) == (False, False, "Weekly report")
    await client.post(f"{path}/restore")
    await read(nobody, code)


async def test_links_to_what_is_destroyed_end_for_ever(user: User, client: httpx2.AsyncClient, nobody: httpx2.AsyncClient) -> None:
    ids = [str(uuid4()) for _ in range(3)]
    for prompt_id in ids:
        await made(client, id=prompt_id)
    codes = [(await shared(client, prompt_id))["code"] for prompt_id in ids]
    assert (await client.delete(f"/api/prompts/{ids[0]}?purge=true")).status_code == 204
    batch = {"operations": [{"op": "delete", "id": ids[1], "purge": True}, {"op": "delete", "id": "nothing", "purge": True}]}
    assert (await client.post("/api/prompts/batch", json=batch)).status_code == 200
    device = await newcomer(client, user.library_id)
    await store(client, user.library_id, purge_prompt(device.library, ids[2]))  # nobody told of the link: what it names is not there
    for code in codes:
        await opens_nothing(nobody, code)
    assert [(share["prompt_title"], share["live"]) for share in await listed(client)] == [(None, False)] * 3
    for prompt_id in ids[:2]:
        await made(client, id=prompt_id)
    for code in codes[:2]:
        await opens_nothing(nobody, code)


async def test_a_library_that_is_put_back_brings_no_ended_link_back(
    server: Running, user: User, client: httpx2.AsyncClient, nobody: httpx2.AsyncClient
) -> None:
    prompt = await made(client)
    share = await shared(client, prompt["id"])
    point = (await server.app.compactor.compact(user.library_id)).snapshot_seq
    await client.delete(f"/api/prompts/{prompt['id']}?purge=true")
    assert (await client.post(f"/api/libraries/{user.library_id}/restore", json={"point": point})).is_success
    assert (await client.get(f"/api/prompts/{prompt['id']}")).status_code == 200
    await opens_nothing(nobody, share["code"])
    again = await shared(client, prompt["id"])
    assert [(each["id"], each["live"], each["prompt_title"]) for each in await listed(client)] == [
        (again["id"], True, "Weekly report"),
        (share["id"], False, "Weekly report"),
    ]


async def test_a_deleted_library_shares_nothing(
    server: Running, user: User, client: httpx2.AsyncClient, nobody: httpx2.AsyncClient
) -> None:
    library_id = await server.library(user)
    prompt = (await client.post(f"/api/prompts?library={library_id}", json={"title": "t"})).json()
    share = await shared(client, prompt["id"], path=f"?library={library_id}")
    await read(nobody, share["code"])
    await client.delete(f"/api/libraries/{library_id}")
    await opens_nothing(nobody, share["code"])

    async def is_gone() -> bool:
        return await count_rows(server, library_id) == 0

    await eventually(is_gone, "the rows go with their library")


async def count_rows(server: Running, library_id: UUID) -> int:
    async with server.services.database.acquire() as connection:
        return int(await connection.fetchval("SELECT count(*) FROM shares WHERE library_id = $1", library_id))


# --- who may


async def test_only_those_who_may_write_share_list_and_revoke(
    server: Running, user: User, client: httpx2.AsyncClient, nobody: httpx2.AsyncClient
) -> None:
    prompt, member = await made(client), await server.user()
    share = await shared(client, prompt["id"])
    own = f"?library={user.library_id}"
    asked: tuple[tuple[str, str, Any], ...] = (
        ("POST", f"/api/prompts/{prompt['id']}/share", {}),
        ("DELETE", f"/api/shares/{share['id']}", None),
        ("GET", "/api/shares", None),
    )
    async with server.http(member) as other:
        for method, path, body in asked:
            assert code_of(await other.request(method, path + own, json=body)) == "not_found"
            assert code_of(await nobody.request(method, path + own, json=body)) == "not_authenticated"
        for method, path, body in asked[:2]:  # nor is it in a library of one's own
            assert code_of(await other.request(method, path, json=body)) == "not_found"
        assert await listed(other) == []
        await server.add_member(user.library_id, member, "viewer")
        for method, path, body in asked:
            assert code_of(await other.request(method, path + own, json=body)) == "forbidden"
        await server.execute("UPDATE members SET role = 'editor' WHERE user_id = $1 AND library_id = $2", member.id, user.library_id)
        theirs = await shared(other, prompt["id"], path=own)
        assert {each["id"] for each in await listed(other, own)} == {share["id"], theirs["id"]}
        # it is the library's, whoever made it: it lasts when its maker has left, and the others may end it
        await server.execute("DELETE FROM members WHERE user_id = $1 AND library_id = $2", member.id, user.library_id)
        await read(nobody, theirs["code"])
        assert code_of(await other.get(f"/api/shares{own}")) == "not_found"
    assert (await client.delete(f"/api/shares/{theirs['id']}")).status_code == 204
    await opens_nothing(nobody, theirs["code"])


async def test_a_share_is_made_once_under_a_key(client: httpx2.AsyncClient, nobody: httpx2.AsyncClient) -> None:
    prompt = await made(client)
    path, key = f"/api/prompts/{prompt['id']}/share", {"Idempotency-Key": "s-1"}
    first, again = [await client.post(path, json={"note": "n"}, headers=key) for _ in "ab"]
    assert (first.status_code, again.content, again.headers["idempotency-replayed"]) == (201, first.content, "true")
    assert len(await listed(client)) == 1
    await read(nobody, first.json()["code"])


async def test_an_attempt_whose_answer_was_lost_finds_its_link(
    client: httpx2.AsyncClient, nobody: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = await made(client)
    path, key = f"/api/prompts/{prompt['id']}/share", {"Idempotency-Key": "s-2"}

    def fail(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as failing, structlog.testing.capture_logs():  # drawing the traceback takes seconds
        failing.setattr(routes, "_view", fail)
        assert (await client.post(path, json={}, headers=key)).status_code == 500
    made_once = await client.post(path, json={}, headers=key)
    assert made_once.status_code == 201
    (share,) = await listed(client)
    assert share["code"] == made_once.json()["code"]
    await read(nobody, share["code"])


async def test_a_library_has_so_many_live_links_and_lists_so_many_that_ended(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "MAX_LIVE", 3)
    monkeypatch.setattr(routes, "MAX_ENDED", 2)
    prompt = await made(client)
    answers = await asyncio.gather(*(client.post(f"/api/prompts/{prompt['id']}/share", json={}) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, 201, 201, 409, 409, 409]
    assert {code_of(answer) for answer in answers if answer.status_code == 409} == {"too_many"}
    ended = []
    for _ in range(4):
        live = next(share for share in await listed(client) if share["live"])
        await client.delete(f"/api/shares/{live['id']}")
        ended.append(live["id"])
        await shared(client, prompt["id"])
    found = await listed(client)
    assert {share["id"] for share in found if share["revoked"]} == set(ended[-2:])
    assert sum(share["live"] for share in found) == 3


# --- codes


async def test_a_row_reveals_no_code_and_nothing_that_it_opens(server: Running, user: User, client: httpx2.AsyncClient) -> None:
    prompt = await made(client, optimized_text="t")
    share = await shared(client, prompt["id"], {"note": "a remark", "version": prompt["version_id"]})
    async with server.services.database.acquire() as connection:
        row = dict(await connection.fetchrow("SELECT * FROM shares WHERE id = $1", UUID(share["id"])) or {})
    everything = b"\n".join(value if isinstance(value, bytes) else str(value).encode() for value in row.values())
    for secret in (share["code"], share["code"].upper(), prompt["id"], prompt["version_id"], "a remark"):
        assert secret.encode() not in everything
    assert UUID(prompt["id"]).bytes not in everything
    assert str(row["library_id"]) == str(user.library_id)


async def test_codes_are_random_and_told_to_no_log(client: httpx2.AsyncClient, nobody: httpx2.AsyncClient) -> None:
    prompt = await made(client)
    with structlog.testing.capture_logs() as logged:
        codes = {(await shared(client, prompt["id"]))["code"] for _ in range(20)}
        for code in codes:
            await nobody.get(f"/api/prompt-source/{code}")
            await nobody.get(f"/api/prompt-source/{code}x")
            await nobody.options(f"/api/prompt-source/{code}", headers={"Origin": "https://x", "Access-Control-Request-Method": "GET"})
    assert len(codes) == 20
    assert all(re.fullmatch(r"[0-9a-hj-km-np-tv-z]{32}", code) for code in codes)
    assert not [code for code in codes if code in str(logged)]
    assert {line["route"] for line in logged if line["event"] == "request"} == {
        "/api/prompts/{prompt_id}/share", "/api/prompt-source/{code}", "unmatched",
    }  # fmt: skip
    code = codes.pop()
    for other in (code.upper(), code[:-1], f"{code} ", f"{code[:-1]}u", f"%00{code}", "x" * 300):
        assert (await nobody.get(f"/api/prompt-source/{other}")).status_code == 404


async def unavailable(*_: object, **__: object) -> None:
    raise Unavailable


async def test_who_tries_codes_is_refused_and_nobody_else_is(database_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: dict[str, Any] = {"shared_failures_an_address": 3, "shared_reads_a_minute": 12, "trusted_proxies": "127.0.0.1"}
    async with running_server(database_dsn, **limits) as server:
        user = await server.user()
        async with server.http(user) as client, server.http() as nobody:
            share = await shared(client, (await made(client))["id"])

            async def get(code: str, address: str) -> httpx2.Response:
                return await nobody.get(f"/api/prompt-source/{code}", headers={"X-Forwarded-For": address})

            answers = [await get("0" * 32, "192.0.2.1") for _ in range(8)]
            assert [answer.status_code for answer in answers] == [404] * 3 + [429] * 5
            await asyncio.gather(*(get("0" * 32, "192.0.2.6") for _ in range(8)))
            assert (await get("0" * 32, "192.0.2.6")).status_code == 429
            refused = await get(share["code"], "192.0.2.1")
            assert (refused.status_code, code_of(refused)) == (429, "too_many_attempts")
            assert 0 < int(refused.headers["retry-after"]) <= 300
            assert (await get(share["code"], "192.0.2.2")).status_code == 200
            # trouble of ours is nobody's failure
            with monkeypatch.context() as away:
                away.setattr(shares, "find", unavailable)
                assert {(await get(share["code"], "192.0.2.4")).status_code for _ in range(5)} == {503}
            assert (await get(share["code"], "192.0.2.4")).status_code == 200
            # reading what is there is no failure, however often at once, but has a limit as well
            answers = await asyncio.gather(*(get(share["code"], "192.0.2.5") for _ in range(12)))
            assert {answer.status_code for answer in answers} == {200}
            answers = [await get(share["code"], "192.0.2.3") for _ in range(13)]
            assert [answer.status_code for answer in answers] == [200] * 12 + [429]
            assert 0 < int(answers[-1].headers["retry-after"]) <= 5


# --- pages of other origins


@pytest.mark.parametrize("allowed", ["", "https://app.example"])
async def test_pages_of_any_origin_read_shared_prompts_and_nothing_else(database_dsn: str, allowed: str) -> None:
    async with running_server(database_dsn, allowed_origins=allowed) as server:
        user = await server.user()
        async with server.http(user) as client, server.http() as nobody:
            share = await shared(client, (await made(client))["id"])
            path = f"/api/prompt-source/{share['code']}"
            for origin in ("https://anywhere.example", "https://app.example", "null"):
                for asked in (path, "/api/prompt-source/unknown"):
                    answer = await nobody.get(asked, headers={"Origin": origin, "Cookie": "a=b"})
                    assert answer.headers["access-control-allow-origin"] == "*"
                    assert "access-control-allow-credentials" not in answer.headers
                ask = {"Origin": origin, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "accept"}
                preflight = await nobody.options(path, headers=ask)
                assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, "*")
                assert "access-control-allow-credentials" not in preflight.headers
                assert preflight.headers["access-control-allow-methods"] == "GET"
            for wrong in ({"Access-Control-Request-Headers": "authorization"}, {"Access-Control-Request-Method": "DELETE"}):
                ask = {"Origin": "https://x.example", "Access-Control-Request-Method": "GET"} | wrong
                assert (await nobody.options(path, headers=ask)).status_code == 400
            for other in ("/api/shares", "/api/prompts"):
                answer = await client.get(other, headers={"Origin": "https://anywhere.example"})
                assert "access-control-allow-origin" not in answer.headers
            answer = await client.get("/api/shares", headers={"Origin": "https://app.example"})
            assert answer.headers.get("access-control-allow-origin") == (allowed or None)


async def test_where_the_app_opens_it_is_told_where_that_is_known(database_dsn: str) -> None:
    places = (("basic-system", "basic/system"), ("image-text2image", "image/text2image"), ("pro-multi", "pro/multi"))
    async with running_server(database_dsn, app_url="https://app.example/", public_url="https://sync.example") as server:
        user = await server.user()
        async with server.http(user) as client:
            for mode, place in places:
                share = await shared(client, (await made(client, mode=mode))["id"])
                assert share["import_url"] == f"https://app.example/#/{place}?importCode={share['code']}&saveToFavorites=auto"
                assert share["url"] == f"https://sync.example/api/prompt-source/{share['code']}"


# --- counting


async def test_readings_are_counted_once_each_on_however_many_servers(databases: Databases, template_database: str) -> None:
    dsn = databases.create(template_database)
    async with running_server(dsn) as one, running_server(dsn, keyring=one.services.keyring) as other:
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
    async with running_server(dsn, keyring=one.services.keyring) as third, third.services.database.acquire() as connection:
        rows = await connection.fetch("SELECT opened FROM shares ORDER BY opened")
    assert [row["opened"] for row in rows] == [1, 61]
    databases.drop(dsn)


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
