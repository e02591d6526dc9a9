"""Signing in with WeChat over HTTP, against a real database and a stand-in for WeChat's servers."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from auth.wechat import Kind
from crdt.replica import Replica
from server.logs import configure_logs
from tests.support.rest import code_of, grant
from tests.support.running import running_server, undisturbed
from tests.support.wechat import Trouble
from tests.support.wechat_world import COOKIE, ROWS, SESSION_PATH, SIGN_IN, TOKEN_PATH, USERINFO_PATH, World, refused
from tests.support.wire_client import WireClient

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


async def test_a_mini_program_that_signed_in_syncs_its_library(world: World, database_dsn: str) -> None:
    app = world.apps[Kind.MINI]
    settings: dict[str, Any] = {"wechat_api_url": world.wechat.url, "wechat_mini_appid": app.id, "wechat_mini_secret": app.secret}
    async with running_server(database_dsn, **settings) as server, server.http() as client:
        answer = await client.post(SIGN_IN, json={"kind": "mini", "code": world.code(Kind.MINI, world.wechat.person())})
        tokens = grant(answer)
        async with WireClient(server.sync_url, tokens["library_id"], tokens["sync_token"], Replica()) as device:
            await undisturbed(device)


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


# --- where secrets are not


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
    wechat_world: World, log_of_a_server: None, capsys: pytest.CaptureFixture[str]
) -> None:
    wechat_world.wechat.trouble = None
    wechat_world.rest.client.cookies.clear()
    for kind in Kind:
        await wechat_world.sign_in(kind, wechat_world.wechat.person())
        wechat_world.wechat.trouble = Trouble(errcode=40125)
        answer = await wechat_world.rest.post(SIGN_IN, {"kind": "app", "code": wechat_world.code(Kind.APP, wechat_world.wechat.person())})
        assert code_of(answer) == "provider_error"
        wechat_world.wechat.trouble = Trouble(status=502)
        answer = await wechat_world.rest.post(SIGN_IN, {"kind": "mini", "code": wechat_world.code(Kind.MINI, wechat_world.wechat.person())})
        assert code_of(answer) == "provider_failed"
        wechat_world.wechat.trouble = None
    written = capsys.readouterr().err
    assert "provider_misconfigured" in written
    assert "provider_trouble" in written
    assert SIGN_IN in written
    assert not [secret for secret in wechat_world.wechat.secrets if secret in written]


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
