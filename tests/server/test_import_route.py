"""`POST /api/import`: files into libraries, over the write path of all devices."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import structlog

from tests.support.library_replica import newcomer
from tests.support.running import Running, User
from tests.support.samples import CANARY, every_file

JSON, ZIP, OCTETS = ({"Content-Type": f"application/{kind}"} for kind in ("json", "zip", "octet-stream"))


@pytest.fixture
async def client(server: Running, user: User) -> AsyncIterator[httpx2.AsyncClient]:
    async with server.http(user) as client:
        yield client


async def send(client: httpx2.AsyncClient, file: bytes, query: str = "", **headers: str) -> httpx2.Response:
    return await client.post(f"/api/import{query}", content=file, headers=OCTETS | headers)


async def brought(client: httpx2.AsyncClient, file: bytes, query: str = "") -> dict[str, Any]:
    answer = await send(client, file, query)
    assert answer.status_code == 200, answer.text
    report: dict[str, Any] = answer.json()
    return report


def counted(report: dict[str, Any], outcome: str) -> int:
    return sum(counts[outcome] for counts in report["sections"].values())


@pytest.mark.parametrize("kind", every_file())
async def test_every_kind_of_file_is_brought_in_and_changes_nothing_a_second_time(client: httpx2.AsyncClient, kind: str) -> None:
    file = every_file()[kind]
    first = await brought(client, file)
    assert (first["kind"], first["errors"], first["dry_run"]) == (kind, 0, False)
    assert counted(first, "created") > 0
    again = await brought(client, file)
    assert again["seq"] == first["seq"]
    assert (counted(again, "created"), counted(again, "merged")) == (0, 0)
    assert counted(again, "unchanged") == counted(first, "created") + counted(first, "unchanged")


async def test_of_every_kind_of_file_no_key_is_left_anywhere(server: Running, user: User, client: httpx2.AsyncClient) -> None:
    with structlog.testing.capture_logs() as logged:
        for kind, file in every_file().items():
            answer = await send(client, file)
            assert CANARY not in answer.text
            assert bool(answer.json()["left_out"]) == (kind != "prompt-optimizer/template"), kind
    assert CANARY not in str(logged)
    log = await server.log(user.library_id)
    assert len(log) > 4
    assert not any(b"canary" in update for _, update in log)
    replica = await newcomer(client, user.library_id)
    assert "canary" not in str([replica.library.root(root).to_py() for root in ops_roots()])
    assert b"canary" not in await rows_of(server)
    for path in (
        "/api/prompts?fields=optimized_text,original_text,variables",
        "/api/templates",
        "/api/variables",
        "/api/users/me/preferences",
    ):
        assert "canary" not in (await client.get(path)).text


def ops_roots() -> list[Any]:
    from crdt.library import Root

    return list(Root)


async def rows_of(server: Running) -> bytes:
    """Every row of every table as text."""
    found = []
    async with server.services.database.acquire() as connection:
        tables = await connection.fetch("SELECT format('%I', tablename) AS name FROM pg_tables WHERE schemaname = 'public'")
        for table in tables:
            found += [str(dict(row)).encode() for row in await connection.fetch(f"SELECT * FROM {table['name']}")]  # noqa: S608
    assert len(found) > 20
    return b"\n".join(found)
