"""kill -9 while requests create things under keys of their own: each is sent until it is answered, and each thing is there once."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator

import httpx2
import pytest

from server.idempotency import ABANDONED_AFTER, REPLAYED
from tests.support.core import until
from tests.support.plain_http import plain_client
from tests.support.rest import bearer
from tests.support.server import Account, Server

pytestmark = pytest.mark.faults
KILLS = 4
SENDERS = 6
WAIT_SECONDS = ABANDONED_AFTER.total_seconds() + 30


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with plain_client(timeout=10) as client:
        yield client


async def create(client: httpx2.AsyncClient, server: Server, account: Account, name: str) -> httpx2.Response:
    """Ask for a library; its name is the key of the request as well."""
    headers = bearer(account.access_token) | {"Idempotency-Key": name}
    return await client.post(f"{server.url}/api/libraries", json={"name": name}, headers=headers)


async def until_killed(client: httpx2.AsyncClient, server: Server, account: Account, sender: str, answers: dict[str, str | None]) -> None:
    """Create one library after the other until the server is gone; notes the ids, and None for the one without an answer."""
    number = 0
    while True:
        number += 1
        name = f"{sender}.{number}"
        answers[name] = None
        try:
            answer = await create(client, server, account, name)
        except httpx2.HTTPError:
            return
        assert answer.status_code == 201, answer.text
        answers[name] = answer.json()["id"]


async def answered(client: httpx2.AsyncClient, server: Server, account: Account, name: str) -> httpx2.Response:
    """Send the request again, as often as it is told to wait."""
    async with asyncio.timeout(WAIT_SECONDS):
        while (answer := await create(client, server, account, name)).status_code == 409:  # noqa: ASYNC110  # as a client does
            await asyncio.sleep(float(answer.headers["retry-after"]))
    assert answer.status_code == 201, answer.text
    return answer


async def test_what_is_asked_for_until_it_is_answered_is_created_once(client: httpx2.AsyncClient) -> None:
    answers: dict[str, str | None] = {}
    with Server() as server:
        account = server.register()
        for kill in range(KILLS):
            senders = asyncio.gather(*(until_killed(client, server, account, f"{kill}.{number}", answers) for number in range(SENDERS)))
            goal = len(answers) + random.Random(kill).randint(SENDERS, 5 * SENDERS)
            await until(lambda: len(answers) >= goal, "a number of requests")  # noqa: B023  # awaited before the next round
            await asyncio.to_thread(server.kill9)
            await senders
            await asyncio.to_thread(server.start)
        unanswered = [name for name, id in answers.items() if id is None]
        again = dict(zip(answers, await asyncio.gather(*(answered(client, server, account, name) for name in answers)), strict=True))
        listed = (await client.get(f"{server.url}/api/libraries", headers=bearer(account.access_token))).json()["libraries"]
    found = Counter(library["name"] for library in listed if library["id"] != account.library_id)
    assert found == Counter(answers.keys())
    assert {name: answer.json()["id"] for name, answer in again.items() if answers[name]} == {n: id for n, id in answers.items() if id}
    assert len(unanswered) >= KILLS
    replayed = sum(REPLAYED in answer.headers for answer in again.values())
    print(f"{len(answers)} created, {len(unanswered)} unanswered before they were sent again, {replayed} answers replayed")
