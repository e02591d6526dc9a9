"""The signed-in user over HTTP: shown, and changed where a user may."""

from collections.abc import AsyncIterator

import pytest

from tests.support.rest import Rest, bearer, code_of, rest_api


@pytest.fixture(scope="module")
async def rest(shared_dsn: str) -> AsyncIterator[Rest]:
    async with rest_api(shared_dsn) as running:
        yield running


async def test_a_user_takes_another_name(rest: Rest) -> None:
    user, other = await rest.register(name="Before"), await rest.register(name="Other")
    before = (await rest.get("/api/users/me", user["access_token"])).json()
    changed = await rest.patch("/api/users/me", {"name": "  \u5468\u62a5 \U0001f600 "}, user["access_token"])
    assert (changed.status_code, changed.json()) == (200, before | {"name": "\u5468\u62a5 \U0001f600"})
    assert (await rest.get("/api/users/me", user["access_token"])).json() == changed.json()
    assert (await rest.get("/api/users/me", other["access_token"])).json()["name"] == "Other"


async def test_what_is_not_given_stays(rest: Rest) -> None:
    user = await rest.register(name="Before")
    changed = await rest.patch("/api/users/me", {}, user["access_token"])
    assert (changed.status_code, changed.json()["name"]) == (200, "Before")


@pytest.mark.parametrize("name", ["", "   ", "x" * 101, "a\0b", "a\nb", "a\u202eb", 5, None, True, ["a"]])
async def test_a_senseless_name_is_refused(rest: Rest, name: object) -> None:
    user = await rest.register(name="Before")
    response = await rest.patch("/api/users/me", {"name": name}, user["access_token"])
    assert (response.status_code, code_of(response)) == (422, "invalid_request")
    assert (await rest.get("/api/users/me", user["access_token"])).json()["name"] == "Before"


@pytest.mark.parametrize("field", ["email", "id", "library_id", "created_at", "password", "is_admin"])
async def test_nothing_else_is_changed(rest: Rest, field: str) -> None:
    user = await rest.register(name="Before")
    response = await rest.patch("/api/users/me", {"name": "After", field: "x"}, user["access_token"])
    assert (response.status_code, code_of(response)) == (422, "invalid_request")
    assert (await rest.get("/api/users/me", user["access_token"])).json()["name"] == "Before"


async def test_only_plain_json_and_a_live_session_change_anything(rest: Rest) -> None:
    user = await rest.register()
    assert code_of(await rest.patch("/api/users/me", {"name": "n"})) == "not_authenticated"
    assert code_of(await rest.patch("/api/users/me", {"name": "n"}, user["sync_token"])) == "invalid_token"
    headers = bearer(user["access_token"])
    assert code_of(await rest.client.patch("/api/users/me", content=b'{"name":"n"}', headers=headers)) == "unsupported_media_type"
    assert code_of(await rest.client.patch("/api/users/me", headers=headers)) == "unsupported_media_type"
    json = headers | {"Content-Type": "application/json"}
    assert code_of(await rest.client.patch("/api/users/me", content=b"[]", headers=json)) == "invalid_request"
