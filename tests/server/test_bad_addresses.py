"""Addresses, queries and headers that no client of ours sends: refused with a stable code, and nothing changes."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import structlog

from tests.support.raw_http import Headers, RawAnswer, raw_request
from tests.support.running import Running, User, undisturbed
from tests.support.wire_client import WireClient

SECRET = "hunter2-secret-value"


class Raw:
    """A user's requests, byte for byte."""

    def __init__(self, server: Running, user: User, prompt: str) -> None:
        self.server = server
        self.user = user
        self.prompt = prompt

    async def __call__(self, method: str, target: str, headers: Headers = (), body: Any = None) -> RawAnswer:
        given = [("Authorization", f"Bearer {self.user.access_token}"), *headers]
        if body is not None:
            given.append(("Content-Type", "application/json"))
        return await raw_request(self.server, method, target, given, b"" if body is None else json.dumps(body).encode())

    async def refused(self, method: str, target: str, headers: Headers = (), body: Any = None) -> tuple[int, str]:
        answer = await self(method, target, headers, body)
        assert SECRET.encode() not in answer.content
        return answer.status, answer.code


@pytest.fixture
async def raw(server: Running, user: User, bystander: WireClient) -> AsyncIterator[Raw]:
    async with server.http(user) as client:
        await client.post("/api/prompts", json={"title": "other"})
        prompt = (await client.post("/api/prompts", json={"title": "p", "tags": ["tag"], "optimized_text": "t"})).json()["id"]
    room = server.app.rooms.get(user.library_id)
    assert room is not None
    head = room.head
    with structlog.testing.capture_logs() as logged:
        yield Raw(server, user, prompt)
    assert room.head == head, "something was stored"
    assert [line for line in logged if line["log_level"] in ("error", "critical")] == []
    await undisturbed(bystander)


# --- ids in paths

ROUTES: list[tuple[str, str, Any]] = [
    ("GET", "/api/prompts/{}", None),
    ("GET", "/api/prompts/{}/history", None),
    ("GET", "/api/prompts/{}/history/1", None),
    ("PUT", "/api/prompts/{}", {"title": "x"}),
    ("PATCH", "/api/prompts/{}", {"title": "x"}),
    ("DELETE", "/api/prompts/{}?purge=true", None),
    ("POST", "/api/prompts/{}/restore", None),
    ("GET", "/api/prompts/{}/diff", None),
    ("POST", "/api/prompts/{}/history", {}),
    ("POST", "/api/prompts/{}/history/1/restore", None),
    ("DELETE", "/api/prompts/{}/history/1", None),
    ("PUT", "/api/prompts/{}/current", {"version": "1"}),
    ("PUT", "/api/prompts/{}/labels/production", {"version": "1"}),
    ("DELETE", "/api/prompts/{}/labels/production", None),
    ("POST", "/api/prompts/{}/share", {}),
    ("DELETE", "/api/shares/{}", None),
    ("GET", "/api/prompt-source/{}", None),
    ("GET", "/api/categories/{}", None),
    ("PATCH", "/api/categories/{}", {"name": "x"}),
    ("DELETE", "/api/categories/{}", None),
    ("POST", "/api/categories/{}/restore", None),
    ("PATCH", "/api/tags/{}", {"label": "x"}),
    ("DELETE", "/api/tags/{}", None),
    ("GET", "/api/models/config/{}", None),
    ("DELETE", "/api/models/config/{}", None),
    ("POST", "/api/models/config/{}/validate", None),
    ("POST", "/api/models/config/{}/rotate", {"api_key": "k"}),
    ("POST", "/api/prompts/{}/optimize", {"model_config_id": "m"}),
    ("GET", "/api/templates/{}", None),
    ("PATCH", "/api/templates/{}", {"name": "x"}),
    ("DELETE", "/api/templates/{}", None),
    ("POST", "/api/templates/{}/restore", None),
    ("DELETE", "/api/variables/{}", None),
    ("GET", "/api/libraries/{}", None),
    ("DELETE", "/api/libraries/{}", None),
    ("DELETE", "/api/auth/identities/{}", None),
    ("DELETE", "/api/auth/sessions/{}", None),
    ("GET", "/api/{}", None),
    ("GET", "/{}", None),
]
ABSURD = {
    "nothing": "",
    "NUL": "%00",
    "NUL within": "a%00b",
    "the folder above": "..",
    "the same, encoded": "%2e%2e",
    "folders above": "../../api/prompts",
    "a slash": "%2F",
    "a slash within": "a%2Fb",
    "a line": "a%0d%0aX-Injected:%201",
    "10 kB": "x" * 10_240,
    "a percent sign": "%",
    "no hexadecimal digits": "%zz",
    "only a space": "%20",
    "nothing that is seen": "%E2%80%8B",
    "a name of JavaScript's": "__proto__",
    "markup": "%3Cscript%3E",
    "a star": "*",
    "a question mark": "%3F",
    "minus one": "-1",
}
NOT_UTF8 = {"no UTF-8": "%ff", "half of a surrogate pair": "%ED%A0%80", "overlong UTF-8": "%C0%80", "half a character": "a%E5%86"}


@pytest.mark.parametrize("name", ABSURD)
async def test_ids_that_nothing_has_are_not_found(raw: Raw, name: str) -> None:
    for method, path, body in ROUTES:
        answer = await raw(method, path.format(ABSURD[name]), (), body)
        assert answer.status in (404, 405), (method, path, answer)
        assert answer.code in ("not_found", "method_not_allowed")
        assert "x-injected" not in answer.headers


@pytest.mark.parametrize("name", NOT_UTF8)
async def test_addresses_that_are_not_utf8_are_refused_rather_than_mended(raw: Raw, name: str) -> None:
    for method, path, body in (*ROUTES, ("PUT", "/api/variables/{}", {"value": "x"}), ("GET", "/api/prompts?search={}", None)):
        assert await raw.refused(method, path.format(NOT_UTF8[name]), (), body) == (400, "malformed_address")


async def test_bytes_that_belong_into_no_address_are_refused(raw: Raw) -> None:
    for target in ("/api/prompts/\xe9", "/api/prompts?search=\xff", "/api/pro\x00mpts", "api/prompts"):
        assert await raw.refused("GET", target) == (400, "malformed_http")


# --- queries


def _wrong_queries() -> Iterator[str]:
    yield from (
        f"limit={value}" for value in ("0", "-1", "201", "9" * 30, "1e1", "%EF%BC%91%EF%BC%90%EF%BC%90%EF%BC%91", "", "true", "1.5")
    )
    for name in ("created_from", "created_to", "updated_from", "updated_to"):
        yield from (f"{name}={value}" for value in ("0000-01-01T00:00:00Z", "10000-01-01", "2026-02-30", "2026-01-01T00:00:00%2B25:00"))
        yield from (f"{name}={value}" for value in ("-1e18", "1e308", "inf", "nan", "253402300800000", "yesterday", "", "9" * 5000))
    yield from (f"library={value}" for value in ("me", "", "%00", "..", "urn:uuid:01a215b1-c612-7000-be9e-c7cf3d802e5e", SECRET))
    yield from (f"fields={value}" for value in ("", ",", "title,,id", "title%00", SECRET, "title," * 200))
    yield from (f"{name}={value}" for name in ("sort", "mode", "deleted", "tags_match", "favorite") for value in ("", SECRET, "%00"))
    yield from (f"tags={value}" for value in ("", "%20", "%00", "%E2%80%8B", "x" * 101))
    yield from ("&".join(["tags=x"] * 101), f"category={'x' * 201}", f"model={'x' * 201}", f"search={'x' * 201}")
    yield f"search={'+'.join(f'{number}' for number in range(51))}"
    yield from (f"{SECRET}=1", "limit=1&limit=2", "sort=title&sort=-title", "Limit=5", "limit[]=5", "%00=1")


async def test_queries_out_of_bounds_are_refused(raw: Raw) -> None:
    for query in _wrong_queries():
        assert await raw.refused("GET", f"/api/prompts?{query}") == (422, "invalid_request"), query
    for query in ("before=0", "before=-1", f"before={1 << 63}", "before=%00", "limit=201", f"user={SECRET}"):
        assert await raw.refused("GET", f"/api/users/me/activity?{query}") == (422, "invalid_request"), query
    for query in ("format=", "format=%00", "format=Library", f"format={SECRET}", "format=app&format=app", "library=me", "formats=app"):
        assert await raw.refused("GET", f"/api/export?{query}") == (422, "invalid_request"), query
    for query in ("config=", f"config={'x' * 201}", "config=a&config=b", "library=me", f"{SECRET}=1"):
        assert await raw.refused("GET", f"/api/models?{query}") == (422, "invalid_request"), query
    for query in (
        "from=",
        "from=%00",
        "from=2026-02-30",
        "from=10000-01-01",
        "to=0000-01-01",
        "to=0001-01-01",
        "from=-1",
        f"from={SECRET}",
    ):
        assert await raw.refused("GET", f"/api/usage?{query}") == (422, "invalid_request"), query
    for query in (
        "by=",
        "by=week",
        "by=day,",
        f"by={SECRET}",
        "by=day&by=model",
        "from=2026-01-02&to=2026-01-01",
        f"user={SECRET}",
        "days=9",
    ):
        assert await raw.refused("GET", f"/api/usage?{query}") == (422, "invalid_request"), query
    assert await raw.refused("GET", "/api/usage?from=2024-01-01&to=2026-01-01") == (422, "invalid_request")
    for name in ("made-up", "%00", "..", "%E2%80%8B", SECRET, "shared:house"):
        assert await raw.refused("GET", f"/api/models?config={name}") in ((404, "not_found"), (422, "invalid_request")), name


@pytest.mark.parametrize(
    "query",
    [
        "created_from=0001-01-01T00:00:00Z",
        "created_from=0001-01-01T00:00:00%2B14:00",
        "created_to=9999-12-31T23:59:59Z",
        "created_to=9999-12-31T23:59:59.999999-14:00",
        "updated_from=1969-12-31T23:59:59Z",
        "updated_from=2026-01-01",
        "search=" + "%20" * 200,
        "search=" + "+".join("abcdefghijklmnopqrstuvwxyz"[number % 26] for number in range(100)),
        "search=%00",
        "category=%00",
        "model=%00",
    ],
)
async def test_queries_at_the_bounds_are_answered(raw: Raw, query: str) -> None:
    answer = await raw("GET", f"/api/prompts?{query}")
    assert answer.status == 200, answer


async def test_a_misspelt_or_repeated_parameter_is_not_taken_for_none(raw: Raw) -> None:
    for method, path, body in (*ROUTES[:-2], ("POST", "/api/prompts", {"title": "t"}), ("GET", "/api/sync/status", None),
                               ("GET", "/api/export", None), ("GET", "/api/library/stats", None),
                               ("POST", "/api/tags/merge", {"tags": ["tag"], "into": "x"}),
                               ("POST", "/api/import", {}), ("GET", "/api/users/me", None)):  # fmt: skip
        path = path.format(raw.prompt)
        sign = "&" if "?" in path else "?"
        answer = await raw(method, f"{path}{sign}libary={raw.user.library_id}", (), body)
        assert (answer.status, answer.code) == (422, "invalid_request"), (method, path)
        assert json.loads(answer.content)["errors"][0]["where"] == ["query"]
    own = f"library={raw.user.library_id}"
    assert await raw.refused("DELETE", f"/api/prompts/{raw.prompt}?{own}&{own}") == (422, "invalid_request")


async def test_cursors_that_are_not_ours_are_refused(server: Running, raw: Raw) -> None:
    async with server.http(raw.user) as client:
        cursor = (await client.get("/api/prompts?limit=1")).json()["next_cursor"]
        assert (await client.get(f"/api/prompts?limit=1&cursor={cursor}")).status_code == 200
        tampered = [
            cursor[:-1],
            cursor + "A",
            cursor[::-1],
            cursor.swapcase(),
            "",
            "AA",
            "%00",
            "W10",
            "bnVsbA",
            "A" * 2000,
            f"{cursor}%0a",
        ]
        for wrong in (*tampered, *(cursor[:at] + "A" + cursor[at + 1 :] for at in range(0, len(cursor), 7) if cursor[at] != "A")):
            answer = await client.get(f"/api/prompts?limit=1&cursor={wrong}")
            assert answer.status_code in (200, 422), wrong  # 200: another place, or another spelling of the same one
        for path in ("?limit=1&sort=title", "?limit=1&favorite=true", f"?limit=1&library={await server.library(raw.user)}&search=x"):
            assert await raw.refused("GET", f"/api/prompts{path}&cursor={cursor}") == (422, "invalid_cursor")


# --- headers


async def test_headers_that_make_no_sense_are_refused(raw: Raw) -> None:
    path, body = f"/api/prompts/{raw.prompt}", {"title": "x"}
    for name, values, refusal in (
        ("If-Match", ('"', ",", "abc", "W/*", '*, "a"', '"a" "b"', "\x80", '"a",,"b"', "W/"), (422, "invalid_etag")),
        ("If-Match", ('"a",' * 2000,), (422, "invalid_request")),
        ("If-Match", ("", '""', '"\xe9"', 'W/"a"', '"*"', '"a", "b"'), (412, "precondition_failed")),
        ("Idempotency-Key", ("", "x" * 256, "\xe9", "a\tb"), (422, "invalid_idempotency_key")),
        ("Content-Encoding", ("gzip", "br, gzip", "\xff"), (415, "unsupported_media_type")),
        ("Authorization", ("Bearer x", "Basic x", f"Bearer {raw.user.access_token}", ""), (401, "invalid_token")),
    ):  # fmt: skip
        for value in values:
            assert await raw.refused("PATCH", path, [(name, value)], body) == refusal, (name, value[:20])


async def test_headers_that_come_twice_are_refused_or_taken_together(raw: Raw) -> None:
    path, body = f"/api/prompts/{raw.prompt}", {"title": "x"}
    tag = (await raw("GET", path)).headers["etag"]
    assert await raw.refused("PATCH", path, [("Idempotency-Key", "a"), ("Idempotency-Key", "b")], body) == (422, "invalid_idempotency_key")
    for tags in ([f'"{SECRET}"', '"b"'], ['"a"', "*", '"b"'], [tag, "senseless"]):
        status, code = await raw.refused("PATCH", path, [("If-Match", each) for each in tags], body)
        assert (status, code) in ((412, "precondition_failed"), (422, "invalid_etag")), tags
    assert (await raw("GET", path, [("If-None-Match", '"a"'), ("If-None-Match", tag)])).status == 304


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer " + "x" * 9000)],
        [("Authorization", "Bearer a.b.c")],
        [("Authorization", "Bearer \xe9")],
        [("Authorization", "bearer eyJhbGciOiJub25lIn0.e30.")],
        [("Authorization", "Basic dXNlcjpwYXNz")],
        [("Cookie", "access_token=x")],
    ],
)
async def test_without_a_good_token_nothing_else_matters(server: Running, headers: Headers) -> None:
    kind = ("Content-Type", "application/json")
    for method, target, body in (
        ("GET", "/api/prompts?unknown=1", b""),
        ("GET", "/api/prompts/%00", b""),
        ("GET", "/api/libraries/no-id", b""),
        ("GET", "/api/export?format=no-format", b""),
        ("GET", "/api/library/stats?unknown=1", b""),
        ("POST", "/api/prompts", b'{"title": NaN}'),
        ("POST", "/api/prompts", b'{"unknown": 1}'),
        ("POST", "/api/categories?library=me", b"{}"),
    ):
        answer = await raw_request(server, method, target, [kind, *headers], body)
        assert answer.status == 401, (method, target, answer)
        assert answer.code in ("not_authenticated", "invalid_token")
    assert (await raw_request(server, "POST", "/api/prompts", headers, b"text")).status == 401


async def test_a_key_with_another_library_is_refused(server: Running, user: User) -> None:
    other = await server.library(user)
    async with server.http(user) as client:
        for path, status in (("", 201), (f"?library={user.library_id}", 422), (f"?library={other}", 422)):
            answer = await client.post(f"/api/prompts{path}", json={"title": "t"}, headers={"Idempotency-Key": "k"})
            assert answer.status_code == status, answer.text
        assert answer.json()["code"] == "idempotency_key_reused"
