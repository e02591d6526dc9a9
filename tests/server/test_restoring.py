"""`/api/libraries/{id}/restore-points` and `.../restore` on a real server, with devices beside it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx2
import pytest

from crdt import operations as ops
from crdt.operations import NewPrompt
from crdt.updates import decode_state_vector
from server.restorer import MOST_PINNED
from tests.support.core import until
from tests.support.library_replica import LibraryReplica
from tests.support.rest import code_of
from tests.support.running import Running, User, running_server
from tests.support.wire_client import WireClient


@pytest.fixture(scope="module")
async def server(shared_dsn: str) -> AsyncIterator[Running]:
    """As the other modules' server, with a limit that does not matter."""
    async with running_server(shared_dsn, restores_a_minute=10_000) as server:
        yield server


class At:
    """A library that is restored."""

    def __init__(self, client: httpx2.AsyncClient, server: Running, user: User) -> None:
        self._client = client
        self._server = server
        self._user = user
        self.path = f"/api/libraries/{user.library_id}"

    async def ask(self, method: str, path: str, body: object = None) -> Any:
        answer = await self._client.request(method, path, json=body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def titles(self) -> list[str]:
        return sorted(each["title"] for each in (await self.ask("GET", "/api/prompts?limit=200"))["prompts"])

    async def point(self) -> int:
        """Fold what there is; the seq of the restore point."""
        outcome = await self._server.app.compactor.compact(self._user.library_id)
        return outcome.snapshot_seq

    async def points(self) -> list[dict[str, Any]]:
        points: list[dict[str, Any]] = (await self.ask("GET", f"{self.path}/restore-points"))["points"]
        return points

    async def restore(self, *, preview: bool = False, **wanted: object) -> dict[str, Any]:
        restored: dict[str, Any] = await self.ask("POST", f"{self.path}/restore{'?preview=true' if preview else ''}", wanted)
        return restored


@pytest.fixture
def at(client: httpx2.AsyncClient, server: Running, user: User) -> At:
    return At(client, server, user)


async def test_a_library_is_put_back_and_devices_see_it_and_it_can_be_undone(at: At, server: Running, user: User) -> None:
    kept = await at.ask("POST", "/api/prompts", {"title": "kept", "optimized_text": "first 文", "tags": ["a"]})
    gone = await at.ask("POST", "/api/prompts", {"title": "gone"})
    point = await at.point()
    await at.ask("PATCH", f"/api/prompts/{kept['id']}", {"title": "spoilt", "optimized_text": "second", "tags": ["b"]})
    await at.ask("DELETE", f"/api/prompts/{gone['id']}?purge=true")
    new = await at.ask("POST", "/api/prompts", {"title": "new"})
    async with server.device(user) as device:
        preview = await at.restore(preview=True, point=point)
        assert (preview["point"], preview["seq"], preview["undo"]) == (point, None, None)
        assert await at.titles() == ["new", "spoilt"]  # nothing was done

        restored = await at.restore(point=point)

        assert restored["changes"] == preview["changes"]
        changes = restored["changes"]
        assert changes["changed"] == {"count": 1, "prompts": [{"id": kept["id"], "title": "kept"}]}
        assert changes["brought_back"] == {"count": 1, "prompts": [{"id": gone["id"], "title": "gone"}]}
        assert changes["binned"] == {"count": 1, "prompts": [{"id": new["id"], "title": "new"}]}
        assert await at.titles() == ["gone", "kept"]
        shown = await at.ask("GET", f"/api/prompts/{kept['id']}")
        assert (shown["optimized_text"], shown["tags"]) == ("first 文", ["a"])
        room = server.app.rooms.get(user.library_id)
        assert room is not None
        await until(lambda: decode_state_vector(device.replica.state_vector()) == room.knowledge.state_vector(), "the edit at the device")

    undone = await at.restore(point=restored["undo"])
    assert await at.titles() == ["new", "spoilt"]
    assert undone["changes"]["brought_back"]["count"] == 1
    pinned = [each["point"] for each in await at.points() if each["pinned"]]
    assert {restored["undo"], undone["undo"]} <= set(pinned)


async def test_a_moment_is_gone_back_to_as_long_as_the_log_reaches(at: At, server: Running) -> None:
    first = await at.ask("POST", "/api/prompts", {"title": "one"})
    await at.point()
    await at.ask("PATCH", f"/api/prompts/{first['id']}", {"title": "two"})
    now = await _now(server)
    await at.ask("PATCH", f"/api/prompts/{first['id']}", {"title": "three"})

    restored = await at.restore(at=now)

    assert await at.titles() == ["two"]
    assert restored["as_of"] <= now


async def _now(server: Running) -> str:
    async with server.services.database.acquire() as connection:
        return str((await connection.fetchval("SELECT clock_timestamp()")).isoformat())


async def test_a_library_that_was_never_folded_is_put_back_by_its_log(at: At, server: Running) -> None:
    await at.ask("POST", "/api/prompts", {"title": "one"})
    now = await _now(server)
    await at.ask("POST", "/api/prompts", {"title": "two"})
    await at.restore(at=now)
    assert await at.titles() == ["one"]


async def test_what_others_write_meanwhile_is_kept(at: At, server: Running, user: User) -> None:
    await at.ask("POST", "/api/prompts", {"title": "old"})
    point = await at.point()
    await at.ask("POST", "/api/prompts", {"title": "since"})

    async def more() -> None:
        for number in range(10):
            await at.ask("POST", "/api/prompts", {"title": f"meanwhile {number}"})

    writing = asyncio.create_task(more())
    restored = await at.restore(point=point)
    await writing
    titles = await at.titles()
    binned = {each["title"] for each in restored["changes"]["binned"]["prompts"]}
    assert set(titles) == {"old"} | {f"meanwhile {number}" for number in range(10)} - binned
    await at.restore(point=restored["undo"])
    assert "since" in await at.titles()
    everything = (await at.ask("GET", "/api/prompts?deleted=any"))["prompts"]
    assert {each["title"] for each in everything} == {"old", "since"} | {f"meanwhile {number}" for number in range(10)}


async def test_what_one_restore_goes_back_by_is_not_given_up_by_the_next(at: At, server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    restorer = server.app.restorer
    await at.ask("POST", "/api/prompts", {"title": "one"})
    first = (await at.restore(point=await at.point()))["undo"]
    await at.ask("POST", "/api/prompts", {"title": "two"})
    second = (await at.restore(point=await at.point()))["undo"]
    keep = restorer._keep

    async def keep_while_others_write(library_id: UUID) -> Any:
        kept = await keep(library_id)
        await at.ask("POST", "/api/prompts", {"title": "meanwhile"})
        return kept

    monkeypatch.setattr(restorer, "_keep", keep_while_others_write)
    third = (await at.restore(point=first))["undo"]
    assert third > second
    assert {each["point"] for each in await at.points() if each["pinned"]} == {first, second, third}


async def test_devices_type_and_make_prompts_while_the_library_is_put_back(at: At, server: Running, user: User) -> None:
    prompt = await at.ask("POST", "/api/prompts", {"title": "typed into", "optimized_text": "text"})
    point = await at.point()
    await at.ask("PATCH", f"/api/prompts/{prompt['id']}", {"title": "spoilt"})
    replicas = [LibraryReplica(), LibraryReplica()]

    put_back, made = asyncio.Event(), dict[str, int]()

    async def write(replica: LibraryReplica, device: WireClient, name: str) -> None:
        text = replica.view.text(prompt["version_id"])
        await device.push(ops.edit_version(replica.library, prompt["version_id"], f"{text} {name}"))
        new = NewPrompt(id=name, title=name, created_at=len(made), device=name, order="z")
        await device.push(ops.create_prompt(replica.library, new))
        await device.confirmed()
        made[name] = len(made)

    async def work(replica: LibraryReplica, device: WireClient, letter: str) -> None:
        while not put_back.is_set():
            await write(replica, device, f"{letter}{len(made)}{letter}")
        await write(replica, device, f"last-{letter}")

    async with server.device(user, replica=replicas[0]) as one, server.device(user, replica=replicas[1]) as other:
        devices = (one, other)
        each = zip(replicas, devices, "ab", strict=True)
        working = [asyncio.create_task(work(replica, device, letter)) for replica, device, letter in each]
        await until(lambda: len(made) > 5, "some work")
        before = set(made)
        restored = await at.restore(point=point)
        put_back.set()
        await asyncio.gather(*working)
        room = server.app.rooms.get(user.library_id)
        assert room is not None
        for device in devices:
            await device.until(lambda: decode_state_vector(device.replica.state_vector()) == room.knowledge.state_vector())  # noqa: B023
    for replica in replicas:
        shown, text = replica.view.prompt(prompt["id"]), replica.view.text(prompt["version_id"])
        assert shown is not None
        assert shown.title == "typed into"
        assert {"last-a", "last-b"} <= set(text.split())
        assert made.keys() <= set(replica.view.prompt_ids())  # in the bin, what was there when the library was put back
    await at.restore(point=restored["undo"])
    assert before <= set(await at.titles())  # what was made after the restore is in the bin now


async def test_only_so_many_points_are_kept_for_restores(at: At, server: Running, user: User) -> None:
    await at.ask("POST", "/api/prompts", {"title": "one"})
    point = await at.point()
    for number in range(MOST_PINNED + 2):
        await at.ask("POST", "/api/prompts", {"title": f"{number}"})
        point = (await at.restore(point=point))["undo"]  # a pinned one: of others the newest of each hour stays
    pinned = [each for each in await at.points() if each["pinned"]]
    assert len(pinned) == MOST_PINNED
    assert [each["point"] for each in pinned] == sorted((each["point"] for each in pinned), reverse=True)


async def test_a_large_library_that_was_purged_comes_back(at: At, server: Running, user: User) -> None:
    large = await at.ask("POST", "/api/prompts", {"title": "large", "original_text": "x" * 200_000})
    point = await at.point()
    await at.ask("DELETE", f"/api/prompts/{large['id']}?purge=true")
    await at.restore(point=point)
    assert len((await at.ask("GET", f"/api/prompts/{large['id']}"))["original_text"]) == 200_000


async def test_what_one_may_not_do_is_refused(at: At, server: Running, user: User, client: httpx2.AsyncClient) -> None:
    point = await at.point()
    restore = f"{at.path}/restore"
    for body, status, code in (
        ({"point": point + 1_000}, 404, "not_found"),
        ({"at": "2001-01-01T00:00:00Z"}, 404, "not_found"),
        ({}, 422, "invalid_request"),
        ({"point": point, "at": "2026-01-01T00:00:00Z"}, 422, "invalid_request"),
        ({"point": 0}, 422, "invalid_request"),
        ({"point": 2**63}, 422, "invalid_request"),
        ({"point": True}, 422, "invalid_request"),
    ):
        refused = await client.post(restore, json=body)
        assert (refused.status_code, code_of(refused)) == (status, code), body
    stranger, viewer = await server.user(), await server.user()
    await server.add_member(user.library_id, viewer, "viewer")
    for who, status, code in ((stranger, 404, "not_found"), (viewer, 403, "forbidden")):
        async with server.http(who) as other:
            for answer in (await other.post(restore, json={"point": point}), await other.get(f"{at.path}/restore-points")):
                assert (answer.status_code, code_of(answer)) == (status, code)


async def test_restores_are_limited(database_dsn: str) -> None:
    async with running_server(database_dsn, restores_a_minute=1) as server:
        user = await server.user()
        async with server.http(user) as client:
            at = At(client, server, user)
            point = await at.point()
            await at.restore(point=point)
            refused = await client.post(f"{at.path}/restore", json={"point": point})
            assert (refused.status_code, code_of(refused)) == (429, "too_many_attempts")
            await at.restore(preview=True, point=point)
