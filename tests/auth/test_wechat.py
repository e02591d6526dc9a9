"""Asking WeChat who somebody is, over real sockets."""

import asyncio
import gzip
import logging
import re
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx2
import pytest

from auth import wechat
from auth.errors import (
    AuthError,
    ProviderBusy,
    ProviderFailed,
    ProviderMisconfigured,
    ProviderNotConfigured,
    ProviderTimeout,
    ProviderUnavailable,
    TooBusy,
    WeChatBlocked,
    WeChatCodeInvalid,
    WeChatVirtualAccount,
)
from auth.wechat import MAX_REPLY_BYTES, App, Kind, WeChat
from tests.support.rest import Clock
from tests.support.wechat import MINUTE_QUOTA, RedirectRefused, Registered, Trouble, WeChatServer, wechat_server

BACK = "https://app.example/signed-in"
TOKEN_PATH, USERINFO_PATH, SESSION_PATH = "/sns/oauth2/access_token", "/sns/userinfo", "/sns/jscode2session"
FIRST_PATH = {Kind.WEB: TOKEN_PATH, Kind.APP: TOKEN_PATH, Kind.MINI: SESSION_PATH}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def server(clock: Clock, caplog: pytest.LogCaptureFixture) -> AsyncIterator[WeChatServer]:
    """WeChat; of what it holds secret nothing may be logged, at whatever level."""
    caplog.set_level(logging.DEBUG)
    async with wechat_server(clock) as server:
        yield server
    written = [record.getMessage() for record in caplog.get_records("call")]
    assert not [line for line in written if any(secret in line for secret in server.secrets)]


@pytest.fixture
def apps(server: WeChatServer) -> dict[Kind, Registered]:
    return {kind: server.register(kind) for kind in Kind}


@pytest.fixture
def client(server: WeChatServer, apps: dict[Kind, Registered]) -> WeChat:
    return client_of(server, apps)


def client_of(server: WeChatServer, apps: dict[Kind, Registered], *, deadline: float = 8.0) -> WeChat:
    registered = {kind: App(app.id, app.secret) for kind, app in apps.items()}
    return WeChat(registered, api_url=server.url, qr_url=server.url, deadline_seconds=deadline, pauses_seconds=(0, 0))


async def refused(client: WeChat, server: WeChatServer, kind: Kind, code: str) -> AuthError:
    """What the exchange is refused with; nothing secret is in it."""
    with pytest.raises(AuthError) as caught:
        await client.exchange(kind, code)
    assert not [secret for secret in server.secrets if secret in f"{caught.value!r} {caught.value.__cause__!r}"]
    return caught.value


@pytest.mark.parametrize("kind", Kind)
async def test_a_code_says_who_its_user_is(client: WeChat, server: WeChatServer, apps: dict[Kind, Registered], kind: Kind) -> None:
    person = server.person("小明 🐼")
    found = await client.exchange(kind, server.code(apps[kind], person))

    assert (found.kind, found.app_id) == (kind, apps[kind].id)
    assert found.named.openid == server.openid(apps[kind], person)
    assert found.named.unionid == server.unionid(apps[kind], person)
    assert found.named.nickname == (None if kind is Kind.MINI else "小明 🐼")
    assert not [secret for secret in server.secrets if secret in f"{found!r} {client._apps!r}"]


async def test_one_person_has_an_openid_for_each_app_and_one_unionid_for_an_owner(
    client: WeChat, server: WeChatServer, apps: dict[Kind, Registered]
) -> None:
    person = server.person()
    found = [await client.exchange(kind, server.code(apps[kind], person)) for kind in Kind]
    assert len({each.named.openid for each in found}) == 3
    assert len({each.named.unionid for each in found}) == 1
    unbound = server.register(Kind.MINI, owner=None)
    alone = await client_of(server, {Kind.MINI: unbound}).exchange(Kind.MINI, server.code(unbound, person))
    assert alone.named.unionid is None


async def test_the_qr_page_sends_the_browser_back_with_the_state_as_it_was(
    client: WeChat, server: WeChatServer, apps: dict[Kind, Registered]
) -> None:
    page = client.qr_page(state="aZ0-_~%+ &#", redirect_uri=BACK)
    address = httpx2.URL(await server.scan(page, server.person()))
    assert str(address).startswith(f"{BACK}?")
    assert address.params["state"] == "aZ0-_~%+ &#"
    assert (await client.exchange(Kind.WEB, address.params["code"])).kind is Kind.WEB
    assert await server.deny(page, as_before=True) == f"{BACK}?state=aZ0-_~%25%2B+%26%23"
    assert await server.deny(page) is None


async def test_the_qr_page_is_for_the_registered_domain_only(client: WeChat, server: WeChatServer, apps: dict[Kind, Registered]) -> None:
    for back in ("https://other.example/", "https://app.example:8443/", "https://app.example.evil.example/"):
        with pytest.raises(RedirectRefused):
            await server.scan(client.qr_page(state="s", redirect_uri=back), server.person())


async def test_a_kind_that_is_not_registered_cannot_be_used(server: WeChatServer, apps: dict[Kind, Registered]) -> None:
    client = client_of(server, {Kind.MINI: apps[Kind.MINI]})
    with pytest.raises(ProviderNotConfigured):
        client.qr_page(state="s", redirect_uri=BACK)
    for kind in (Kind.WEB, Kind.APP):
        assert isinstance(await refused(client, server, kind, "code"), ProviderNotConfigured)
    assert not server.asked


@pytest.mark.parametrize("kind", Kind)
async def test_a_code_is_good_once_for_a_time_and_for_its_app(
    client: WeChat, server: WeChatServer, apps: dict[Kind, Registered], clock: Clock, kind: Kind
) -> None:
    person = server.person()
    used = server.code(apps[kind], person)
    await client.exchange(kind, used)
    assert isinstance(await refused(client, server, kind, used), WeChatCodeInvalid)
    assert isinstance(await refused(client, server, kind, "unknown"), WeChatCodeInvalid)
    assert isinstance(await refused(client, server, kind, server.code(server.register(kind), person)), WeChatCodeInvalid)

    life = timedelta(minutes=5 if kind is Kind.MINI else 10)
    early, late = server.code(apps[kind], person), server.code(apps[kind], person)
    clock.now += life - timedelta(seconds=1)
    await client.exchange(kind, early)
    clock.advance(seconds=1)
    assert isinstance(await refused(client, server, kind, late), WeChatCodeInvalid)


async def test_of_two_that_race_for_a_code_one_wins(client: WeChat, server: WeChatServer, apps: dict[Kind, Registered]) -> None:
    code = server.code(apps[Kind.APP], server.person())
    answers = await asyncio.gather(*(client.exchange(Kind.APP, code) for _ in range(5)), return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == ["WeChatCodeInvalid"] * 4 + ["WeChatUser"]


async def test_a_code_of_another_kind_is_refused(client: WeChat, server: WeChatServer, apps: dict[Kind, Registered]) -> None:
    person = server.person()
    for kind in Kind:
        for other in set(Kind) - {kind}:
            assert isinstance(await refused(client, server, other, server.code(apps[kind], person)), WeChatCodeInvalid)


async def test_wrong_settings_are_told_apart_from_wrong_codes(server: WeChatServer, apps: dict[Kind, Registered]) -> None:
    code = server.code(apps[Kind.MINI], server.person())
    right = apps[Kind.MINI]
    for app_id, secret in ((right.id, "wrong"), ("wx0", right.secret), (right.id, ""), ("", right.secret)):
        client = WeChat({Kind.MINI: App(app_id, secret)}, api_url=server.url, qr_url=server.url)
        assert isinstance(await refused(client, server, Kind.MINI, code), ProviderMisconfigured)
    assert (await client_of(server, apps).exchange(Kind.MINI, code)).app_id == right.id


@pytest.mark.parametrize("kind", Kind)
async def test_a_system_error_is_asked_again_twice_with_the_same_code(
    client: WeChat, server: WeChatServer, apps: dict[Kind, Registered], kind: Kind
) -> None:
    code = server.code(apps[kind], server.person())
    server.trouble = Trouble(at=FIRST_PATH[kind], errcode=-1)
    assert isinstance(await refused(client, server, kind, code), ProviderUnavailable)
    assert server.asked[FIRST_PATH[kind]] == 3
    server.trouble.times = 2
    assert (await client.exchange(kind, code)).kind is kind
    assert server.asked[FIRST_PATH[kind]] == 6


async def test_the_second_question_is_asked_again_as_well(client: WeChat, server: WeChatServer, apps: dict[Kind, Registered]) -> None:
    server.trouble = Trouble(at=USERINFO_PATH, errcode=-1, times=2)
    assert await client.exchange(Kind.WEB, server.code(apps[Kind.WEB], server.person()))
    assert (server.asked[TOKEN_PATH], server.asked[USERINFO_PATH]) == (1, 3)


async def test_the_minute_quota_is_the_users_and_over_with_the_minute(
    client: WeChat, server: WeChatServer, apps: dict[Kind, Registered], clock: Clock
) -> None:
    person = server.person()
    for _ in range(MINUTE_QUOTA):
        await client.exchange(Kind.MINI, server.code(apps[Kind.MINI], person))
    code = server.code(apps[Kind.MINI], person)
    assert isinstance(await refused(client, server, Kind.MINI, code), ProviderBusy)
    await client.exchange(Kind.MINI, server.code(apps[Kind.MINI], server.person()))
    clock.advance(minutes=1)
    await client.exchange(Kind.MINI, code)


async def test_who_is_held_back_or_nobody_in_particular_is_not_signed_in(
    client: WeChat, server: WeChatServer, apps: dict[Kind, Registered]
) -> None:
    blocked, virtual = server.person(is_blocked=True), server.person(is_snapshotuser=True)
    for kind in Kind:
        assert isinstance(await refused(client, server, kind, server.code(apps[kind], blocked)), WeChatBlocked)
    assert isinstance(await refused(client, server, Kind.WEB, server.code(apps[Kind.WEB], virtual)), WeChatVirtualAccount)
    assert server.asked[USERINFO_PATH] == 0


BAD_ANSWERS = {
    "a page": Trouble(status=502, headers={"Content-Type": "text/html"}, mangle=lambda body: b"<h1>502 Bad Gateway</h1>"),
    "a page with status 200": Trouble(mangle=lambda body: b"<html>busy</html>"),
    "half of the JSON": Trouble(mangle=lambda body: body[: len(body) // 2]),
    "nothing": Trouble(mangle=lambda body: b""),
    "a right answer with another status": Trouble(status=201),
    "a redirect": Trouble(status=302, headers={"Location": "/sns/elsewhere"}),
    "a lasting redirect": Trouble(status=308, headers={"Location": "/sns/elsewhere"}),
    "an errcode that is a text": Trouble(mangle=lambda body: body[:-1] + b',"errcode":"0"}'),
    "no openid": Trouble(mangle=lambda body: body.replace(b'"openid"', b'"open_id"')),
    "an empty openid": Trouble(mangle=lambda body: body[:-1] + b',"openid":""}'),
    "too long an openid": Trouble(mangle=lambda body: body[:-1] + b',"openid":"' + b"o" * 129 + b'"}'),
    "10 MB": Trouble(mangle=lambda body: body + b" " * (10 << 20)),
    "a byte too many": Trouble(mangle=lambda body: body + b" " * (MAX_REPLY_BYTES + 1 - len(body))),
    "a compressed one": Trouble(mangle=gzip.compress, headers={"Content-Encoding": "gzip"}),
    "an end amid the body": Trouble(is_cut=True),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
async def test_what_no_answer_should_be_signs_nobody_in(
    client: WeChat, server: WeChatServer, apps: dict[Kind, Registered], name: str
) -> None:
    for kind, path in ((Kind.WEB, TOKEN_PATH), (Kind.WEB, USERINFO_PATH), (Kind.MINI, SESSION_PATH)):
        server.trouble = BAD_ANSWERS[name]
        server.trouble.at = path
        assert isinstance(await refused(client, server, kind, server.code(apps[kind], server.person())), ProviderFailed)
    assert server.asked["/sns/elsewhere"] == 0


async def test_an_answer_as_long_as_one_may_be_is_read(client: WeChat, server: WeChatServer, apps: dict[Kind, Registered]) -> None:
    server.trouble = Trouble(mangle=lambda body: body + b" " * (MAX_REPLY_BYTES - len(body)))
    assert await client.exchange(Kind.WEB, server.code(apps[Kind.WEB], server.person()))


async def test_a_server_that_is_slow_or_away_is_not_waited_for(
    server: WeChatServer, apps: dict[Kind, Registered], unused_tcp_port: int
) -> None:
    client = client_of(server, apps, deadline=0.3)
    for path in (TOKEN_PATH, USERINFO_PATH):
        server.trouble = Trouble(at=path, delay=60)
        began = time.monotonic()
        assert isinstance(await refused(client, server, Kind.WEB, server.code(apps[Kind.WEB], server.person())), ProviderTimeout)
        assert time.monotonic() - began < 5
    away = WeChat({Kind.MINI: App("wx1", "secret")}, api_url=f"http://127.0.0.1:{unused_tcp_port}", qr_url="http://127.0.0.1")
    assert isinstance(await refused(away, server, Kind.MINI, "code"), ProviderFailed)


async def test_past_so_many_exchanges_at_once_others_are_told_to_come_back(
    server: WeChatServer, apps: dict[Kind, Registered], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wechat, "MAX_EXCHANGES", 2)
    client = client_of(server, apps, deadline=5)
    server.trouble = Trouble(delay=60)
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(client.exchange(Kind.MINI, server.code(apps[Kind.MINI], server.person()))) for _ in range(2)]
        await asyncio.sleep(0)  # both begin
        assert isinstance(await refused(client, server, Kind.MINI, "code"), TooBusy)
        for task in waiting:
            task.cancel()
    server.trouble = None
    assert await client.exchange(Kind.MINI, server.code(apps[Kind.MINI], server.person()))


async def test_a_proxy_in_the_environment_is_not_used(
    client: WeChat, server: WeChatServer, apps: dict[Kind, Registered], monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{unused_tcp_port}")
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent")
    assert await client.exchange(Kind.MINI, server.code(apps[Kind.MINI], server.person()))


@pytest.mark.parametrize(
    ("left_out", "errcode"),
    [("appid", 41002), ("secret", 41004), ("js_code", 41008), ("grant_type", 40002), (None, 40029)],
)
async def test_the_stand_in_speaks_as_wechat_does(
    server: WeChatServer, apps: dict[Kind, Registered], caplog: pytest.LogCaptureFixture, left_out: str | None, errcode: int
) -> None:
    caplog.set_level(logging.WARNING, "httpx2")  # what asks here is not ours
    app = apps[Kind.MINI]
    asked = {"appid": app.id, "secret": app.secret, "js_code": "x", "grant_type": "authorization_code"}
    asked = {name: value for name, value in asked.items() if name != left_out}
    async with httpx2.AsyncClient(transport=httpx2.AsyncHTTPTransport(trust_env=False)) as other:
        answer = await other.get(f"{server.url}{SESSION_PATH}", params=asked)
        posted = await other.post(f"{server.url}{SESSION_PATH}", data=asked)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain")
    assert answer.json()["errcode"] == errcode
    assert re.search(r", rid: [0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}$", answer.json()["errmsg"])
    assert posted.json()["errcode"] == 43001
