"""`/api/prompts` on a real server, with devices beside it."""

import asyncio
from datetime import datetime
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from pycrdt import Map

from crdt.library import Library, Root
from crdt.operations import NewVersion, add_version, edit_original, edit_version, set_fields
from crdt.view import View
from protocol.exchange import Asked, decode_answered, encode_asked
from tests.support.rest import code_of
from tests.support.running import Running, User


async def made(client: httpx2.AsyncClient, title: str = "Weekly report", **fields: object) -> dict[str, Any]:
    answer = await client.post("/api/prompts", json={"title": title, **fields})
    assert answer.status_code == 201, answer.text
    return read(answer)


def read(answer: httpx2.Response) -> dict[str, Any]:
    assert answer.is_success, answer.text
    body = answer.json()
    assert isinstance(body, dict)
    return body


def moment(text: str) -> int:
    """A time of an answer in ms since 1970."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


class OwnDevice:
    """A device with a copy of the library, which stores its edits over `POST /api/sync`."""

    def __init__(self, client: httpx2.AsyncClient, user: User) -> None:
        self._client = client
        self._user = user
        self.library = Library()

    async def pull(self) -> View:
        """Take over what is stored."""
        answer = await self._client.post(
            f"/api/sync/{self._user.library_id}", content=_asked(self.library), headers={"Content-Type": "application/msgpack"}
        )
        assert answer.status_code == 200, answer.text
        self.library.apply(_answered(answer.content))
        return View(self.library)

    async def push(self, update: bytes) -> None:
        answer = await self._client.post(
            f"/api/sync/{self._user.library_id}", content=update, headers={"Content-Type": "application/octet-stream"}
        )
        assert answer.status_code == 200, answer.text


def _asked(library: Library) -> bytes:
    return encode_asked(Asked(library.state_vector(), None))


def _answered(content: bytes) -> bytes:
    return decode_answered(content).update


@pytest.fixture
def device(client: httpx2.AsyncClient, user: User) -> OwnDevice:
    return OwnDevice(client, user)


# --- one prompt


async def test_a_prompt_is_made_shown_and_on_the_devices(client: httpx2.AsyncClient, user: User, device: OwnDevice) -> None:
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
    client: httpx2.AsyncClient, device: OwnDevice
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


async def test_who_has_signed_out_reads_and_writes_nothing(client: httpx2.AsyncClient) -> None:
    prompt = await made(client)
    assert (await client.post("/api/auth/logout")).status_code == 204
    for answer in (
        await client.get("/api/prompts"),
        await client.get(f"/api/prompts/{prompt['id']}"),
        await client.post("/api/prompts", json={"title": "more"}, headers={"Idempotency-Key": "k"}),
        await client.post("/api/prompts", json={"title": 1}),
    ):
        assert (answer.status_code, code_of(answer)) == (401, "session_ended")


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


async def test_a_text_with_its_base_keeps_what_others_typed_meanwhile(client: httpx2.AsyncClient, device: OwnDevice) -> None:
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


async def test_what_names_a_category_in_the_bin_can_be_taken_out_of_it(client: httpx2.AsyncClient) -> None:
    prompt = await made(client, category="cat-writing")
    await client.delete("/api/categories/cat-writing")
    assert read(await client.patch(f"/api/prompts/{prompt['id']}", json={"category": None}))["category"] is None
    await client.post("/api/categories/cat-writing/restore")
    assert read(await client.get(f"/api/prompts/{prompt['id']}"))["category"] is None


async def test_very_many_tags_are_taken_at_once(client: httpx2.AsyncClient) -> None:
    creates = [{"op": "create", "title": f"p{number}", "tags": [f"t{number}-{count}" for count in range(20)]} for number in range(100)]
    answer = read(await client.post("/api/prompts/batch", json={"operations": creates}))  # took minutes: a registry for each tag
    assert {each["status"] for each in answer["results"]} == {201}
    assert len(read(await client.get("/api/tags"))["tags"]) == 2_000


async def test_a_change_that_changes_nothing_stores_nothing(client: httpx2.AsyncClient, server: Running, user: User) -> None:
    prompt = await made(client, original_text="o", optimized_text="t", tags=["a"], variables={"count": 1, "on": True}, model_used="m")
    room = server.app.rooms.get(user.library_id)
    assert room is not None
    head = room.head
    same = {name: prompt[name] for name in ("title", "original_text", "optimized_text", "tags", "variables", "model_used", "category")}
    answer = await client.patch(f"/api/prompts/{prompt['id']}", json=same)
    assert read(answer) == prompt
    assert room.head == head


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


# --- tags that match


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
    client: httpx2.AsyncClient, device: OwnDevice
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


# --- who may


async def test_what_is_made_in_another_library_says_where(server: Running, client: httpx2.AsyncClient, user: User) -> None:
    other = await server.library(user)
    for path, body in (("/api/prompts", {"title": "t"}), ("/api/categories", {"name": "n"}), ("/api/templates", {"name": "n"})):
        answer = await client.post(f"{path}?library={other}", json=body)
        assert answer.status_code == 201
        assert (await client.get(answer.headers["location"])).status_code == 200


async def test_libraries_of_others_answer_like_what_is_not_there(server: Running, client: httpx2.AsyncClient, user: User) -> None:
    prompt, stranger = await made(client), await server.user()
    async with server.http(stranger) as other:
        theirs = await made(other)
        for path in (f"/api/prompts/{prompt['id']}", f"/api/prompts/{prompt['id']}/history", f"/api/prompts?library={user.library_id}",
                     f"/api/prompts/{prompt['id']}?library={user.library_id}", f"/api/prompts?library={uuid4()}"):  # fmt: skip
            answer = await other.get(path)
            assert (answer.status_code, code_of(answer)) == (404, "not_found"), path
        for method in ("PUT", "PATCH", "DELETE"):
            answer = await other.request(
                method, f"/api/prompts/{prompt['id']}?library={user.library_id}", json=None if method == "DELETE" else {"title": "x"}
            )
            assert answer.status_code == 404
        answer = await other.post(f"/api/prompts?library={user.library_id}", json={"title": "x"})
        assert answer.status_code == 404
        await server.add_member(user.library_id, stranger, "viewer")
        assert read(await other.get(f"/api/prompts/{prompt['id']}?library={user.library_id}"))["user_id"] == str(user.id)
        for method, path, body in (
            ("POST", "/api/prompts", {"title": "x"}),
            ("PUT", f"/api/prompts/{prompt['id']}", {"title": "x"}),
            ("DELETE", f"/api/prompts/{prompt['id']}", None),
            ("POST", "/api/prompts/batch", {"operations": [{"op": "delete", "id": prompt["id"]}]}),
        ):
            refused = await other.request(method, f"{path}?library={user.library_id}", json=body)
            assert (refused.status_code, code_of(refused)) == (403, "forbidden")
        assert read(await other.get("/api/prompts"))["prompts"] == [theirs]
    async with server.http() as nobody:
        assert code_of(await nobody.get("/api/prompts")) == "not_authenticated"
    assert read(await client.get(f"/api/prompts/{prompt['id']}")) == prompt


# --- lists


async def test_lists_are_filtered_sorted_and_paged(client: httpx2.AsyncClient, device: OwnDevice) -> None:
    for number in range(12):
        await made(
            client, f"Prompt {number:02}", tags=["even" if number % 2 == 0 else "odd", *(["third"] if number % 3 == 0 else [])],
            favorite=number < 4, original_text="写一份周报" if number == 5 else f"text {number}",
            category="cat-writing" if number > 8 else None,
        )  # fmt: skip

    async def titles(query: str) -> list[str]:
        return [each["title"][7:] for each in read(await client.get(f"/api/prompts?{query}"))["prompts"]]

    assert await titles("") == [f"{number:02}" for number in reversed(range(12))]
    assert await titles("sort=title&tags=even&tags=third") == ["00", "06"]
    assert await titles("sort=title&tags=even&tags=third&tags_match=any") == ["00", "02", "03", "04", "06", "08", "09", "10"]
    assert await titles("sort=-title&favorite=true") == ["03", "02", "01", "00"]
    assert await titles("sort=title&category=cat-writing") == ["09", "10", "11"]
    assert await titles("search=周报") == ["05"]
    assert await titles("search=PROMPT%20text%207") == ["07"]
    assert await titles("search=nowhere") == []
    seen: list[str] = []
    cursor = ""
    while True:
        page = read(await client.get(f"/api/prompts?sort=title&limit=5&fields=title{cursor}"))
        assert page["total"] == 12
        seen += [each["title"] for each in page["prompts"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == [f"Prompt {number:02}" for number in range(12)]
    refused = await client.get(f"/api/prompts?sort=-title&limit=5{cursor}")
    assert (refused.status_code, code_of(refused)) == (422, "invalid_cursor")
    for wrong in (
        "limit=0",
        "limit=201",
        "sort=password",
        "cursor=abc",
        "unknown=1",
        "tags_match=some",
        "created_from=yesterday",
        "fields=",
    ):
        answer = await client.get(f"/api/prompts?{wrong}")
        assert answer.status_code == 422, wrong


# --- what clients have damaged


async def test_a_damaged_library_is_readable_says_what_is_wrong_and_takes_edits_where_it_can(
    client: httpx2.AsyncClient, device: OwnDevice
) -> None:
    prompt = await made(client, original_text="o", optimized_text="t")
    whole = await made(client, "Whole")
    view = await device.pull()
    library = view.library

    def damage() -> None:
        there = library.root(Root.PROMPTS)[prompt["id"]]
        there["original"] = 4_242_424_242
        there["tags"] = "a,b"
        there["created_at"] = "yesterday"
        library.root(Root.PROMPTS)["broken"] = "not a map"
        library.root(Root.VERSIONS)["stray"] = [1]
        library.root(Root.PROMPTS)["空"] = Map({})

    await device.push(library.edit(damage))
    listed = read(await client.get("/api/prompts"))
    assert {each["id"] for each in listed["prompts"]} == {prompt["id"], whole["id"], "空"}
    assert any(problem.startswith("prompts/broken") for problem in listed["problems"])
    shown = read(await client.get(f"/api/prompts/{prompt['id']}"))
    assert (shown["title"], shown["original_text"], shown["tags"]) == ("Weekly report", "", [])
    assert any("original" in problem for problem in shown["problems"])
    assert "4242424242" not in " ".join(shown["problems"])
    path = f"/api/prompts/{prompt['id']}"
    assert read(await client.patch(path, json={"title": "still editable"}))["title"] == "still editable"
    for field, value in (("original_text", "x"), ("tags", ["x"])):
        refused = await client.patch(path, json={field: value, "title": "half done"})
        assert (refused.status_code, code_of(refused)) == (409, "damaged"), refused.text
    assert read(await client.get(path))["title"] == "still editable"
    assert read(await client.get("/api/prompts/%E7%A9%BA"))["title"] == ""
    assert (await client.delete(f"{path}?purge=true")).status_code == 204


# --- batches


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


# --- sent again


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


# --- devices and REST at once


async def test_a_version_that_a_device_makes_is_shown_and_typed_into(client: httpx2.AsyncClient, device: OwnDevice) -> None:
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
