"""The application and a stand-in for WeChat's servers, with an app of each kind registered there: for tests."""

import json
import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

import httpx2
import pytest
import structlog

from auth.wechat import Kind
from tests.support.rest import Rest, code_of, grant, rest_api
from tests.support.wechat import Person, Registered, WeChatServer, wechat_server

SIGN_IN, START = "/api/auth/social/wechat", "/api/auth/social/wechat/start"
LINK, START_LINK = "/api/auth/identities/wechat", "/api/auth/identities/wechat/start"
APP_URL, PUBLIC_URL = "http://app.example", "http://sync.example"
CALLBACK, REAUTHENTICATE = "/api/auth/social/wechat/callback", "/api/auth/reauthenticate"
TOKEN_PATH, USERINFO_PATH, SESSION_PATH = "/sns/oauth2/access_token", "/sns/userinfo", "/sns/jscode2session"
COOKIE = "promptsync-social"
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
"""WeChat's `errcode` -> status and code of our answer, the reason in the audit log, and what Retry-After says."""


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


@asynccontextmanager
async def running_world(dsn: str) -> AsyncIterator[World]:
    """Both, running, for a browser whose pages are the application's own."""
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


@contextmanager
def watched(world: World, caplog: pytest.LogCaptureFixture) -> Iterator[World]:
    """The world without what an earlier test has left; at the end nothing that WeChat holds secret is in a log line, at any level."""
    world.rest.client.cookies.clear()
    world.wechat.trouble = None
    world.wechat.asked.clear()
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.WARNING, "httpx2")  # the tests' own client; what signs in has none
    with structlog.testing.capture_logs() as logged:
        yield replace(world, logged=logged)
    written = [str(line) for line in logged] + [record.getMessage() for record in caplog.get_records("call")]
    assert written
    assert not [line for line in written if any(secret in line for secret in world.wechat.secrets)]
