"""A browser's refresh token in a cookie: who may have one, who may use it, and that no page of another site can."""

from collections.abc import AsyncIterator
from http.cookies import Morsel, SimpleCookie
from typing import Any
from uuid import uuid4

import httpx2
import pytest
import structlog

from server.cookies import REFRESH
from tests.support.rest import PASSWORD, Rest, bearer, code_of, fresh_email, grant, rest_api

OWN, LISTED = "https://sync.example", "https://app.example"
PAGE = {"Origin": OWN, "Sec-Fetch-Site": "same-origin"}
COOKIE_MODE = {"X-Session-Mode": "cookie"}
FOREIGN: list[dict[str, str]] = [
    {},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "Same-Origin "},
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "same-site", "Origin": "https://other.sync.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://sync.example"},
    {"Origin": "https://sync.example:8443"},
    {"Origin": "https://SYNC.example"},
    {"Origin": "https://sync.example.evil"},
    {"Origin": "https://evilsync.example"},
    {"Origin": "https://sync.example/"},
    {"Origin": "https://[", "Referer": OWN},
]
"""What browsers and others send along from pages that are not ours, and what none sends."""


@pytest.fixture(scope="module")
async def rest(shared_dsn: str) -> AsyncIterator[Rest]:
    async with rest_api(shared_dsn, public_url=f"{OWN}/promptsync", allowed_origins=(LISTED,)) as rest:
        yield rest


def kept(answer: httpx2.Response) -> Morsel[str]:
    """The cookie that an answer sets."""
    (line,) = answer.headers.get_list("set-cookie")
    found: SimpleCookie = SimpleCookie(line)
    return found[REFRESH]


async def signed_in(rest: Rest, path: str = "register", **body: Any) -> httpx2.Response:
    answer = await rest.client.post(
        f"/api/auth/{path}", json={"email": fresh_email(), "password": PASSWORD} | body, headers=PAGE | COOKIE_MODE
    )
    assert answer.is_success, answer.text
    return answer


async def refreshed(rest: Rest, cookie: str, headers: dict[str, str] = PAGE, body: object = None) -> httpx2.Response:
    sent = {"Cookie": f"theme=dark; {REFRESH}={cookie}"} | headers
    return await rest.client.post("/api/auth/refresh", json={} if body is None else body, headers=sent)


@pytest.mark.parametrize("path", ["register", "login"])
async def test_the_token_is_in_the_cookie_alone(rest: Rest, path: str) -> None:
    email = fresh_email()
    if path == "login":
        await rest.register(email)
    answer = await signed_in(rest, path, email=email)
    cookie = kept(answer)

    assert answer.json()["refresh_token"] is None
    assert cookie.value not in answer.text
    assert (cookie["path"], cookie["secure"], cookie["httponly"], cookie["samesite"].lower()) == ("/", True, True, "strict")
    assert cookie["domain"] == "", "__Host- cookies have none"
    assert int(cookie["max-age"]) == 60 * 86400
    assert answer.headers["cache-control"] == "no-store"
    assert await rest.status_of(answer.json()["access_token"]) == 200


async def test_a_client_that_does_not_ask_gets_no_cookie(rest: Rest) -> None:
    email = fresh_email()
    for path in ("register", "login"):
        answer = await rest.client.post(f"/api/auth/{path}", json={"email": email, "password": PASSWORD}, headers=PAGE)
        assert answer.json()["refresh_token"]
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [PAGE, {"Sec-Fetch-Site": "none"}, {"Origin": OWN}, {"Origin": LISTED, "Sec-Fetch-Site": "cross-site"}],
    ids=str,
)
async def test_our_own_and_listed_pages_refresh_by_the_cookie(rest: Rest, headers: dict[str, str]) -> None:
    first = kept(await signed_in(rest)).value
    answer = await refreshed(rest, first, headers)
    second = kept(answer).value

    assert answer.status_code == 200
    assert answer.json()["refresh_token"] is None
    assert second != first
    assert second not in answer.text
    assert (await refreshed(rest, second)).status_code == 200


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_other_pages_can_neither_use_the_cookie_nor_set_one(rest: Rest, headers: dict[str, str]) -> None:
    cookie = kept(await signed_in(rest)).value
    email = fresh_email()
    with structlog.testing.capture_logs() as logged:
        answers = [
            await refreshed(rest, cookie, headers),
            await rest.client.post("/api/auth/refresh", json={}, headers={"Cookie": f"{REFRESH}={cookie}"} | headers | COOKIE_MODE),
            await rest.client.post("/api/auth/register", json={"email": email, "password": PASSWORD}, headers=headers | COOKIE_MODE),
            await rest.client.post("/api/auth/login", json={"email": email, "password": PASSWORD}, headers=headers | COOKIE_MODE),
        ]
    for answer in answers:
        assert (answer.status_code, code_of(answer)) == (403, "cross_site")
        assert "set-cookie" not in answer.headers
    assert cookie not in str(logged) + "".join(answer.text for answer in answers)
    assert (await refreshed(rest, cookie)).status_code == 200, "nothing was used up"
    assert (await rest.register(email))["user"]["email"] == email, "nobody was registered"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", None])
async def test_what_a_form_can_send_is_refused(rest: Rest, kind: str | None) -> None:
    cookie = kept(await signed_in(rest)).value
    headers = PAGE | {"Cookie": f"{REFRESH}={cookie}"} | ({"Content-Type": kind} if kind else {})
    for content in (b"{}", b"", b'{"a":"=b"}'):
        answer = await rest.client.post("/api/auth/refresh", content=content, headers=headers)
        assert code_of(answer) == "unsupported_media_type"
    assert (await refreshed(rest, cookie)).status_code == 200


async def test_a_sign_in_gives_another_cookie_than_the_one_that_was_there(rest: Rest) -> None:
    email = fresh_email()
    planted = kept(await signed_in(rest, email=email)).value
    answer = await rest.client.post(
        "/api/auth/login",
        json={"email": email, "password": PASSWORD},
        headers=PAGE | COOKIE_MODE | {"Cookie": f"{REFRESH}={planted}"},
    )
    fresh = kept(answer).value
    assert fresh != planted
    sessions = [
        (await rest.get("/api/users/me", grant(await refreshed(rest, each))["access_token"])).status_code for each in (planted, fresh)
    ]
    assert sessions == [200, 200], "two sessions: what was planted is none of the new one's"


async def test_a_cookie_that_is_refused_is_forgotten(rest: Rest) -> None:
    tokens = await signed_in(rest)
    cookie = kept(tokens).value
    await rest.client.post("/api/auth/logout", headers=bearer(tokens.json()["access_token"]))
    for value, code in ((cookie, "session_ended"), (cookie[:-1], "invalid_refresh_token"), ("x" * 5000, "invalid_refresh_token")):
        answer = await refreshed(rest, value)
        assert (answer.status_code, code_of(answer)) == (401, code)
        assert (kept(answer).value, kept(answer)["max-age"]) == ("", "0")
        assert value not in answer.text


async def logged_out(rest: Rest, cookie: str, headers: dict[str, str] = PAGE, **options: Any) -> httpx2.Response:
    return await rest.client.post("/api/auth/logout", headers={"Cookie": f"{REFRESH}={cookie}"} | headers, **options)


async def test_the_cookie_logs_out_without_an_access_token_and_is_forgotten(rest: Rest) -> None:
    tokens = await signed_in(rest)
    cookie = kept(tokens).value
    for _ in range(2):
        answer = await logged_out(rest, cookie)
        assert answer.status_code == 204
        assert (kept(answer).value, kept(answer)["max-age"]) == ("", "0")
    assert await rest.status_of(tokens.json()["access_token"]) == 401
    assert (await refreshed(rest, cookie)).status_code == 401


@pytest.mark.parametrize("scope", ["local", "global"])
async def test_a_cookie_that_is_forgotten_signs_in_no_more_though_it_was_of_another_session(rest: Rest, scope: str) -> None:
    first, cookie = await rest.register(), kept(await signed_in(rest)).value
    answer = await logged_out(rest, cookie, PAGE | bearer(first["access_token"]), json={"scope": scope})
    assert (answer.status_code, kept(answer).value) == (204, "")
    assert await rest.status_of(first["access_token"]) == 401
    assert (await refreshed(rest, cookie)).status_code == 401
    answer = await logged_out(rest, "x", PAGE | bearer((await rest.register())["access_token"]))
    assert (answer.status_code, kept(answer).value) == (204, "")


async def test_logging_out_elsewhere_leaves_the_cookie(rest: Rest) -> None:
    email = fresh_email()
    other = await rest.register(email)
    cookie = kept(await signed_in(rest, "login", email=email)).value
    answer = await logged_out(rest, cookie, json={"scope": "others"})
    assert (answer.status_code, "set-cookie" in answer.headers) == (204, False)
    assert await rest.status_of(other["access_token"]) == 401
    assert (await refreshed(rest, cookie)).status_code == 200


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_other_pages_log_nobody_out_by_the_cookie(rest: Rest, headers: dict[str, str]) -> None:
    cookie = kept(await signed_in(rest)).value
    bodies: list[dict[str, Any]] = [{}, {"json": {}}, {"json": {"scope": "global"}}]
    for options in bodies:
        answer = await logged_out(rest, cookie, headers, **options)
        assert (answer.status_code, code_of(answer)) == (403, "cross_site")
        assert "set-cookie" not in answer.headers
    assert (await refreshed(rest, cookie)).status_code == 200
    own = await rest.register()
    assert (await logged_out(rest, cookie, headers | bearer(own["access_token"]))).status_code == 204
    assert await rest.status_of(own["access_token"]) == 401, "the access token's session is what ends"
    assert (await refreshed(rest, cookie)).status_code == 200, "and not the cookie's"


async def test_a_token_in_the_body_comes_before_the_cookie_and_leaves_it(rest: Rest) -> None:
    cookie = kept(await signed_in(rest)).value
    own = await rest.register()
    answer = await refreshed(rest, cookie, {}, {"refresh_token": own["refresh_token"]})
    assert answer.json()["user"]["id"] == own["user"]["id"]
    assert answer.json()["refresh_token"]
    assert "set-cookie" not in answer.headers
    assert "set-cookie" not in (await refreshed(rest, cookie, {}, {"refresh_token": "x"})).headers


async def test_a_token_of_a_body_can_be_moved_into_the_cookie(rest: Rest) -> None:
    own = await rest.register()
    answer = await rest.client.post("/api/auth/refresh", json={"refresh_token": own["refresh_token"]}, headers=PAGE | COOKIE_MODE)
    assert answer.json()["refresh_token"] is None
    assert (await refreshed(rest, kept(answer).value)).json()["user"]["id"] == own["user"]["id"]


async def test_without_either_there_is_nothing_to_refresh(rest: Rest) -> None:
    for headers in ({}, PAGE, {"Cookie": REFRESH}, {"Cookie": f"{REFRESH}="}, {"Cookie": f"promptsync_refresh={uuid4().hex}"}):
        answer = await rest.client.post("/api/auth/refresh", json={}, headers=headers)
        assert (answer.status_code, code_of(answer)) == (401, "invalid_refresh_token")


async def test_two_different_cookies_of_the_name_are_refused(rest: Rest) -> None:
    cookie, other = kept(await signed_in(rest)).value, kept(await signed_in(rest)).value
    answer = await rest.client.post("/api/auth/refresh", json={}, headers=PAGE | {"Cookie": f"{REFRESH}={cookie}; {REFRESH}={other}"})
    assert code_of(answer) == "invalid_refresh_token"
    assert (await refreshed(rest, cookie)).status_code == 200


async def test_the_mode_has_one_name(rest: Rest) -> None:
    for mode in ("Cookie", "body", "", "cookie, cookie"):
        answer = await rest.client.post(
            "/api/auth/login", json={"email": fresh_email(), "password": PASSWORD}, headers=PAGE | {"X-Session-Mode": mode}
        )
        assert (answer.status_code, code_of(answer)) == (422, "invalid_request")


async def test_the_cookie_alone_reads_nothing(rest: Rest) -> None:
    cookie = kept(await signed_in(rest)).value
    for path in ("/api/users/me", "/api/libraries", "/api/prompts"):
        answer = await rest.client.get(path, headers=PAGE | {"Cookie": f"{REFRESH}={cookie}"})
        assert (answer.status_code, code_of(answer)) == (401, "not_authenticated")


# --- pages of other origins


ORIGINS = ["null", "", "https://app.example.evil", "https://evilapp.example", "http://app.example", "https://app.example:444", "*"]


@pytest.mark.parametrize("origin", ORIGINS)
async def test_pages_that_are_not_listed_may_read_nothing(rest: Rest, origin: str) -> None:
    for path in ("/api/auth/refresh", "/api/users/me"):
        for method in ("GET", "POST", "PUT", "DELETE"):
            ask = {"Origin": origin, "Access-Control-Request-Method": method}
            answers = [await rest.client.options(path, headers=ask), await rest.client.request(method, path, headers={"Origin": origin})]
            assert ["access-control-allow-origin" in answer.headers for answer in answers] == [False, False]


async def test_listed_pages_send_cookies_where_sessions_are_made_and_nowhere_else(rest: Rest) -> None:
    for path, cookies in (("/api/auth/refresh", "true"), ("/api/auth/login", "true"), ("/api/users/me", None), ("/api/prompts", None)):
        ask = {"Origin": LISTED, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,x-session-mode"}
        for answer in (await rest.client.options(path, headers=ask), await rest.client.post(path, json={}, headers={"Origin": LISTED})):
            assert answer.headers["access-control-allow-origin"] == LISTED
            assert answer.headers.get("access-control-allow-credentials") == cookies
            assert "origin" in answer.headers["vary"].lower()


async def test_where_nothing_is_set_the_page_of_the_same_host_is_ours(database_dsn: str) -> None:
    async with rest_api(database_dsn) as rest:
        host = rest.client.base_url.host
        for origin, status in ((f"http://{host}", 201), ("http://elsewhere", 403)):
            body = {"email": fresh_email(), "password": PASSWORD}
            answer = await rest.client.post("/api/auth/register", json=body, headers=COOKIE_MODE | {"Origin": origin})
            assert answer.status_code == status
