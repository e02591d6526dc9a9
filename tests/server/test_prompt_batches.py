"""`POST /api/prompts/batch`: an answer for each operation, one update for all, and bounds."""

from uuid import uuid4

import httpx2

from tests.support.prompts import made, read
from tests.support.rest import code_of
from tests.support.running import Running, User


async def test_very_many_tags_are_taken_at_once(client: httpx2.AsyncClient) -> None:
    creates = [{"op": "create", "title": f"p{number}", "tags": [f"t{number}-{count}" for count in range(20)]} for number in range(100)]
    answer = read(await client.post("/api/prompts/batch", json={"operations": creates}))  # took minutes: a registry for each tag
    assert {each["status"] for each in answer["results"]} == {201}
    assert len(read(await client.get("/api/tags"))["tags"]) == 2_000


async def test_a_batch_answers_for_each_operation_and_is_one_update(client: httpx2.AsyncClient, server: Running, user: User) -> None:
    there, binned = await made(client, "there"), await made(client, "binned")
    room = server.app.rooms.get(user.library_id)
    assert room is not None
    head, minted = room.head, str(uuid4())
    answer = read(
        await client.post(
            "/api/prompts/batch",
            json={
                "operations": [
                    {"op": "create", "id": minted, "title": "new", "tags": ["x"]},
                    {"op": "update", "id": minted, "title": "newer"},
                    {"op": "update", "id": there["id"], "favorite": True},
                    {"op": "update", "id": "absent", "favorite": True},
                    {"op": "delete", "id": binned["id"]},
                    {"op": "update", "id": there["id"], "title": "t", "if_match": "other"},
                    {"op": "create", "title": "in a category that is not there", "category": "nowhere"},
                    {"op": "create", "id": minted, "title": "again"},
                ]
            },
        )
    )
    assert [(each["status"], each["code"]) for each in answer["results"]] == [
        (201, None), (200, None), (200, None), (404, "not_found"), (204, None), (412, "precondition_failed"), (422, "unknown_reference"),
        (409, "already_there"),
    ]  # fmt: skip
    assert answer["seq"] == room.head == head + 1
    listed = {each["title"]: each for each in read(await client.get("/api/prompts"))["prompts"]}
    assert set(listed) == {"newer", "there"}
    assert listed["there"]["favorite"]
    etag = (await client.get(f"/api/prompts/{minted}")).headers["etag"]
    assert etag == f'"{answer["results"][1]["etag"]}"'


async def test_all_or_nothing(client: httpx2.AsyncClient, server: Running, user: User) -> None:
    there = await made(client, "there")
    room = server.app.rooms.get(user.library_id)
    assert room is not None
    head = room.head
    operations = [
        {"op": "create", "title": "new"},
        {"op": "update", "id": there["id"], "title": "changed"},
        {"op": "delete", "id": "absent"},
    ]
    refused = await client.post("/api/prompts/batch", json={"operations": operations, "atomic": True})
    assert (refused.status_code, code_of(refused)) == (409, "batch_refused")
    assert [(each["status"], each["code"]) for each in refused.json()["results"]] == [
        (424, "not_done"),
        (424, "not_done"),
        (404, "not_found"),
    ]
    assert room.head == head
    assert [each["title"] for each in read(await client.get("/api/prompts"))["prompts"]] == ["there"]
    done = read(await client.post("/api/prompts/batch", json={"operations": operations[:2], "atomic": True}))
    assert [each["status"] for each in done["results"]] == [201, 200]
    assert {each["title"] for each in read(await client.get("/api/prompts"))["prompts"]} == {"new", "changed"}


async def test_five_hundred_at_once_and_no_more(client: httpx2.AsyncClient) -> None:
    creates = [{"op": "create", "title": f"p{number}", "original_text": "文" * 500} for number in range(500)]
    answer = read(await client.post("/api/prompts/batch", json={"operations": creates}))
    assert [each["status"] for each in answer["results"]] == [201] * 500
    assert len({each["id"] for each in answer["results"]}) == 500
    page = read(await client.get("/api/prompts?sort=order&limit=200&fields=title"))
    assert (page["total"], [each["title"] for each in page["prompts"]]) == (500, [f"p{number}" for number in range(200)])
    purges = [{"op": "delete", "id": each["id"], "purge": True} for each in answer["results"]]
    purged = read(await client.post("/api/prompts/batch", json={"operations": [*purges[:-1], purges[0]]}))
    assert [each["status"] for each in purged["results"]] == [*[204] * 499, 404]
    assert [each["id"] for each in read(await client.get("/api/prompts?deleted=any"))["prompts"]] == [purges[-1]["id"]]
    for operations in ([], [*creates, creates[0]]):
        refused = await client.post("/api/prompts/batch", json={"operations": operations})
        assert (refused.status_code, code_of(refused)) == (422, "invalid_request")
    for wrong in ({"op": "drop", "id": "x"}, {"op": "update"}, {"op": "delete", "id": "x", "title": "t"}, {"title": "no op"}):
        assert (await client.post("/api/prompts/batch", json={"operations": [wrong]})).status_code == 422


async def test_a_batch_that_rewrites_many_texts_is_carried_out(client: httpx2.AsyncClient) -> None:
    """Compared each for itself they would take longer than a call may, which costs everybody the document process."""

    def text(seed: int) -> str:
        return " ".join(f"word{number * number * seed % 997}" for number in range(600))

    created = [{"op": "create", "title": "t", "optimized_text": text(seed)} for seed in range(1, 101)]
    made = (await client.post("/api/prompts/batch", json={"operations": created})).json()["results"]
    updates = [{"op": "update", "id": each["id"], "optimized_text": text(seed)} for seed, each in enumerate(made, 1_000)]
    answer = await client.post("/api/prompts/batch", json={"operations": updates}, timeout=60)
    assert answer.status_code == 200, answer.text
    assert {result["status"] for result in answer.json()["results"]} == {200}
    last = (await client.get(f"/api/prompts/{made[-1]['id']}")).json()
    assert last["optimized_text"] == text(1_099)
