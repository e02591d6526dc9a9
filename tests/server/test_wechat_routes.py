"""Signing in with WeChat and linking it over HTTP, against a real database and a stand-in for WeChat's servers."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID, uuid4

import httpx2
import pytest
import structlog

from auth.wechat import Kind
from server.logs import configure_logs
from tests.support.database import Databases
from tests.support.rest import Rest, bearer, code_of, grant, rest_api
from tests.support.wechat import Person, Registered, Trouble, WeChatServer, wechat_server

SIGN_IN, START = "/api/auth/social/wechat", "/api/auth/social/wechat/start"
LINK, START_LINK = "/api/auth/identities/wechat", "/api/auth/identities/wechat/start"
APP_URL, PUBLIC_URL = "http://app.example", "http://sync.example"
CALLBACK = "/api/auth/social/wechat/callback"
TOKEN_PATH, USERINFO_PATH, SESSION_PATH = "/sns/oauth2/access_token", "/sns/userinfo", "/sns/jscode2session"
COOKIE = "promptsync-social"


@dataclass(frozen=True, slots=True)
class World:
    """The application, WeChat, and the apps that are registered there."""

    rest: Rest
    wechat: WeChatServer
    apps: dict[Kind, Registered]
    logged: Sequence[Mapping[str, Any]] = ()

    def code(self, kind: Kind, person: Person) -> str:
        return self.wechat.code(self.apps[kind], person)

    async def scanned(self, person: Person) -> dict[str, str]:
        """What the app gets in its address, after a start in this client's browser."""
        return await self.came_back((await self.rest.client.post(START)).json()["url"], person)

    async def came_back(self, page: str, person: Person) -> dict[str, str]:
        """What the app gets in its address once the page's code was scanned."""
        address = await self.wechat.scan(page, person)
        assert address.startswith(f"{PUBLIC_URL}{CALLBACK}?")
        return in_fragment(await self.rest.client.get(address))

    async def body(self, kind: Kind, person: Person) -> dict[str, Any]:
        """A sign-in that is right."""
        if kind is Kind.WEB:
            return {"kind": "web", **await self.scanned(person)}
        return {"kind": kind.value, "code": self.code(kind, person)}

    async def sign_in(self, kind: Kind, person: Person, **more: object) -> dict[str, Any]:
        return grant(await self.rest.post(SIGN_IN, {**await self.body(kind, person), **more}))

    async def audit(self) -> list[Any]:
        async with self.rest.services.database.acquire() as connection:
            return await connection.fetch("SELECT * FROM audit ORDER BY id")

    async def last(self) -> tuple[str, UUID | None, dict[str, Any]]:
        """The event, user and details of the last row of the audit log."""
        row = (await self.audit())[-1]
        return row["event"], row["user_id"], json.loads(row["details"])

    async def sessions(self) -> int:
        async with self.rest.services.database.acquire() as connection:
            return int(await connection.fetchval("SELECT count(*) FROM sessions"))


def in_fragment(answer: httpx2.Response) -> dict[str, str]:
    """What a redirect to the app has in its fragment."""
    assert answer.status_code == 303
    assert answer.headers["cache-control"] == "no-store"
    there, _, given = answer.headers["location"].partition("/#/sign-in?")
    assert there == APP_URL
    fields = dict(parse_qsl(given))
    assert fields.pop("provider") == "wechat"
    return fields


@pytest.fixture(scope="module")
async def running(databases: Databases, template_database: str) -> AsyncIterator[World]:
    dsn = databases.create(template_database)
    async with wechat_server(lambda: rest.clock()) as wechat:
        apps = {kind: wechat.register(kind, domain="sync.example") for kind in Kind}
        settings: dict[str, Any] = {
            f"wechat_{kind}_{name}": text for kind, app in apps.items() for name, text in (("appid", app.id), ("secret", app.secret))
        }
        settings |= {"app_url": APP_URL, "public_url": PUBLIC_URL, "wechat_api_url": wechat.url, "wechat_qr_url": wechat.url}
        async with rest_api(dsn, **settings) as rest:
            rest.client.base_url = httpx2.URL(PUBLIC_URL)
            rest.client.headers["Sec-Fetch-Site"] = "same-origin"
            yield World(rest, wechat, apps)
    databases.drop(dsn)


@pytest.fixture
def world(running: World, caplog: pytest.LogCaptureFixture) -> Iterator[World]:
    """The world as it is; whatever WeChat holds secret is in no log line, at any level, when the test is over."""
    running.rest.client.cookies.clear()
    running.wechat.trouble = None
    running.wechat.asked.clear()
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.WARNING, "httpx2")  # the tests' own client; what signs in has none
    with structlog.testing.capture_logs() as logged:
        yield replace(running, logged=logged)
    written = [str(line) for line in logged] + [record.getMessage() for record in caplog.get_records("call")]
    assert written
    assert not [line for line in written if any(secret in line for secret in running.wechat.secrets)]


async def refused(world: World, body: dict[str, Any], status: int, code: str, *, reason: str | None = None) -> httpx2.Response:
    """The answer to a sign-in that is refused: no session, an entry in the audit log, and nothing secret in either."""
    before, sessions = len(await world.audit()), await world.sessions()
    answer = await world.rest.post(SIGN_IN, body)
    assert (answer.status_code, code_of(answer)) == (status, code), answer.text
    shown = f"{answer.text} {answer.headers}"
    assert not [secret for secret in {*world.wechat.secrets, body["code"]} if secret in shown]
    assert await world.sessions() == sessions
    noted = (await world.audit())[before:]
    if reason is None:
        assert noted == []
        return answer
    assert [(row["event"], row["user_id"]) for row in noted] == [("sign_in_failed", None)]
    assert await world.last() == ("sign_in_failed", None, {"method": f"wechat_{body['kind']}", "reason": reason})
    assert not [secret for secret in {*world.wechat.secrets, body["code"]} if secret in str(noted)]
    return answer


# --- signing in


@pytest.mark.parametrize("kind", Kind)
async def test_whoever_is_new_gets_an_account_and_is_known_the_next_time(world: World, kind: Kind) -> None:
    person, device = world.wechat.person("小明 🐼"), {"id": str(uuid4()), "name": "phone", "platform": "ios"}
    first = await world.sign_in(kind, person, device=device)
    assert (first["user"]["email"], first["user"]["email_verified"]) == (None, False)
    if kind is not Kind.MINI:
        assert first["user"]["name"] == "小明 🐼"
    assert await world.rest.status_of(first["access_token"]) == 200
    user_id = UUID(first["user"]["id"])
    noted = [(row["event"], row["user_id"]) for row in (await world.audit())[-2:]]
    assert noted == [("registered", user_id), ("identity_linked", user_id)]

    second = await world.sign_in(kind, person, device=device)
    assert second["user"]["id"] == first["user"]["id"]
    event, user, details = await world.last()
    assert (event, user, details["method"]) == ("signed_in", user_id, f"wechat_{kind.value}")
    assert await world.rest.status_of(first["access_token"]) == 401, "one device has one session"
    async with world.rest.services.database.acquire() as connection:
        assert (
            await connection.fetchval("SELECT method FROM sessions WHERE revoked_at IS NULL AND user_id = $1", user_id)
            == f"wechat_{kind.value}"
        )


async def test_one_person_is_one_user_in_all_apps_of_an_owner(world: World) -> None:
    person = world.wechat.person()
    users = {(await world.sign_in(kind, person))["user"]["id"] for kind in Kind}
    assert len(users) == 1
    async with world.rest.services.database.acquire() as connection:
        rows = await connection.fetch(
            "SELECT namespace, subject FROM identity_keys k JOIN identities i ON i.id = k.identity_id WHERE i.user_id = $1",
            UUID(users.pop()),
        )
    expected = {(f"openid:{app.id}", world.wechat.openid(app, person)) for app in world.apps.values()}
    assert {(row["namespace"], row["subject"]) for row in rows} == {
        *expected,
        ("unionid", world.wechat.unionid(world.apps[Kind.WEB], person)),
    }


async def test_answers_are_not_kept_and_the_web_cookie_goes_once_it_was_used(world: World) -> None:
    body = await world.body(Kind.WEB, world.wechat.person())
    assert COOKIE in world.rest.client.cookies
    answer = await world.rest.post(SIGN_IN, body)
    assert answer.headers["cache-control"] == "no-store"
    assert COOKIE not in world.rest.client.cookies


async def test_a_page_may_have_its_refresh_token_in_a_cookie(world: World) -> None:
    body = await world.body(Kind.WEB, world.wechat.person())
    for headers in ({}, {"X-Session-Mode": "cookie"}):
        answer = await world.rest.client.post(SIGN_IN, json=body, headers={**headers, "Sec-Fetch-Site": "cross-site"})
        assert (answer.status_code, code_of(answer)) == (403, "cross_site")
    answer = await world.rest.client.post(SIGN_IN, json=body, headers={"X-Session-Mode": "cookie"})
    assert grant(answer)["refresh_token"] is None
    assert "__Host-promptsync_refresh=" in answer.headers["set-cookie"]


async def test_a_name_that_cannot_be_shown_does_not_stop_anybody(world: World) -> None:
    for nickname, shown in ((b"a\x00\x07b", "ab"), (b"\xe5\xb0\x8f\xff\xe6", "小"), ("\u202e" * 3, None), ("x" * 4000, "x" * 100)):
        user = (await world.sign_in(Kind.APP, world.wechat.person(nickname)))["user"]
        assert user["name"]
        assert user["name"] == shown or shown is None
        assert user["name"].isprintable()


# --- who is whose (cases 36 and 37)


async def test_an_openid_of_another_app_or_provider_is_another_user(world: World) -> None:
    first = await world.sign_in(Kind.APP, world.wechat.person(has_unionid=False))
    async with world.rest.services.database.acquire() as connection:
        openid = await connection.fetchval(
            "SELECT subject FROM identity_keys k JOIN identities i ON i.id = k.identity_id WHERE i.user_id = $1", UUID(first["user"]["id"])
        )
        await connection.execute(
            "INSERT INTO identity_keys SELECT 'google', 'https://accounts.google.com', $1, id FROM identities LIMIT 1", "g-1"
        )
    world.wechat.trouble = Trouble(at=SESSION_PATH, mangle=lambda body: b'{"openid":"%s","session_key":"x"}' % openid.encode())
    second = await world.sign_in(Kind.MINI, world.wechat.person())
    world.wechat.trouble.mangle = lambda body: b'{"openid":"g-1","session_key":"x"}'
    third = await world.sign_in(Kind.MINI, world.wechat.person())
    assert len({user["user"]["id"] for user in (first, second, third)}) == 3


async def test_a_unionid_that_comes_later_is_added_to_the_user_of_the_openid(world: World) -> None:
    person = world.wechat.person(has_unionid=False)
    first = await world.sign_in(Kind.MINI, person)
    person.has_unionid = True
    second = await world.sign_in(Kind.MINI, person)
    third = await world.sign_in(Kind.APP, person)
    assert {first["user"]["id"]} == {second["user"]["id"], third["user"]["id"]}


async def test_two_users_who_turn_out_to_be_one_person_are_not_merged_unasked(world: World) -> None:
    person = world.wechat.person(has_unionid=False)
    mini = await world.sign_in(Kind.MINI, person)
    person.has_unionid = True
    app = await world.sign_in(Kind.APP, person)
    assert mini["user"]["id"] != app["user"]["id"]

    answer = await world.rest.post(SIGN_IN, await world.body(Kind.MINI, person))
    assert (answer.status_code, code_of(answer)) == (409, "identity_conflict")
    assert await world.last() == ("sign_in_failed", None, {"method": "wechat_mini", "reason": "IdentityConflict"})
    assert (await world.sign_in(Kind.APP, person))["user"]["id"] == app["user"]["id"]
    assert await world.rest.status_of(mini["access_token"]) == 200


async def test_a_disabled_user_is_refused_like_anybody_who_is_not_accepted(world: World) -> None:
    person = world.wechat.person()
    user = UUID((await world.sign_in(Kind.MINI, person))["user"]["id"])
    async with world.rest.services.database.acquire() as connection:
        await connection.execute("UPDATE users SET disabled_at = now() WHERE id = $1", user)
    answer = await world.rest.post(SIGN_IN, await world.body(Kind.MINI, person))
    assert (answer.status_code, code_of(answer)) == (401, "social_refused")
    event, noted, details = await world.last()
    assert (event, noted, details["method"]) == ("sign_in_failed", user, "wechat_mini")


# --- codes (case 41)


@pytest.mark.parametrize("kind", Kind)
async def test_a_code_is_good_once(world: World, kind: Kind) -> None:
    person = world.wechat.person()
    body = await world.body(kind, person)
    assert (await world.rest.post(SIGN_IN, body)).status_code == 200
    if kind is Kind.WEB:
        await refused(world, body, 400, "invalid_state", reason="InvalidState")
        body = {**await world.scanned(person), "kind": "web", "code": body["code"]}
    await refused(world, body, 401, "wechat_code_invalid", reason="WeChatCodeInvalid")


async def test_of_two_that_race_for_a_code_one_is_signed_in(world: World) -> None:
    for _ in range(5):
        body = await world.body(Kind.MINI, world.wechat.person())
        answers = await asyncio.gather(*(world.rest.post(SIGN_IN, body) for _ in range(2)))
        assert sorted(answer.status_code for answer in answers) == [200, 401]


async def test_of_two_first_sign_ins_of_one_person_at_once_one_account_comes(world: World) -> None:
    for _ in range(5):
        person = world.wechat.person()
        bodies = [await world.body(kind, person) for kind in (Kind.MINI, Kind.APP, Kind.MINI, Kind.APP)]
        answers = await asyncio.gather(*(world.rest.post(SIGN_IN, body) for body in bodies))
        assert len({grant(answer)["user"]["id"] for answer in answers}) == 1


async def test_codes_of_other_apps_unknown_ones_and_late_ones_get_one_answer(world: World) -> None:
    person = world.wechat.person()
    late = world.code(Kind.MINI, person)
    world.rest.clock.advance(minutes=5)
    codes = ["unknown", late, world.code(Kind.APP, person), world.wechat.code(world.wechat.register(Kind.MINI), person)]
    answers = [
        await refused(world, {"kind": "mini", "code": code}, 401, "wechat_code_invalid", reason="WeChatCodeInvalid") for code in codes
    ]
    assert len({answer.content for answer in answers}) == 1


ROWS = {
    -1: (503, "provider_unavailable", "ProviderUnavailable", "2"),
    40029: (401, "wechat_code_invalid", "WeChatCodeInvalid", None),
    40163: (401, "wechat_code_invalid", "WeChatCodeInvalid", None),
    42003: (401, "wechat_code_invalid", "WeChatCodeInvalid", None),
    40226: (403, "wechat_blocked", "WeChatBlocked", None),
    45011: (429, "provider_busy", "ProviderBusy", "60"),
    40013: (500, "provider_error", "ProviderMisconfigured", None),
    40125: (500, "provider_error", "ProviderMisconfigured", None),
    40001: (500, "provider_error", "ProviderMisconfigured", None),
    41002: (500, "provider_error", "ProviderMisconfigured", None),
    41004: (500, "provider_error", "ProviderMisconfigured", None),
    41008: (500, "provider_error", "ProviderMisconfigured", None),
    40003: (401, "wechat_code_invalid", "WeChatCodeInvalid", None),
    40014: (401, "wechat_code_invalid", "WeChatCodeInvalid", None),
    42001: (401, "wechat_code_invalid", "WeChatCodeInvalid", None),
    40030: (401, "wechat_code_invalid", "WeChatCodeInvalid", None),
    42002: (401, "wechat_code_invalid", "WeChatCodeInvalid", None),
    48001: (502, "provider_failed", "ProviderFailed", None),
    61024: (502, "provider_failed", "ProviderFailed", None),
}


@pytest.mark.parametrize("errcode", ROWS)
async def test_each_error_of_wechats_has_its_answer(world: World, errcode: int) -> None:
    status, code, reason, retry_after = ROWS[errcode]
    for kind, path in ((Kind.WEB, TOKEN_PATH), (Kind.APP, USERINFO_PATH), (Kind.MINI, SESSION_PATH)):
        body = await world.body(kind, world.wechat.person())
        world.wechat.trouble = Trouble(at=path, errcode=errcode)
        before = len(world.logged)
        answer = await refused(world, body, status, code, reason=reason)
        assert answer.headers.get("retry-after") == retry_after
        assert "errcode" not in answer.text
        alarms = [line["event"] for line in world.logged[before:] if line["log_level"] == "error"]
        assert alarms == (["provider_misconfigured"] if status == 500 else [])


async def test_a_code_that_a_system_error_kept_back_signs_in_later(world: World) -> None:
    body = await world.body(Kind.APP, world.wechat.person())
    world.wechat.trouble = Trouble(errcode=-1, times=3)
    await refused(world, body, 503, "provider_unavailable", reason="ProviderUnavailable")
    assert world.wechat.asked[TOKEN_PATH] == 3
    assert (await world.rest.post(SIGN_IN, body)).status_code == 200


async def test_a_preview_signs_nobody_in(world: World) -> None:
    body = await world.body(Kind.WEB, world.wechat.person(is_snapshotuser=True))
    await refused(world, body, 403, "wechat_virtual_account", reason="WeChatVirtualAccount")


FAILING = {
    "a page": Trouble(status=502, headers={"Content-Type": "text/html"}, mangle=lambda body: b"<h1>502</h1>"),
    "a page with status 200": Trouble(mangle=lambda body: b"<html></html>"),
    "half of the JSON": Trouble(mangle=lambda body: body[: len(body) // 2]),
    "an errcode that is a text": Trouble(mangle=lambda body: b'{"errcode":"0",' + body[1:].replace(b'"errcode":0,', b"")),
    "no openid": Trouble(mangle=lambda body: body.replace(b'"openid"', b'"open_id"')),
    "10 MB": Trouble(mangle=lambda body: body + b" " * (10 << 20)),
    "a redirect": Trouble(status=302, headers={"Location": "http://127.0.0.1:1/elsewhere"}),
    "an end amid the body": Trouble(is_cut=True),
}


@pytest.mark.parametrize("name", FAILING)
async def test_what_no_answer_of_wechats_should_be_signs_nobody_in(world: World, name: str) -> None:
    for kind in Kind:
        body = await world.body(kind, world.wechat.person())
        world.wechat.trouble = FAILING[name]
        await refused(world, body, 502, "provider_failed", reason="ProviderFailed")


async def test_a_wechat_that_takes_a_minute_is_given_up_within_ten_seconds(world: World) -> None:
    bodies = [await world.body(kind, world.wechat.person()) for kind in Kind]
    before, sessions = len(await world.audit()), await world.sessions()
    world.wechat.trouble = Trouble(delay=60)
    async with asyncio.timeout(10):
        answers = await asyncio.gather(*(world.rest.post(SIGN_IN, body) for body in bodies))
    assert {(answer.status_code, code_of(answer)) for answer in answers} == {(504, "provider_timeout")}
    assert [row["event"] for row in (await world.audit())[before:]] == ["sign_in_failed"] * 3
    assert await world.sessions() == sessions


# --- the state of a website


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


async def test_with_https_the_cookie_is_of_this_host_alone(databases: Databases, template_database: str, world: World) -> None:
    dsn = databases.create(template_database)
    app = world.apps[Kind.WEB]
    settings: dict[str, Any] = {
        "wechat_web_appid": app.id,
        "wechat_web_secret": app.secret,
        "app_url": APP_URL,
        "public_url": "https://sync.example",
    }
    async with rest_api(dsn, **settings) as rest:
        rest.client.base_url = httpx2.URL("https://sync.example")
        answer = await rest.client.post(START)
        assert answer.headers["set-cookie"].startswith("__Host-promptsync-social=")
        assert "; Secure" in answer.headers["set-cookie"]
        assert "Path=/" in answer.headers["set-cookie"]
        assert answer.json()["url"].startswith("https://open.weixin.qq.com/connect/qrconnect?")
        for kind in ("app", "mini"):
            answer = await rest.post(SIGN_IN, {"kind": kind, "code": "x"})
            assert (answer.status_code, code_of(answer)) == (404, "provider_not_configured")
    databases.drop(dsn)


async def test_without_apps_there_is_nothing_to_sign_in_with(databases: Databases, template_database: str) -> None:
    dsn = databases.create(template_database)
    async with rest_api(dsn, app_url=APP_URL) as rest:
        token = (await rest.register())["access_token"]
        answers = [await rest.client.post(START), await rest.client.post(START_LINK, headers=bearer(token))]
        answers += [await rest.client.get(START), await rest.post(SIGN_IN, {"kind": "mini", "code": "x"})]
        answers.append(await rest.post(LINK, {"kind": "mini", "code": "x"}, token))
        assert {(answer.status_code, code_of(answer)) for answer in answers} == {(404, "provider_not_configured")}
        assert not any("set-cookie" in answer.headers for answer in answers)
        async with rest.services.database.acquire() as connection:
            assert await connection.fetchval("SELECT count(*) FROM social_states") == 0
            assert await connection.fetchval("SELECT count(*) FROM audit WHERE event = 'sign_in_failed'") == 0
    databases.drop(dsn)


async def test_an_address_may_not_try_without_end(databases: Databases, template_database: str) -> None:
    dsn = databases.create(template_database)
    async with rest_api(dsn, app_url=APP_URL, login_attempts_a_minute=3) as rest:
        answers = [await rest.post(SIGN_IN, {"kind": "mini", "code": "x"}) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [404, 404, 404, 429]
        assert code_of(answers[-1]) == "too_many_attempts"
        assert int(answers[-1].headers["retry-after"]) > 0
    databases.drop(dsn)


# --- linking


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


@pytest.fixture
def log_of_a_server(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What is logged goes where a server at log level debug writes it."""
    names = ["httpx2", "httpcore2", "asyncio", "uvicorn", "uvicorn.error", "uvicorn.access", "websockets", "alembic"]
    handlers, levels = logging.root.handlers[:], {name: logging.getLogger(name).level for name in ["", *names]}
    configure_logs("debug", json=True)
    logging.root.setLevel(logging.DEBUG)
    yield
    logging.root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


async def test_a_server_that_logs_all_it_can_writes_nothing_secret(
    running: World, log_of_a_server: None, capsys: pytest.CaptureFixture[str]
) -> None:
    running.wechat.trouble = None
    running.rest.client.cookies.clear()
    for kind in Kind:
        await running.sign_in(kind, running.wechat.person())
        running.wechat.trouble = Trouble(errcode=40125)
        answer = await running.rest.post(SIGN_IN, {"kind": "app", "code": running.code(Kind.APP, running.wechat.person())})
        assert code_of(answer) == "provider_error"
        running.wechat.trouble = Trouble(status=502)
        answer = await running.rest.post(SIGN_IN, {"kind": "mini", "code": running.code(Kind.MINI, running.wechat.person())})
        assert code_of(answer) == "provider_failed"
        running.wechat.trouble = None
    written = capsys.readouterr().err
    assert "provider_misconfigured" in written
    assert "provider_trouble" in written
    assert SIGN_IN in written
    assert not [secret for secret in running.wechat.secrets if secret in written]


async def test_nothing_of_wechats_secrets_is_in_the_database(world: World) -> None:
    for kind in Kind:
        await world.sign_in(kind, world.wechat.person())
    secrets = world.wechat.secrets | {app.secret for app in world.apps.values()}
    async with world.rest.services.database.acquire() as connection:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        rows = [
            row["t"]
            for table in tables
            for row in await connection.fetch(f'SELECT t::text AS t FROM "{table["tablename"]}" t')  # noqa: S608  # names of our tables
        ]
    assert len(secrets) > 10
    assert any("wechat" in row for row in rows)
    assert not [row for row in rows if any(secret in row for secret in secrets)]
