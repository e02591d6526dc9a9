"""Bodies and queries that no client of ours sends: each is refused with a stable code, repeats nothing, and changes nothing."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
import structlog

from tests.support.rest import code_of
from tests.support.running import Running, User, undisturbed
from tests.support.wire_client import WireClient

SECRET = "hunter2-secret-value"
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A user's requests, whose library and whose other device must not notice those that are refused."""

    client: httpx2.AsyncClient
    ids: dict[str, str]

    async def send(self, route: str, body: bytes | None = None, **headers: str) -> httpx2.Response:
        method, _, path = route.partition(" ")
        return await self.client.request(method, path.format(**self.ids), content=body, headers=JSON | headers)


@pytest.fixture
async def asked(server: Running, user: User, bystander: WireClient) -> AsyncIterator[Asked]:
    async with server.http(user) as client:
        prompt = await client.post("/api/prompts", json={"title": "p", "tags": ["tag"], "optimized_text": "t"})
        template = await client.post("/api/templates", json={"name": "n"})
        ids = {"prompt": prompt.json()["id"], "template": template.json()["id"], "library": str(user.library_id)}
        room = server.app.rooms.get(user.library_id)
        assert room is not None
        head = room.head
        with structlog.testing.capture_logs() as logged:
            yield Asked(client, ids)
        assert room.head == head, "something was stored"
        assert [line for line in logged if line["log_level"] in ("error", "critical")] == []
        assert SECRET not in str(logged)
        await undisturbed(bystander)


def refusal(answer: httpx2.Response, *codes: str) -> str:
    """The code of a refusal, which is one of these and repeats nothing that was sent."""
    code = code_of(answer)
    assert 400 <= answer.status_code < 500
    assert code in codes, answer.text
    assert SECRET not in answer.text
    return code


# --- bodies

BODIES = {
    "POST /api/auth/register/confirm": '{"password": "short", "token": @}',
    "POST /api/auth/email": '{"email": @}',
    "POST /api/auth/email/verify": '{"token": @}',
    "POST /api/auth/email/confirm": '{"token": @}',
    "POST /api/auth/password/forgot": '{"email": @}',
    "POST /api/auth/password/reset": '{"password": "short", "token": @}',
    "PATCH /api/users/me": '{"name": @}',
    "POST /api/auth/social/google": '{"id_token": @}',
    "POST /api/auth/social/google/finish": '{"state": "s", "code": @}',
    "POST /api/auth/identities/google": '{"id_token": @}',
    "POST /api/auth/identities/google/finish": '{"state": @, "code": "c"}',
    "POST /api/libraries": '{"name": @}',
    "POST /api/prompts": '{"title": @}',
    "PUT /api/prompts/{prompt}": '{"title": "t", "original_text": @}',
    "PATCH /api/prompts/{prompt}": '{"optimized_text": @}',
    "POST /api/prompts/batch": '{"operations": [{"op": "create", "title": @}]}',
    "POST /api/prompts/{prompt}/share": '{"note": @}',
    "POST /api/prompts/{prompt}/history": '{"text": @}',
    "POST /api/prompts/{prompt}/history/1/restore": '{"note": @}',
    "PUT /api/prompts/{prompt}/current": '{"version": @}',
    "PUT /api/prompts/{prompt}/labels/production": '{"version": @}',
    "POST /api/categories": '{"name": @}',
    "PATCH /api/categories/cat-writing": '{"description": @}',
    "PATCH /api/tags/tag": '{"label": @}',
    "POST /api/tags/merge": '{"tags": [@], "into": "tag"}',
    "PUT /api/models/config/mine": '{"provider": "deepseek", "name": @}',
    "POST /api/models/config/mine/rotate": '{"api_key": @}',
    "POST /api/optimize": '{"text": @}',
    "POST /api/prompts/{prompt}/optimize": '{"instruction": @}',
    "POST /api/templates": '{"name": @}',
    "PATCH /api/templates/{template}": '{"content": [{"role": "user", "content": @}]}',
    "PUT /api/variables/name": '{"value": @}',
    "PATCH /api/users/me/preferences": '{"theme": @}',
    "POST /api/sync/force": '{"library": @}',
    "POST /api/libraries/{library}/restore": '{"at": @}',
    "POST /api/auth/social/wechat": '{"kind": "mini", "code": @}',
    "POST /api/auth/identities/wechat": '{"kind": "mini", "code": @}',
}
"""A body of each route that takes one; a text belongs at the @."""
UNREADABLE = {
    "a lone surrogate": '"\\ud800"',
    "a lone surrogate in a key": '{"\\udfff": 1}',
    "NaN": "NaN",
    "minus infinity": "-Infinity",
    "a number past all bounds": "1e999",
    "a number of 5,000 digits": "9" * 5000,
    "deep lists": "[" * 3000 + "]" * 3000,
    "deep objects": '{"a":' * 3000 + "1" + "}" * 3000,
    "equal keys": '{"a": 1, "a": 2}',
    "a raw control character": '"a\x01b"',
    "a comma too many": '"a",,',
    "nothing": "",
}
WRONG = {
    "NUL": '"a\\u0000b"',
    "a number": "1",
    "a large number": "1e308",
    "minus zero": "-0.0",
    "a number beyond 2^53": "9007199254740993",
    "true": "true",
    "a list": f'["{SECRET}"]',
    "a list of lists": "[[[[]]]]",
    "an object": f'{{"{SECRET}": "{SECRET}"}}',
    "an object with a key of JavaScript's": '{"__proto__": {"x": 1}}',
    "far too long a text": json.dumps(SECRET * 15_000),
}


@pytest.mark.parametrize("route", BODIES)
async def test_bodies_that_readers_read_differently_are_refused(asked: Asked, route: str) -> None:
    for name, part in UNREADABLE.items():
        for secret in ("", f', "{SECRET}": 1'):
            body = (BODIES[route][:-1].replace("@", part) + secret + "}").encode()
            answer = await asked.send(route, body)
            assert refusal(answer, "malformed_json", "invalid_request"), name
    is_optional = route.endswith(("force", "restore"))
    for body in (b"\xff", b'{"\xc0\x80": 1}', "{}".encode("utf-16"), b"\xef\xbb\xbf{}", b"{}{}", *([] if is_optional else [b""])):
        refusal(await asked.send(route, body), "malformed_json", "invalid_request")
    for body in (b"[]", b'"a"', b"7", *([] if is_optional else [b"null"])):
        refusal(await asked.send(route, body), "invalid_request")


@pytest.mark.parametrize("route", BODIES)
async def test_texts_that_are_none_are_refused_by_the_field_they_are_in(asked: Asked, route: str) -> None:
    for name, part in WRONG.items():
        answer = await asked.send(route, BODIES[route].replace("@", part).encode())
        assert refusal(answer, "invalid_request"), name
        where = answer.json()["errors"][0]["where"]
        assert where[0] == "body"
        assert len(where) > 1, where


@pytest.mark.parametrize("route", [route for route in BODIES if "preferences" not in route])
async def test_fields_that_nobody_asked_for_are_refused_without_their_names(asked: Asked, route: str) -> None:
    for secret in (f'"{SECRET}": 1', '"__proto__": {"x": 1}'):
        answer = await asked.send(route, (BODIES[route][:-1].replace("@", '"tag"') + f", {secret}}}").encode())
        refusal(answer, "invalid_request")
        assert {"where": ["body"], "code": "extra_forbidden"}.items() <= answer.json()["errors"][-1].items()
        assert "__proto__" not in answer.text


@pytest.mark.parametrize("route", BODIES)
async def test_bodies_of_another_kind_or_too_large_are_refused(asked: Asked, route: str) -> None:
    body = BODIES[route].replace("@", '"tag"').encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx", ""):
        answer = await asked.send(route, body, **{"Content-Type": kind})
        assert answer.status_code == 415
        refusal(answer, "unsupported_media_type")
    refusal(await asked.send(route, body, **{"Content-Encoding": "gzip"}), "unsupported_media_type")
    most = 8 << 20 if route.endswith("/batch") else 1 << 20
    answer = await asked.send(route, body + b" " * (most + 1 - len(body)))
    assert (answer.status_code, refusal(answer, "too_large")) == (413, "too_large")


UNSEEN = (" ", "\u3000\u2003", "\u200b", "\u00ad\u200d", "\ufeff", "\u2060 \u200b")


@pytest.mark.parametrize("text", UNSEEN)
async def test_names_of_nothing_that_is_seen_are_refused(asked: Asked, text: str) -> None:
    for route, template in BODIES.items():
        if not any(name in template for name in ('"name": @', '"title": @', '"label": @', '"tags": [@]', '"theme": @')):
            continue
        answer = await asked.send(route, template.replace("@", json.dumps(text)).encode())
        refusal(answer, "invalid_request")
    for tags in ([text], ["ok", text]):
        refusal(await asked.send("PATCH /api/prompts/{prompt}", json.dumps({"tags": tags}).encode()), "invalid_request")


SENSELESS: list[tuple[str, dict[str, Any]]] = [
    ("PATCH /api/prompts/{prompt}", {"model_used": None}),
    ("PATCH /api/prompts/{prompt}", {"model_used": ""}),
    ("PATCH /api/prompts/{prompt}", {"model_used": 1}),
    ("PATCH /api/prompts/{prompt}", {"title": None}),
    ("PATCH /api/prompts/{prompt}", {"favorite": 7}),
    ("PATCH /api/prompts/{prompt}", {"mode": "none"}),
    ("PATCH /api/prompts/{prompt}", {"category": "nowhere"}),
    ("PATCH /api/prompts/{prompt}", {"category": "a\0b"}),
    ("PATCH /api/prompts/{prompt}", {"tags": [f"t{number}" for number in range(101)]}),
    ("PATCH /api/prompts/{prompt}", {"variables": {"a": 1 << 60}}),
    ("PATCH /api/prompts/{prompt}", {"variables": {"a\0": 1}}),
    ("PATCH /api/prompts/{prompt}", {"variables": {"a": "x" * (256 << 10)}}),
    ("PATCH /api/prompts/{prompt}", {"id": "other"}),
    ("PATCH /api/prompts/{prompt}", {"order": "a"}),
    ("POST /api/prompts", {"title": "t", "id": "a/b"}),
    ("POST /api/prompts", {"title": "t", "id": "../../x"}),
    ("POST /api/prompts", {"title": "t", "id": ""}),
    ("POST /api/prompts", {"title": "t", "id": "urn:uuid:01a215b1-c612-7000-be9e-c7cf3d802e5e"}),
    ("POST /api/prompts", {"title": "t" * 501}),
    ("POST /api/prompts/{prompt}/history", {"text": 7}),
    ("POST /api/prompts/{prompt}/history", {"note": "n" * 1001}),
    ("POST /api/prompts/{prompt}/history", {"text": "t" * ((256 << 10) + 1)}),
    ("POST /api/prompts/{prompt}/history/1/restore", {"text": "t"}),
    ("PUT /api/prompts/{prompt}/current", {"version": 1}),
    ("PUT /api/prompts/{prompt}/current", {"version": ""}),
    ("PUT /api/prompts/{prompt}/current", {"version": "v" * 201}),
    ("PUT /api/prompts/{prompt}/current", {}),
    ("POST /api/prompts/{prompt}/share", {"version": "nowhere"}),
    ("POST /api/prompts/{prompt}/share", {"version": None}),
    ("POST /api/prompts/{prompt}/share", {"expires_in_days": True}),
    ("POST /api/prompts/{prompt}/share", {"expires_in_days": 1, "expires_at": "2126-01-01"}),
    ("POST /api/prompts/{prompt}/share", {"expires_at": "1970-01-01"}),
    ("POST /api/prompts/{prompt}/share", {"expires_at": SECRET}),
    ("POST /api/prompts/{prompt}/share", {"expires_at": 4_000_000_000}),
    ("POST /api/prompts/{prompt}/share", {"note": "n" * 1001}),
    ("POST /api/categories", {"name": "n", "id": "a/b"}),
    ("POST /api/categories", {"name": "n", "order": "a"}),
    ("POST /api/categories", {"name": "n", "color": "#12345g"}),
    ("POST /api/categories", {"name": "n", "color": "#123456\n"}),
    ("PATCH /api/categories/cat-writing", {"after": "a\0"}),
    ("PATCH /api/categories/cat-writing", {"parent": "cat-writing"}),
    ("POST /api/templates", {"name": "n", "id": "x"}),
    ("POST /api/templates", {"name": "n", "language": "en\n"}),
    ("POST /api/templates", {"name": "n", "content": [{"role": "user", "content": ""}] * 101}),
    ("POST /api/tags/merge", {"tags": [], "into": "x"}),
    ("POST /api/tags/merge", {"tags": ["t"] * 101, "into": "x"}),
    ("PATCH /api/users/me/preferences", {SECRET: 1 << 60}),
    ("PATCH /api/users/me/preferences", {SECRET + "\0": 1}),
    ("PATCH /api/users/me/preferences", {SECRET * 20: 1}),
    ("PATCH /api/users/me/preferences", {"": 1}),
    ("PATCH /api/users/me/preferences", {"ui": []}),
    ("POST /api/prompts/batch", {"operations": []}),
    ("POST /api/prompts/batch", {"operations": [{"op": SECRET}]}),
    ("POST /api/prompts/batch", {"operations": [{"op": "create", "title": "t", SECRET: 1}]}),
    ("POST /api/prompts/batch", {"operations": [{"op": "delete", "id": "x", "if_match": "x" * 201}]}),
]


@pytest.mark.parametrize(("route", "body"), SENSELESS)
async def test_values_that_make_no_sense_are_refused(asked: Asked, route: str, body: dict[str, Any]) -> None:
    answer = await asked.send(route, json.dumps(body).encode())
    assert answer.status_code == 422
    refusal(answer, "invalid_request", "unknown_reference")


async def test_more_preferences_than_one_may_have_are_refused(asked: Asked) -> None:
    body = json.dumps({f"key {number}": number for number in range(1001)}).encode()
    answer = await asked.send("PATCH /api/users/me/preferences", body)
    assert (answer.status_code, refusal(answer, "too_many")) == (409, "too_many")


async def test_preferences_may_have_any_name(server: Running, user: User) -> None:
    names = ("__proto__", "constructor", "model_config", "model_fields", "__class__", "patch", "copy", "self", "library", "a/b", "\u200b")
    async with server.http(user) as client:
        for name in names:
            answer = await client.patch("/api/users/me/preferences", json={name: {"__proto__": 1e308}})
            assert answer.json()[name] == {"__proto__": 1e308}, answer.text
        assert set((await client.get("/api/users/me/preferences")).json()) == set(names)


async def test_tags_that_are_one_are_one(server: Running, user: User) -> None:
    async with server.http(user) as client:
        made = await client.post("/api/prompts", json={"title": "t", "tags": ["Straße", "STRASSE", " strasse ", "strasse\u3000"]})
        assert made.json()["tags"] == ["Straße"]
        again = await client.patch(f"/api/prompts/{made.json()['id']}", json={"tags": ["STRASSE"]})
        assert again.headers["etag"] == made.headers["etag"]


async def test_numbers_and_names_that_are_odd_but_sound_come_back(server: Running, user: User) -> None:
    variables = {"__proto__": {"constructor": 1}, "": "", "large": 1e308, "small": 5e-324, "whole": 1 << 53, "minus zero": -0.0}
    async with server.http(user) as client:
        made = await client.post("/api/prompts", json={"title": "t", "variables": variables})
        assert (await client.get(f"/api/prompts/{made.json()['id']}")).json()["variables"] == variables
