"""`GET /api/library/stats` on a real server: what is counted, and whose devices are named."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2

from crdt import operations as ops
from crdt.library import Library, Root
from crdt.operations import NewPrompt, NewVersion
from crdt.view import View
from server.intents.statistics import DAYS, MOST_DEVICES, statistics
from server.times import ms
from tests.support.running import Running, User

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


async def stats(client: httpx2.AsyncClient, query: str = "") -> dict[str, Any]:
    answer = await client.get(f"/api/library/stats{query}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_an_empty_library_has_what_it_is_born_with(client: httpx2.AsyncClient) -> None:
    found = await stats(client)
    assert found["prompts"] == {"live": 0, "deleted": 0, "favorites": 0}
    assert (found["versions"], found["tags"], found["templates"], found["categories"] > 0) == (0, 0, 0, True)
    assert (found["updates"], found["snapshots"], found["devices"]) == (1, 0, [])
    assert len(found["activity"]) == DAYS
    assert found["activity"][-1] == {"day": f"{datetime.now(UTC):%Y-%m-%d}", "prompts": 0, "versions": 0}
    assert found["bytes"]["log"] > found["bytes"]["document"] > 0
    assert found["bytes"]["snapshots"] == 0


async def test_what_there_is_is_counted(client: httpx2.AsyncClient, user: User) -> None:
    made = [
        (
            await client.post("/api/prompts", json={"title": "t", "optimized_text": "one", "tags": ["a", "b"], "favorite": number == 0})
        ).json()
        for number in range(3)
    ]
    await client.patch(f"/api/prompts/{made[1]['id']}", json={"optimized_text": "two", "new_version": True})
    await client.delete(f"/api/prompts/{made[2]['id']}")
    await client.post("/api/tags/merge", json={"tags": ["b"], "into": "a"})
    await client.post("/api/templates", json={"name": "n"})
    before = (await stats(client))["categories"]
    category = (await client.post("/api/categories", json={"name": "n"})).json()
    found = await stats(client)
    assert found["prompts"] == {"live": 2, "deleted": 1, "favorites": 1}
    assert (found["versions"], found["tags"], found["templates"], found["categories"]) == (4, 1, 1, before + 1)
    assert (found["activity"][-1]["prompts"], found["activity"][-1]["versions"]) == (3, 4)
    (device,) = found["devices"]
    assert (device["name"], device["prompts"], device["versions"]) == ("test", 3, 4)
    assert found["other_devices"] == {"prompts": 0, "versions": 0}
    await client.delete(f"/api/categories/{category['id']}")
    assert (await stats(client))["categories"] == before


async def test_what_is_stored_is_measured(client: httpx2.AsyncClient, user: User) -> None:
    before = await stats(client)
    await client.post("/api/prompts", json={"title": "t", "original_text": "x" * 100_000})
    after = await stats(client)
    assert after["updates"] == before["updates"] + 1
    assert after["bytes"]["document"] - before["bytes"]["document"] > 100_000
    assert after["bytes"]["log"] - before["bytes"]["log"] > 100_000
    await client.post("/api/sync/force", json={"library": str(user.library_id)})
    folded = await stats(client)
    assert folded["snapshots"] == 1
    assert folded["bytes"]["snapshots"] > 100_000


async def test_devices_of_others_have_no_name(server: Running, client: httpx2.AsyncClient, user: User) -> None:
    editor = await server.user()
    await server.add_member(user.library_id, editor, "editor")
    async with server.http(editor) as other:
        assert (await other.post(f"/api/prompts?library={user.library_id}", json={"title": "theirs"})).status_code == 201
        (device,) = (await stats(other, f"?library={user.library_id}"))["devices"]
        assert device["name"] == "test"
    (device,) = (await stats(client))["devices"]
    assert (device["name"], device["prompts"]) == (None, 1)


def made(count: int = 1) -> Library:
    library = Library(client_id=5)
    for number in range(count):
        ops.create_prompt(library, NewPrompt(id=f"p{number}", title="t", created_at=ms(NOW), device=f"d{number}", order="a"))
    return library


def test_days_begin_at_midnight_utc_and_older_ones_are_left_out() -> None:
    library = made()
    midnight = NOW.replace(hour=0)
    times = [midnight, midnight - timedelta(milliseconds=1), midnight - timedelta(days=DAYS - 1), midnight - timedelta(days=DAYS)]
    for number, at in enumerate(times):
        ops.add_version(library, "p0", NewVersion(id=f"v{number}", text="", kind="edit", at=ms(at), device="d0"))
    found = statistics(View(library), now=ms(NOW))
    days = {day: activity.versions for day, activity in found.days.items() if activity.versions}
    assert days == {midnight.date(): 1, (midnight - timedelta(days=1)).date(): 1, (midnight - timedelta(days=DAYS - 1)).date(): 1}
    assert (found.versions, found.devices["d0"].versions, found.devices["d0"].last) == (4, 4, ms(NOW))


def test_of_very_many_devices_the_busiest_are_told_and_the_rest_is_summed() -> None:
    library = made(MOST_DEVICES + 3)
    last = f"d{MOST_DEVICES + 2}"
    ops.add_version(library, "p0", NewVersion(id=str(uuid4()), text="", kind="edit", at=ms(NOW), device=last))
    found = statistics(View(library), now=ms(NOW))
    assert (len(found.devices), next(iter(found.devices)), found.others.prompts) == (MOST_DEVICES, last, 3)


def test_times_and_devices_that_are_none_are_no_error() -> None:
    library = made()
    odd = {"v1": {"prompt": "p0", "at": "soon", "device": 7}, "v2": {"prompt": "p0"}, "v3": {"prompt": "gone", "at": 1}}
    library.edit(lambda: library.root(Root.VERSIONS).update(odd))
    found = statistics(View(library), now=ms(NOW))
    assert (found.versions, found.devices[""].versions) == (2, 2)
