"""`POST /api/sync/force`: devices exchange now, tails are folded, and what could not be finished is said."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from protocol import ysync
from protocol.messages import Push, Status, StatusAsked
from server import status
from server.compactor import Outcome
from storage import compaction
from tests.support.born import BORN
from tests.support.core import typed, until
from tests.support.library_replica import store
from tests.support.link_client import link
from tests.support.rest import code_of
from tests.support.running import RawSocket, Running, User, masked, running_server

PATH = "/api/sync/force"


@pytest.fixture(scope="module")
async def server(shared_dsn: str) -> AsyncIterator[Running]:
    async with running_server(shared_dsn) as server:
        await until(lambda: server.app.bus.alone, "the knowledge that nobody else is there")
        yield server


async def force(client: httpx2.AsyncClient, library_id: UUID | None = None) -> dict[str, Any]:
    answer = await (client.post(PATH, json={"library": str(library_id)}) if library_id else client.post(PATH))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def push(client: httpx2.AsyncClient, library_id: UUID, *updates: bytes) -> None:
    for update in updates:
        assert (await store(client, library_id, update)).status_code == 200


async def test_what_a_connected_device_has_not_sent_is_stored_shown_and_folded(
    server: Running, client: httpx2.AsyncClient, user: User
) -> None:
    async with server.device(user) as device, server.device(user) as other:
        device.replica.write_prompt("p", "never sent")
        forced = await force(client)
        await other.until(lambda: other.replica.prompts() == {"p": "never sent"})
    (found,) = forced["libraries"]
    assert forced["unfinished"] == []
    assert (found["head"], found["snapshot"]["seq"], found["tail"]) == (BORN + 1, BORN + 1, {"updates": 0, "bytes": 0})
    assert len(found["devices"]) == 2


async def test_a_device_on_promptsync_v1_is_asked_and_waited_for_until_it_is_stored(
    server: Running, client: httpx2.AsyncClient, user: User
) -> None:
    async with link(server, user) as device:
        await device.open(0, user.library_id)
        forcing = asyncio.create_task(force(client))
        await device.expect(Status, lambda said: said.ask)
        await device.send(Push(0, 1, typed("a", 11, 0)), StatusAsked(channel=0, cursor=0))
        forced = await forcing
    (found,) = forced["libraries"]
    assert forced["unfinished"] == []
    assert (found["head"], found["snapshot"]["seq"], found["devices"][0]["client"]) == (BORN + 1, BORN + 1, "test 1")


async def test_a_tail_below_any_threshold_is_folded_and_only_in_the_library_that_is_named(
    server: Running, client: httpx2.AsyncClient, user: User
) -> None:
    second = await server.library(user)
    for library_id in (user.library_id, second):
        await push(client, library_id, typed("a", 11, 0))
    (found,) = (await force(client, second))["libraries"]
    assert (found["id"], found["snapshot"]["seq"]) == (str(second), BORN + 1)
    untouched = (await client.get("/api/sync/status", params={"library": str(user.library_id)})).json()["libraries"]
    assert (untouched[0]["snapshot"], untouched[0]["tail"]["updates"]) == (None, BORN + 1)


@pytest.mark.usefixtures("raw_sockets")
async def test_a_device_that_does_not_answer_is_said_to_be_silent(
    server: Running, client: httpx2.AsyncClient, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "DEVICES_SECONDS", 0.3)
    frozen = await RawSocket.open(server.port, user.library_id, user.sync_token)
    frozen.send(masked(ysync.encode_step1(b"\x00")))
    async with server.device(user) as device:
        device.replica.write_prompt("p", "x")
        forced = await asyncio.wait_for(force(client), 5)
    assert forced["unfinished"] == [{"library": str(user.library_id), "what": "devices", "reason": "silent", "devices": 1}]
    assert forced["libraries"][0]["snapshot"]["seq"] == BORN + 1, "the others' part is done"
    assert len(forced["libraries"][0]["devices"]) == 2


async def test_a_compaction_that_takes_longer_goes_on(
    server: Running, client: httpx2.AsyncClient, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "FORCE_SECONDS", 0.3)
    await push(client, user.library_id, typed("a", 11, 0))
    go_on, real, began = asyncio.Event(), server.app.compactor.compact, list[UUID]()

    async def held(library_id: UUID) -> Outcome:
        began.append(library_id)
        await go_on.wait()
        return await real(library_id)

    monkeypatch.setattr(server.app.compactor, "compact", held)
    forced = await asyncio.wait_for(force(client), 5)
    assert forced["unfinished"] == [{"library": str(user.library_id), "what": "compaction", "reason": "running", "devices": None}]
    assert forced["libraries"][0]["snapshot"] is None
    await server.app.overseer.force(user.id)
    assert began == [user.library_id], "one that runs is not begun again"
    go_on.set()
    await until(lambda: not server.app.overseer._compactions, "the end of the compaction")
    (found,) = (await client.get("/api/sync/status")).json()["libraries"]
    assert found["snapshot"]["seq"] == BORN + 1


async def test_a_library_that_another_process_compacts_is_said_to_be_busy(server: Running, client: httpx2.AsyncClient, user: User) -> None:
    await push(client, user.library_id, typed("a", 11, 0))
    async with server.services.database.acquire() as connection:
        assert await compaction.try_lock(connection, user.library_id)
        forced = await force(client)
        await compaction.unlock(connection, user.library_id)
    assert forced["unfinished"] == [{"library": str(user.library_id), "what": "compaction", "reason": "busy", "devices": None}]


async def test_a_compaction_that_fails_is_said_and_hides_no_other(server: Running, client: httpx2.AsyncClient, user: User) -> None:
    second = await server.library(user)
    await push(client, user.library_id, typed("a", 11, 0))
    await push(client, second, typed("a", 11, 0))
    await server.execute("UPDATE updates SET sealed = 'damaged' WHERE library_id = $1", user.library_id)
    forced = await force(client)
    assert forced["unfinished"] == [{"library": str(user.library_id), "what": "compaction", "reason": "failed", "devices": None}]
    assert [found["snapshot"] is not None for found in forced["libraries"]] == [False, True]


async def test_it_is_done_once_in_a_while(server: Running, client: httpx2.AsyncClient, user: User, bystander: object) -> None:
    await force(client)
    refused = await client.post(PATH)
    assert (refused.status_code, code_of(refused)) == (429, "too_many_attempts")
    assert 1 <= int(refused.headers["retry-after"]) <= server.services.settings.force_seconds
    other = await server.user()
    async with server.http(other) as theirs:
        await force(theirs)


@pytest.mark.usefixtures("raw_sockets")
async def test_a_viewer_may_have_it_done_and_has_nothing_to_bring(server: Running, user: User) -> None:
    viewer = await server.user()
    await server.add_member(user.library_id, viewer, "viewer")
    frozen = await RawSocket.open(server.port, user.library_id, viewer.sync_token)
    frozen.send(masked(ysync.encode_step1(b"\x00")))
    async with server.device(user) as device, server.http(viewer) as theirs:
        await until(lambda: len(server.app.hall.devices) == 2, "both devices")
        device.replica.write_prompt("p", "x")
        forced = await force(theirs, user.library_id)
    (found,) = forced["libraries"]
    assert forced["unfinished"] == []
    assert (found["head"], found["devices"][0]["may_write"]) == (BORN + 1, False)
    assert found["devices"][1] == {"dialect": "yjs", "seq": found["devices"][1]["seq"]}


async def test_a_foreign_library_is_like_none(server: Running, user: User) -> None:
    for library_id in ((await server.user()).library_id, uuid4()):
        asking = await server.user()
        async with server.http(asking) as client:
            answer = await client.post(PATH, json={"library": str(library_id)})
            assert (answer.status_code, code_of(answer)) == (404, "not_found")


@pytest.mark.parametrize(
    ("body", "status_code", "code"),
    [
        (b"{", 400, "malformed_json"),
        (b"[]", 422, "invalid_request"),
        (b'{"library": 1}', 422, "invalid_request"),
        (b'{"library": "x"}', 422, "invalid_request"),
        (b'{"more": 1}', 422, "invalid_request"),
        (b'{"library": null, "library": null}', 400, "malformed_json"),
        (b"[" * 100_000, 400, "malformed_json"),
        (b" " * ((1 << 20) + 1), 413, "too_large"),
    ],
    ids=["cut", "a list", "a number", "no id", "another name", "twice", "nested", "too large"],
)
async def test_what_is_no_request_is_refused(client: httpx2.AsyncClient, body: bytes, status_code: int, code: str) -> None:
    answer = await client.post(PATH, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, code_of(answer)) == (status_code, code)
    await force(client)  # what was refused does not count


async def test_another_content_type_is_refused_and_no_body_needs_none(client: httpx2.AsyncClient) -> None:
    answer = await client.post(PATH, content=b"{}", headers={"Content-Type": "text/plain"})
    assert (answer.status_code, code_of(answer)) == (415, "unsupported_media_type")
    assert (await client.post(PATH, json={})).status_code == 200


async def test_only_an_access_token_forces(server: Running, user: User) -> None:
    async with server.http() as client:
        assert (await client.post(PATH)).status_code == 401
        assert (await client.post(PATH, headers={"Authorization": f"Bearer {user.sync_token}"})).status_code == 401


async def test_the_routes_are_in_the_openapi_document(client: httpx2.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert set(document["paths"]["/api/sync/status"]["get"]["responses"]) >= {"200", "401", "404", "422", "503"}
    described = document["paths"]["/api/sync/force"]["post"]
    assert set(described["responses"]) >= {"200", "400", "401", "404", "413", "415", "422", "429", "503"}
    assert not described["requestBody"].get("required", False)
    assert document["components"]["schemas"]["ForceBody"]["additionalProperties"] is False
