"""Versions over REST: compared, made, restored, chosen, labelled and destroyed, with devices that edit at the same time."""

import asyncio
from typing import Any

import httpx2
import pytest
import structlog

from crdt.library import Root
from crdt.operations import NewVersion, add_version, choose_version, edit_version, label_version
from server.intents import versions
from tests.support.core import until
from tests.support.editing import large_library
from tests.support.library_replica import LibraryReplica, newcomer, pull, store
from tests.support.rest import code_of
from tests.support.running import Running, User


class Prompt:
    """A prompt of the user's, as REST has it."""

    def __init__(self, client: httpx2.AsyncClient, prompt_id: str, query: str = "") -> None:
        self.client = client
        self.id = prompt_id
        self.path = f"/api/prompts/{prompt_id}"
        self.query = query

    async def ask(self, method: str, path: str = "", body: object = None, **headers: str) -> httpx2.Response:
        return await self.client.request(method, f"{self.path}{path}{self.query}", json=body, headers=headers)

    async def done(self, method: str, path: str = "", body: object = None, **headers: str) -> Any:
        answer = await self.ask(method, path, body, **headers)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def refused(self, method: str, path: str = "", body: object = None, **headers: str) -> tuple[int, str]:
        answer = await self.ask(method, path, body, **headers)
        return answer.status_code, code_of(answer)

    async def versions(self) -> list[dict[str, Any]]:
        """Oldest first."""
        found: list[dict[str, Any]] = (await self.done("GET", "/history"))["versions"]
        return found[::-1]

    async def text(self) -> str:
        return str((await self.done("GET"))["optimized_text"])


@pytest.fixture
async def prompt(client: httpx2.AsyncClient) -> Prompt:
    """With the versions `one`, `two` and `three`, the last one current."""
    answer = await client.post("/api/prompts", json={"title": "p", "original_text": "原文", "optimized_text": "one", "model_used": "m-1"})
    prompt = Prompt(client, answer.json()["id"])
    for text in ("two", "three"):
        await prompt.done("PATCH", "", {"optimized_text": text, "new_version": True})
    return prompt


# --- diffs


async def test_versions_are_compared_by_words_and_by_lines(client: httpx2.AsyncClient) -> None:
    answer = await client.post(
        "/api/prompts", json={"title": "p", "original_text": "写周报", "optimized_text": "# 角色\n写一份周报。\nEnd"}
    )
    prompt = Prompt(client, answer.json()["id"])
    await prompt.done("PATCH", "", {"optimized_text": "# 角色\n写一份日报。\nThe end", "note": "daily"})
    first, second = await prompt.versions()
    diff = await prompt.done("GET", "/diff")
    assert (diff["from"], diff["to"]) == (first, second)
    assert diff["unified"] == [
        "--- version 1", "+++ version 2", "@@ -1,3 +1,3 @@", " # 角色", "-写一份周报。", "-End", "\\ No newline at end of file",
        "+写一份日报。", "+The end", "\\ No newline at end of file",
    ]  # fmt: skip
    assert diff["segments"] == [
        {"op": "equal", "text": "# 角色\n写一份"}, {"op": "delete", "text": "周"}, {"op": "insert", "text": "日"},
        {"op": "equal", "text": "报。\n"}, {"op": "delete", "text": "End"}, {"op": "insert", "text": "The end"},
    ]  # fmt: skip
    assert await prompt.done("GET", f"/diff?from=1&to={second['id']}") == diff
    back = await prompt.done("GET", f"/diff?from={second['id']}&to=1")
    assert (back["from"], back["to"], back["segments"][1]) == (second, first, {"op": "delete", "text": "日"})
    for query in ("?to=1", "?from=original&to=1"):
        from_original = await prompt.done("GET", f"/diff{query}")
        assert (from_original["from"], from_original["to"]) == (None, first)
        assert "".join(each["text"] for each in from_original["segments"] if each["op"] != "insert") == "写周报"
    same = await prompt.done("GET", "/diff?from=original&to=original")
    assert same == {"from": None, "to": None, "unified": [], "segments": [{"op": "equal", "text": "写周报"}]}
    for query in ("?from=3", "?to=nowhere", "?from=0", "?to=99999999999"):
        assert await prompt.refused("GET", f"/diff{query}") == (404, "not_found")
    assert await prompt.refused("GET", "/diff?from=") == (422, "invalid_request")
    assert await Prompt(client, "nowhere").refused("GET", "/diff") == (404, "not_found")


async def test_a_prompt_without_versions_has_no_differences(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/api/prompts", json={"title": "p", "original_text": "x"})
    diff = await Prompt(client, answer.json()["id"]).done("GET", "/diff")
    assert diff == {"from": None, "to": None, "unified": [], "segments": [{"op": "equal", "text": "x"}]}


async def test_texts_that_have_nothing_in_common_are_compared_in_bounded_time(client: httpx2.AsyncClient) -> None:
    old, new = (" ".join(f"{word}{number}" for number in range(20_000)) for word in "ab")
    answer = await client.post("/api/prompts", json={"title": "p", "optimized_text": old})
    prompt = Prompt(client, answer.json()["id"])
    await prompt.done("PATCH", "", {"optimized_text": new, "new_version": True})
    diff = await prompt.done("GET", "/diff")
    assert [each["op"] for each in diff["segments"]] == ["delete", "insert"]


async def test_texts_past_the_bound_are_not_compared(user: User, client: httpx2.AsyncClient, prompt: Prompt) -> None:
    device = await newcomer(client, user.library_id)
    text = "字" * (versions.MAX_COMPARED_BYTES // 3 + 1)
    await store(client, user.library_id, add_version(device.library, prompt.id, version("large", text)))
    assert await prompt.refused("GET", "/diff") == (413, "text_too_large")
    assert (await prompt.done("GET", "/diff?from=1&to=2"))["unified"]


def version(version_id: str, text: str, **fields: Any) -> NewVersion:
    made: dict[str, Any] = {"id": version_id, "text": text, "kind": "edit", "at": 4_000_000_000_000, "device": "d"}
    return NewVersion(**made | fields)


# --- made and restored


async def test_a_version_is_made_by_hand(client: httpx2.AsyncClient, prompt: Prompt) -> None:
    answer = await prompt.ask("POST", "/history", {"text": "四", "note": "by hand"})
    made = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, f"{prompt.path}/history/{made['id']}")
    assert answer.headers["etag"] == (await prompt.ask("GET")).headers["etag"]
    before = (await prompt.versions())[2]
    assert {name: made[name] for name in ("version", "current", "kind", "note", "parent", "model", "text")} == {
        "version": 4, "current": True, "kind": "edit", "note": "by hand", "parent": before["id"], "model": "m-1", "text": "四",
    }  # fmt: skip
    assert (await client.get(answer.headers["location"])).json() == made
    snapshot = await prompt.done("POST", "/history", {})
    assert (snapshot["text"], snapshot["version"], snapshot["parent"]) == ("四", 5, made["id"])
    await prompt.done("PATCH", "", {"optimized_text": "typed"})
    assert [(await prompt.done("GET", f"/history/{number}"))["text"] for number in (4, 5)] == ["四", "typed"]


async def test_the_first_version_is_of_the_original(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/api/prompts", json={"title": "p", "original_text": "原文"})
    made = await Prompt(client, answer.json()["id"]).done("POST", "/history", {})
    assert (made["text"], made["version"], made["parent"]) == ("原文", 1, None)


async def test_an_old_text_comes_back_as_a_new_version(prompt: Prompt) -> None:
    first, _, third = await prompt.versions()
    answer = await prompt.ask("POST", "/history/1/restore", {"note": "back"})
    restored = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, f"{prompt.path}/history/{restored['id']}")
    assert {name: restored[name] for name in ("version", "current", "kind", "note", "parent", "model", "text")} == {
        "version": 4, "current": True, "kind": "restore", "note": "back", "parent": first["id"], "model": "m-1", "text": "one",
    }  # fmt: skip
    shown = await prompt.done("GET")
    assert (shown["optimized_text"], shown["version_id"], shown["updated_at"]) == ("one", restored["id"], restored["created_at"])
    again = await prompt.done("POST", f"/history/{third['id']}/restore")
    assert (again["text"], again["note"], again["parent"]) == ("three", "", third["id"])
    assert await prompt.refused("POST", "/history/9/restore") == (404, "not_found")


@pytest.mark.parametrize(("path", "body"), [("/history", {"text": "four"}), ("/history/1/restore", None)])
async def test_a_version_is_made_once_under_a_key(prompt: Prompt, path: str, body: object) -> None:
    first, again = [await prompt.ask("POST", path, body, **{"Idempotency-Key": "v-1"}) for _ in "ab"]
    assert (first.status_code, again.content, again.headers["idempotency-replayed"]) == (201, first.content, "true")
    assert again.headers["etag"] == first.headers["etag"]
    assert len(await prompt.versions()) == 4


async def test_a_large_version_is_made_once_too_and_not_again_when_it_is_destroyed(prompt: Prompt) -> None:
    body, key = {"text": "x" * 200_000}, {"Idempotency-Key": "v-2"}  # more than is kept as an answer
    first, again = [await prompt.ask("POST", "/history", body, **key) for _ in "ab"]
    assert (first.status_code, again.json()) == (201, first.json())
    await prompt.done("PUT", "/current", {"version": "1"})
    await prompt.done("DELETE", f"/history/{first.json()['id']}")
    assert await prompt.refused("POST", "/history", body, **key) == (404, "not_found")
    assert len(await prompt.versions()) == 3


# --- chosen, labelled, destroyed


async def test_an_older_version_is_used_again(prompt: Prompt) -> None:
    first, second, _ = await prompt.versions()
    before = await prompt.done("GET")
    chosen = await prompt.done("PUT", "/current", {"version": first["id"]})
    assert (chosen["optimized_text"], chosen["version_id"], chosen["model_used"]) == ("one", first["id"], "m-1")
    assert chosen["updated_at"] > before["updated_at"]
    assert len(await prompt.versions()) == 3
    await prompt.done("PATCH", "", {"optimized_text": "one, typed"})
    assert (await prompt.done("PUT", "/current", {"version": "2"}))["version_id"] == second["id"]
    assert (await prompt.done("GET", "/history/1"))["text"] == "one, typed"
    same = await prompt.done("PUT", "/current", {"version": "2"})
    assert same == await prompt.done("GET")
    assert same["updated_at"] == (await prompt.done("PUT", "/current", {"version": second["id"]}))["updated_at"]
    assert await prompt.refused("PUT", "/current", {"version": "nowhere"}) == (422, "unknown_reference")


async def test_labels_are_put_moved_and_taken_off(
    user: User, client: httpx2.AsyncClient, prompt: Prompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, _ = await prompt.versions()
    for label in ("production", "生产", "v1.0-rc_2"):
        await prompt.done("PUT", f"/labels/{label}", {"version": first["id"]})
    answer = await prompt.ask("PUT", "/labels/production", {"version": "2"})
    assert (answer.status_code, answer.headers["etag"]) == (204, (await prompt.ask("GET")).headers["etag"])
    assert [each["labels"] for each in await prompt.versions()] == [["v1.0-rc_2", "生产"], ["production"], []]
    await prompt.done("DELETE", "/labels/production")
    assert [each["labels"] for each in await prompt.versions()] == [["v1.0-rc_2", "生产"], [], []]
    assert await prompt.refused("DELETE", "/labels/production") == (404, "not_found")
    device = await newcomer(client, user.library_id)
    await store(client, user.library_id, label_version(device.library, prompt.id, "a/b c", first["id"]))
    await prompt.done("DELETE", "/labels/a%2Fb%20c")  # whatever a device has called it
    assert await prompt.refused("PUT", "/labels/production", {"version": "4"}) == (422, "unknown_reference")
    for label in ("a%2Fb", "-a", "a b", "%E2%80%8B", "x" * 51, ".", "a%00"):
        assert (await prompt.refused("PUT", f"/labels/{label}", {"version": second["id"]}))[0] in (404, 405), label
    monkeypatch.setattr(versions, "MAX_LABELS", 2)
    assert await prompt.refused("PUT", "/labels/third", {"version": "1"}) == (409, "too_many")
    await prompt.done("PUT", "/labels/生产", {"version": "2"})


async def test_a_version_is_destroyed_with_its_text_and_labels(user: User, client: httpx2.AsyncClient, prompt: Prompt) -> None:
    first, second, third = await prompt.versions()
    for label, at in (("old", first), ("kept", second)):
        await prompt.done("PUT", f"/labels/{label}", {"version": at["id"]})
    assert await prompt.refused("DELETE", "/history/3") == (409, "is_current")
    answer = await prompt.ask("DELETE", f"/history/{first['id']}")
    assert (answer.status_code, answer.headers["etag"]) == (204, (await prompt.ask("GET")).headers["etag"])
    assert await prompt.refused("DELETE", f"/history/{first['id']}") == (404, "not_found")
    left = await prompt.versions()
    assert [(each["id"], each["version"], each["parent"], each["labels"]) for each in left] == [
        (second["id"], 1, first["id"], ["kept"]),  # of a parent that is gone
        (third["id"], 2, second["id"], []),
    ]
    device = await newcomer(client, user.library_id)
    assert first["id"] not in device.library.root(Root.TEXTS)
    assert list(device.library.root(Root.LABELS).keys()) == [f"{prompt.id}/kept"]


async def test_a_version_that_only_shows_as_current_is_not_destroyed(user: User, client: httpx2.AsyncClient, prompt: Prompt) -> None:
    device = await newcomer(client, user.library_id)
    there = device.library.root(Root.PROMPTS)[prompt.id]
    await store(client, user.library_id, device.library.edit(lambda: there.__setitem__("current", "gone")))
    assert await prompt.refused("DELETE", "/history/3") == (409, "is_current")
    assert (await prompt.done("PUT", "/current", {"version": "3"}))["optimized_text"] == "three"
    await pull(client, user.library_id, device)
    assert there["current"] == (await prompt.versions())[2]["id"]


# --- If-Match


CHANGES: tuple[tuple[str, str, Any], ...] = (
    ("POST", "/history", {"text": "x"}),
    ("POST", "/history/1/restore", None),
    ("PUT", "/current", {"version": "1"}),
    ("PUT", "/labels/l", {"version": "1"}),
    ("DELETE", "/labels/there", None),
    ("DELETE", "/history/2", None),
)


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
async def test_what_has_changed_meanwhile_is_left_alone_where_that_is_asked_for(prompt: Prompt, method: str, path: str, body: Any) -> None:
    await prompt.done("PUT", "/labels/there", {"version": "1"})
    old = (await prompt.ask("GET")).headers["etag"]
    await prompt.done("PATCH", "", {"favorite": True})
    before = await prompt.done("GET", "/history")
    answer = await prompt.ask(method, path, body, **{"If-Match": old})
    assert (answer.status_code, code_of(answer), answer.json()["current"]["favorite"]) == (412, "precondition_failed", True)
    assert await prompt.done("GET", "/history") == before
    now = (await prompt.ask("GET")).headers["etag"]
    done = await prompt.ask(method, path, body, **{"If-Match": now})
    assert done.is_success, done.text
    assert done.headers["etag"] == (await prompt.ask("GET")).headers["etag"] != now


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
async def test_viewers_change_no_versions_and_strangers_see_none(
    server: Running, user: User, prompt: Prompt, method: str, path: str, body: Any
) -> None:
    await prompt.done("PUT", "/labels/there", {"version": "1"})
    other = await server.user()
    async with server.http(other) as client:
        theirs = Prompt(client, prompt.id, f"?library={user.library_id}")
        assert await theirs.refused(method, path, body) == (404, "not_found")
        assert await theirs.refused("GET", "/diff") == (404, "not_found")
        await server.add_member(user.library_id, other, "viewer")
        assert await theirs.refused(method, path, body) == (403, "forbidden")
        assert (await theirs.done("GET", "/diff"))["to"]["version"] == 3


# --- beside devices


async def test_a_restore_and_typing_at_the_same_time_keep_both(server: Running, user: User, prompt: Prompt) -> None:
    """Somebody types into the current version while REST restores, chooses and makes others: nothing of what was typed is lost."""
    third = (await prompt.versions())[2]["id"]
    typist, finished, between = LibraryReplica(), asyncio.Event(), list[int]()
    async with server.device(user, replica=typist) as device:
        await device.confirmed()

        async def type_on() -> int:
            number = 0
            while not finished.is_set():
                await device.push(edit_version(typist.library, third, f"{typist.view.text(third)}\n{number}"))
                await device.confirmed()
                number += 1
                between.append(len(typist.view.versions(prompt.id)))
            return number

        async def restore() -> list[str]:
            made = []
            for number in range(12):
                made.append((await prompt.done("POST", "/history/1/restore"))["id"])
                await prompt.done("PUT", f"/labels/l{number}", {"version": made[-1]})
                await prompt.done("PUT", "/current", {"version": third if number % 2 else "2"})
            finished.set()
            return made

        typed, made = await asyncio.gather(type_on(), restore())
    assert len(set(between)) > 5, "they did not happen at the same time"
    found = await prompt.versions()
    assert [each["id"] for each in found if each["kind"] == "restore"] == made
    texts = {each["id"]: (await prompt.done("GET", f"/history/{each['id']}"))["text"] for each in found}
    assert texts[third] == "\n".join(["three", *map(str, range(typed))])
    assert {texts[each] for each in made} == {"one"}
    assert {label for each in found for label in each["labels"]} == {f"l{number}" for number in range(12)}
    await same_for_all(server, user, prompt, typist)


async def same_for_all(server: Running, user: User, prompt: Prompt, device: LibraryReplica) -> None:
    """What the device has is what the server and a newcomer have."""
    await pull(prompt.client, user.library_id, device)
    other = await newcomer(prompt.client, user.library_id)
    for root in Root:
        assert device.library.root(root).to_py() == other.library.root(root).to_py()
    assert device.view.problems == other.view.problems == []
    shown = device.view.full(prompt.id)
    assert shown is not None
    assert (await prompt.done("GET"))["version_id"] == shown.prompt.current


async def test_versions_are_destroyed_amid_what_devices_make_of_them(server: Running, user: User, prompt: Prompt) -> None:
    """A device that is away uses, labels and continues what is destroyed meanwhile: it meets, and shows alike everywhere."""
    first, second, _ = [each["id"] for each in await prompt.versions()]
    device = await newcomer(prompt.client, user.library_id)
    made = [
        edit_version(device.library, first, "one, typed"),
        label_version(device.library, prompt.id, "production", first),
        choose_version(device.library, prompt.id, first),
        add_version(device.library, prompt.id, version("child", "made of two", parent=second), current=False),
    ]
    await prompt.done("DELETE", f"/history/{first}")
    await prompt.done("DELETE", f"/history/{second}")
    with structlog.testing.capture_logs() as logged:
        for update in made:
            assert (await store(prompt.client, user.library_id, update)).status_code == 200
        found = await prompt.versions()
        assert [each["id"] for each in found][1:] == ["child"]
        assert (found[1]["parent"], found[1]["current"], [each["labels"] for each in found]) == (second, True, [[], []])
        assert await prompt.text() == "made of two"  # the newest, since what was chosen is gone
        await prompt.done("PUT", "/current", {"version": "1"})
        assert await prompt.text() == "three"
        await prompt.done("DELETE", "/labels/production")  # it still hangs at what is gone
    assert [line for line in logged if line["log_level"] in ("error", "critical")] == []
    await same_for_all(server, user, prompt, device)


async def test_rivals_over_one_state_make_one_version(prompt: Prompt) -> None:
    tag = (await prompt.ask("GET")).headers["etag"]
    answers = await asyncio.gather(*(prompt.ask("POST", "/history/1/restore", None, **{"If-Match": tag}) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, *[412] * 5]
    assert len(await prompt.versions()) == 4


async def test_a_connected_device_sees_each_of_them(server: Running, user: User, prompt: Prompt) -> None:
    first, second, third = [each["id"] for each in await prompt.versions()]
    there = LibraryReplica()

    def shows(current: str, ids: list[str], labels: dict[str, str]) -> bool:
        shown = there.view.prompt(prompt.id)
        found = [each.id for each in there.view.versions(prompt.id)]
        return shown is not None and (shown.current, found, shown.labels) == (current, ids, labels)

    async with server.device(user, replica=there):
        await until(lambda: shows(third, [first, second, third], {}), "what is there")
        restored = (await prompt.done("POST", "/history/1/restore"))["id"]
        await until(lambda: shows(restored, [first, second, third, restored], {}), "the restored version")
        await prompt.done("PUT", "/labels/production", {"version": second})
        await until(lambda: shows(restored, [first, second, third, restored], {"production": second}), "the label")
        await prompt.done("PUT", "/current", {"version": third})
        await until(lambda: shows(third, [first, second, third, restored], {"production": second}), "the chosen version")
        await prompt.done("DELETE", f"/history/{second}")
        await until(lambda: shows(third, [first, third, restored], {}), "the version gone")


async def test_versions_of_a_large_library(server: Running) -> None:
    user = await large_library(server)
    async with server.http(user) as client:
        prompt = Prompt(client, "large")
        for text in ("一", "一二"):
            await prompt.done("POST", "/history", {"text": text})
        diff = await prompt.done("GET", "/diff")
        assert diff["segments"] == [{"op": "equal", "text": "一"}, {"op": "insert", "text": "二"}]
        assert await prompt.refused("DELETE", f"/history/{diff['to']['version']}") == (409, "is_current")
        await prompt.done("DELETE", f"/history/{diff['from']['id']}")
        assert await prompt.text() == "一二"
