"""What the ways of signing in, carrying on and signing out can be refused with is in the OpenAPI document, all of it.

The table is what a client has to be ready for. `tests/support/documented.py` fails every test that meets a code beyond the document.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from auth.errors import TooBusy
from server.api import ANYWHERE, create_api
from tests.support.documented import Keeping, codes_of
from tests.support.rest import PASSWORD, Rest, code_of, fresh_email, rest_api

FORM = {"malformed_json": 400, "unsupported_media_type": 415}
GRANTING = {**FORM, "cross_site": 403, "too_many_attempts": 429, "unavailable": 503}
SOCIAL = {**GRANTING, "social_refused": 401, "identity_conflict": 409, "provider_not_configured": 404, "provider_unavailable": 503}
WECHAT = {
    "invalid_state": 400,
    "wechat_code_invalid": 401,
    "wechat_blocked": 403,
    "wechat_virtual_account": 403,
    "provider_busy": 429,
    "provider_error": 500,
    "provider_failed": 502,
    "provider_timeout": 504,
    "busy": 503,
}
ENDED = {"not_authenticated": 401, "invalid_token": 401, "token_expired": 401, "session_ended": 401, "invalid_refresh_token": 401}
TABLE: dict[str, dict[str, int]] = {
    "register": {**GRANTING, "email_taken": 409, "weak_password": 422, "busy": 503},
    "login": {**GRANTING, "invalid_credentials": 401, "busy": 503},
    "refresh": {**GRANTING, "invalid_refresh_token": 401, "session_ended": 401},
    "logout": {**FORM, **ENDED, "cross_site": 403, "unavailable": 503},
    "social/google": {**SOCIAL, "link_required": 409},
    "social/wechat": {**SOCIAL, **WECHAT},
}
BODIES: dict[str, Any] = {
    "register": {"email": "new@example.com", "password": PASSWORD},
    "login": {"email": "new@example.com", "password": PASSWORD},
    "refresh": {"refresh_token": "x"},
    "logout": {"refresh_token": "x"},
    "social/google": {"id_token": "x"},
    "social/wechat": {"kind": "mini", "code": "x"},
}
each_route = pytest.mark.parametrize("route", TABLE)


@pytest.fixture(scope="module")
async def rest(shared_dsn: str) -> AsyncIterator[Rest]:
    async with rest_api(shared_dsn, max_body_bytes=4096, google_client_ids="web") as rest:
        yield rest


@each_route
def test_the_document_has_each_code_and_no_other(rest: Rest, route: str) -> None:
    documented = codes_of(create_api(rest.services).openapi())[f"POST /api/auth/{route}"]
    assert documented == {(status, code) for code, status in (TABLE[route] | ANYWHERE).items()}


@each_route
@pytest.mark.parametrize(
    ("code", "query", "headers", "content"),
    [
        ("unknown_host", "", {"Host": "evil.example"}, b"{}"),
        ("malformed_address", "?x=%ff", {}, b"{}"),
        ("invalid_request", "?x=1", {}, b"{}"),
        ("invalid_request", "", {}, b'{"x": 1}'),
        ("too_large", "", {}, b'"' + bytes(4096) + b'"'),
        ("malformed_json", "", {}, b"{"),
        ("unsupported_media_type", "", {"Content-Type": "text/plain"}, b"{}"),
    ],
)
async def test_what_is_wrong_with_a_request_is_answered_as_documented(
    rest: Rest, route: str, code: str, query: str, headers: dict[str, str], content: bytes
) -> None:
    token = (await rest.register())["access_token"]  # who may not sign out at all is told that before what else is wrong
    sent = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"} | headers
    answer = await rest.client.post(f"/api/auth/{route}{query}", headers=sent, content=content)
    assert (code_of(answer), answer.status_code) == (code, (TABLE[route] | ANYWHERE)[code])


@each_route
async def test_a_page_of_another_site_is_answered_as_documented(rest: Rest, route: str) -> None:
    body = {} if route in ("refresh", "logout") else BODIES[route]
    sent = {"Origin": "https://evil.example", "X-Session-Mode": "cookie", "Cookie": "__Host-promptsync_refresh=x"}
    answer = await rest.client.post(f"/api/auth/{route}", headers=sent, json=body)
    assert code_of(answer) == "cross_site"


@pytest.mark.parametrize("route", [route for route, codes in TABLE.items() if "too_many_attempts" in codes])
async def test_a_limit_is_answered_as_documented(database_dsn: str, route: str) -> None:
    tight: dict[str, Any] = {
        "login_attempts_a_minute": 1,
        "login_attempts_burst": 1,
        "registrations_an_hour": 1,
        "refreshes_an_address": 1,
        "social_attempts_a_minute": 1,
    }
    async with rest_api(database_dsn, **tight) as rest:
        token = (await rest.register())["refresh_token"] if route == "refresh" else ""
        body = {"refresh_token": token} if token else BODIES[route]
        answers = [await rest.post(f"/api/auth/{route}", body) for _ in range(4)]
        assert code_of(answers[-1]) == "too_many_attempts"
        assert int(answers[-1].headers["retry-after"]) > 0


@each_route
async def test_a_database_that_is_away_is_answered_as_documented(database_dsn: str, route: str) -> None:
    async with rest_api(database_dsn, google_client_ids="web") as rest:
        token = (await rest.register())["refresh_token"]
        body = {"refresh_token": token} if route in ("refresh", "logout") else BODIES[route]
        await rest.services.database.close()
        assert code_of(await rest.post(f"/api/auth/{route}", body)) == "unavailable"


@pytest.mark.parametrize("route", ["register", "login"])
async def test_too_many_passwords_at_once_are_answered_as_documented(rest: Rest, route: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def busy(*_: object) -> None:
        raise TooBusy

    for method in ("hash", "check"):
        monkeypatch.setattr(rest.services.passwords, method, busy)
    answer = await rest.post(f"/api/auth/{route}", {"email": fresh_email(), "password": PASSWORD})
    assert (code_of(answer), answer.headers["retry-after"]) == ("busy", "2")


async def test_a_code_that_is_not_in_the_document_is_noticed(rest: Rest) -> None:
    answer = await rest.post("/api/auth/login", {"email": fresh_email(), "password": "wrong"})
    document = create_api(rest.services).openapi()
    await Keeping(lambda: document)(answer)
    del document["paths"]["/api/auth/login"]["post"]["responses"]["401"]
    with pytest.raises(AssertionError, match="invalid_credentials"):
        await Keeping(lambda: document)(answer)
