"""Requests about prompts that are sent again under their `Idempotency-Key`."""

from uuid import uuid4

import httpx2

from tests.support.prompts import made, read
from tests.support.rest import code_of
from tests.support.running import Running


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


async def test_a_prompt_is_made_once_under_its_key_with_an_id_of_the_clients_too(client: httpx2.AsyncClient, server: Running) -> None:
    for key, body in (("one", {"title": "t"}), ("two", {"title": "t", "id": str(uuid4())})):
        first = await client.post("/api/prompts", json=body, headers=keyed(key))
        await server.execute("UPDATE idempotency_keys SET sealed = NULL, answered_at = NULL")  # ended before its answer was kept
        again = await client.post("/api/prompts", json=body, headers=keyed(key))
        assert (first.status_code, again.status_code) == (201, 201)
        assert read(again)["id"] == read(first)["id"]
    assert read(await client.get("/api/prompts"))["total"] == 2


async def test_what_was_made_and_destroyed_is_not_made_again(client: httpx2.AsyncClient) -> None:
    body = {"title": "t", "original_text": "x" * 200_000}  # its answer is too large to be kept
    made = read(await client.post("/api/prompts", json=body, headers=keyed("large")))
    assert read(await client.post("/api/prompts", json=body, headers=keyed("large")))["id"] == made["id"]
    assert (await client.delete(f"/api/prompts/{made['id']}?purge=true")).status_code == 204
    gone = await client.post("/api/prompts", json=body, headers=keyed("large"))
    assert (gone.status_code, code_of(gone)) == (404, "not_found")
    assert read(await client.get("/api/prompts"))["total"] == 0


async def test_a_batch_is_answered_from_what_was_kept_whatever_happened_since(client: httpx2.AsyncClient) -> None:
    there = await made(client, "there")
    operations = [{"op": "create", "title": f"p{number}"} for number in range(499)] + [
        {"op": "update", "id": there["id"], "title": "batch"}
    ]
    first = await client.post("/api/prompts/batch", json={"operations": operations}, headers=keyed("batch"))
    await client.patch(f"/api/prompts/{there['id']}", json={"title": "later"})
    again = await client.post("/api/prompts/batch", json={"operations": operations}, headers=keyed("batch"))
    assert read(again) == read(first)
    assert read(await client.get(f"/api/prompts/{there['id']}"))["title"] == "later"


async def test_a_key_is_of_one_condition(client: httpx2.AsyncClient) -> None:
    prompt = await made(client)
    path = f"/api/prompts/{prompt['id']}"
    assert (await client.patch(path, json={"title": "x"}, headers=keyed("k"))).status_code == 200
    other = await client.patch(path, json={"title": "x"}, headers=keyed("k") | {"If-Match": '"other"'})
    assert (other.status_code, code_of(other)) == (422, "idempotency_key_reused")
