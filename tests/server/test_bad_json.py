"""Bodies that break other servers: each gets a problem of 4xx, none is echoed, and the next request is served."""

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import structlog
from fastapi import APIRouter
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from server.errors import Refused
from server.routes.body import MAX_PARTS, _require_json, parse
from tests.support.rest import PASSWORD, PRODUCTION, Rest, bearer, code_of, fresh_email, rest_api

SECRET = "hunter2-secret-value"
JSON = {"Content-Type": "application/json"}
LOGIN = f'"email":"a@example.com","password":"{SECRET}"'


@pytest.fixture(scope="module")
async def rest(shared_dsn: str) -> AsyncIterator[Rest]:
    async with rest_api(shared_dsn, max_body_bytes=10_000) as running:
        yield running


BODIES = {
    "empty": b"",
    "not JSON": f"{{{LOGIN}".encode(),
    "two values": f"{{{LOGIN}}} {{}}".encode(),
    "a lone surrogate": f'{{{LOGIN},"name":"\\ud800"}}'.encode(),
    "a lone surrogate in a key": f'{{{LOGIN},"\\udfff":1}}'.encode(),
    "NaN": f'{{{LOGIN},"name":NaN}}'.encode(),
    "Infinity": f'{{{LOGIN},"name":-Infinity}}'.encode(),
    "a number past all bounds": f'{{{LOGIN},"name":1e999}}'.encode(),
    "a huge integer": f'{{{LOGIN},"name":{"9" * 5000}}}'.encode(),
    "NUL in a text": f'{{{LOGIN},"name":"a\\u0000b"}}'.encode(),
    "NUL in an address": f'{{"email":"a\\u0000@example.com","password":"{SECRET}"}}'.encode(),
    "a raw control character": f'{{{LOGIN},"name":"a\x01b"}}'.encode(),
    "equal keys": f'{{{LOGIN},"password":"{SECRET}"}}'.encode(),
    "deep nesting": f'{{{LOGIN},"name":{"[" * 3000}{"]" * 3000}}}'.encode(),
    "invalid UTF-8": f"{{{LOGIN}".encode() + b',"name":"\xff"}',
    "overlong UTF-8": f"{{{LOGIN}".encode() + b',"name":"\xc0\x80"}',
    "UTF-16": f"{{{LOGIN}}}".encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + f"{{{LOGIN}}}".encode(),
    "an array": f"[{{{LOGIN}}}]".encode(),
    "a text": b'"text"',
    "null": b"null",
    "numbers for texts": f'{{"email":5,"password":"{SECRET}"}}'.encode(),
    "a missing field": f'{{"password":"{SECRET}"}}'.encode(),
    "an unknown field": f'{{{LOGIN},"{SECRET}":1}}'.encode(),
    "too long a password": f'{{"email":"a@example.com","password":"{SECRET * 50}"}}'.encode(),
    "prototype keys": f'{{{LOGIN},"__proto__":{{"x":1}}}}'.encode(),
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_body_that_breaks_other_servers_is_refused_without_an_echo(rest: Rest, name: str) -> None:
    with structlog.testing.capture_logs() as logged:
        for path in ("/api/auth/register", "/api/auth/login"):
            response = await rest.client.post(path, content=BODIES[name], headers=JSON)
            assert response.status_code in {400, 422}, response.text
            assert code_of(response) in {"malformed_json", "invalid_request"}
            assert "hunter2" not in response.text
            assert all(byte < 128 for byte in response.content)
    assert "hunter2" not in str(logged)
    assert len([line for line in logged if line["event"] == "request"]) == 2
    assert (await rest.post("/api/auth/register", {"email": fresh_email(), "password": PASSWORD})).status_code == 201


@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx", "a/b;" * 9]
)
async def test_a_body_that_does_not_say_it_is_json_is_refused(rest: Rest, kind: str | None) -> None:
    response = await rest.client.post("/api/auth/login", content=f"{{{LOGIN}}}".encode(), headers={"Content-Type": kind} if kind else {})
    assert (response.status_code, code_of(response)) == (415, "unsupported_media_type")


async def test_a_compressed_body_is_refused(rest: Rest) -> None:
    response = await rest.client.post("/api/auth/login", content=b"\x1f\x8b", headers=JSON | {"Content-Encoding": "gzip"})
    assert (response.status_code, code_of(response)) == (415, "unsupported_media_type")


async def test_json_with_a_charset_is_read(rest: Rest) -> None:
    body = json.dumps({"email": fresh_email(), "password": PASSWORD}).encode()
    response = await rest.client.post("/api/auth/register", content=body, headers={"Content-Type": "Application/JSON; charset=utf-8"})
    assert response.status_code == 201


async def test_a_body_announced_too_large_is_refused(rest: Rest) -> None:
    response = await rest.client.post("/api/auth/login", content=b"x" * 10_001, headers=JSON)
    assert (response.status_code, code_of(response)) == (413, "too_large")
    absurd = await rest.client.post("/api/auth/login", content=b"{}", headers=JSON | {"Content-Length": "9" * 6000})
    assert (absurd.status_code, code_of(absurd)) == (413, "too_large")


async def test_a_body_that_grows_too_large_in_chunks_is_refused(rest: Rest) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 1000

    response = await rest.client.post("/api/auth/login", content=chunks(), headers=JSON)
    assert "content-length" not in response.request.headers
    assert (response.status_code, code_of(response)) == (413, "too_large")


@pytest.mark.parametrize(
    ("method", "path", "most"),
    [
        ("POST", "/api/prompts/batch", 30_000),
        ("PUT", "/api/prompts/batch", 10_000),
        ("POST", "/api/prompts/batch/", 10_000),
        ("POST", "/api/prompts", 10_000),
        ("POST", "/api/sync/force", 10_000),
        ("POST", "/api/sync/x", 50_000),
        ("POST", "/api/import", 40_000),
        ("PUT", "/api/import", 10_000),
        ("POST", "/api/import/", 10_000),
    ],
)
async def test_each_kind_of_body_has_its_bound(database_dsn: str, method: str, path: str, most: int) -> None:
    async def chunks(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b" " * 1000

    bounds: dict[str, Any] = {"max_body_bytes": 10_000, "max_batch_bytes": 30_000, "max_import_bytes": 40_000, "max_upload_bytes": 50_000}
    async with rest_api(database_dsn, routers=[_readers()], **bounds) as rest:
        for content in (b" " * most, chunks(most // 1000)):
            response = await rest.client.request(method, path, content=content, headers=JSON)
            assert response.json() == most or response.status_code == 401, "refused for its size"
        for content in (b" " * (most + 1), chunks(most // 1000 + 1)):
            response = await rest.client.request(method, path, content=content, headers=JSON)
            assert (response.status_code, code_of(response)) == (413, "too_large")


def _readers() -> APIRouter:
    """A route for every path that says how many bytes it was sent."""
    router = APIRouter()

    @router.api_route("/{path:path}", methods=["POST", "PUT"])
    async def read(request: Request) -> int:
        return len(await request.body())

    return router


async def test_unknown_paths_and_methods_get_problems(rest: Rest) -> None:
    missing = await rest.get("/api/nothing")
    assert (missing.status_code, code_of(missing)) == (404, "not_found")
    assert (await rest.get("/api/users/me/")).status_code == 404
    wrong = await rest.client.put("/api/auth/login", content=b"{}", headers=JSON)
    assert (wrong.status_code, code_of(wrong)) == (405, "method_not_allowed")
    assert wrong.headers["allow"] == "POST"


async def test_a_fault_of_ours_shows_nothing_of_itself(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(type(rest.services.accounts), "login", broken)
    with structlog.testing.capture_logs() as logged:
        response = await rest.client.post("/api/auth/login", content=f"{{{LOGIN}}}".encode(), headers=JSON)
    assert (response.status_code, code_of(response)) == (500, "internal")
    assert "hunter2" not in response.text
    assert [line["log_level"] for line in logged] == ["error", "info"]


async def test_every_answer_carries_its_id_and_its_security_headers(rest: Rest) -> None:
    token = (await rest.register())["access_token"]
    for response in (await rest.get("/api/users/me", token), await rest.get("/api/users/me"), await rest.get("/none")):
        assert len(response.headers["x-request-id"]) == 16
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in response.headers["content-security-policy"]


async def test_the_request_line_names_the_route_and_holds_no_token(rest: Rest) -> None:
    tokens = await rest.register()
    with structlog.testing.capture_logs() as logged:
        await rest.client.get(f"/api/libraries/{tokens['library_id']}?token={SECRET}", headers=bearer(tokens["access_token"]))
        await rest.client.get(f"/api/{SECRET}")
    first, second = [line for line in logged if line["event"] == "request"]
    assert (first["method"], first["route"], first["status"]) == ("GET", "/api/libraries/{library_id}", 422)
    assert second["route"] == "unmatched"
    assert SECRET not in str(logged)
    assert tokens["access_token"] not in str(logged)


async def test_the_openapi_document_is_complete_and_absent_in_production(rest: Rest) -> None:
    document = (await rest.get("/openapi.json")).json()
    text = json.dumps(document)
    references = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert references <= set(document["components"]["schemas"])
    assert "HTTPValidationError" not in text
    assert set(document["paths"]) >= {
        "/api/auth/register",
        "/api/auth/login",
        "/api/auth/refresh",
        "/api/auth/logout",
        "/api/users/me",
        "/api/libraries",
        "/api/libraries/{library_id}",
    }
    login = document["paths"]["/api/auth/login"]["post"]["responses"]
    assert "Idempotency-Key" in json.dumps(document["paths"]["/api/libraries"]["post"]["parameters"])
    assert "Idempotency-Key" not in json.dumps(document["paths"]["/api/auth/register"])
    assert list(login["401"]["content"]) == ["application/problem+json"]
    assert (await rest.get("/docs")).status_code == 404


async def test_production_serves_no_documents_and_asks_for_https(database_dsn: str) -> None:
    async with rest_api(database_dsn, env="production", registration="open", **PRODUCTION) as production:
        response = await production.get("/openapi.json")
    assert response.status_code == 404
    assert response.headers["strict-transport-security"].startswith("max-age=")


async def test_only_origins_on_the_list_may_read_answers(database_dsn: str) -> None:
    async with rest_api(database_dsn, allowed_origins="https://app.example.com") as cross:
        for origin, allowed in {
            "https://app.example.com": "https://app.example.com",
            "https://app.example.com.evil.example": None,
            "https://evilapp.example.com": None,
            "null": None,
        }.items():
            response = await cross.client.get("/api/users/me", headers={"Origin": origin})
            assert response.headers.get("access-control-allow-origin") == allowed


async def test_origins_on_the_list_may_send_and_read_what_requests_need(database_dsn: str) -> None:
    asked = {"Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match"}
    origin = {"Origin": "https://app.example.com"}
    async with rest_api(database_dsn, allowed_origins=origin["Origin"]) as cross:
        preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": ", ".join(sorted(asked)).lower()}
        allowed = await cross.client.options("/api/libraries", headers=origin | preflight)
        answer = await cross.client.get("/api/users/me", headers=origin)
    assert allowed.status_code == 200
    assert asked <= set(allowed.headers["access-control-allow-headers"].split(", "))
    assert {"ETag", "Idempotency-Replayed", "Location"} <= set(answer.headers["access-control-expose-headers"].split(", "))


@pytest.mark.parametrize("part", [b"1,", b"[],", b'{"a":1},', b'",,",'])
def test_a_body_of_too_many_parts_is_refused_before_it_is_read(part: bytes) -> None:
    parts = sum(map(part.count, (b",", b"[", b"{")))
    most = b"[" + part * ((MAX_PARTS - 1) // parts) + b"1]"
    assert isinstance(parse(most), list)
    with pytest.raises(Refused) as refused:
        parse(b"[" + part * (MAX_PARTS // parts + 1) + b"1]")
    assert (refused.value.status_code, refused.value.code) == (413, "too_large")


@given(st.binary(max_size=200))
def test_any_bytes_are_one_value_or_refused(body: bytes) -> None:
    with suppress(Refused):
        parse(body)


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_what_every_reader_reads_alike_is_read(value: object) -> None:
    assert parse(json.dumps(value, ensure_ascii=False).encode()) == value


def test_a_refusal_keeps_nothing_of_the_bodies_refused_before() -> None:
    refusals = []
    for body in (b'{"password": "first', b'{"password": "second'):
        with pytest.raises(Refused) as refused:
            parse(body)
        refusals.append(refused.value)
    assert refusals[0] is not refusals[1]


def test_unlike_media_types_are_refused_by_an_error_of_their_own_each_time() -> None:
    refusals = []
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            _require_json(Request({"type": "http", "headers": []}))
        refusals.append(refused.value)
    assert refusals[0] is not refusals[1]
