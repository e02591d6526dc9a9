"""Signing in with WeChat on a website: the state that comes back once, to the browser that began."""

from typing import Any

import httpx2
import pytest

from auth.wechat import Kind
from tests.support.rest import bearer, code_of, grant, rest_api
from tests.support.wechat_world import (
    APP_URL,
    CALLBACK,
    COOKIE,
    LINK,
    PUBLIC_URL,
    SIGN_IN,
    START,
    START_LINK,
    TOKEN_PATH,
    World,
    in_fragment,
    refused,
)


async def test_a_start_leads_to_the_qr_page_with_a_cookie_that_no_script_reads(world: World) -> None:
    page = await world.rest.client.post(START)
    redirect = await world.rest.client.get(START)
    assert (page.status_code, redirect.status_code) == (200, 303)
    assert page.json()["expires_in"] == 600
    for answer, url in ((page, page.json()["url"]), (redirect, redirect.headers["location"])):
        assert url.startswith(f"{world.wechat.url}/connect/qrconnect?appid={world.apps[Kind.WEB].id}&")
        assert httpx2.URL(url).params["redirect_uri"] == PUBLIC_URL + CALLBACK
        assert answer.headers["cache-control"] == "no-store"
        cookie = answer.headers["set-cookie"]
        assert "httponly" in cookie.lower()
        assert "samesite=lax" in cookie.lower()
        assert world.rest.client.cookies[COOKIE] not in answer.text + url
        assert world.apps[Kind.WEB].secret not in url + answer.text


async def test_a_redirected_browser_signs_in_as_well(world: World) -> None:
    page = (await world.rest.client.get(START)).headers["location"]
    came_back = await world.came_back(page, world.wechat.person())
    assert grant(await world.rest.post(SIGN_IN, {"kind": "web", **came_back}))


async def test_a_user_who_does_not_agree_comes_back_without_a_code(world: World) -> None:
    page = (await world.rest.client.post(START)).json()["url"]
    address = await world.wechat.deny(page, as_before=True)
    assert address is not None
    assert in_fragment(await world.rest.client.get(address)) == {"state": httpx2.URL(page).params["state"]}


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("", {}),
        ("code=a&state=b&lang=zh_CN", {"code": "a", "state": "b"}),
        ("code=a&code=b&state=c", {"state": "c"}),
        ("code=%0d%0aX:1&state=a%26provider%3Dgoogle", {}),
        ("code=%C3%A9&state=" + "x" * 129, {}),
        ("code=https://evil.example/&state=1", {"code": "https://evil.example/", "state": "1"}),
        ("redirect=https://evil.example/", {}),
    ],
)
async def test_a_browser_that_comes_back_goes_to_the_app_and_nowhere_else(world: World, query: str, told: dict[str, str]) -> None:
    assert in_fragment(await world.rest.client.get(f"{CALLBACK}?{query}")) == told


async def test_a_state_that_is_not_this_browsers_signs_nobody_in(world: World) -> None:
    person = world.wechat.person()
    theirs = await world.body(Kind.WEB, person)
    cookie = world.rest.client.cookies[COOKIE]

    world.rest.client.cookies.clear()
    await refused(world, theirs, 400, "invalid_state", reason="InvalidState")
    ours = await world.body(Kind.WEB, person)
    await refused(world, theirs, 400, "invalid_state", reason="InvalidState")
    await refused(world, {**ours, "state": "0" * 64}, 400, "invalid_state", reason="InvalidState")
    assert world.wechat.asked[TOKEN_PATH] == 0, "no code is sent for a stranger"

    assert (await world.rest.post(SIGN_IN, ours)).status_code == 200
    world.rest.client.cookies.set(COOKIE, cookie)
    assert (await world.rest.post(SIGN_IN, theirs)).status_code == 200, "in its own browser it is good"


async def test_a_state_is_over_after_ten_minutes_or_a_failure(world: World) -> None:
    person = world.wechat.person()
    body = await world.body(Kind.WEB, person)
    world.rest.clock.advance(minutes=10)
    await refused(world, body, 400, "invalid_state", reason="InvalidState")
    body = await world.body(Kind.WEB, person)
    await refused(world, {**body, "code": "unknown"}, 401, "wechat_code_invalid", reason="WeChatCodeInvalid")
    await refused(world, body, 400, "invalid_state", reason="InvalidState")


@pytest.mark.parametrize(
    "change",
    [
        {"state": None},
        {"state": ""},
        {"state": "x" * 129},
        {"state": "a b"},
        {"state": 7},
        {"kind": "app"},
        {"kind": "mini"},
        {"kind": "qr"},
        {"kind": None},
        {"code": ""},
        {"code": "x" * 513},
        {"code": "a b"},
        {"code": "a\u0000"},
        {"code": "é"},
        {"code": ["x"]},
        {"secret": "mine"},
        {"openid": "o1"},
        {"device": {"id": "me"}},
    ],
)
async def test_a_body_that_is_none_is_refused_before_wechat_is_asked(world: World, change: dict[str, Any]) -> None:
    body = {**await world.body(Kind.WEB, world.wechat.person()), **change}
    answer = await world.rest.post(SIGN_IN, body)
    assert (answer.status_code, code_of(answer)) == (422, "invalid_request")
    assert not [text for text in body.values() if isinstance(text, str) and len(text) > 4 and text in answer.text]
    assert world.wechat.asked[TOKEN_PATH] == 0


async def test_with_https_the_cookie_is_of_this_host_alone(database_dsn: str, world: World) -> None:
    app = world.apps[Kind.WEB]
    settings: dict[str, Any] = {
        "wechat_web_appid": app.id,
        "wechat_web_secret": app.secret,
        "app_url": APP_URL,
        "public_url": "https://sync.example",
    }
    async with rest_api(database_dsn, **settings) as rest:
        rest.client.base_url = httpx2.URL("https://sync.example")
        answer = await rest.client.post(START)
        assert answer.headers["set-cookie"].startswith("__Host-promptsync-social=")
        assert "; Secure" in answer.headers["set-cookie"]
        assert "Path=/" in answer.headers["set-cookie"]
        assert answer.json()["url"].startswith("https://open.weixin.qq.com/connect/qrconnect?")
        for kind in ("app", "mini"):
            answer = await rest.post(SIGN_IN, {"kind": kind, "code": "x"})
            assert (answer.status_code, code_of(answer)) == (404, "provider_not_configured")


async def test_without_apps_there_is_nothing_to_sign_in_with(database_dsn: str) -> None:
    async with rest_api(database_dsn, app_url=APP_URL) as rest:
        token = (await rest.register())["access_token"]
        answers = [await rest.client.post(START), await rest.client.post(START_LINK, headers=bearer(token))]
        answers += [await rest.client.get(START), await rest.post(SIGN_IN, {"kind": "mini", "code": "x"})]
        answers.append(await rest.post(LINK, {"kind": "mini", "code": "x"}, token))
        assert {(answer.status_code, code_of(answer)) for answer in answers} == {(404, "provider_not_configured")}
        assert not any("set-cookie" in answer.headers for answer in answers)
        async with rest.services.database.acquire() as connection:
            assert await connection.fetchval("SELECT count(*) FROM social_states") == 0
            assert await connection.fetchval("SELECT count(*) FROM audit WHERE event = 'sign_in_failed'") == 0


async def test_an_address_may_not_try_without_end(database_dsn: str) -> None:
    async with rest_api(database_dsn, app_url=APP_URL, social_attempts_a_minute=3) as rest:
        answers = [await rest.post(SIGN_IN, {"kind": "mini", "code": "x"}) for _ in range(7)]
        assert [answer.status_code for answer in answers] == [404] * 6 + [429], "twice as many at once as a minute"
        assert code_of(answers[-1]) == "too_many_attempts"
        assert int(answers[-1].headers["retry-after"]) > 0
