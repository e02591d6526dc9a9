"""Registering, signing in, refreshing and signing out over HTTP, against a real database."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import httpx2
import pytest
from argon2 import PasswordHasher

from storage import users
from tests.support.rest import PASSWORD, Rest, bearer, code_of, fresh_email, grant, rest_api


@pytest.fixture(scope="module")
async def running(shared_dsn: str) -> AsyncIterator[Rest]:
    async with rest_api(shared_dsn) as rest:
        yield rest


@pytest.fixture
def rest(running: Rest) -> Rest:
    running.revoked.clear()
    return running


async def login(rest: Rest, email: str, password: str = PASSWORD, **body: object) -> httpx2.Response:
    return await rest.post("/api/auth/login", {"email": email, "password": password, **body})


async def test_registering_gives_tokens_and_a_library_of_ones_own(rest: Rest) -> None:
    response = await rest.post("/api/auth/register", {"email": "New.User@Example.com", "password": PASSWORD})

    assert response.status_code == 201
    assert response.headers["cache-control"] == "no-store"
    body = response.json()
    assert body["token_type"] == "Bearer"
    assert body["expires_in"] == 600
    me = (await rest.get("/api/users/me", body["access_token"])).json()
    assert me == body["user"]
    assert me["email"] == "New.User@example.com"
    assert me["name"] == "New.User"
    assert me["library_id"] == body["library_id"]
    assert me["last_login"] == me["created_at"]
    listed = (await rest.get("/api/libraries", body["access_token"])).json()["libraries"]
    assert [(library["id"], library["name"], library["role"]) for library in listed] == [(body["library_id"], "My library", "owner")]


async def test_the_same_address_in_another_case_is_taken(rest: Rest) -> None:
    await rest.register("someone@example.com")
    response = await rest.post("/api/auth/register", {"email": "SOMEONE@Example.COM", "password": PASSWORD})
    assert (response.status_code, code_of(response)) == (409, "email_taken")


async def test_of_registrations_that_race_for_an_address_one_wins(rest: Rest) -> None:
    body = {"email": fresh_email(), "password": PASSWORD}
    responses = await asyncio.gather(*(rest.post("/api/auth/register", body) for _ in range(5)))
    assert sorted(response.status_code for response in responses) == [201, 409, 409, 409, 409]


async def test_unknown_wrong_disabled_and_without_a_password_cannot_be_told_apart(rest: Rest) -> None:
    """Case 23; `benchmarks/auth.py` has the times."""
    known, disabled, social = fresh_email(), fresh_email(), fresh_email()
    for email in (known, disabled, social):
        await rest.register(email)
    async with rest.services.database.acquire() as connection:
        await connection.execute("UPDATE users SET disabled_at = now() WHERE email_key = $1", disabled)
        await connection.execute("UPDATE users SET password_hash = NULL WHERE email_key = $1", social)
        before = await connection.fetchval("SELECT count(*) FROM audit WHERE event = 'sign_in_failed'")

    answers = [
        await login(rest, fresh_email()),
        await login(rest, known, "wrong password"),
        await login(rest, disabled),
        await login(rest, disabled, "wrong password"),
        await login(rest, known, "short"),
        await login(rest, social),
    ]

    assert {(answer.status_code, answer.content) for answer in answers} == {(401, answers[0].content)}
    assert code_of(answers[0]) == "invalid_credentials"
    varying = {"x-request-id"}
    assert len({tuple(sorted((k, v) for k, v in answer.headers.items() if k not in varying)) for answer in answers}) == 1
    async with rest.services.database.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM audit WHERE event = 'sign_in_failed'") == before + len(answers)


async def test_passwords_are_kept_byte_for_byte(rest: Rest) -> None:
    long = "x" * 80
    for password in (" lead and trail ", "p\u00e9p\u00e9p\u00e9p\u00e9", "\U0001f600" * 8, "with\0nul byte", long):
        email = fresh_email()
        await rest.register(email, password=password)
        assert (await login(rest, email, password)).status_code == 200
        assert (await login(rest, email, password.strip() + "!")).status_code == 401
    assert (await login(rest, email, long[:72] + "y" * 8)).status_code == 401
    decomposed = "pe\u0301" * 4
    email = fresh_email()
    await rest.register(email, password=decomposed)
    assert (await login(rest, email, "p\u00e9" * 4)).status_code == 401


@pytest.mark.parametrize("password", ["seven77", "x" * 257, "\U0001f600" * 257])
async def test_a_password_outside_the_rules_is_refused(rest: Rest, password: str) -> None:
    response = await rest.post("/api/auth/register", {"email": fresh_email(), "password": password})
    assert response.status_code == 422
    assert code_of(response) in {"weak_password", "invalid_request"}
    assert password not in response.text


@pytest.mark.parametrize(
    "email",
    [
        "a@example.com,b@example.org",
        "a@example.com\nBcc: b@example.org",
        '"a b"@example.com',
        "a@[127.0.0.1]",
        "\u00e9@example.com",
        "a",
        "",
        "a@x\0.com",
    ],
)
async def test_what_is_no_plain_address_is_refused(rest: Rest, email: str) -> None:
    for path in ("/api/auth/register", "/api/auth/login"):
        response = await rest.post(path, {"email": email, "password": PASSWORD})
        assert (response.status_code, code_of(response)) == (422, "invalid_request")


async def test_a_second_login_of_a_device_replaces_its_session(rest: Rest) -> None:
    email, device = fresh_email(), {"id": str(uuid4()), "name": "Laptop \u7b14\u8bb0\u672c", "platform": "web"}
    first = await rest.register(email, device=device)
    other = grant(await login(rest, email))
    second = grant(await login(rest, email, device=device))

    assert await rest.status_of(first["access_token"]) == 401
    assert code_of(await rest.refresh(first["refresh_token"])) == "session_ended"
    assert await rest.status_of(second["access_token"]) == 200
    assert await rest.status_of(other["access_token"]) == 200
    assert len(rest.revoked) == 1


async def test_logins_of_one_device_that_race_leave_one_session(rest: Rest) -> None:
    email, device = fresh_email(), {"id": str(uuid4()), "name": "d", "platform": "web"}
    await rest.register(email)
    answers = [grant(answer) for answer in await asyncio.gather(*(login(rest, email, device=device) for _ in range(6)))]
    alive = [answer for answer in answers if await rest.status_of(answer["access_token"]) == 200]
    assert len(alive) == 1


async def test_logging_out_ends_the_session_and_may_be_repeated(rest: Rest) -> None:
    tokens = await rest.register()
    for _ in range(2):
        response = await rest.client.post("/api/auth/logout", headers=bearer(tokens["access_token"]))
        assert response.status_code == 204
    assert code_of(await rest.get("/api/users/me", tokens["access_token"])) == "session_ended"
    assert code_of(await rest.refresh(tokens["refresh_token"])) == "session_ended"
    assert len(rest.revoked) == 1


async def test_ten_refreshes_that_race_converge_on_one_token(rest: Rest) -> None:
    tokens = await rest.register()
    answers = [grant(answer) for answer in await asyncio.gather(*(rest.refresh(tokens["refresh_token"]) for _ in range(10)))]
    assert len({answer["refresh_token"] for answer in answers}) == 1
    assert answers[0]["refresh_token"] != tokens["refresh_token"]
    assert grant(await rest.refresh(answers[0]["refresh_token"]))


async def test_a_lost_answer_is_made_good_days_later_while_nobody_used_the_successor(rest: Rest) -> None:
    tokens = await rest.register()
    lost = grant(await rest.refresh(tokens["refresh_token"]))
    rest.clock.advance(days=3)
    assert grant(await rest.refresh(tokens["refresh_token"]))["refresh_token"] == lost["refresh_token"]


async def test_an_answer_lost_later_on_is_made_good_too(rest: Rest) -> None:
    tokens = await rest.register()
    assert await rest.status_of(tokens["access_token"]) == 200
    lost = grant(await rest.refresh(tokens["refresh_token"]))
    rest.clock.advance(seconds=60)
    assert await rest.status_of(tokens["access_token"]) == 200, "the old access token is no use of the new generation"
    rest.clock.advance(days=3)
    assert grant(await rest.refresh(tokens["refresh_token"]))["refresh_token"] == lost["refresh_token"]


async def test_a_replay_after_the_successor_was_used_ends_the_session(rest: Rest) -> None:
    tokens = await rest.register()
    current = grant(await rest.refresh(tokens["refresh_token"]))
    assert await rest.status_of(current["access_token"]) == 200
    rest.clock.advance(seconds=31)

    assert code_of(await rest.refresh(tokens["refresh_token"])) == "session_ended"

    assert len(rest.revoked) == 1
    assert await rest.status_of(current["access_token"]) == 401
    assert (await rest.refresh(current["refresh_token"])).status_code == 401


async def test_a_replay_two_generations_old_ends_the_session_at_once(rest: Rest) -> None:
    first = await rest.register()
    second = grant(await rest.refresh(first["refresh_token"]))
    third = grant(await rest.refresh(second["refresh_token"]))
    assert (await rest.refresh(first["refresh_token"])).status_code == 401
    assert (await rest.refresh(third["refresh_token"])).status_code == 401


async def test_a_thief_who_alternates_with_the_owner_is_found_out_in_two_rounds(rest: Rest) -> None:
    stolen = (await rest.register())["refresh_token"]
    owner = thief = stolen
    for rounds in range(1, 10):
        for who in ("owner", "thief"):
            rest.clock.advance(seconds=40)
            answer = await rest.refresh(owner if who == "owner" else thief)
            if answer.status_code == 401:
                assert rounds <= 2
                return
            fresh = grant(answer)
            assert await rest.status_of(fresh["access_token"]) == 200
            if who == "owner":
                owner = fresh["refresh_token"]
            else:
                thief = fresh["refresh_token"]
    pytest.fail("never found out")


async def test_refreshes_that_race_with_a_logout_leave_no_live_token(rest: Rest) -> None:
    for _ in range(20):
        tokens = await rest.register()
        answers = await asyncio.gather(
            rest.refresh(tokens["refresh_token"]),
            rest.client.post("/api/auth/logout", headers=bearer(tokens["access_token"])),
            rest.refresh(tokens["refresh_token"]),
        )
        for answer in answers:
            if answer.status_code == 200:
                assert await rest.status_of(answer.json()["access_token"]) == 401
                assert (await rest.refresh(answer.json()["refresh_token"])).status_code == 401


async def test_the_absolute_end_comes_however_active_a_session_is(rest: Rest) -> None:
    token = (await rest.register())["refresh_token"]
    for _ in range(3):
        rest.clock.advance(days=59)
        token = grant(await rest.refresh(token))["refresh_token"]
    rest.clock.advance(days=4)
    assert code_of(await rest.refresh(token)) == "session_ended"


async def test_an_idle_session_ends(rest: Rest) -> None:
    tokens = await rest.register()
    rest.clock.advance(days=61)
    assert code_of(await rest.refresh(tokens["refresh_token"])) == "session_ended"


async def test_tokens_do_not_serve_for_each_other(rest: Rest) -> None:
    tokens = await rest.register()
    assert code_of(await rest.get("/api/users/me", tokens["sync_token"])) == "invalid_token"
    assert code_of(await rest.get("/api/users/me", tokens["refresh_token"])) == "invalid_token"
    assert code_of(await rest.refresh(tokens["access_token"][:200])) == "invalid_refresh_token"
    logout = await rest.client.post("/api/auth/logout", headers=bearer(tokens["sync_token"]))
    assert code_of(logout) == "invalid_token"


async def test_an_expired_access_token_says_so(rest: Rest) -> None:
    tokens = await rest.register()
    rest.clock.advance(seconds=631)
    response = await rest.get("/api/users/me", tokens["access_token"])
    assert code_of(response) == "token_expired"
    assert response.headers["www-authenticate"] == "Bearer"


async def test_odd_authorization_headers_are_refused(rest: Rest) -> None:
    token = (await rest.register())["access_token"]

    async def code(*values: str) -> str:
        return code_of(await rest.client.get("/api/users/me", headers=[("Authorization", value) for value in values]))

    assert await code() == "not_authenticated"
    assert await code(f"Basic {token}") == "not_authenticated"
    assert await code("Bearer ") == "not_authenticated"
    assert await code(f"Bearer {token}", f"Bearer {token}") == "invalid_token"
    assert await code(f"Bearer {token}, Bearer {token}") == "invalid_token"
    assert await code("Bearer " + "x" * 16_000) == "invalid_token"
    assert (await rest.client.get("/api/users/me", headers={"Authorization": f"bEARER {token}"})).status_code == 200
    assert code_of(await rest.client.get(f"/api/users/me?access_token={token}")) == "not_authenticated"


async def test_a_disabled_user_is_served_no_more(rest: Rest) -> None:
    email = fresh_email()
    tokens = await rest.register(email)
    async with rest.services.database.acquire() as connection:
        await connection.execute("UPDATE users SET disabled_at = now() WHERE email_key = $1", email)
    assert await rest.status_of(tokens["access_token"]) == 401
    assert (await rest.refresh(tokens["refresh_token"])).status_code == 401


async def test_fields_that_nobody_asked_for_are_refused(rest: Rest) -> None:
    response = await rest.post("/api/auth/register", {"email": fresh_email(), "password": PASSWORD, "is_admin": True})
    assert code_of(response) == "invalid_request"
    assert "is_admin" not in response.text


async def test_a_hash_with_old_parameters_is_renewed_at_login(rest: Rest) -> None:
    email = fresh_email()
    await rest.register(email)
    old = PasswordHasher(time_cost=2, memory_cost=16, parallelism=1).hash(PASSWORD)
    async with rest.services.database.acquire() as connection:
        await connection.execute("UPDATE users SET password_hash = $1 WHERE email_key = $2", old, email)
    assert (await login(rest, email)).status_code == 200
    async with rest.services.database.acquire() as connection:
        account = await users.by_email(connection, email)
    assert account is not None
    assert account.password_hash is not None
    assert account.password_hash != old
    assert "m=8,t=1,p=1" in account.password_hash
    assert (await login(rest, email)).status_code == 200


async def test_nothing_that_could_be_replayed_is_in_the_database(rest: Rest) -> None:
    tokens = await rest.register()
    current = grant(await rest.refresh(tokens["refresh_token"]))
    async with rest.services.database.acquire() as connection:
        stored = str(
            [list(row.values()) for row in await connection.fetch("SELECT s.*, u.* FROM sessions s JOIN users u ON u.id = s.user_id")]
        )
    for secret in (PASSWORD, current["refresh_token"], current["access_token"], current["sync_token"]):
        assert secret not in stored


async def test_without_the_database_the_answer_says_try_again(database_dsn: str) -> None:
    async with rest_api(database_dsn) as rest:
        tokens = await rest.register()
        await rest.services.database.close()
        for response in (await rest.get("/api/users/me", tokens["access_token"]), await rest.refresh(tokens["refresh_token"])):
            assert (response.status_code, code_of(response)) == (503, "unavailable")
            assert int(response.headers["retry-after"]) > 0
