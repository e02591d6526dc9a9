"""Share links on a real server: who may make, list and revoke them, how many, and that each is made once."""

import asyncio
from typing import Any

import httpx2
import pytest
import structlog

from server.routes import shares as routes
from tests.support.prompts import made
from tests.support.rest import code_of
from tests.support.running import Running, User, running_server
from tests.support.sharing import listed, opens_nothing, read, shared


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


async def test_where_the_app_opens_it_is_told_where_that_is_known(database_dsn: str) -> None:
    places = (("basic-system", "basic/system"), ("image-text2image", "image/text2image"), ("pro-multi", "pro/multi"))
    async with running_server(database_dsn, app_url="https://app.example/", public_url="https://sync.example") as server:
        user = await server.user()
        async with server.http(user) as client:
            for mode, place in places:
                share = await shared(client, (await made(client, mode=mode))["id"])
                assert share["import_url"] == f"https://app.example/#/{place}?importCode={share['code']}&saveToFavorites=auto"
                assert share["url"] == f"https://sync.example/api/prompt-source/{share['code']}"
