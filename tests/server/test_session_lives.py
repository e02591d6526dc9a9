"""How long sessions live, by what their settings say and by whoever ends them; and when they were used last."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from auth.administration import OPERATOR
from auth.sessions import SEEN_EVERY
from server.times import utc_now
from storage.errors import NotFound
from storage.users import Rank
from tests.support.database import Databases
from tests.support.rest import PASSWORD, Rest, bearer, code_of, fresh_email, grant, rest_api
from tests.support.running import Running, User


@pytest.fixture(scope="module")
async def rest(databases: Databases, template_database: str) -> AsyncIterator[Rest]:
    """Sessions that end after a day without refreshing, and after three in any case."""
    dsn = databases.create(template_database)
    async with rest_api(dsn, session_idle_days=1, session_absolute_days=3) as rest:
        yield rest
    databases.drop(dsn)


async def until(rest: Rest, tokens: dict[str, Any]) -> datetime:
    """When the session ends in any case."""
    async with rest.services.database.acquire() as connection:
        found: datetime = await connection.fetchval("SELECT expires_at FROM sessions WHERE user_id = $1", tokens["user"]["id"])
    return found


async def test_refreshing_never_moves_the_absolute_end(rest: Rest) -> None:
    """Case 21."""
    tokens = await rest.register()
    end = rest.clock() + timedelta(days=3)
    for _ in range(5):
        assert await until(rest, tokens) == end
        rest.clock.advance(hours=14)
        tokens = grant(await rest.refresh(tokens["refresh_token"]))
    rest.clock.advance(hours=1, minutes=55)
    tokens = grant(await rest.refresh(tokens["refresh_token"]))
    assert tokens["expires_in"] == 300, "no token outlives the session"
    rest.clock.advance(minutes=5)
    assert code_of(await rest.refresh(tokens["refresh_token"])) == "session_ended"
    assert await rest.status_of(tokens["access_token"]) == 401


async def test_a_session_that_is_not_refreshed_ends_and_others_do_not(rest: Rest) -> None:
    idle, used = await rest.register(), await rest.register()
    rest.clock.advance(hours=23)
    used = grant(await rest.refresh(used["refresh_token"]))
    rest.clock.advance(hours=1)
    assert code_of(await rest.refresh(idle["refresh_token"])) == "session_ended"
    assert (await rest.get("/api/auth/sessions", used["access_token"])).status_code == 401, "its time is over, the session's is not"
    used = grant(await rest.refresh(used["refresh_token"]))
    assert len((await rest.get("/api/auth/sessions", used["access_token"])).json()["sessions"]) == 1


async def test_a_good_signature_serves_nobody_whose_session_or_account_is_over_or_anothers(rest: Rest) -> None:
    """Case 9."""
    ended, disabled, deleted, mine, other = [await rest.register() for _ in range(5)]
    await rest.client.post("/api/auth/logout", headers=bearer(ended["access_token"]))
    async with rest.services.database.acquire() as connection:
        await connection.execute("UPDATE users SET disabled_at = now() WHERE id = $1", disabled["user"]["id"])
        (session_id,) = [row["id"] for row in await connection.fetch("SELECT id FROM sessions WHERE user_id = $1", mine["user"]["id"])]
    assert (await rest.delete("/api/users/me", deleted["access_token"])).status_code == 204

    def minted(user_id: str, session_id: UUID) -> str:
        now = rest.clock()
        return rest.services.tokens.access(
            user_id=UUID(user_id), session_id=session_id, generation=0, now=now, expires_at=now + timedelta(minutes=5)
        )

    swapped, unknown = minted(other["user"]["id"], session_id), minted(mine["user"]["id"], uuid4())
    for token in (ended["access_token"], disabled["access_token"], deleted["access_token"], swapped, unknown):
        answer = await rest.get("/api/users/me", token)
        assert (answer.status_code, code_of(answer)) == (401, "session_ended")
        for path in ("/api/auth/sessions", "/api/users/me/activity", "/api/libraries"):
            assert (await rest.get(path, token)).status_code == 401
        await rest.client.post("/api/auth/logout", headers=bearer(token), json={"scope": "global"})
    assert await rest.status_of(mine["access_token"]) == 200, "and ends nobody's session"
    assert await rest.status_of(minted(mine["user"]["id"], session_id)) == 200


@pytest.mark.parametrize("body", [{}, {"scope": "global"}])
async def test_refreshes_that_race_with_any_logout_leave_no_live_token(rest: Rest, body: dict[str, str]) -> None:
    """Case 20, the half with the logout."""
    for number in range(50):
        tokens = await rest.register()
        by = {"refresh_token": tokens["refresh_token"]} if number % 2 else {}
        headers = {} if number % 2 else bearer(tokens["access_token"])
        answers = await asyncio.gather(
            rest.refresh(tokens["refresh_token"]),
            rest.client.post("/api/auth/logout", headers=headers, json=body | by),
            rest.refresh(tokens["refresh_token"]),
        )
        assert answers[1].status_code == 204
        for answer in (answers[0], answers[2]):
            if answer.status_code == 200:
                assert await rest.status_of(answer.json()["access_token"]) == 401
                assert (await rest.refresh(answer.json()["refresh_token"])).status_code == 401


# --- the last use


async def seen(server: Running, user: User) -> tuple[datetime, str]:
    async with server.services.database.acquire() as connection:
        row = await connection.fetchrow("SELECT last_seen_at, address FROM sessions WHERE id = $1", user.session_id)
    assert row is not None
    return row["last_seen_at"], row["address"]


async def used_last(server: Running, user: User, before: timedelta) -> None:
    """Have it look as if the session was used so long ago, from elsewhere, and no token of its for the first time since."""
    await server.execute(
        "UPDATE sessions SET last_seen_at = $2, address = '192.0.2.1', current_used = true WHERE id = $1",
        user.session_id,
        utc_now() - before,
    )


@pytest.mark.parametrize("subprotocol", ["yjs", "promptsync.v1"])
async def test_a_socket_that_opens_is_a_use_of_its_session(server: Running, user: User, subprotocol: str) -> None:
    await used_last(server, user, timedelta(days=2))
    path = f"/sync/{user.library_id}" if subprotocol == "yjs" else "/sync"
    before = utc_now()
    connection = await server.open(path, subprotocols=[subprotocol, f"bearer.{user.sync_token}"])
    at, address = await seen(server, user)
    assert at >= before
    assert address == "127.0.0.1"
    await connection.close()


async def test_sockets_that_open_one_after_the_other_are_noted_once_a_minute(server: Running, user: User) -> None:
    await used_last(server, user, SEEN_EVERY / 2)
    before = await seen(server, user)
    for _ in range(3):
        await (await server.socket(user)).close()
    assert await seen(server, user) == before


async def test_the_first_use_of_tokens_is_noted_with_its_address(server: Running, user: User) -> None:
    await used_last(server, user, timedelta(seconds=30))
    await server.execute("UPDATE sessions SET current_used = false WHERE id = $1", user.session_id)
    async with server.http(user) as client:
        assert (await client.get("/api/users/me")).status_code == 200
        first = await seen(server, user)
        assert first[1] == "127.0.0.1"
        assert (await client.get("/api/users/me")).status_code == 200
    assert await seen(server, user) == first


async def test_whatever_is_done_to_one_account_at_once_waits_for_nothing_in_a_circle(rest: Rest) -> None:
    """Logins, refreshes, logouts of every scope and what administrators do: no deadlock (503) and no error of ours; the end is the end."""
    administration = rest.services.administration
    for number in range(15):
        email = fresh_email()
        tokens = await rest.register(email)
        sessions = [tokens, *[grant(await rest.post("/api/auth/login", {"email": email, "password": PASSWORD})) for _ in range(3)]]
        user_id = UUID(tokens["user"]["id"])
        doings = [
            *(rest.refresh(each["refresh_token"]) for each in sessions),
            *(rest.post("/api/auth/login", {"email": email, "password": PASSWORD}) for _ in range(3)),
            *(
                rest.client.post("/api/auth/logout", headers=bearer(each["access_token"]), json={"scope": scope})
                for each, scope in zip(sessions, ("local", "others", "global", "others"), strict=True)
            ),
            rest.client.post("/api/auth/logout", json={"scope": "global", "refresh_token": sessions[1]["refresh_token"]}),
            rest.post("/api/auth/reauthenticate", {"password": PASSWORD}, sessions[3]["access_token"]),
            rest.post("/api/libraries", {"name": "n"}, sessions[2]["access_token"]),
            administration.end_sessions(user_id, OPERATOR, now=rest.clock()),
            administration.set_role(user_id, Rank.ADMIN, OPERATOR, now=rest.clock()),
        ]
        if number % 3 == 0:
            doings.append(administration.delete(user_id, OPERATOR, now=rest.clock()))
        random.Random(number).shuffle(doings)
        for outcome in await asyncio.gather(*doings, return_exceptions=True):
            assert not isinstance(outcome, Exception) or isinstance(outcome, NotFound), outcome
            if isinstance(outcome, httpx2.Response):
                assert outcome.status_code in (200, 201, 204, 401, 404), outcome.text
        await asyncio.gather(administration.end_sessions(user_id, OPERATOR, now=rest.clock()), return_exceptions=True)
        assert [await rest.status_of(each["access_token"]) for each in sessions] == [401] * 4
