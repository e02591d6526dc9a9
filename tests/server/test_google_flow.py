"""Signing in by way of the provider's own page, with oidc-provider in Google's place: the way there and back, and every wrong turn."""

import logging
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode, urlsplit
from uuid import UUID

import pytest
import structlog

from auth.social_states import LIFETIME
from tests.interop.devices import install
from tests.support.database import Databases
from tests.support.google_browser import FINISH, Browser, query_of, told
from tests.support.oidc_provider import CLIENT_ID, CLIENT_SECRET, OidcProvider, oidc_provider
from tests.support.rest import Rest, code_of, fresh_email, grant, rest_api

pytestmark = pytest.mark.node

PUBLIC_URL, APP_URL = "http://server", "https://app.example/prompts"
CALLBACK = f"{PUBLIC_URL}/api/auth/social/google/callback"


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    install()
    with oidc_provider(redirect_uris=(CALLBACK,)) as provider:
        yield provider


async def api(dsn: str, provider: OidcProvider, **settings: Any) -> AsyncIterator[Rest]:
    usual: dict[str, Any] = {
        "public_url": PUBLIC_URL,
        "google_issuer": provider.issuer,
        "google_client_ids": (CLIENT_ID,),
        "google_client_secret": CLIENT_SECRET,
    }
    async with rest_api(dsn, **usual | settings) as rest:
        rest.clock.now = datetime.now(UTC)  # the provider's clock is the real one
        yield rest


@pytest.fixture(scope="module")
async def running(shared_dsn: str, provider: OidcProvider) -> AsyncIterator[Rest]:
    async for rest in api(shared_dsn, provider, app_url=APP_URL):
        yield rest


@pytest.fixture
def rest(running: Rest) -> Rest:
    running.revoked.clear()
    running.clock.now = datetime.now(UTC)
    return running


@pytest.fixture
def browser(rest: Rest) -> Browser:
    return Browser(rest)


@pytest.fixture(scope="module")
async def without_app(databases: Databases, template_database: str, provider: OidcProvider) -> AsyncIterator[Rest]:
    """The same server where no app is configured."""
    dsn = databases.create(template_database)
    async for rest in api(dsn, provider):
        yield rest
    databases.drop(dsn)


async def audited(rest: Rest) -> list[tuple[str, str]]:
    """The last events, newest first, with their details."""
    async with rest.services.database.acquire() as connection:
        rows = await connection.fetch("SELECT event, details FROM audit ORDER BY id DESC LIMIT 5")
    return [(row["event"], row["details"]) for row in rows]


async def sessions(rest: Rest) -> int:
    async with rest.services.database.acquire() as connection:
        return int(await connection.fetchval("SELECT count(*) FROM sessions"))


async def test_one_goes_there_and_comes_back_signed_in(database_dsn: str, provider: OidcProvider, caplog: pytest.LogCaptureFixture) -> None:
    async for rest in api(database_dsn, provider, app_url=APP_URL):
        await goes_there_and_comes_back(rest, Browser(rest), caplog)


async def goes_there_and_comes_back(rest: Rest, browser: Browser, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for library in ("httpx2", "httpcore2"):  # as `server/logs.py` has them: the browser's addresses are in their lines too
        caplog.set_level(logging.WARNING, library)
    with structlog.testing.capture_logs() as logs:
        page = await browser.start()
        (cookie,) = browser.cookies.values()
        back = await browser.page(page, "alice")
        answer = await browser.get(back)
        came = told(answer)
        finished = await browser.finish(came, device={"id": "8c6f3b9e-3a53-4f0e-8d4e-0a8f3c1d2e4f", "name": "Laptop"})

    body = grant(finished)
    assert body["user"]["email"] == "alice@gmail.com"
    assert body["user"]["email_verified"] is True
    assert finished.headers["cache-control"] == "no-store"
    assert browser.cookies == {}
    assert await rest.status_of(body["access_token"]) == 200

    asked = query_of(page)
    assert asked["code_challenge_method"] == "S256"
    assert (asked["client_id"], asked["redirect_uri"], asked["scope"]) == (CLIENT_ID, CALLBACK, "openid email profile")
    assert len(asked["state"]) == 64
    assert asked["nonce"] not in (asked["state"], cookie)
    assert answer.headers["location"].startswith(f"{APP_URL}/#/sign-in?provider=google&")
    written = f"{logs}{caplog.text}{await audited(rest)}"
    for secret in (CLIENT_SECRET, cookie, came["code"], came["state"], body["access_token"], body["refresh_token"]):
        assert secret not in written
    assert CLIENT_SECRET not in f"{page}{answer.headers}{finished.text}"
    assert [event for event, _ in await audited(rest)] == ["identity_linked", "registered"]


async def test_the_cookie_is_the_browsers_only(rest: Rest, provider: OidcProvider) -> None:
    answer = await rest.client.get("/api/auth/social/google/start")
    rest.client.cookies.clear()
    (line,) = answer.headers.get_list("set-cookie")
    assert line.startswith("promptsync-social=")
    assert {part.strip().lower() for part in line.split(";")[1:]} == {"httponly", "max-age=600", "path=/", "samesite=lax"}


async def test_over_https_the_cookie_is_this_hosts_only(database_dsn: str, provider: OidcProvider) -> None:
    async for rest in api(database_dsn, provider, public_url="https://sync.example"):
        answer = await rest.client.get("/api/auth/social/google/start")
        (line,) = answer.headers.get_list("set-cookie")
        assert line.startswith("__Host-promptsync-social=")
        assert {part.strip().lower() for part in line.split(";")[1:]} == {"httponly", "max-age=600", "path=/", "samesite=lax", "secure"}


async def test_an_app_may_lead_the_browser_there_itself(rest: Rest, browser: Browser) -> None:
    departure = await browser.post("/api/auth/social/google/start")
    assert departure.json()["expires_in"] == LIFETIME.total_seconds()
    came = told(await browser.get(await browser.page(departure.json()["url"], "alice")))
    assert grant(await browser.finish(came))["user"]["email"] == "alice@gmail.com"


async def test_the_same_person_comes_back_to_the_same_account_in_a_new_session(rest: Rest) -> None:
    first, second = grant(await Browser(rest).sign_in("bob")), grant(await Browser(rest).sign_in("bob"))
    assert first["user"]["id"] == second["user"]["id"]
    assert first["refresh_token"] != second["refresh_token"]


async def test_who_is_denied_at_the_page_gets_no_session(rest: Rest, browser: Browser) -> None:
    """Case 39: `error=`."""
    before = await sessions(rest)
    came = await browser.returned("deny")
    assert (came["error"], "code" in came) == ("access_denied", False)
    assert (await browser.finish(came)).status_code == 422
    assert await sessions(rest) == before


async def test_a_state_that_is_missing_or_another_browsers_or_used_or_old_signs_nobody_in(rest: Rest, browser: Browser) -> None:
    """Case 39."""
    before = await sessions(rest)
    came = await browser.returned("carol")
    other = Browser(rest)
    await other.start()
    cookies = dict(browser.cookies)
    for wrong in ({"state": "0" * 64}, {"state": came["state"][:-1]}, {"state": came["state"].upper()}):
        refused = await browser.finish(came | wrong)
        assert (refused.status_code, code_of(refused)) == (400, "invalid_state")
    assert (await browser.finish({name: value for name, value in came.items() if name != "state"})).status_code == 422
    assert (await browser.finish({name: value for name, value in came.items() if name != "code"})).status_code == 422
    assert code_of(await other.finish(came)) == "invalid_state"
    assert code_of(await Browser(rest).finish(came)) == "invalid_state"
    assert (await audited(rest))[0] == ("sign_in_failed", '{"method": "google", "reason": "state"}')
    assert await sessions(rest) == before

    assert (await browser.finish(came)).status_code == 200
    replayed = await Browser(rest, cookies).finish(came)
    assert (replayed.status_code, code_of(replayed)) == (400, "invalid_state")

    late = Browser(rest)
    came = await late.returned("carol")
    rest.clock.now += LIFETIME
    assert code_of(await late.finish(came)) == "invalid_state"
    assert await sessions(rest) == before + 1


async def test_a_code_of_another_sign_in_or_a_used_one_signs_nobody_in(rest: Rest, browser: Browser) -> None:
    """Case 39: a replayed code; and code injection, which PKCE and the nonce stop."""
    attackers = Browser(rest)
    stolen = await attackers.returned("carol")
    mine = await browser.returned("alice")
    before = await sessions(rest)
    injected = await browser.finish(mine | {"code": stolen["code"]})
    assert (injected.status_code, code_of(injected)) == (401, "social_refused")
    assert (await audited(rest))[0] == ("sign_in_failed", '{"method": "google", "reason": "code"}')

    again = await browser.returned("alice")
    assert (await browser.finish(again)).status_code == 200
    fresh = await browser.returned("alice")
    used = await browser.finish(fresh | {"code": again["code"]})
    assert (used.status_code, code_of(used)) == (401, "social_refused")
    nonsense = await browser.finish(await browser.returned("alice") | {"code": "nonsense"})
    assert nonsense.content == used.content
    assert await sessions(rest) == before + 1


async def test_an_answer_of_another_server_signs_nobody_in(rest: Rest, provider: OidcProvider) -> None:
    """Case 39: `iss` (RFC 9207)."""
    for issuer in ("https://evil.example", provider.issuer + "/", None):
        browser = Browser(rest)
        came = await browser.returned("alice")
        assert came.pop("iss") == provider.issuer
        refused = await browser.finish(came | ({"iss": issuer} if issuer else {}))
        assert (refused.status_code, code_of(refused)) == (400, "invalid_state")


async def test_only_our_own_pages_may_finish(rest: Rest, browser: Browser) -> None:
    came = await browser.returned("alice")
    for site in ("cross-site", "same-site"):
        refused = await browser.post(FINISH, came, **{"Sec-Fetch-Site": site, "Origin": "https://evil.example"})
        assert refused.status_code in (403, 422)
    came.pop("provider")
    refused = await browser.post(FINISH, came, **{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"})
    assert (refused.status_code, code_of(refused)) == (403, "cross_site")
    assert (await browser.finish(came)).status_code == 200


async def test_the_callback_redirects_to_the_app_only_and_passes_on_nothing_else(rest: Rest, browser: Browser) -> None:
    strange = {
        "state": "x\r\nSet-Cookie: a=b",
        "code": "c" * 3000,
        "iss": "https://evil.example/#@",
        "error": "access_denied",
        "redirect_uri": "https://evil.example",
        "next": "//evil.example",
        "app_url": "https://evil.example",
    }
    answer = await browser.get(f"{CALLBACK}?{urlencode(strange)}&code=d&code=e")
    location = answer.headers["location"]
    assert (urlsplit(location).scheme, urlsplit(location).netloc, urlsplit(location).path) == ("https", "app.example", "/prompts/")
    assert told(answer) == {"provider": "google", "iss": "https://evil.example/#@", "error": "access_denied"}
    assert "set-cookie" not in answer.headers
    assert told(await browser.get(CALLBACK)) == {"provider": "google"}


async def test_without_an_app_the_callback_answers_with_the_tokens(without_app: Rest) -> None:
    browser = Browser(without_app)
    back = await browser.come_back("alice")
    answer = await browser.get(back)
    body = grant(answer)
    assert answer.headers["cache-control"] == "no-store"
    assert body["user"]["email"] == "alice@gmail.com"
    assert await without_app.status_of(body["access_token"]) == 200
    assert code_of(await browser.get(back)) == "invalid_state"


async def test_without_an_app_wrong_returns_are_refused_too(without_app: Rest) -> None:
    before = await sessions(without_app)
    browser = Browser(without_app)
    denied = await browser.come_back("deny")
    answer = await browser.get(denied)
    assert (answer.status_code, code_of(answer)) == (401, "social_refused")
    assert (await audited(without_app))[0] == ("sign_in_failed", '{"method": "google", "reason": "denied"}')
    assert code_of(await browser.get(denied)) == "invalid_state"
    back = await browser.come_back("alice")
    assert code_of(await Browser(without_app).get(back)) == "invalid_state"
    for query in ("", "?code=x", "?state=x", f"?error=x&state={'0' * 64}", "?state=x&state=y&code=z"):
        answer = await browser.get(CALLBACK + query)
        assert (answer.status_code, code_of(answer)) == (400, "invalid_state")
    assert await sessions(without_app) == before


async def test_one_links_by_the_page_and_signs_in_with_it(rest: Rest, browser: Browser) -> None:
    mine = await rest.register(fresh_email())
    departure = await browser.post("/api/auth/identities/google/start", token=mine["access_token"])
    page = departure.json()["url"]
    came = told(await browser.get(await browser.page(page, "victim")))
    # not to sign in with, nor for anybody else
    linked = await browser.finish(came, "/api/auth/identities/google/finish", mine["access_token"])
    assert linked.status_code == 200, linked.text
    assert linked.json()["email"] == "victim@example.org"
    assert grant(await Browser(rest).sign_in("victim"))["user"]["id"] == mine["user"]["id"]


async def test_what_began_as_a_link_does_not_sign_in_nor_link_to_another(rest: Rest, browser: Browser) -> None:
    mine, theirs = await rest.register(fresh_email()), await rest.register(fresh_email())
    for path, token in ((FINISH, None), ("/api/auth/identities/google/finish", theirs["access_token"])):
        departure = await browser.post("/api/auth/identities/google/start", token=mine["access_token"])
        came = told(await browser.get(await browser.page(departure.json()["url"], "alice")))
        assert code_of(await browser.finish(came, path, token)) == "invalid_state"
    came = await browser.returned("alice")
    assert code_of(await browser.finish(came, "/api/auth/identities/google/finish", mine["access_token"])) == "invalid_state"
    async with rest.services.database.acquire() as connection:
        for each in (mine, theirs):
            assert await connection.fetchval("SELECT count(*) FROM identities WHERE user_id = $1", UUID(each["user"]["id"])) == 0


async def test_keys_are_rotated_and_both_are_believed_meanwhile(
    databases: Databases, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    install()
    key_file = tmp_path_factory.mktemp("keys") / "keys.json"
    before, after = databases.create(template_database), databases.create(template_database)
    with oidc_provider(redirect_uris=(CALLBACK,), key_file=key_file) as first:
        async for rest in api(before, first):
            old = await first.token("alice")
            assert (await rest.post("/api/auth/social/google", {"id_token": old})).status_code == 200
            port = urlsplit(first.issuer).port
    with oidc_provider(redirect_uris=(CALLBACK,), key_file=key_file, keys="b,a", port=port) as second:
        async for rest in api(after, second):
            for token in (old, await second.token("alice")):
                assert (await rest.post("/api/auth/social/google", {"id_token": token})).status_code == 200
    databases.drop(before)
    databases.drop(after)


@pytest.mark.parametrize(
    "wanted",
    [
        {"claims": {"aud": "other-app.apps.googleusercontent.com"}},
        {"claims": {"iss": "https://accounts.google.com"}},
        {"claims": {"exp": 1}},
        {"claims": {"nonce": "uncalled for"}},
        {"key": "rogue"},
        {"key": "none", "header": {"alg": "none"}},
        {"key": "hs-public", "header": {"alg": "HS256"}},
        {"header": {"kid": "unknown"}},
        {"drop": ["exp"]},
        {"drop": ["sub"]},
    ],
)
async def test_a_token_that_the_provider_would_not_make_signs_nobody_in(rest: Rest, provider: OidcProvider, wanted: dict[str, Any]) -> None:
    good = await rest.post("/api/auth/social/google", {"id_token": await provider.token("bob")})
    assert good.status_code == 200, good.text
    token = await provider.token("bob", **wanted)
    answer = await rest.post("/api/auth/social/google", {"id_token": token})
    assert (answer.status_code, code_of(answer)) == (401, "social_refused")
    assert token not in answer.text
    event, details = (await audited(rest))[0]
    assert event == "sign_in_failed"
    assert token not in details
