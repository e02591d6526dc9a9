"""A route that makes things as a test tells it to, and requests under an `Idempotency-Key`: to it, and to the libraries."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
from fastapi import APIRouter, Response

from server.api import create_api
from server.claim import Claim
from server.idempotency import Idempotency
from server.routes.creating import Claimed, CreatingRoute
from server.routes.texts import Body
from storage.keyring import Keyring
from tests.support.rest import Rest, bearer, rest_api

router = APIRouter(prefix="/things", route_class=CreatingRoute)


class Thing(Body):
    name: str


class Work:
    """What the route does, and the claims that it was given."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.claims: list[Claim] = []
        self.then: Callable[[Claim], Any] = lambda claim: None
        self.begun = asyncio.Semaphore(0)
        self.go_on = asyncio.Event()

    async def wait(self) -> None:
        """Say that the work has begun, and go on when it is told to."""
        self.begun.release()
        await self.go_on.wait()


work = Work()


@router.post("", status_code=201)
async def make(body: Thing, claim: Claimed, response: Response) -> Any:
    work.claims.append(claim)
    response.headers["ETag"] = '"1"'
    made = work.then(claim)
    return (await made if asyncio.iscoroutine(made) else made) or {"id": claim.id_for(0), "name": body.name}


@asynccontextmanager
async def creating_api(dsn: str) -> AsyncIterator[Rest]:
    """The application with that route."""
    async with rest_api(dsn, routers=[router]) as running:
        yield running


async def post(rest: Rest, token: str, path: str = "/api/libraries", *, key: str | None = "k", name: str = "Prompts") -> httpx2.Response:
    headers = bearer(token) | ({"Idempotency-Key": key} if key is not None else {})
    return await rest.client.post(path, json={"name": name}, headers=headers)


async def libraries(rest: Rest, token: str) -> list[dict[str, Any]]:
    """The user's libraries besides the account's own."""
    own = (await rest.get("/api/users/me", token)).json()["library_id"]
    return [library for library in (await rest.get("/api/libraries", token)).json()["libraries"] if library["id"] != own]


async def names(rest: Rest, token: str) -> list[str]:
    """What those are called."""
    return [library["name"] for library in await libraries(rest, token)]


async def rows(rest: Rest) -> list[dict[str, Any]]:
    async with rest.services.database.acquire() as connection:
        return [dict(row) for row in await connection.fetch("SELECT * FROM idempotency_keys ORDER BY user_id, key_hash")]


def restarted(rest: Rest, keyring: Keyring | None = None) -> Rest:
    """Another process on the same database: the one after this, or one beside it."""
    parts = rest.services
    keyring = keyring or parts.keyring
    fresh = Idempotency(database=parts.database, keyring=keyring, clock=parts.clock, random=os.urandom)
    services = replace(parts, idempotency=fresh, keyring=keyring)
    client = httpx2.AsyncClient(transport=httpx2.ASGITransport(create_api(services, routers=[router])), base_url="http://localhost")
    return Rest(client=client, services=services, clock=rest.clock)
