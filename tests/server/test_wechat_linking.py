"""Linking WeChat to an account over HTTP."""

import asyncio
from typing import Any
from uuid import UUID

import httpx2
import pytest

from auth.wechat import Kind
from tests.support.rest import bearer, code_of
from tests.support.wechat import Person, Trouble
from tests.support.wechat_world import LINK, REAUTHENTICATE, ROWS, START_LINK, TOKEN_PATH, World, refused


async def linked(world: World, body: dict[str, Any], token: str) -> httpx2.Response:
    """The answer to a request to link, in which no secret is."""
    answer = await world.rest.post(LINK, body, token)
    assert not [secret for secret in {*world.wechat.secrets, body["code"]} if secret in answer.text]
    return answer


async def start_link(world: World, person: Person, token: str) -> dict[str, Any]:
    page = (await world.rest.post(START_LINK, None, token)).json()["url"]
    return {"kind": "web", **await world.came_back(page, person)}


@pytest.mark.parametrize("kind", Kind)
async def test_a_linked_wechat_signs_the_same_user_in(world: World, kind: Kind) -> None:
    me, person = await world.rest.register(), world.wechat.person("小明")
    body = await (start_link(world, person, me["access_token"]) if kind is Kind.WEB else world.body(kind, person))
    answer = await linked(world, body, me["access_token"])
    assert answer.status_code == 200, answer.text
    identity = answer.json()
    assert (identity["provider"], identity["email"], identity["name"]) == ("wechat", None, "" if kind is Kind.MINI else "小明")
    row = (await world.audit())[-1]
    assert (row["event"], row["user_id"], row["target"]) == ("identity_linked", UUID(me["user"]["id"]), identity["id"])
    assert (await world.sign_in(kind, person))["user"]["id"] == me["user"]["id"]
    listed = (await world.rest.get("/api/auth/identities", me["access_token"])).json()["identities"]
    assert [each["id"] for each in listed] == [identity["id"]]


async def test_a_wechat_that_signs_another_in_is_not_taken_from_them(world: World) -> None:
    me, person = await world.rest.register(), world.wechat.person()
    theirs = await world.sign_in(Kind.APP, person)
    answer = await linked(world, await world.body(Kind.MINI, person), me["access_token"])
    assert (answer.status_code, code_of(answer)) == (409, "identity_taken")
    assert (await world.sign_in(Kind.APP, person))["user"]["id"] == theirs["user"]["id"]


async def test_of_two_users_who_race_to_link_one_wechat_one_has_it(world: World) -> None:
    users = [await world.rest.register() for _ in range(2)]
    person = world.wechat.person()
    bodies = [await world.body(kind, person) for kind in (Kind.MINI, Kind.APP)]
    answers = await asyncio.gather(*(linked(world, body, user["access_token"]) for body, user in zip(bodies, users, strict=True)))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    owner = users[[answer.status_code for answer in answers].index(200)]
    assert (await world.sign_in(Kind.MINI, person))["user"]["id"] == owner["user"]["id"]


async def test_a_state_to_link_signs_nobody_in_and_one_to_sign_in_links_nothing(world: World) -> None:
    me, other, person = await world.rest.register(), await world.rest.register(), world.wechat.person()
    token = me["access_token"]
    await refused(world, await start_link(world, person, token), 400, "invalid_state", reason="InvalidState")
    for body, asking in ((await world.body(Kind.WEB, person), token), (await start_link(world, person, token), other["access_token"])):
        answer = await linked(world, body, asking)
        assert (answer.status_code, code_of(answer)) == (400, "invalid_state")
    assert world.wechat.asked[TOKEN_PATH] == 0
    assert (await world.rest.get("/api/auth/identities", token)).json()["identities"] == []


async def test_linking_takes_a_recent_sign_in_and_our_own_page(world: World) -> None:
    person = world.wechat.person()
    me = await world.rest.register()
    body = await start_link(world, person, me["access_token"])
    headers = bearer(me["access_token"]) | {"Sec-Fetch-Site": "same-site"}
    answer = await world.rest.client.post(LINK, json=body, headers=headers)
    assert (answer.status_code, code_of(answer)) == (403, "cross_site")
    for path in (LINK, START_LINK):
        assert code_of(await world.rest.post(path, body if path == LINK else None)) == "not_authenticated"
    world.rest.clock.advance(seconds=601)
    token = (await world.rest.refresh(me["refresh_token"])).json()["access_token"]
    for path in (LINK, START_LINK):
        answer = await world.rest.post(path, body if path == LINK else None, token)
        assert (answer.status_code, code_of(answer)) == (403, "recent_login_required")


@pytest.mark.parametrize("errcode", ROWS)
async def test_each_error_of_wechats_has_its_answer_when_linking_too(world: World, errcode: int) -> None:
    me = await world.rest.register()
    body = await world.body(Kind.MINI, world.wechat.person())
    world.wechat.trouble = Trouble(errcode=errcode)
    answer = await linked(world, body, me["access_token"])
    assert (answer.status_code, code_of(answer)) == ROWS[errcode][:2]
    assert (await world.rest.get("/api/auth/identities", me["access_token"])).json()["identities"] == []


@pytest.mark.parametrize("kind", Kind)
async def test_a_code_of_the_users_own_wechat_is_as_good_as_a_password(world: World, kind: Kind) -> None:
    person = world.wechat.person()
    me = await world.sign_in(kind, person)
    world.rest.clock.advance(seconds=601)
    token = (await world.rest.refresh(me["refresh_token"])).json()["access_token"]
    assert code_of(await world.rest.post(START_LINK, None, token)) == "recent_login_required"

    for whose, change, code in ((world.wechat.person(), {}, "social_refused"), (person, {"code": "unknown"}, "wechat_code_invalid")):
        answer = await world.rest.post(REAUTHENTICATE, {"wechat": {**await world.body(kind, whose), **change}}, token)
        assert (answer.status_code, code_of(answer)) == (401, code)
        event, user, details = await world.last()
        assert (event, user, details) == ("reauthentication_failed", UUID(me["user"]["id"]), {"method": f"wechat_{kind.value}"})
    assert code_of(await world.rest.post(START_LINK, None, token)) == "recent_login_required"

    answer = await world.rest.post(REAUTHENTICATE, {"wechat": await world.body(kind, person)}, token)
    assert answer.status_code == 204, answer.text
    assert await world.last() == ("reauthenticated", UUID(me["user"]["id"]), {"method": f"wechat_{kind.value}"})
    assert (await world.rest.post(START_LINK, None, token)).status_code == 200
