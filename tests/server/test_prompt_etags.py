"""Changes of prompts that hold for one state: `If-Match`, `If-None-Match`, and rivals at the same time."""

import asyncio

import httpx2

from crdt.operations import edit_original
from tests.support.library_replica import RestDevice
from tests.support.prompts import made, read
from tests.support.rest import code_of


async def test_if_match_decides_on_the_state_and_answers_with_it(client: httpx2.AsyncClient) -> None:
    prompt = await made(client)
    path = f"/api/prompts/{prompt['id']}"
    first = (await client.get(path)).headers["etag"]
    changed = await client.patch(path, json={"title": "two"}, headers={"If-Match": f'"other", {first}'})
    assert changed.status_code == 200
    second = changed.headers["etag"]
    assert second != first
    for method, body in (("PATCH", {"title": "three"}), ("PUT", {"title": "three"}), ("DELETE", None)):
        refused = await client.request(method, path, json=body, headers={"If-Match": first})
        assert (refused.status_code, code_of(refused)) == (412, "precondition_failed")
        assert refused.json()["current"]["title"] == "two"
        assert refused.headers["etag"] == second
    assert (await client.patch(path, json={"title": "three"}, headers={"If-Match": f"W/{second}"})).status_code == 412
    assert (await client.patch(path, json={"title": "three"}, headers={"If-Match": "*"})).status_code == 200
    for senseless in ("abc", '"open', second.strip('"'), "", f"{second} {second}"):
        answer = await client.patch(path, json={"title": "four"}, headers={"If-Match": senseless})
        assert answer.status_code in (412, 422), senseless
    assert read(await client.get(path))["title"] == "three"


async def test_a_state_that_is_known_is_not_sent_again(client: httpx2.AsyncClient) -> None:
    prompt = await made(client)
    path = f"/api/prompts/{prompt['id']}"
    tag = (await client.get(path)).headers["etag"]
    same = await client.get(path, headers={"If-None-Match": f'W/"x", W/{tag}'})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    await client.patch(path, json={"title": "two"})
    assert (await client.get(path, headers={"If-None-Match": tag})).status_code == 200


async def test_of_changes_at_once_that_ask_for_the_same_state_exactly_one_wins(client: httpx2.AsyncClient) -> None:
    prompt = await made(client)
    path = f"/api/prompts/{prompt['id']}"
    for number in range(5):
        tag = (await client.get(path)).headers["etag"]
        answers = await asyncio.gather(
            *(client.patch(path, json={"title": f"{number}-{rival}"}, headers={"If-Match": tag}) for rival in range(8))
        )
        assert sorted(answer.status_code for answer in answers) == [200, *[412] * 7]
        (winner,) = [read(answer)["title"] for answer in answers if answer.status_code == 200]
        assert read(await client.get(path))["title"] == winner


async def test_what_a_device_did_meanwhile_is_merged_without_and_refused_with_if_match(
    client: httpx2.AsyncClient, device: RestDevice
) -> None:
    prompt = await made(client, original_text="写一份周报。Make it short.", tags=["a"])
    path, tag = f"/api/prompts/{prompt['id']}", (await client.get(f"/api/prompts/{prompt['id']}")).headers["etag"]
    await device.pull()
    await device.push(edit_original(device.library, prompt["id"], "🎉 写一份周报。Make it short."))
    refused = await client.patch(path, json={"favorite": True}, headers={"If-Match": tag})
    assert refused.status_code == 412
    assert refused.json()["current"]["original_text"].startswith("🎉")
    merged = read(await client.patch(path, json={"favorite": True, "tags": ["a", "b"]}))
    assert (merged["original_text"], merged["favorite"]) == ("🎉 写一份周报。Make it short.", True)
    assert (
        read(await client.patch(path, json={"original_text": "🎉 写一份日报。Make it short."}))["original_text"]
        == "🎉 写一份日报。Make it short."
    )
    view = await device.pull()
    assert view.original(prompt["id"]) == "🎉 写一份日报。Make it short."
