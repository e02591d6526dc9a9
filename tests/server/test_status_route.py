"""`GET /api/sync/status`: how a user's libraries stand, in numbers, and who has them open."""

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from crdt.seed import SEED
from crdt.updates import encode_state_vector
from protocol.closes import Close
from server import census
from server import status as overseeing
from server.routes import status
from tests.support.born import BORN, BORN_VECTOR, SEEDED
from tests.support.core import deleted, typed, until
from tests.support.library_replica import store
from tests.support.link_client import link
from tests.support.poison import NO_PARENT
from tests.support.rest import code_of
from tests.support.running import Running, User, running_server
from tests.support.wire_client import WireClient

PATH = "/api/sync/status"


@pytest.fixture(scope="module")
async def server(shared_dsn: str) -> AsyncIterator[Running]:
    async with running_server(shared_dsn) as server:
        await until(lambda: server.app.bus.alone, "the knowledge that nobody else is there")
        yield server


async def statuses(client: httpx2.AsyncClient, library_id: UUID | None = None) -> list[dict[str, Any]]:
    answer = await client.get(PATH, params={"library": str(library_id)} if library_id else None)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["libraries"]
    return found


async def only(client: httpx2.AsyncClient) -> dict[str, Any]:
    (found,) = await statuses(client)
    return found


async def push(client: httpx2.AsyncClient, user: User, *updates: bytes) -> None:
    for update in updates:
        assert (await store(client, user.library_id, update)).status_code == 200


async def test_a_new_library_holds_the_seed(client: httpx2.AsyncClient, user: User) -> None:
    found = await only(client)
    assert found == {
        "id": str(user.library_id),
        "name": found["name"],
        "role": "owner",
        "epoch": 1,
        "head": BORN,
        "state_vector": base64.b64encode(BORN_VECTOR).decode(),
        "snapshot": None,
        "tail": {"updates": BORN, "bytes": found["tail"]["bytes"]},
        "gaps": 0,
        "quarantined": 0,
        "last_change": found["last_change"],
        "devices": [],
        "devices_cut": False,
    }
    assert found["tail"]["bytes"] > len(SEED)
    assert abs(datetime.now(UTC) - datetime.fromisoformat(found["last_change"])) < timedelta(minutes=1)


async def test_what_is_stored_is_told_in_numbers_and_without_reading_it(
    server: Running, client: httpx2.AsyncClient, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    await push(client, user, typed("ab", 11, 0), deleted(11, 0, 1), typed("z", 2, 5))
    monkeypatch.setattr(server.app.shelf, "content", None)  # nothing may need it
    found = await only(client)
    assert (found["head"], found["tail"]["updates"], found["gaps"]) == (BORN + 3, BORN + 3, 1)
    assert found["tail"]["bytes"] > 0
    assert base64.b64decode(found["state_vector"]) == encode_state_vector(SEEDED | {11: 2})
    assert abs(datetime.now(UTC) - datetime.fromisoformat(found["last_change"])) < timedelta(minutes=1)


async def test_a_snapshot_takes_the_tail_and_keeps_the_time(server: Running, client: httpx2.AsyncClient, user: User) -> None:
    await push(client, user, typed("ab", 11, 0), typed("c", 11, 2))
    before = await only(client)
    outcome = await server.app.compactor.compact(user.library_id)
    found = await only(client)
    assert found["snapshot"] == {"seq": BORN + 2, "bytes": outcome.snapshot_bytes}
    assert found["tail"] == {"updates": 0, "bytes": 0}
    assert found["last_change"] == before["last_change"]
    await server.execute("DELETE FROM updates WHERE library_id = $1", user.library_id)
    assert (await only(client))["last_change"] > before["last_change"], "about, once the log does not have it any more"


async def test_what_is_in_quarantine_is_counted_and_is_no_gap(server: Running, client: httpx2.AsyncClient, user: User) -> None:
    await push(client, user, typed("a", 11, 0), NO_PARENT)
    await server.app.compactor.compact(user.library_id)
    found = await only(client)
    assert (found["quarantined"], found["epoch"], found["gaps"]) == (1, 2, 0)


async def test_ones_own_devices_are_named(server: Running, client: httpx2.AsyncClient, user: User) -> None:
    async with server.device(user) as device:
        await device.push(device.replica.write_prompt("p", "x"))
        await device.confirmed()
        async with link(server, user) as other:
            await other.open(0, user.library_id)
            devices = (await only(client))["devices"]
    assert [device["dialect"] for device in devices] == ["yjs", "promptsync.v1"]
    assert [device["client"] for device in devices] == [None, "test 1"]
    for device in devices:
        assert device["session_id"] == str(user.session_id)
        assert (device["device_name"], device["platform"], device["may_write"]) == ("test", "test", True)
        assert UUID(device["device_id"])
        assert abs(datetime.now(UTC) - datetime.fromisoformat(device["since"])) < timedelta(minutes=1)
        assert device["seq"] is None or device["seq"] <= BORN + 1
    await until(lambda: not server.app.hall.devices, "the devices to go")
    assert (await only(client))["devices"] == []


async def test_of_other_members_devices_hardly_anything_is_told(server: Running, client: httpx2.AsyncClient, user: User) -> None:
    viewer = await server.user()
    await server.add_member(user.library_id, viewer, "viewer")
    async with server.device(user), server.device(viewer, user.library_id), server.http(viewer) as theirs:
        (own, shared) = sorted(await statuses(theirs), key=lambda found: found["role"])
        assert (own["role"], own["devices"]) == ("owner", [])
        assert shared["role"] == "viewer"
        assert shared["devices"][0]["session_id"] == str(viewer.session_id)
        assert shared["devices"][0]["may_write"] is False
        assert set(shared["devices"][1]) == {"dialect", "seq"}
        assert str(user.session_id) not in str(shared)


async def test_where_nobody_else_listens_nobody_is_waited_for(
    server: Running, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(census, "OTHERS_SECONDS", 60.0)
    monkeypatch.setattr(overseeing, "OTHERS_SECONDS", 60.0)
    await asyncio.wait_for(only(client), 20)


async def test_many_devices_are_cut_and_that_is_said(
    server: Running, client: httpx2.AsyncClient, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "MAX_DEVICES", 1)
    async with server.device(user), server.device(user):
        found = await only(client)
    assert (len(found["devices"]), found["devices_cut"]) == (1, True)


async def test_one_library_may_be_named_and_only_ones_own_are_there(server: Running, client: httpx2.AsyncClient, user: User) -> None:
    second, stranger = await server.library(user), await server.user()
    assert [found["id"] for found in await statuses(client)] == [str(user.library_id), str(second)]
    assert [found["id"] for found in await statuses(client, second)] == [str(second)]
    await server.execute("UPDATE libraries SET deleted_at = now() WHERE id = $1", second)
    assert [found["id"] for found in await statuses(client)] == [str(user.library_id)]
    answers = [await client.get(PATH, params={"library": str(library_id)}) for library_id in (second, stranger.library_id, uuid4())]
    assert [(answer.status_code, answer.content) for answer in answers] == [(404, answers[0].content)] * 3
    assert code_of(answers[0]) == "not_found"
    for wrong in ("", "x", user.library_id.hex):
        refused = await client.get(PATH, params={"library": wrong})
        assert (refused.status_code, code_of(refused)) == (422, "invalid_request"), wrong


async def test_a_library_that_cannot_be_read_hides_no_other(server: Running, client: httpx2.AsyncClient, user: User) -> None:
    await push(client, user, typed("ab", 11, 0), typed("c", 11, 2))
    room = server.app.rooms.get(user.library_id)
    assert room is not None
    server.app.rooms.drop(room, Close.RESTART, "test")
    await server.execute("DELETE FROM updates WHERE library_id = $1 AND seq = 1", user.library_id)
    second = await server.library(user)
    broken, whole = await statuses(client)
    assert (broken["head"], broken["state_vector"], broken["gaps"]) == (BORN + 2, None, None)
    assert (whole["id"], whole["state_vector"]) == (str(second), base64.b64encode(BORN_VECTOR).decode())


async def test_only_an_access_token_asks(server: Running, user: User, bystander: WireClient) -> None:
    async with server.http() as client:
        assert (await client.get(PATH)).status_code == 401
        for token in (user.sync_token, user.refresh_token):
            assert (await client.get(PATH, headers={"Authorization": f"Bearer {token}"})).status_code == 401
