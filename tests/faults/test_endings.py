"""A session, account or library that ends in one process closes its sockets in the others within two seconds, whatever the bus loses.

Case 79: with the bus's connections cut and kept away, the database alone tells.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx2
import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from protocol.closes import Close
from tests.support.core import until
from tests.support.many import Fleet, Node, fleet
from tests.support.plain_http import plain_client
from tests.support.running import closed
from tests.support.server import Account

pytestmark = pytest.mark.faults

WITHIN_SECONDS = 2.0
BUS = "promptsync bus"


@pytest.fixture(scope="module")
async def two() -> AsyncIterator[Fleet]:
    async with fleet(2, valves=True) as two:
        yield two


@pytest.fixture(scope="module", params=["bus", "bus lost"])
async def nodes(two: Fleet, request: pytest.FixtureRequest) -> AsyncIterator[list[Node]]:
    """Two processes, with the bus between them or without."""
    await until(lambda: all(BUS in valve.names() for valve in two.valves), "the bus")
    if request.param == "bus lost":
        for valve in two.valves:
            valve.refused.add(BUS)
            assert valve.cut(BUS) > 0
    yield two.nodes
    await two.restore()


def asking(node: Node, account: Account) -> httpx2.AsyncClient:
    headers = {"Authorization": f"Bearer {account.access_token}"}
    return plain_client(base_url=node.url, headers=headers, timeout=30)


async def socket(node: Node, account: Account) -> ClientConnection:
    """A socket on the account's own library that is served: the first frame has come."""
    connection = await websockets.connect(
        f"ws://127.0.0.1:{node.port}/sync/{account.library_id}",
        subprotocols=[websockets.Subprotocol("yjs"), websockets.Subprotocol(f"bearer.{account.sync_token}")],
        compression=None,
        proxy=None,
    )
    await asyncio.wait_for(connection.recv(), 10)
    return connection


async def log_out(node: Node, account: Account, two: Fleet) -> None:
    async with asking(node, account) as client:
        assert (await client.post("/api/auth/logout", json={"scope": "global"})).status_code == 204


async def end_from_list(node: Node, account: Account, two: Fleet) -> None:
    async with asking(node, account) as client:
        (session,) = (await client.get("/api/auth/sessions")).json()["sessions"]
        assert (await client.delete(f"/api/auth/sessions/{session['id']}")).status_code == 204


async def delete_account(node: Node, account: Account, two: Fleet) -> None:
    async with asking(node, account) as client:
        assert (await client.delete("/api/users/me")).status_code == 204


async def replay(node: Node, account: Account, two: Fleet) -> None:
    async with asking(node, account) as client:
        token = account.refresh_token
        for _ in range(2):
            token = (await client.post("/api/auth/refresh", json={"refresh_token": token})).json()["refresh_token"]
        assert (await client.post("/api/auth/refresh", json={"refresh_token": account.refresh_token})).status_code == 401


@pytest.mark.parametrize("end", [log_out, end_from_list, delete_account, replay])
async def test_sockets_of_the_other_process_close(
    two: Fleet, nodes: list[Node], end: Callable[[Node, Account, Fleet], Awaitable[None]]
) -> None:
    account, stays = await asyncio.to_thread(nodes[0].register), await asyncio.to_thread(nodes[0].register)
    sockets, other = [await socket(node, account) for node in nodes for _ in "ab"], await socket(nodes[1], stays)

    await end(nodes[0], account, two)

    began = time.monotonic()
    codes = await asyncio.gather(*(closed(each, within=10) for each in sockets))
    assert time.monotonic() - began < WITHIN_SECONDS
    assert {code for code, _ in codes} <= {Close.UNAUTHENTICATED, Close.NOT_FOUND}
    assert (await closed(await _opened(nodes[1], account)))[0] == Close.UNAUTHENTICATED
    await asyncio.wait_for(await other.ping(), 5)
    await other.close()


@pytest.mark.parametrize("command", ["disable", "reset-password", "delete"])
async def test_sockets_close_after_what_an_operator_does_at_the_terminal(two: Fleet, nodes: list[Node], command: str) -> None:
    account = await asyncio.to_thread(nodes[0].register)
    sockets = [await socket(node, account) for node in nodes]
    option = {"disable": [], "reset-password": ["--generate"], "delete": ["--yes"]}[command]

    await two.command("user", command, account.email, *option)

    began = time.monotonic()
    codes = await asyncio.gather(*(closed(each, within=10) for each in sockets))
    assert time.monotonic() - began < WITHIN_SECONDS
    assert {code for code, _ in codes} <= {Close.UNAUTHENTICATED, Close.NOT_FOUND}


async def _opened(node: Node, account: Account) -> ClientConnection:
    return await websockets.connect(
        f"ws://127.0.0.1:{node.port}/sync/{account.library_id}",
        subprotocols=[websockets.Subprotocol("yjs"), websockets.Subprotocol(f"bearer.{account.sync_token}")],
        compression=None,
        proxy=None,
    )
