"""`POST /api/sync/{library}`: one update, stored and relayed before it is answered, or a problem that says why not."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import httpx2
import pytest
from starlette.requests import Request

from crdt.replica import Replica
from crdt.seed import SEED
from server.routes import sync
from tests.support.born import BORN
from tests.support.core import deleted, typed
from tests.support.rest import code_of
from tests.support.running import Running, User, running_server
from tests.support.wire_client import WireClient

OCTETS = {"Content-Type": "application/octet-stream"}


@pytest.fixture(scope="module")
async def server(shared_dsn: str) -> AsyncIterator[Running]:
    async with running_server(shared_dsn, max_upload_bytes=8 << 20) as server:
        yield server


async def test_an_update_is_stored_and_reaches_connected_devices(client: httpx2.AsyncClient, user: User, bystander: WireClient) -> None:
    path = f"/api/sync/{user.library_id}"
    for seq, update in enumerate((typed("ab", 11, 0), deleted(11, 0, 1)), BORN + 1):
        answer = await client.post(path, content=update, headers=OCTETS)
        assert (answer.status_code, answer.json()) == (200, {"seq": seq, "epoch": 1, "stored": True})
        await bystander.until(lambda at=update: at in bystander.shown)  # type: ignore[misc]  # a default binds it
    for update in (typed("ab", 11, 0), typed("b", 11, 1), deleted(11, 0, 1), b"\x00\x00"):
        answer = await client.post(path, content=update, headers=OCTETS)
        assert (answer.status_code, answer.json()) == (200, {"seq": BORN + 2, "epoch": 1, "stored": False})


async def test_a_large_update_is_stored_and_reaches_connected_devices(
    client: httpx2.AsyncClient, user: User, bystander: WireClient
) -> None:
    device = Replica()
    update = device.write_prompt("p", "提" * (2 << 20))
    assert len(update) > 5 << 20
    answer = await client.post(f"/api/sync/{user.library_id}", content=update, headers=OCTETS)
    assert answer.json()["stored"] is True
    await bystander.until(lambda: "p" in bystander.replica.prompts())


@pytest.mark.parametrize(
    "body", [b"", b"x", b"\x00", bytes.fromhex("c8eedb70"), typed("a", 11, 0)[:-1], typed("a", 11, 0) + b"x", b"\xff" * 100_000]
)
async def test_what_is_no_update_is_refused(client: httpx2.AsyncClient, user: User, bystander: WireClient, body: bytes) -> None:
    answer = await client.post(f"/api/sync/{user.library_id}", content=body, headers=OCTETS)
    assert (answer.status_code, code_of(answer)) == (422, "invalid_update")
    assert bystander.shown == [SEED]  # what it was opened with


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "", "application/octet-stream-x", "multipart/form-data; boundary=x"])
async def test_another_content_type_is_refused(client: httpx2.AsyncClient, user: User, kind: str) -> None:
    answer = await client.post(f"/api/sync/{user.library_id}", content=typed("a", 11, 0), headers={"Content-Type": kind})
    assert (answer.status_code, code_of(answer)) == (415, "unsupported_media_type")


async def test_a_body_past_the_limit_is_refused(server: Running, client: httpx2.AsyncClient, user: User) -> None:
    async def in_chunks() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield b"x" * (1 << 20)
        yield b"x"

    answer = await client.post(f"/api/sync/{user.library_id}", content=in_chunks(), headers=OCTETS)
    assert (answer.status_code, code_of(answer)) == (413, "too_large")


async def test_a_body_that_announces_too_much_is_refused_before_it_comes(server: Running, user: User) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(
        f"POST /api/sync/{user.library_id} HTTP/1.1\r\nHost: [::1]\r\nAuthorization: Bearer {user.access_token}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {(8 << 20) + 1}\r\n\r\n".encode()
    )
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    assert head.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in head
    writer.close()
    await writer.wait_closed()


async def test_uploads_that_trickle_hold_nobody_up_and_end(
    server: Running, client: httpx2.AsyncClient, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "UPLOAD_SECONDS", 1.0)
    path = f"/api/sync/{user.library_id}"
    head = f"POST {path} HTTP/1.1\r\nHost: [::1]\r\nAuthorization: Bearer {user.access_token}\r\nContent-Type: application/octet-stream\r\n"
    slow = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(4)]
    for _, writer in slow:
        writer.write(f"{head}Content-Length: 1000\r\n\r\nx".encode())
    answer = await client.post(path, content=typed("quick", 7, 0), headers=OCTETS)
    assert answer.json()["stored"] is True
    for reader, writer in slow:
        async with asyncio.timeout(10):
            assert b" 408 " in await reader.readline()
        writer.transport.abort()


async def test_another_users_library_is_like_none(server: Running, client: httpx2.AsyncClient) -> None:
    stranger = await server.user()
    answers = [
        await client.post(f"/api/sync/{library}", content=typed("a", 11, 0), headers=OCTETS) for library in (stranger.library_id, uuid4())
    ]
    assert [(answer.status_code, answer.content) for answer in answers] == [(404, answers[0].content)] * 2
    assert code_of(answers[0]) == "not_found"


async def test_only_an_access_token_opens_this_door(server: Running, user: User) -> None:
    async with server.http() as client:
        for token in (user.sync_token, user.refresh_token, "x"):
            headers = OCTETS | {"Authorization": f"Bearer {token}"}
            answer = await client.post(f"/api/sync/{user.library_id}", content=typed("a", 11, 0), headers=headers)
            assert answer.status_code == 401, token
        assert (await client.post(f"/api/sync/{user.library_id}", content=typed("a", 11, 0), headers=OCTETS)).status_code == 401


async def test_a_viewer_may_repeat_but_not_add(server: Running, user: User, client: httpx2.AsyncClient) -> None:
    path, viewer = f"/api/sync/{user.library_id}", await server.user()
    await server.add_member(user.library_id, viewer, "viewer")
    await client.post(path, content=typed("a", 11, 0), headers=OCTETS)
    async with server.http(viewer) as theirs:
        assert (await theirs.post(path, content=typed("a", 11, 0), headers=OCTETS)).json()["stored"] is False
        refused = await theirs.post(path, content=typed("b", 11, 1), headers=OCTETS)
        assert (refused.status_code, code_of(refused)) == (403, "forbidden")


async def test_while_the_writer_is_full_it_is_to_be_tried_later(
    server: Running, user: User, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/api/sync/{user.library_id}"
    monkeypatch.setattr(server.app.writer, "_stopping", True)
    answer = await client.post(path, content=typed("a", 11, 0), headers=OCTETS)
    assert (answer.status_code, code_of(answer)) == (503, "try_later")
    assert int(answer.headers["retry-after"]) > 0
    monkeypatch.undo()
    assert (await client.post(path, content=typed("a", 11, 0), headers=OCTETS)).json()["seq"] == BORN + 1


@pytest.mark.parametrize(
    ("meanwhile", "status"),
    [
        ("UPDATE sessions SET revoked_at = now(), revoke_reason = 'test' WHERE user_id = $1", 401),
        ("UPDATE members SET role = 'viewer' WHERE user_id = $1", 403),
        ("DELETE FROM members WHERE user_id = $1", 404),
        ("UPDATE libraries SET deleted_at = now() WHERE owner_id = $1", 404),
    ],
    ids=["revoked", "viewer", "no member", "deleted"],
)
async def test_who_may_write_is_asked_again_once_the_body_is_there(
    server: Running, user: User, monkeypatch: pytest.MonkeyPatch, meanwhile: str, status: int
) -> None:
    update, half, admitted, announced = typed("ab", 11, 0), asyncio.Event(), asyncio.Event(), sync._announced

    def admits(request: Request) -> int | None:
        admitted.set()
        return announced(request)

    monkeypatch.setattr(sync, "_announced", admits)

    async def body() -> AsyncIterator[bytes]:
        yield update[:3]
        await half.wait()
        yield update[3:]

    async with server.http(user) as client:
        uploading = asyncio.create_task(client.post(f"/api/sync/{user.library_id}", content=body(), headers=OCTETS))
        await asyncio.wait_for(admitted.wait(), 10)
        await server.execute(meanwhile, user.id)
        half.set()
        assert (await uploading).status_code == status
