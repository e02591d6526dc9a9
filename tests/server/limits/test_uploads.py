"""What a user may send over HTTP: updates, and files to import."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2

from server.routes.sync import OCTETS
from tests.support.core import typed
from tests.support.rest import code_of
from tests.support.running import Running, User, running_server


async def push(client: httpx2.AsyncClient, user: User, body: bytes | AsyncIterator[bytes]) -> int:
    answer = await client.post(f"/api/sync/{user.library_id}", content=body, headers={"Content-Type": OCTETS})
    return checked(answer)


def checked(answer: httpx2.Response) -> int:
    if answer.status_code == 429:
        assert code_of(answer) == "too_many_attempts"
        assert 0 < int(answer.headers["retry-after"]) <= 180
    return answer.status_code


async def in_chunks(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def test_updates_are_counted_by_user(database_dsn: str) -> None:
    async with running_server(database_dsn, sync_requests_a_minute=3) as server:
        user, other = await server.user(), await server.user()
        async with server.http(user) as client, server.http(other) as theirs:
            assert [await push(client, user, typed("a", 11, 0)) for _ in range(4)] == [200, 200, 200, 429]
            assert await push(theirs, other, typed("a", 11, 0)) == 200


async def test_and_so_are_their_bytes_also_where_nobody_announced_them(database_dsn: str) -> None:
    large = typed("a" * 600_000, 11, 0)
    few: dict[str, Any] = {"sync_requests_a_minute": 100_000, "sync_bytes_a_minute": 1 << 20}
    async with running_server(database_dsn, **few) as server:
        for announced in (True, False):
            user = await server.user()
            async with server.http(user) as client:
                statuses = [await push(client, user, large if announced else in_chunks(large)) for _ in range(2)]
                assert statuses == [200, 429]
                assert len(await server.log(user.library_id)) == 2, "the seed and the first one"


async def test_imports_and_previews_are_counted_by_user(database_dsn: str) -> None:
    async with running_server(database_dsn, imports_a_minute=1) as server:
        user, other = await server.user(), await server.user()
        file = await exported(server, user)

        async def bring(user: User, **query: str) -> int:
            async with server.http(user) as client:
                return checked(await client.post("/api/import", content=file, params=query, headers={"Content-Type": "application/json"}))

        assert [await bring(user, dry_run="true"), await bring(user), await bring(user, dry_run="true"), await bring(user)] == [
            *(200, 200, 200),
            429,
        ]
        assert await bring(other) == 200


async def exported(server: Running, user: User) -> bytes:
    async with server.http(user) as client:
        answer = await client.get("/api/export", params={"format": "library"})
    assert answer.status_code == 200, answer.text
    return answer.content
