"""The REST application on a real database, without a socket: for tests."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2
from fastapi import APIRouter

from auth.passwords import Passwords
from server.api import create_api
from server.config import Settings
from server.services import Services, make_services
from storage.cipher import DataKey
from storage.keyring import EncryptionKey, Keyring
from storage.pool import Database
from tests.support.calling import InThisProcess
from tests.support.documented import Keeping
from tests.support.generous import GENEROUS

PASSWORD = "correct horse battery"
PRODUCTION: dict[str, Any] = {
    "public_url": "https://sync.example.com",
    "smtp_url": "smtp://localhost",
    "mail_from": "no-reply@example.com",
}
"""What a server in production does not start without."""
START = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


def new_keyring() -> Keyring:
    """A keyring with one fresh key."""
    return Keyring([EncryptionKey(id="k1", created_at=START, key=DataKey.new(os.urandom(32)))])


def cheap_passwords(**options: int) -> Passwords:
    """Passwords that cost next to nothing."""
    return Passwords(memory_kib=8, **options)


@dataclass(frozen=True, kw_only=True)
class Rest:
    """A running application: its client, what is behind it, and its clock."""

    client: httpx2.AsyncClient
    services: Services
    clock: Clock
    revoked: list[Any] = field(default_factory=list)
    deleted: list[Any] = field(default_factory=list)

    async def post(self, path: str, body: object, token: str | None = None) -> httpx2.Response:
        return await self.client.post(path, json=body, headers=bearer(token))

    async def patch(self, path: str, body: object, token: str | None = None) -> httpx2.Response:
        return await self.client.patch(path, json=body, headers=bearer(token))

    async def put(self, path: str, body: object, token: str | None = None) -> httpx2.Response:
        return await self.client.put(path, json=body, headers=bearer(token))

    async def get(self, path: str, token: str | None = None) -> httpx2.Response:
        return await self.client.get(path, headers=bearer(token))

    async def delete(self, path: str, token: str | None = None) -> httpx2.Response:
        return await self.client.delete(path, headers=bearer(token))

    async def register(self, email: str | None = None, **body: object) -> dict[str, Any]:
        """A new user's answer; a fresh address if none is given."""
        response = await self.post("/api/auth/register", {"email": email or fresh_email(), "password": PASSWORD, **body})
        assert response.status_code == 201, response.text
        return grant(response)

    async def refresh(self, token: str) -> httpx2.Response:
        return await self.post("/api/auth/refresh", {"refresh_token": token})

    async def status_of(self, access_token: str) -> int:
        """What this access token gets at `GET /api/users/me`."""
        return (await self.get("/api/users/me", access_token)).status_code


def bearer(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def fresh_email() -> str:
    return f"{uuid4().hex}@example.com"


def grant(response: httpx2.Response) -> dict[str, Any]:
    """The tokens in an answer."""
    assert response.is_success, response.text
    body: dict[str, Any] = response.json()
    return body


def code_of(response: httpx2.Response) -> str:
    """The code of a problem, having checked that the answer is one."""
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == response.status_code
    return str(body["code"])


_documents: list[dict[str, Any]] = []


def _document(services: Services) -> dict[str, Any]:
    """The OpenAPI document, made once for all applications of a test run: it is the same for all, and takes half a second."""
    if not _documents:
        _documents.append(create_api(services).openapi())
    return _documents[0]


@asynccontextmanager
async def rest_api(
    dsn: str,
    *,
    routers: Sequence[APIRouter] = (),
    keyring: Keyring | None = None,
    signing_keys: Sequence[tuple[str, bytes]] = (),
    **settings: Any,
) -> AsyncIterator[Rest]:
    """The application over this database, with a clock that stands still, limits that do not matter, and these further routes and keys.

    An answer with a code that the OpenAPI document does not have for it fails whatever asked.
    """
    database = await Database.open(dsn, size=8)
    clock = Clock()
    services = make_services(
        Settings(**{**GENEROUS, **settings}),
        database=database,
        keyring=keyring or new_keyring(),
        signing_keys=signing_keys or [("s1", os.urandom(32))],
        passwords=cheap_passwords(),
        clock=clock,
        make_caller=InThisProcess,
    )
    transport = httpx2.ASGITransport(create_api(services, routers=routers))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        client.event_hooks["response"].append(Keeping(lambda: _document(services)))
        rest = Rest(client=client, services=services, clock=clock)
        services.hooks.sessions_revoked = rest.revoked.extend
        services.hooks.library_deleted = rest.deleted.append
        try:
            yield rest
        finally:
            await services.models.close()
            services.passwords.close()
            await database.close()
