"""What is refused or fails is answered in one form, with the headers that every answer has, and tells nothing of the inside."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
import structlog
from fastapi import APIRouter
from starlette.exceptions import HTTPException

from tests.support.rest import PRODUCTION, Rest, code_of, rest_api
from tests.support.running import running_server

SECRET = "hunter2-secret-value"
HEADERS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
INSIDE = ("Traceback", 'File "', ".py", "asyncpg", "SELECT", "uvicorn", "fastapi", "starlette", "python", "postgres")
broken = APIRouter()


@broken.get("/api/broken/{kind}")
async def fail(kind: str) -> None:
    match kind:
        case "error":
            raise RuntimeError(f"SELECT {SECRET}")
        case "base":
            raise ExceptionGroup(SECRET, [ValueError(SECRET)])
        case "teapot":
            raise HTTPException(418, SECRET)
    await asyncio.sleep(0)


@pytest.fixture(scope="module")
async def rest(shared_dsn: str) -> AsyncIterator[Rest]:
    async with rest_api(shared_dsn, routers=[broken], env="production", registration="open", **PRODUCTION) as rest:
        yield rest


def checked(answer: httpx2.Response) -> str:
    """The code of an answer that has the form and the headers, and repeats nothing."""
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    assert answer.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"
    assert answer.headers["cache-control"] == "no-store"
    assert "server" not in answer.headers
    assert "x-powered-by" not in answer.headers
    assert SECRET not in answer.text + str(answer.headers)
    assert not [word for word in INSIDE if word.lower() in answer.text.lower()]
    return code_of(answer)


@pytest.mark.parametrize(
    ("method", "path", "headers", "content", "status", "code"),
    [
        ("GET", "/", {}, b"", 404, "not_found"),
        ("GET", f"/api/{SECRET}", {}, b"", 404, "not_found"),
        ("GET", "/docs", {}, b"", 404, "not_found"),
        ("GET", "/redoc", {}, b"", 404, "not_found"),
        ("GET", "/docs/oauth2-redirect", {}, b"", 404, "not_found"),
        ("GET", "/openapi.json", {}, b"", 404, "not_found"),
        ("GET", "/metrics", {}, b"", 404, "not_found"),
        ("GET", "/api/prompts/", {}, b"", 404, "not_found"),
        ("DELETE", "/api/auth/login", {}, b"", 405, "method_not_allowed"),
        ("TRACE", "/api/auth/login", {}, b"", 405, "method_not_allowed"),
        ("OPTIONS", "/api/auth/login", {}, b"", 405, "method_not_allowed"),
        ("GET", "/api/users/me", {}, b"", 401, "not_authenticated"),
        ("GET", "/api/prompts?x=%ff", {}, b"", 400, "malformed_address"),
        ("POST", "/api/auth/login", {"Content-Type": "application/json"}, b'{"email": "' + SECRET.encode(), 400, "malformed_json"),
        ("POST", "/api/auth/login", {"Content-Type": "application/json"}, b'{"password": "hunter2-secret-value"}', 422, "invalid_request"),
        ("POST", "/api/auth/login", {"Content-Type": "text/html"}, SECRET.encode(), 415, "unsupported_media_type"),
        (
            "POST",
            "/api/auth/login",
            {"Content-Type": "application/json", "Content-Encoding": "gzip"},
            b"\x1f\x8b\x08",
            415,
            "unsupported_media_type",
        ),
        ("POST", "/api/auth/login", {"Content-Type": "application/json"}, b"[" * 100_000, 400, "malformed_json"),
        ("POST", "/api/auth/login", {"Content-Type": "application/json"}, b" " * (2 << 20), 413, "too_large"),
        ("GET", "/api/users/me", {"Host": f"{SECRET}.example"}, b"", 421, "unknown_host"),
        ("GET", "/api/broken/error", {}, b"", 500, "internal"),
        ("GET", "/api/broken/base", {}, b"", 500, "internal"),
        ("GET", "/api/broken/teapot", {}, b"", 418, "refused"),
    ],
)  # fmt: skip
async def test_what_is_refused_has_one_form(
    rest: Rest, method: str, path: str, headers: dict[str, str], content: bytes, status: int, code: str
) -> None:
    with structlog.testing.capture_logs() as logged:
        answer = await rest.client.request(method, path, headers=headers, content=content)
    assert (answer.status_code, checked(answer)) == (status, code)
    assert [line["status"] for line in logged if line["event"] == "request"] == [status]
    if "error" not in path and "base" not in path:
        assert SECRET not in str([{name: value for name, value in line.items() if name != "route"} for line in logged])


async def test_what_succeeds_has_the_same_headers(rest: Rest) -> None:
    tokens = await rest.register()
    for path in ("/api/users/me", "/api/auth/sessions", "/api/libraries"):
        answer = await rest.get(path, tokens["access_token"])
        assert answer.status_code == 200, path
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
        assert "no-store" in answer.headers["cache-control"] or "private" in answer.headers["cache-control"], path


async def test_an_update_that_is_compressed_is_refused(database_dsn: str) -> None:
    async with running_server(database_dsn) as server:
        user = await server.user()
        async with server.http(user) as client:
            for kind in ("application/octet-stream", "application/msgpack"):
                headers = {"Content-Type": kind, "Content-Encoding": "gzip"}
                answer = await client.post(f"/api/sync/{user.library_id}", content=b"\x1f\x8b\x08\0", headers=headers)
                assert (answer.status_code, code_of(answer)) == (415, "unsupported_media_type")
