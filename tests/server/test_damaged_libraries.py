"""Libraries in which clients have written whatever they like: readable over every route, and no write ends in an error of ours."""

from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx2
import structlog
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pycrdt import Map

from crdt import query
from crdt.library import Library, Root
from crdt.operations import NewPrompt, NewVersion, create_category, create_prompt, create_template, register_tag, set_variable
from crdt.query import Query
from crdt.seed import SEED
from crdt.view import View
from server.intents.exporting import Format
from tests.crdt.garbage import WRITES, Write, write
from tests.support.library_replica import RestDevice, store
from tests.support.prompts import made, read
from tests.support.rest import code_of
from tests.support.running import Running, User
from tests.support.samples import own_file

EXAMPLES = 3
"""Libraries that are damaged; each is asked some eighty times."""
IDS = ("p", "q", "a", "b", "c", "none", "cat-writing")
READS = (
    "/api/prompts",
    "/api/prompts?fields=original_text,optimized_text,optimization_history,variables,order&deleted=any&sort=title&search=a",
    "/api/prompts?tags=a&category=b&limit=1",
    *(f"/api/prompts?sort={sort}&limit=1" for sort in ("order", "uses", "created_at", "updated_at")),
    "/api/categories",
    "/api/categories?deleted=true",
    "/api/tags",
    "/api/templates",
    "/api/templates?deleted=true",
    "/api/variables",
    "/api/users/me/preferences",
    "/api/shares",
    "/api/sync/status",
    "/api/library/stats",
    *(f"/api/export?format={format.value}" for format in Format),
)
READS_OF_ONE = (
    "/api/prompts/{}",
    "/api/prompts/{}?fields=optimization_history",
    "/api/prompts/{}/history",
    "/api/prompts/{}/history/1",
    "/api/prompts/{}/diff",
    "/api/prompts/{}/diff?from=original&to=1",
    "/api/categories/{}",
    "/api/templates/{}",
)
WRITES_OF_ONE: tuple[tuple[str, str, Any], ...] = (
    ("PATCH", "/api/prompts/{}", {"title": "t", "tags": ["a", "new"], "original_text": "o", "optimized_text": "n", "category": "b"}),
    ("PATCH", "/api/prompts/{}", {"favorite": True, "model_used": "m", "optimized_text": "x"}),
    ("PUT", "/api/prompts/{}", {"title": "t"}),
    ("DELETE", "/api/prompts/{}", None),
    ("POST", "/api/prompts/{}/restore", None),
    ("POST", "/api/prompts/{}/share", {}),
    ("POST", "/api/prompts/{}/share", {"version": "v1"}),
    ("POST", "/api/prompts/{}/history/1/restore", None),
    ("PUT", "/api/prompts/{}/current", {"version": "1"}),
    ("PUT", "/api/prompts/{}/labels/a", {"version": "2"}),
    ("DELETE", "/api/prompts/{}/labels/a", None),
    ("POST", "/api/prompts/{}/history", {}),
    ("POST", "/api/prompts/{}/history", {"text": "t", "note": "n"}),
    ("DELETE", "/api/prompts/{}/history/1", None),
    ("DELETE", "/api/prompts/{}/history/v1", None),
    ("PATCH", "/api/categories/{}", {"name": "n", "parent": "b", "after": ""}),
    ("PATCH", "/api/categories/{}", {"after": "cat-writing", "parent": None}),
    ("DELETE", "/api/categories/{}", None),
    ("POST", "/api/categories/{}/restore", None),
    ("PATCH", "/api/tags/{}", {"color": "#000000"}),
    ("PATCH", "/api/tags/{}", {"label": "b"}),
    ("POST", "/api/prompts/{}/optimize", {"model_config_id": "m"}),
    ("POST", "/api/prompts/{}/optimize", {"model_config_id": "a", "template_id": "a", "mode": "iterate", "instruction": "i"}),
    ("PATCH", "/api/templates/{}", {"name": "n", "content": "c"}),
    ("DELETE", "/api/templates/{}", None),
    ("POST", "/api/templates/{}/restore", None),
    ("PUT", "/api/variables/{}", {"value": "v"}),
    ("DELETE", "/api/variables/{}", None),
    ("DELETE", "/api/tags/{}", None),
    ("DELETE", "/api/prompts/{}?purge=true", None),
)
FILE = own_file(
    prompts=[
        own_file()["prompts"][0] | {"id": name, "versions": [], "current": None, "category": "b", "tags": ["a", "z"], "labels": {}}
        for name in IDS
    ],
    categories=[{"id": name, "name": name, "parent": "b"} for name in IDS],
    templates=[{"id": name, "name": name} for name in IDS],
    contexts=[{"id": name} for name in IDS],
    models=[{"id": name} for name in IDS],
    tags=[{"tag": name, "label": name} for name in IDS],
    variables=dict.fromkeys(IDS, "v"),
    preferences=dict.fromkeys(IDS, 1),
    device_preferences={name: dict.fromkeys(IDS, 1) for name in IDS},
)
"""A file that names everything that is damaged."""
FURTHER_WRITES: tuple[tuple[str, str, Any], ...] = (
    ("POST", "/api/prompts", {"title": "t", "tags": ["a", "B", "c"], "category": "b"}),
    ("POST", "/api/categories", {"name": "n", "parent": "a"}),
    ("POST", "/api/templates", {"name": "n"}),
    ("POST", "/api/tags/merge", {"tags": ["a", "b"], "into": "c"}),
    ("POST", "/api/import", FILE),
    ("PATCH", "/api/users/me/preferences", {"title": {"p": 1}, "p": None, "theme": "dark"}),
    ("POST", "/api/prompts/batch", {"operations": [{"op": "update", "id": name, "title": "t", "tags": ["z"]} for name in IDS]}),
    ("POST", "/api/prompts/batch", {"operations": [{"op": "delete", "id": name, "purge": True} for name in IDS], "atomic": True}),
)


def sound_library() -> Library:
    """A little of everything."""
    library = Library.load(SEED)
    version = NewVersion(id="v1", text="text", kind="optimize", at=5, device="d")
    for name in ("p", "q"):
        prompt = NewPrompt(id=name, title=name, created_at=1, device="d", order="a", original="o", tags=["a"], category="b",
                           version=version if name == "p" else None)  # fmt: skip
        create_prompt(library, prompt)
    for name in ("a", "b", "c"):
        create_category(library, name, name=name, order=name, at=1)
        create_template(library, name, {"name": name}, at=1)
        register_tag(library, name, at=1)
        set_variable(library, name, "v")
    return library


class Damaged:
    """A library of the user's that a client has damaged, as REST has it."""

    def __init__(self, client: httpx2.AsyncClient, library_id: UUID) -> None:
        self._client = client
        self._library_id = library_id

    async def push(self, update: bytes) -> None:
        answer = await store(self._client, self._library_id, update)
        assert answer.status_code == 200, answer.text

    async def ask(self, method: str, path: str, body: Any = None) -> httpx2.Response:
        path += ("&" if "?" in path else "?") + f"library={self._library_id}"
        answer = await self._client.request(method, path, json=body)
        assert answer.is_success or (400 <= answer.status_code < 500 and code_of(answer)), (method, path, answer.text)
        return answer

    async def read_all(self, names: list[str]) -> None:
        for path in READS:
            answer = await self.ask("GET", path)
            assert answer.status_code == 200, (path, answer.text)
        for path in READS_OF_ONE:
            for name in names:
                assert (await self.ask("GET", path.format(quote(name)))).status_code in (200, 404)

    async def share_all(self) -> None:
        """Share whatever can be, and read it as a stranger does."""
        for name in IDS:
            await self.ask("POST", f"/api/prompts/{name}/share", {})
        for share in (await self.ask("GET", "/api/shares")).json()["shares"]:
            answer = await self._client.get(f"/api/prompt-source/{share['code']}")
            assert answer.status_code == (200 if share["live"] else 404), answer.text


async def damaged(server: Running, user: User, client: httpx2.AsyncClient, writes: list[Write]) -> tuple[Damaged, Library]:
    library = sound_library()
    library.edit(write(library, writes))
    there = Damaged(client, await server.library(user))
    await there.push(library.doc.get_update())
    return there, library


CIRCLE: list[Write] = [
    (Root.CATEGORIES, "a", "b", "plain", "parent"),
    (Root.CATEGORIES, "b", "c", "plain", "parent"),
    (Root.CATEGORIES, "c", "a", "plain", "parent"),
]


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(writes=WRITES, names=st.lists(st.sampled_from(IDS), min_size=len(WRITES_OF_ONE), max_size=len(WRITES_OF_ONE)))
@example(writes=CIRCLE, names=["c"] * len(WRITES_OF_ONE))
async def test_a_damaged_library_is_read_and_written_without_an_error_of_ours(
    server: Running, user: User, client: httpx2.AsyncClient, writes: list[Write], names: list[str]
) -> None:
    there, library = await damaged(server, user, client, writes)
    with structlog.testing.capture_logs() as logged:
        await there.read_all(names[:2])
        view = View(library)
        query.run(view, Query())
        listed = (await there.ask("GET", "/api/prompts")).json()
        assert set(view.problems) <= {*listed["problems"]} or len(listed["problems"]) == 20
        for method, path, body in FURTHER_WRITES[:6]:
            await there.ask(method, path, body)
        await there.share_all()
        for (method, path, body), name in zip(WRITES_OF_ONE, names, strict=True):
            await there.ask(method, path.format(quote(name)), body)
        for method, path, body in FURTHER_WRITES:
            await there.ask(method, path, body)
        await there.read_all(names[:2])
        await there.share_all()
    assert [line for line in logged if line["log_level"] in ("error", "critical")] == []


async def test_what_stands_in_the_way_is_told(server: Running, user: User, client: httpx2.AsyncClient) -> None:
    taken = str(uuid4())
    binned: list[Write] = [(Root.CATEGORIES, "c", "b", "plain", "parent"), (Root.CATEGORIES, "b", "a", "plain", "parent"),
                           (Root.CATEGORIES, "b", 7, "plain", "deleted_at")]  # fmt: skip
    there, _ = await damaged(server, user, client, [*binned, (Root.PROMPTS, taken, "no prompt", "plain", None)])
    answer = await there.ask("PATCH", "/api/categories/a", {"parent": "c"})
    assert (answer.status_code, code_of(answer)) == (422, "unknown_reference")
    answer = await there.ask("POST", "/api/prompts", {"title": "t", "id": taken})
    assert (answer.status_code, code_of(answer)) == (409, "already_there")


async def test_a_circle_that_devices_made_can_be_opened(server: Running, user: User, client: httpx2.AsyncClient) -> None:
    there, _ = await damaged(server, user, client, CIRCLE)
    answer = await there.ask("PATCH", "/api/categories/b", {"parent": "a"})  # a shows as having none, and names b
    assert (answer.status_code, code_of(answer)) == (422, "unknown_reference")
    for category, parent in (("a", None), ("b", "a")):
        answer = await there.ask("PATCH", f"/api/categories/{category}", {"parent": parent})
        assert answer.json()["parent"] == parent


async def test_a_damaged_library_is_readable_says_what_is_wrong_and_takes_edits_where_it_can(
    client: httpx2.AsyncClient, device: RestDevice
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
