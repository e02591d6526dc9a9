"""A user's libraries over HTTP: made, listed, hidden at once when deleted, invisible to others."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from server.routes import libraries as routes
from storage import libraries
from tests.support.rest import Rest, code_of, rest_api


@pytest.fixture(scope="module")
async def running(shared_dsn: str) -> AsyncIterator[Rest]:
    async with rest_api(shared_dsn) as rest:
        yield rest


@pytest.fixture
def rest(running: Rest) -> Rest:
    running.deleted.clear()
    return running


async def create(rest: Rest, token: str, name: str = "Prompts") -> str:
    response = await rest.post("/api/libraries", {"name": name}, token)
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


async def join(rest: Rest, library_id: str, user_id: str, role: str) -> None:
    async with rest.services.database.acquire() as connection:
        await connection.execute(
            "INSERT INTO members (library_id, user_id, role) VALUES ($1, $2, $3)", UUID(library_id), UUID(user_id), role
        )


async def test_a_library_is_made_found_and_listed(rest: Rest) -> None:
    user = await rest.register()
    rest.clock.advance(seconds=1)  # the list is in order of age
    response = await rest.post("/api/libraries", {"name": "  \u63d0\u793a\u8bcd \U0001f600 "}, user["access_token"])
    body = response.json()
    assert response.status_code == 201
    assert response.headers["location"] == f"/api/libraries/{body['id']}"
    assert (body["name"], body["role"]) == ("\u63d0\u793a\u8bcd \U0001f600", "owner")
    assert (await rest.get(f"/api/libraries/{body['id']}", user["access_token"])).json() == body
    listed = (await rest.get("/api/libraries", user["access_token"])).json()["libraries"]
    assert [library["id"] for library in listed] == [user["library_id"], body["id"]]


async def test_another_users_library_answers_like_one_that_does_not_exist(rest: Rest) -> None:
    owner, stranger = await rest.register(), await rest.register()
    library_id = await create(rest, owner["access_token"])
    for method in (rest.get, rest.delete):
        theirs = await method(f"/api/libraries/{library_id}", stranger["access_token"])
        missing = await method(f"/api/libraries/{uuid4()}", stranger["access_token"])
        assert (theirs.status_code, theirs.content) == (missing.status_code, missing.content) == (404, theirs.content)
        assert code_of(theirs) == "not_found"
    assert (await rest.get(f"/api/libraries/{library_id}", owner["access_token"])).status_code == 200


async def test_a_deleted_library_is_gone_for_everyone_at_once(rest: Rest) -> None:
    owner, viewer = await rest.register(), await rest.register()
    library_id = await create(rest, owner["access_token"])
    await join(rest, library_id, viewer["user"]["id"], "viewer")
    assert (await rest.delete(f"/api/libraries/{library_id}", owner["access_token"])).status_code == 204
    assert rest.deleted == [UUID(library_id)]
    for user in (owner, viewer):
        assert (await rest.get(f"/api/libraries/{library_id}", user["access_token"])).status_code == 404
        assert library_id not in (await rest.get("/api/libraries", user["access_token"])).text
    assert (await rest.delete(f"/api/libraries/{library_id}", owner["access_token"])).status_code == 404


async def test_deletions_that_race_hide_it_once(rest: Rest) -> None:
    owner = await rest.register()
    library_id = await create(rest, owner["access_token"])
    answers = await asyncio.gather(*(rest.delete(f"/api/libraries/{library_id}", owner["access_token"]) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [204, 404, 404, 404, 404]
    assert len(rest.deleted) == 1


@pytest.mark.parametrize("role", ["editor", "viewer"])
async def test_only_the_owner_deletes(rest: Rest, role: str) -> None:
    owner, member = await rest.register(), await rest.register()
    library_id = await create(rest, owner["access_token"])
    await join(rest, library_id, member["user"]["id"], role)
    assert (await rest.get(f"/api/libraries/{library_id}", member["access_token"])).json()["role"] == role
    assert code_of(await rest.delete(f"/api/libraries/{library_id}", member["access_token"])) == "forbidden"


async def test_ones_own_library_stays(rest: Rest) -> None:
    user = await rest.register()
    response = await rest.delete(f"/api/libraries/{user['library_id']}", user["access_token"])
    assert (response.status_code, code_of(response)) == (409, "own_library")
    assert (await rest.get(f"/api/libraries/{user['library_id']}", user["access_token"])).status_code == 200


@pytest.mark.parametrize("spelling", ["me", "{%s}", "urn:uuid:%s", "' OR 1=1--", "%%00"])
async def test_an_id_in_another_spelling_names_nothing(rest: Rest, spelling: str) -> None:
    user = await rest.register()
    path = spelling % user["library_id"] if "%s" in spelling else spelling
    response = await rest.get(f"/api/libraries/{path}", user["access_token"])
    assert (response.status_code, code_of(response)) == (404, "not_found")


@pytest.mark.parametrize("name", ["", "   ", "x" * 101, "a\0b", "a\nb", "a\u202eb", "a\u2028b", 5, None, True, ["a"]])
async def test_a_senseless_name_is_refused(rest: Rest, name: object) -> None:
    user = await rest.register()
    response = await rest.post("/api/libraries", {"name": name}, user["access_token"])
    assert (response.status_code, code_of(response)) == (422, "invalid_request")


async def test_a_user_owns_a_bounded_number(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "MAX_LIBRARIES", 4)
    user = await rest.register()
    answers = await asyncio.gather(*(rest.post("/api/libraries", {"name": "n"}, user["access_token"]) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, 201, 201, 409, 409, 409]


async def test_without_a_token_nothing_is_served(rest: Rest) -> None:
    for response in (
        await rest.get("/api/libraries"),
        await rest.post("/api/libraries", {"name": "n"}),
        await rest.delete(f"/api/libraries/{uuid4()}"),
    ):
        assert (response.status_code, code_of(response)) == (401, "not_authenticated")


async def test_each_library_has_a_key_and_a_client_id_of_its_own(rest: Rest) -> None:
    user = await rest.register()
    for _ in range(3):
        await create(rest, user["access_token"])
    async with rest.services.database.acquire() as connection:
        rows = await connection.fetch("SELECT wrapped_key, server_client_id FROM libraries WHERE owner_id = $1", UUID(user["user"]["id"]))
        listed = await libraries.of_user(connection, UUID(user["user"]["id"]))
    assert len({row["wrapped_key"] for row in rows}) == len({row["server_client_id"] for row in rows}) == len(listed) == 4
    assert all(2**31 <= row["server_client_id"] < 2**32 for row in rows)
