"""What administrators may: look after accounts, and read the audit log. Nobody else may, and nobody takes the last one away."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from storage import administration
from tests.support.audited import entries, events, logged
from tests.support.core import eventually
from tests.support.rest import PASSWORD, Rest, code_of, fresh_email, grant, rest_api

READING = ["/api/admin/users", "/api/admin/users/{user}", "/api/admin/audit"]
CHANGING: list[tuple[str, str, Any]] = [
    ("POST", "/api/admin/users/{user}/disable", None),
    ("POST", "/api/admin/users/{user}/enable", None),
    ("DELETE", "/api/admin/users/{user}/sessions", None),
    ("PUT", "/api/admin/users/{user}/role", {"role": "admin"}),
    ("DELETE", "/api/admin/users/{user}", None),
]


@pytest.fixture(scope="module")
async def running(shared_dsn: str) -> AsyncIterator[Rest]:
    async with rest_api(shared_dsn) as rest:
        yield rest


@pytest.fixture
async def rest(running: Rest) -> Rest:
    """Without any administrator left from the test before."""
    async with running.services.database.acquire() as connection:
        await connection.execute("UPDATE users SET role = 'user'")
    running.revoked.clear()
    running.deleted.clear()
    return running


async def administrator(rest: Rest) -> dict[str, Any]:
    tokens = await rest.register()
    async with rest.services.database.acquire() as connection:
        await connection.execute("UPDATE users SET role = 'admin' WHERE id = $1", tokens["user"]["id"])
    return tokens


async def ask(rest: Rest, method: str, path: str, tokens: dict[str, Any] | None, body: Any = None) -> httpx2.Response:
    headers = {} if tokens is None else {"Authorization": f"Bearer {tokens['access_token']}"}
    return await rest.client.request(method, path, headers=headers, json=body)


def path_of(user: dict[str, Any], rest_of_it: str = "") -> str:
    return f"/api/admin/users/{user['user']['id']}{rest_of_it}"


async def test_nobody_else_may_ask_or_change_anything(rest: Rest) -> None:
    user, victim = await rest.register(), await rest.register()
    before = await events(rest.services.database, victim["user"]["id"])
    for method, path, body in [*(("GET", path, None) for path in READING), *CHANGING]:
        for target in (victim["user"]["id"], user["user"]["id"], str(uuid4())):
            refused = await ask(rest, method, path.format(user=target), user, body)
            assert (refused.status_code, code_of(refused)) == (403, "forbidden"), (method, path)
        assert code_of(await ask(rest, method, path.format(user=victim["user"]["id"]), None, body)) == "not_authenticated"
    assert await rest.status_of(victim["access_token"]) == 200
    assert await events(rest.services.database, victim["user"]["id"]) == before


async def test_the_role_counts_as_it_is_at_the_moment(rest: Rest) -> None:
    admin, other = await administrator(rest), await administrator(rest)
    assert (await ask(rest, "GET", "/api/admin/users", admin)).status_code == 200
    assert (await ask(rest, "PUT", path_of(admin, "/role"), other, {"role": "user"})).json()["role"] == "user"
    assert code_of(await ask(rest, "GET", "/api/admin/users", admin)) == "forbidden"


async def test_accounts_are_found_by_a_part_of_the_address_or_name_or_by_id(rest: Rest) -> None:
    admin = await administrator(rest)
    tag = uuid4().hex
    mine = await rest.register(f"{tag}@example.com", name="Ada 100%_\\ Lovelace")

    async def found(query: str) -> list[str]:
        answer = await rest.client.get(
            "/api/admin/users", params={"query": query}, headers={"Authorization": f"Bearer {admin['access_token']}"}
        )
        assert answer.status_code == 200, answer.text
        return [user["id"] for user in answer.json()["users"]]

    for query in (tag, tag.upper(), f"{tag[5:]}@EXAMPLE", "100%_\\ l", mine["user"]["id"], mine["user"]["id"].upper()):
        assert await found(query) == [mine["user"]["id"]], query
    for query in (f"{tag[:5]}%", "_" * 40, "' OR 1=1--", "100__", str(uuid4())):
        assert await found(query) == [], query


async def test_accounts_are_listed_in_pages_oldest_first(rest: Rest) -> None:
    admin = await administrator(rest)
    made = []
    for _ in range(5):
        rest.clock.advance(seconds=1)
        made.append((await rest.register())["user"]["id"])
    seen, cursor = list[str](), ""
    while True:
        page = (await ask(rest, "GET", f"/api/admin/users?limit=2{cursor}", admin)).json()
        seen += [user["id"] for user in page["users"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen[-5:] == made
    assert len(seen) == len(set(seen))
    for wrong in ("", "x", "A" * 32, "A" * 31, "A" * 201, "%00", "9" * 32):
        answer = await ask(rest, "GET", f"/api/admin/users?cursor={wrong}", admin)
        assert answer.status_code == 422 or answer.json()["users"] is not None, wrong
        assert answer.status_code in (200, 422)
    assert code_of(await ask(rest, "GET", "/api/admin/users?cursor=junk", admin)) == "invalid_cursor"


async def test_an_account_is_shown_without_content_and_secrets(rest: Rest) -> None:
    admin, user = await administrator(rest), await rest.register(name="Ada")
    answer = await ask(rest, "GET", path_of(user), admin)
    assert answer.json() == {
        "id": user["user"]["id"],
        "email": user["user"]["email"],
        "email_verified": False,
        "name": "Ada",
        "role": "user",
        "created_at": user["user"]["created_at"],
        "last_login": user["user"]["last_login"],
        "disabled_at": None,
        "has_password": True,
        "providers": [],
        "libraries": 1,
        "sessions": 1,
    }
    for nobody in (uuid4(), "none"):
        assert code_of(await ask(rest, "GET", f"/api/admin/users/{nobody}", admin)) == "not_found"
    library = await ask(rest, "GET", f"/api/libraries/{user['library_id']}", admin)
    assert code_of(library) == "not_found", "an administrator is no member of it"


async def test_an_account_is_disabled_and_enabled(rest: Rest) -> None:
    admin, email = await administrator(rest), fresh_email()
    user = await rest.register(email)
    login = {"email": email, "password": PASSWORD}

    with logged() as log:
        answers = [await ask(rest, "POST", path_of(user, "/disable"), admin) for _ in "ab"]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json()["disabled_at"] == answers[1].json()["disabled_at"] is not None
    assert answers[0].json()["sessions"] == 0
    assert await rest.status_of(user["access_token"]) == 401
    assert code_of(await rest.post("/api/auth/login", login)) == "invalid_credentials"
    assert len(rest.revoked) == 1
    noted = (await entries(rest.services.database, user["user"]["id"], "account_disabled"))[-1]
    assert (noted.actor, str(noted.actor_id), noted.details, noted.address) == ("admin", admin["user"]["id"], {"ended": 1}, "127.0.0.1")
    log.assert_without(admin["access_token"], PASSWORD, besides=repr(noted))

    assert (await ask(rest, "POST", path_of(user, "/enable"), admin)).json()["disabled_at"] is None
    assert await rest.status_of(user["access_token"]) == 401, "what was ended stays so"
    grant(await rest.post("/api/auth/login", login))
    assert (await events(rest.services.database, user["user"]["id"]))[-2:] == ["account_enabled", "signed_in"]


async def test_all_sessions_of_an_account_are_ended(rest: Rest) -> None:
    admin, email = await administrator(rest), fresh_email()
    user = await rest.register(email)
    other = grant(await rest.post("/api/auth/login", {"email": email, "password": PASSWORD}))
    assert (await ask(rest, "DELETE", path_of(user, "/sessions"), admin)).status_code == 204
    assert [await rest.status_of(each["access_token"]) for each in (user, other, admin)] == [401, 401, 200]
    assert (await entries(rest.services.database, user["user"]["id"]))[-1].details == {"ended": 2}


async def test_an_account_is_deleted(rest: Rest) -> None:
    admin, user = await administrator(rest), await rest.register()
    assert (await ask(rest, "DELETE", path_of(user), admin)).status_code == 204
    assert code_of(await ask(rest, "DELETE", path_of(user), admin)) == "not_found"
    assert code_of(await ask(rest, "GET", path_of(user), admin)) == "not_found"
    assert await rest.status_of(user["access_token"]) == 401
    listed = (await ask(rest, "GET", f"/api/admin/users?query={user['user']['id']}", admin)).json()
    assert listed["users"] == []
    (noted,) = await entries(rest.services.database, user["user"]["id"], "account_deleted")
    assert (noted.actor, str(noted.actor_id)) == ("admin", admin["user"]["id"])


@pytest.mark.parametrize(("method", "path", "body"), CHANGING)
async def test_what_changes_something_takes_a_recent_login(rest: Rest, method: str, path: str, body: Any) -> None:
    admin, user = await administrator(rest), await rest.register()
    rest.clock.advance(seconds=599)
    admin = grant(await rest.refresh(admin["refresh_token"]))
    rest.clock.advance(seconds=2)
    answer = await ask(rest, method, path.format(user=user["user"]["id"]), admin, body)
    assert (answer.status_code, code_of(answer)) == (403, "recent_login_required")
    assert (await ask(rest, "GET", path_of(user), admin)).status_code == 200
    await rest.post("/api/auth/reauthenticate", {"password": PASSWORD}, admin["access_token"])
    assert (await ask(rest, method, path.format(user=user["user"]["id"]), admin, body)).is_success


async def test_the_last_administrator_stays(rest: Rest) -> None:
    admin = await administrator(rest)
    for method, path, body in (
        ("PUT", path_of(admin, "/role"), {"role": "user"}),
        ("POST", path_of(admin, "/disable"), None),
        ("DELETE", path_of(admin), None),
        ("DELETE", "/api/users/me", None),
    ):
        answer = await ask(rest, method, path, admin, body)
        assert (answer.status_code, code_of(answer)) == (409, "last_admin"), path
    assert (await ask(rest, "GET", path_of(admin), admin)).json()["role"] == "admin"
    assert (await ask(rest, "PUT", path_of(admin, "/role"), admin, {"role": "admin"})).status_code == 200
    disabled = await administrator(rest)
    await ask(rest, "POST", path_of(disabled, "/disable"), admin)
    assert code_of(await ask(rest, "DELETE", path_of(admin), admin)) == "last_admin", "one who cannot sign in does not count"
    await administrator(rest)
    assert (await ask(rest, "DELETE", path_of(admin), admin)).status_code == 204


@pytest.mark.parametrize("how", ["role", "delete", "me", "disable"])
async def test_administrators_who_race_to_go_leave_one(rest: Rest, how: str) -> None:
    for _ in range(10):
        admins = [await administrator(rest) for _ in range(3)]
        changes = {
            "role": lambda admin, other: ask(rest, "PUT", path_of(other, "/role"), admin, {"role": "user"}),
            "delete": lambda admin, other: ask(rest, "DELETE", path_of(other), admin),
            "me": lambda admin, other: ask(rest, "DELETE", "/api/users/me", admin),
            "disable": lambda admin, other: ask(rest, "POST", path_of(other, "/disable"), admin),
        }
        answers = await asyncio.gather(*(changes[how](admin, admins[number - 1]) for number, admin in enumerate(admins)))
        assert {answer.status_code for answer in answers} <= {200, 204, 401, 403, 404, 409}
        async with rest.services.database.acquire() as connection:
            left = await connection.fetchval("SELECT count(*) FROM users WHERE role = 'admin' AND disabled_at IS NULL")
            assert left >= 1
            await connection.execute("UPDATE users SET role = 'user'")


@pytest.mark.parametrize(("change", "code"), [("role = 'user'", "forbidden"), ("disabled_at = now()", "session_ended")])
async def test_an_administrator_who_is_taken_the_role_meanwhile_changes_nothing(rest: Rest, change: str, code: str) -> None:
    await administrator(rest)
    admin, other, user = await administrator(rest), await administrator(rest), await rest.register()
    async with rest.services.database.transaction() as connection:
        await administration.alone(connection)
        asked = [asyncio.create_task(ask(rest, "PUT", path_of(each, "/role"), admin, {"role": "user"})) for each in (other, user)]

        async def waits() -> bool:
            return bool(await connection.fetchval("SELECT count(*) = 2 FROM pg_locks WHERE NOT granted AND locktype = 'advisory'"))

        await eventually(waits, "the administrator's transactions")
        await connection.execute(f"UPDATE users SET {change} WHERE id = $1", admin["user"]["id"])  # noqa: S608  # from the list
    assert {code_of(answer) for answer in await asyncio.gather(*asked)} == {code}
    async with rest.services.database.acquire() as connection:
        assert await connection.fetchval("SELECT role FROM users WHERE id = $1", other["user"]["id"]) == "admin"


async def test_the_audit_log_is_read_by_account_kind_and_time_in_pages(rest: Rest) -> None:
    admin, email = await administrator(rest), fresh_email()
    user = await rest.register(email)
    rest.clock.advance(minutes=1)
    for _ in range(3):
        await rest.post("/api/auth/login", {"email": email, "password": "wrong password"})

    async def read(query: str) -> dict[str, Any]:
        answer = await ask(rest, "GET", f"/api/admin/audit?{query}", admin)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    whole = await read(f"user={user['user']['id']}")
    assert [entry["event"] for entry in whole["entries"]] == ["sign_in_failed"] * 3 + ["registered"]
    assert whole["next_before"] is None
    assert whole["entries"][0]["details"] == {"method": "password"}
    first = await read(f"user={user['user']['id']}&limit=2")
    rest_of_it = await read(f"user={user['user']['id']}&limit=2&before={first['next_before']}")
    assert first["entries"] + rest_of_it["entries"] == whole["entries"]
    assert [entry["event"] for entry in (await read(f"user={user['user']['id']}&event=registered"))["entries"]] == ["registered"]
    since = rest.clock().isoformat().replace("+00:00", "Z")
    assert len((await read(f"user={user['user']['id']}&since={since}"))["entries"]) == 3
    bad_times = [f"since={each}" for each in ("yesterday", "0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00")]
    for query in ("before=0", "limit=201", "user=x", *bad_times, "event=", "actor=admin"):
        assert code_of(await ask(rest, "GET", f"/api/admin/audit?{query}", admin)) == "invalid_request", query
