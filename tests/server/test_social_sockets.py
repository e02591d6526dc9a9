"""What a sign-in with another provider ends: sockets on a real server close, of the attacker who waited for the owner of a mailbox."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from tests.support.issuer import CLIENT_ID, Issuer, running_issuer
from tests.support.rest import PASSWORD
from tests.support.running import Running, closed, running_server

WITHIN_SECONDS = 2.0
"""What architecture.md promises of a session that has ended."""


@pytest.fixture(scope="module")
async def issuer() -> AsyncIterator[Issuer]:
    async with running_issuer() as issuer:
        yield issuer


@pytest.fixture(scope="module")
async def server(shared_dsn: str, issuer: Issuer) -> AsyncIterator[Running]:
    async with running_server(shared_dsn, google_issuer=issuer.url, google_client_ids=(CLIENT_ID,)) as server:
        yield server


async def test_the_sockets_of_who_prepared_an_account_close_when_its_owner_comes(server: Running, issuer: Issuer) -> None:
    """Case 33."""
    email = f"{uuid4().hex[:20]}@gmail.com"
    async with server.http() as client:
        attacker = (await client.post("/api/auth/register", json={"email": email, "password": PASSWORD})).json()
        protocols = ["yjs", f"bearer.{attacker['sync_token']}"]
        socket = await server.open(f"/sync/{attacker['library_id']}", subprotocols=protocols)
        asked = asyncio.create_task(closed(socket, WITHIN_SECONDS))
        token = issuer.token(sub=uuid4().hex, email=email)
        victim = (await client.post("/api/auth/social/google", json={"id_token": token})).json()
        code, _ = await asked

        assert code in (4401, 4403)
        assert victim["library_id"] == attacker["library_id"]
        refused = await server.open(f"/sync/{attacker['library_id']}", subprotocols=protocols)
        assert (await closed(refused))[0] == 4401
        welcome = await server.open(f"/sync/{victim['library_id']}", subprotocols=["yjs", f"bearer.{victim['sync_token']}"])
        assert await asyncio.wait_for(welcome.recv(), 10)
        await welcome.close()
