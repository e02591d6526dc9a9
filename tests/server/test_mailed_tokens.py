"""Verifying, resetting and changing by mail, over HTTP and against a real database; the mails are read by the test."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest
import structlog

from storage import audit
from tests.support.database import Databases
from tests.support.post import Post, text_of, token_in
from tests.support.rest import PASSWORD, Rest, bearer, code_of, fresh_email, grant, rest_api

NEW = "staple battery horse"


@pytest.fixture(scope="module")
async def running(databases: Databases, template_database: str) -> AsyncIterator[Rest]:
    dsn = databases.create(template_database)
    async with rest_api(dsn, app_url="https://app.example") as rest:
        yield rest
    databases.drop(dsn)


@pytest.fixture
async def rest(running: Rest) -> Rest:
    running.revoked.clear()
    await Post(running).deliver()
    running.clock.advance(hours=2)
    return running


@pytest.fixture
def post(rest: Rest) -> Post:
    return Post(rest)


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


async def login(rest: Rest, email: str, password: str) -> httpx2.Response:
    return await rest.post("/api/auth/login", {"email": email, "password": password})


async def events(rest: Rest, user_id: str) -> list[str]:
    """What was noted of the user, oldest first."""
    async with rest.services.database.acquire() as connection:
        return [row["event"] for row in await connection.fetch("SELECT event FROM audit WHERE user_id = $1 ORDER BY id", user_id)]


async def test_walk(rest: Rest, post: Post) -> None:
    email = fresh_email()
    user = await rest.register(email)
    token = await post.token()
    assert (await rest.post("/api/auth/email/verify", {"token": token})).status_code == 204
    assert (await rest.get("/api/users/me", user["access_token"])).json()["email_verified"]
    r = await rest.post("/api/auth/password/forgot", {"email": email})
    assert (r.status_code, r.json()) == (202, {})
    token = await post.token()
    r = await rest.post("/api/auth/password/reset", {"token": token, "password": NEW})
    assert r.status_code == 204, r.text
    assert [m["Subject"] for m in await post.deliver()] == ["Your password was changed"]
    assert await rest.status_of(user["access_token"]) == 401
    user = grant(await login(rest, email, NEW))
    other = grant(await login(rest, email, NEW))
    r = await rest.post("/api/auth/password", {"new_password": PASSWORD}, user["access_token"])
    assert r.status_code == 204, r.text
    assert await rest.status_of(other["access_token"]) == 401
    assert await rest.status_of(user["access_token"]) == 200
    new = fresh_email()
    await post.deliver()
    r = await rest.post("/api/auth/email", {"email": new}, user["access_token"])
    assert r.status_code == 202, r.text
    token = await post.token()
    r = await rest.post("/api/auth/email/confirm", {"token": token}, user["access_token"])
    assert r.status_code == 204, r.text
    assert (await rest.get("/api/users/me", user["access_token"])).json()["email"] == new
    print(await events(rest, user["user"]["id"]))
    for m in post.sent:
        print(m)
