"""`GET /api/export` on a real server: who may, how the file is called, and that nobody else waits for it."""

import asyncio
import io
import json
import zipfile
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import httpx2
import pytest
import structlog

from benchmarks.rest import library_of
from server.editor import Editor
from server.routes import pieces
from server.transfer.library_file import LibraryFile
from storage.libraries import Library
from tests.support.core import until
from tests.support.database import Databases
from tests.support.rest import code_of
from tests.support.running import RawSocket, Running, User, running_server

OCTETS = {"Content-Type": "application/octet-stream"}
LARGE = 1_000
"""Prompts of three versions."""


async def test_a_library_is_a_file_with_all_that_rest_shows(client: httpx2.AsyncClient) -> None:
    made = (await client.post("/api/prompts", json={"title": "周报", "optimized_text": "text", "tags": ["Work"], "model_used": "m"})).json()
    gone = (await client.post("/api/prompts", json={"title": "gone"})).json()
    await client.delete(f"/api/prompts/{gone['id']}")
    await client.put("/api/variables/audience", json={"value": "my team"})
    answer = await client.get("/api/export")
    assert (answer.status_code, answer.headers["content-type"], answer.headers["cache-control"]) == (200, "application/json", "no-store")
    assert (answer.headers["x-left-out"], answer.headers["content-length"]) == ("0", str(len(answer.content)))
    file = LibraryFile.model_validate_json(answer.content)
    assert {prompt.id: (prompt.title, prompt.deleted_at is None) for prompt in file.prompts} == {
        made["id"]: ("周报", True),
        gone["id"]: ("gone", False),
    }
    (version,) = next(prompt.versions for prompt in file.prompts if prompt.id == made["id"])
    assert (version.id, version.text, version.model) == (made["version_id"], "text", "m")
    assert file.variables == {"audience": "my team"}
    assert {category.id for category in file.categories} >= {"cat-writing"}


@pytest.mark.parametrize(
    ("format", "kind", "ending"),
    [
        ("library", "application/json", ".promptsync.json"),
        ("library.zip", "application/zip", ".promptsync.zip"),
        ("app", "application/json", ".json"),
        ("favorites", "application/json", ".json"),
        ("backup.zip", "application/zip", ".po-backup.zip"),
        ("favorites.zip", "application/zip", ".po-favorites.zip"),
    ],
)
async def test_each_format_has_its_kind_and_name(client: httpx2.AsyncClient, format: str, kind: str, ending: str) -> None:
    answer = await client.get(f"/api/export?format={format}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert answer.headers["content-disposition"].startswith('attachment; filename="')
    assert answer.headers["content-disposition"].endswith(ending)
    if kind == "application/zip":
        assert zipfile.ZipFile(io.BytesIO(answer.content)).testzip() is None
    else:
        assert isinstance(json.loads(answer.content), dict)


async def test_the_files_name_cannot_break_out_of_its_header(client: httpx2.AsyncClient) -> None:
    name = 'Mine "; filename=evil.exe /../ 提示 \u202e\\'
    made = await client.post("/api/libraries", json={"name": name})
    library = (made if made.status_code == 201 else await client.post("/api/libraries", json={"name": name.replace("\u202e", "")})).json()
    header = (await client.get(f"/api/export?library={library['id']}")).headers["content-disposition"]
    plain, _, full = header.partition("; filename*=UTF-8''")
    assert plain.count('"') == 2
    assert not set(plain.partition('"')[2]) & set("/\\:*?")
    assert "提示" in unquote(full)
    assert full.isascii()
    assert not set(full) & set('"/\\ ;')


async def test_any_member_may_export_and_nobody_else(server: Running, client: httpx2.AsyncClient, user: User) -> None:
    viewer, stranger = await server.user(), await server.user()
    await server.add_member(user.library_id, viewer, "viewer")
    for path in ("/api/export", "/api/library/stats"):
        async with server.http(viewer) as other:
            assert (await other.get(f"{path}?library={user.library_id}")).status_code == 200
        async with server.http(stranger) as other:
            refused = await other.get(f"{path}?library={user.library_id}")
            assert (refused.status_code, code_of(refused)) == (404, "not_found")
        async with server.http() as nobody:
            assert (await nobody.get(path)).status_code == 401
        for query in ("format=nothing", "format=library&format=app", "formt=app"):
            assert code_of(await client.get(f"{path}?{query}")) == "invalid_request"


async def test_what_takes_too_long_or_too_much_is_refused_as_a_problem(client: httpx2.AsyncClient, user: User, server: Running) -> None:
    broken = f"/api/export?library={user.library_id}"
    await client.post("/api/prompts", json={"title": "t", "original_text": "x" * 200_000})
    room = server.app.rooms.get(user.library_id)
    assert room is not None
    server.app.documents._resting[room] = asyncio.get_running_loop().time() + 60  # as after it broke
    answer = await client.get(broken)
    assert (answer.status_code, code_of(answer)) == (503, "try_later")
    del server.app.documents._resting[room]
    assert (await client.get(broken)).status_code == 200


# --- large libraries


@pytest.fixture(scope="module")
def thousand_prompts() -> bytes:
    """Content of a library, made once: it takes seconds."""
    return library_of(LARGE)


@pytest.fixture(scope="module")
async def large(server: Running, thousand_prompts: bytes) -> User:
    """A user whose library has a thousand prompts."""
    user = await server.user()
    async with server.http(user) as client:
        stored = await client.post(f"/api/sync/{user.library_id}", content=thousand_prompts, headers=OCTETS)
        assert stored.status_code == 200, stored.text
    return user


async def test_others_are_answered_while_a_large_library_is_exported(server: Running, large: User, user: User) -> None:
    async with server.http(large) as exporting_client, server.http(user) as other:
        await other.post("/api/prompts", json={"title": "small"})
        export = asyncio.create_task(exporting_client.get("/api/export"))
        answered = 0
        while not export.done():
            assert (await other.get("/api/prompts?limit=1")).status_code == 200
            answered += 1
        answer = await export
    assert len(LibraryFile.model_validate_json(answer.content).prompts) == LARGE
    assert answered >= 5, f"{answered} requests were answered meanwhile"


async def test_nobody_waits_for_all_the_exports_that_somebody_else_wants_or_wants_no_more(
    server: Running, large: User, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[UUID] = []
    may_end, read = asyncio.Event(), Editor.read

    async def slowly(editor: Editor, library: Library, *args: Any, **options: Any) -> Any:
        begun.append(library.id)
        if library.id == large.library_id:
            await may_end.wait()
        return await read(editor, library, *args, **options)

    monkeypatch.setattr(Editor, "read", slowly)
    ask = f"GET /api/export HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {large.access_token}\r\n\r\n".encode()
    clients = []
    for _ in range(10):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(ask)
        clients.append(writer)
    await until(lambda: len(begun) == 1, "the first is begun")
    async with server.http(user) as other:
        assert (await other.get("/api/export")).status_code == 200
    assert begun == [large.library_id, user.library_id]
    for writer in clients:
        writer.close()
        await writer.wait_closed()
    async with server.http(large) as again:
        waiting = asyncio.create_task(again.get("/api/export"))
        await asyncio.sleep(0)
        may_end.set()
        assert (await waiting).status_code == 200
    assert begun == [large.library_id, user.library_id, large.library_id]


async def test_a_client_that_reads_nothing_is_given_up(
    databases: Databases, template_database: str, raw_sockets: None, thousand_prompts: bytes
) -> None:
    dsn = databases.create(template_database)
    try:
        async with running_server(dsn, opening_stall_seconds=0.5) as server:
            user = await server.user()
            async with server.http(user) as client:
                await client.post(f"/api/sync/{user.library_id}", content=thousand_prompts, headers=OCTETS)
            with structlog.testing.capture_logs() as logged:
                raw = await RawSocket.connected(server.port, receive_buffer=4096)
                raw.stop_reading()
                raw.send(f"GET /api/export HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {user.access_token}\r\n\r\n".encode())
                await until(lambda: any(line["event"] == "answer_not_read" for line in logged), "the answer is given up")
            (line,) = [line for line in logged if line["event"] == "answer_not_read"]
            assert line["bytes"] > pieces.PIECE_BYTES
            async with server.http(user) as client:
                assert (await client.get("/api/export?format=app")).status_code == 200
    finally:
        databases.drop(dsn)


async def test_a_user_has_one_export_on_its_way_at_a_time(server: Running, large: User, user: User, raw_sockets: None) -> None:
    """Else one who reads slowly would take all the budget that the openings of devices share."""
    raw = await RawSocket.connected(server.port, receive_buffer=4096)
    raw.stop_reading()
    raw.send(f"GET /api/export HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {large.access_token}\r\n\r\n".encode())
    budget = server.app.hall.opening_budget
    await until(lambda: budget._taken > 0, "the first is on its way")
    async with server.http(large) as again, server.http(user) as other:
        waiting = asyncio.create_task(again.get("/api/export"))
        assert (await other.get("/api/export")).status_code == 200
        assert not waiting.done()
        raw.abort()
        assert (await waiting).status_code == 200
    await until(lambda: budget._taken == 0, "nothing is on its way any more")
