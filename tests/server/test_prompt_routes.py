"""`/api/prompts/{id}` on a real server: a prompt made, shown, changed and put in the bin."""

from datetime import datetime
from uuid import uuid4

import httpx2

from crdt.operations import NewVersion, add_version, edit_version, set_fields
from tests.support.library_replica import RestDevice
from tests.support.prompts import made, read
from tests.support.rest import code_of
from tests.support.running import Running, User


def moment(text: str) -> int:
    """A time of an answer in ms since 1970."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


async def test_a_prompt_is_made_shown_and_on_the_devices(client: httpx2.AsyncClient, user: User, device: RestDevice) -> None:
    answer = await client.post(
        "/api/prompts",
        json={
            "title": "周报 📝",
            "description": "weekly",
            "original_text": "写一份周报",
            "optimized_text": "# Role\n写一份周报。",
            "tags": ["Work", "写作"],
            "category": "cat-writing",
            "favorite": True,
            "variables": {"name": "Acme", "count": 3},
            "model_used": "deepseek-chat",
        },
    )
    assert answer.status_code == 201
    prompt = read(answer)
    assert answer.headers["location"] == f"/api/prompts/{prompt['id']}"
    assert {name: prompt[name] for name in ("title", "original_text", "optimized_text", "tags", "category", "favorite", "model_used")} == {
        "title": "周报 📝",
        "original_text": "写一份周报",
        "optimized_text": "# Role\n写一份周报。",
        "tags": ["Work", "写作"],
        "category": "cat-writing",
        "favorite": True,
        "model_used": "deepseek-chat",
    }
    assert prompt["user_id"] == str(user.id)
    assert prompt["variables"] == {"name": "Acme", "count": 3}
    assert prompt["deleted_at"] is None
    assert prompt["created_at"] == prompt["updated_at"]
    assert "optimization_history" not in prompt
    again = await client.get(f"/api/prompts/{prompt['id']}")
    assert read(again) == prompt
    assert again.headers["etag"] == answer.headers["etag"]
    view = await device.pull()
    assert [each.title for each in view.prompts()] == ["周报 📝"]
    assert view.original(prompt["id"]) == "写一份周报"


async def test_a_prompt_is_as_new_as_its_fields_and_its_versions_and_typing_does_not_count(
    client: httpx2.AsyncClient, device: RestDevice
) -> None:
    """`updated_at` is the newest of `touched_at` and the versions' dates: no register is written with each keystroke."""
    prompt = await made(client, optimized_text="text")
    path = f"/api/prompts/{prompt['id']}"
    await device.pull()
    await device.push(edit_version(device.library, prompt["version_id"], "text, typed into"))
    typed = read(await client.get(path))
    assert (typed["optimized_text"], typed["updated_at"]) == ("text, typed into", prompt["updated_at"])
    later = 4_000_000_000_000
    version = NewVersion(id="newer", text="t", kind="iterate", at=later, device="d")
    await device.push(add_version(device.library, prompt["id"], version))
    assert moment(read(await client.get(path))["updated_at"]) == later
    await device.push(set_fields(device.library, prompt["id"], {"touched_at": later + 1}))
    assert moment(read(await client.get(path))["updated_at"]) == later + 1


async def test_fields_are_chosen_and_the_history_is_among_them(client: httpx2.AsyncClient) -> None:
    prompt = await made(client, optimized_text="one")
    path = f"/api/prompts/{prompt['id']}"
    assert read(await client.get(f"{path}?fields=title,tags")) == {"id": prompt["id"], "title": "Weekly report", "tags": []}
    (version,) = read(await client.get(f"{path}?fields=optimization_history"))["optimization_history"]
    assert (version["version"], version["current"], version["size"]) == (1, True, 3)
    refused = await client.get(f"{path}?fields=title,password")
    assert (refused.status_code, code_of(refused)) == (422, "invalid_request")
    assert "password" not in refused.text


async def test_a_client_may_mint_the_id_but_not_twice(client: httpx2.AsyncClient) -> None:
    minted = str(uuid4())
    assert (await made(client, id=minted))["id"] == minted
    refused = await client.post("/api/prompts", json={"id": minted, "title": "another"})
    assert (refused.status_code, code_of(refused)) == (409, "already_there")
    assert read(await client.get(f"/api/prompts/{minted}"))["title"] == "Weekly report"


async def test_put_sets_all_fields_and_patch_those_that_are_given(client: httpx2.AsyncClient) -> None:
    prompt = await made(client, description="d", original_text="o", optimized_text="t", tags=["a", "b"], favorite=True, model_used="m")
    path = f"/api/prompts/{prompt['id']}"
    patched = read(await client.patch(path, json={"pinned": True, "tags": ["b", "c"]}))
    assert patched == prompt | {"pinned": True, "tags": ["b", "c"], "updated_at": patched["updated_at"]}
    assert patched["updated_at"] >= prompt["updated_at"]
    put = read(await client.put(path, json={"title": "new", "optimized_text": "t"}))
    assert put == prompt | {
        "title": "new", "description": "", "original_text": "", "tags": [], "favorite": False, "pinned": False,
        "updated_at": put["updated_at"],
    }  # fmt: skip


async def test_what_get_answered_can_be_put_and_changes_nothing(client: httpx2.AsyncClient, server: Running, user: User) -> None:
    prompt = await made(client, original_text="o", optimized_text="t", tags=["a"], variables={"b": 1, "a": True}, model_used="m")
    room = server.app.rooms.get(user.library_id)
    assert room is not None
    head = room.head
    assert read(await client.put(f"/api/prompts/{prompt['id']}", json=prompt)) == prompt
    assert room.head == head
    for one, other in ((1, True), (True, 1), (0, False), ({"x": 1}, {"x": True})):
        for value in (one, other):
            shown = read(await client.patch(f"/api/prompts/{prompt['id']}", json={"variables": {"v": value}}))
            assert str(shown["variables"]["v"]) == str(value)


async def test_what_names_a_category_in_the_bin_can_be_taken_out_of_it(client: httpx2.AsyncClient) -> None:
    prompt = await made(client, category="cat-writing")
    await client.delete("/api/categories/cat-writing")
    assert read(await client.patch(f"/api/prompts/{prompt['id']}", json={"category": None}))["category"] is None
    await client.post("/api/categories/cat-writing/restore")
    assert read(await client.get(f"/api/prompts/{prompt['id']}"))["category"] is None


async def test_a_change_that_changes_nothing_stores_nothing(client: httpx2.AsyncClient, server: Running, user: User) -> None:
    prompt = await made(client, original_text="o", optimized_text="t", tags=["a"], variables={"count": 1, "on": True}, model_used="m")
    room = server.app.rooms.get(user.library_id)
    assert room is not None
    head = room.head
    same = {name: prompt[name] for name in ("title", "original_text", "optimized_text", "tags", "variables", "model_used", "category")}
    answer = await client.patch(f"/api/prompts/{prompt['id']}", json=same)
    assert read(answer) == prompt
    assert room.head == head


async def test_the_bin(client: httpx2.AsyncClient) -> None:
    prompt = await made(client, optimized_text="t")
    path = f"/api/prompts/{prompt['id']}"
    assert (await client.delete(path)).status_code == 204
    assert read(await client.get("/api/prompts"))["prompts"] == []
    (binned,) = read(await client.get("/api/prompts?deleted=true"))["prompts"]
    assert binned["deleted_at"] is not None
    assert read(await client.patch(path, json={"title": "edited in the bin"}))["deleted_at"] == binned["deleted_at"]
    assert (await client.delete(path)).status_code == 204  # again: nothing changes
    assert read(await client.get(path))["deleted_at"] == binned["deleted_at"]
    restored = read(await client.post(f"{path}/restore"))
    assert (restored["deleted_at"], restored["title"]) == (None, "edited in the bin")
    assert (await client.delete(f"{path}?purge=true")).status_code == 204
    for method, part in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/restore"), ("GET", "/history"), ("GET", "/history/1")):
        gone = await client.request(method, path + part, json={"title": "t"} if method == "PATCH" else None)
        assert (gone.status_code, code_of(gone)) == (404, "not_found")
