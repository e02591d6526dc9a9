"""A prompt's texts over REST: typed into beside devices, made a version of, and compared where nobody else waits."""

from typing import Any
from uuid import uuid4

import httpx2

from crdt.operations import NewVersion, add_version, edit_original, edit_version, set_fields
from tests.support.library_replica import RestDevice
from tests.support.prompts import made, read
from tests.support.rest import code_of
from tests.support.running import Running, User


async def test_a_text_with_its_base_keeps_what_others_typed_meanwhile(client: httpx2.AsyncClient, device: RestDevice) -> None:
    base = {"original_text": "写一份周报。", "optimized_text": "Write a report."}
    prompt = await made(client, **base)
    path = f"/api/prompts/{prompt['id']}"
    await device.pull()
    await device.push(edit_original(device.library, prompt["id"], "请写一份周报。"))
    await device.push(edit_version(device.library, prompt["version_id"], "Write a report. Now!"))
    wanted = {"original_text": "写一份简短的周报。", "optimized_text": "Write a short report."}
    patched = read(await client.patch(path, json=wanted | {"base": base}))
    assert (patched["original_text"], patched["optimized_text"]) == ("请写一份简短的周报。", "Write a short report. Now!")
    put = read(await client.put(path, json=patched | {"original_text": "周报。", "base": {"original_text": patched["original_text"]}}))
    assert (put["original_text"], put["optimized_text"]) == ("周报。", "Write a short report. Now!")
    operation = {
        "op": "update",
        "id": prompt["id"],
        "optimized_text": "Write a report.",
        "base": {"optimized_text": "Write a short report."},
    }
    read(await client.post("/api/prompts/batch", json={"operations": [operation]}))
    assert read(await client.get(path))["optimized_text"] == "Write a report. Now!"
    result = read(await client.patch(path, json={"optimized_text": "A result.", "model_used": "m", "base": {"optimized_text": "Write."}}))
    assert result["optimized_text"] == "A result."  # a version of its own: nothing is typed into
    refused = await client.patch(path, json={"optimized_text": "x", "base": {"title": "x"}})
    assert (refused.status_code, code_of(refused)) == (422, "invalid_request")


async def test_a_note_makes_a_version_and_so_does_each_result_of_a_model(client: httpx2.AsyncClient) -> None:
    prompt = await made(client, optimized_text="first", model_used="m")
    path = f"/api/prompts/{prompt['id']}"
    await client.patch(path, json={"optimized_text": "second", "model_used": "m", "note": "again"})
    await client.put(path, json={"title": "without a text"})
    await client.patch(path, json={"note": "as it is"})
    versions = read(await client.get(f"{path}/history"))["versions"]
    assert [(each["note"], each["size"], each["model"]) for each in versions] == [("as it is", 6, "m"), ("again", 6, "m"), ("", 5, "m")]


async def test_texts_are_typed_into_and_a_model_or_a_wish_makes_a_version(client: httpx2.AsyncClient) -> None:
    prompt = await made(client, optimized_text="one")
    path = f"/api/prompts/{prompt['id']}"
    for change, versions in (
        ({"optimized_text": "one two"}, ["one two"]),
        ({"optimized_text": "better", "model_used": "gpt", "note": "by the model"}, ["better", "one two"]),
        ({"optimized_text": "best", "model_used": "gpt"}, ["best", "better", "one two"]),
        ({"optimized_text": "best by hand"}, ["best by hand", "better", "one two"]),
        ({"optimized_text": "mine", "new_version": True}, ["mine", "best by hand", "better", "one two"]),
    ):
        shown = read(await client.patch(path, json=change))
        assert shown["optimized_text"] == versions[0]
        listed = read(await client.get(f"{path}/history"))["versions"]
        assert [each["version"] for each in listed] == list(range(len(versions), 0, -1))
        assert [each["current"] for each in listed] == [True, *[False] * (len(versions) - 1)]
        assert [read(await client.get(f"{path}/history/{each['version']}"))["text"] for each in listed] == versions
    assert [(each["model"], each["note"], each["kind"]) for each in listed] == [
        ("gpt", "", "edit"),
        ("gpt", "", "optimize"),
        ("gpt", "by the model", "optimize"),
        (None, "", "edit"),
    ]
    by_id = read(await client.get(f"{path}/history/{listed[1]['id']}"))
    assert (by_id["version"], by_id["text"]) == (3, "best by hand")
    for absent in ("5", "0", "absent", "9" * 30):
        assert (await client.get(f"{path}/history/{absent}")).status_code == 404


async def test_a_version_that_a_device_makes_is_shown_and_typed_into(client: httpx2.AsyncClient, device: RestDevice) -> None:
    prompt = await made(client, optimized_text="first")
    await device.pull()
    version = NewVersion(id=str(uuid4()), text="from the device", kind="iterate", at=1 << 41, device="d", more={"model": "m"})
    await device.push(add_version(device.library, prompt["id"], version))
    shown = read(await client.get(f"/api/prompts/{prompt['id']}"))
    assert (shown["optimized_text"], shown["model_used"], shown["version_id"]) == ("from the device", "m", version.id)
    await device.push(edit_version(device.library, version.id, "Now from the device"))
    await device.push(set_fields(device.library, prompt["id"], {"title": "By the device"}))
    both = read(await client.patch(f"/api/prompts/{prompt['id']}", json={"optimized_text": "Now from the device, and REST"}))
    assert (both["optimized_text"], both["title"]) == ("Now from the device, and REST", "By the device")
    assert (await device.pull()).text(version.id) == "Now from the device, and REST"


async def test_texts_are_compared_where_nobody_else_waits(server: Running) -> None:
    """It takes up to a quarter of a second each: no small library does that in the process that serves everybody."""
    text = " ".join(f"word{number}" for number in range(600))
    patches: tuple[dict[str, Any], ...] = (
        {"optimized_text": text},
        {"original_text": "short"},
        {"optimized_text": "", "base": {"optimized_text": text}},
    )
    for body in patches:
        for is_batch in (False, True):
            user = await server.user()
            async with server.http(user) as client:
                prompt = (await client.post("/api/prompts", json={"title": "t", "optimized_text": "one two"})).json()
                assert (await client.patch(f"/api/prompts/{prompt['id']}", json={"title": "u"})).status_code == 200
                assert is_served_here(server, user)
                if is_batch:
                    batch = {"operations": [{"op": "update", "id": prompt["id"], **body}]}
                    assert (await client.post("/api/prompts/batch", json=batch)).json()["results"][0]["status"] == 200
                else:
                    assert (await client.patch(f"/api/prompts/{prompt['id']}", json=body)).status_code == 200
                assert not is_served_here(server, user)
    user = await server.user()
    async with server.http(user) as client:
        prompt = (await client.post("/api/prompts", json={"title": "t", "optimized_text": "one two"})).json()
        assert (await client.get(f"/api/prompts/{prompt['id']}/diff")).status_code == 200
        assert not is_served_here(server, user)


def is_served_here(server: Running, user: User) -> bool:
    """Whether the user's library lies in the serving process."""
    return server.app.documents._lying[user.library_id].place.process is None
