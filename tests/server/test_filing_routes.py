"""`/api/categories`, `/api/tags`, `/api/templates`, `/api/variables` and the preferences, on a real server."""

from typing import Any
from uuid import uuid4

import httpx2
import pytest

from crdt.seed import CATEGORIES
from tests.support.rest import code_of
from tests.support.running import Running, User


class Asking:
    """Requests whose answers are read, and refusals by their codes."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def __call__(self, method: str, path: str, body: object = None, *, status: int | None = None) -> Any:
        answer = await self._client.request(method, path, json=body)
        assert answer.is_success if status is None else answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    async def refused(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        answer = await self._client.request(method, path, json=body)
        return answer.status_code, code_of(answer)


@pytest.fixture
def ask(client: httpx2.AsyncClient) -> Asking:
    return Asking(client)


async def test_what_is_created_with_a_key_is_created_once(client: httpx2.AsyncClient) -> None:
    for path, name, body in (
        ("/api/categories", "categories", {"name": "Once"}),
        ("/api/templates", "templates", {"name": "Once", "content": "c"}),
    ):
        before = len((await client.get(path)).json()[name])
        first, again = [await client.post(path, json=body, headers={"Idempotency-Key": "k-1"}) for _ in range(2)]
        assert (first.status_code, again.status_code) == (201, 201)
        assert (again.content, again.headers["location"]) == (first.content, first.headers["location"])
        assert again.headers["idempotency-replayed"] == "true"
        assert len((await client.get(path)).json()[name]) == before + 1
        other = await client.post(path, json=body | {"name": "Another"}, headers={"Idempotency-Key": "k-1"})
        assert (other.status_code, code_of(other)) == (422, "idempotency_key_reused")


# --- categories


async def test_a_new_library_has_the_seeded_categories(ask: Asking) -> None:
    listed = (await ask("GET", "/api/categories"))["categories"]
    assert [(each["id"], each["name"], each["color"]) for each in listed] == [each[:3] for each in CATEGORIES]
    assert all(each["prompts"] == 0 and each["deleted_at"] is None for each in listed)


async def test_categories_are_made_moved_nested_and_binned(ask: Asking) -> None:
    made = await ask("POST", "/api/categories", {"name": "周报", "color": "#ff0000", "parent": "cat-writing"}, status=201)
    assert (made["name"], made["color"], made["parent"], made["description"]) == ("周报", "#ff0000", "cat-writing", "")
    path = f"/api/categories/{made['id']}"
    assert await ask("GET", path) == made
    prompt = await ask("POST", "/api/prompts", {"title": "p", "category": made["id"]})
    assert (await ask("GET", path))["prompts"] == 1
    assert [each["id"] for each in (await ask("GET", "/api/prompts?category=cat-writing"))["prompts"]] == [prompt["id"]]
    for after, place in (("", 0), ("cat-images", 6), ("cat-writing", 1)):
        await ask("PATCH", path, {"after": after})
        assert [each["id"] for each in (await ask("GET", "/api/categories"))["categories"]].index(made["id"]) == place
    assert (await ask("PATCH", path, {"name": "日报", "color": None}))["color"] is None
    assert (await ask("GET", path))["parent"] == "cat-writing"  # what was not given stays
    await ask("DELETE", path, status=204)
    assert made["id"] not in [each["id"] for each in (await ask("GET", "/api/categories"))["categories"]]
    assert [each["id"] for each in (await ask("GET", "/api/categories?deleted=true"))["categories"]] == [made["id"]]
    assert (await ask("GET", f"/api/prompts/{prompt['id']}"))["category"] is None
    assert (await ask("POST", f"{path}/restore"))["deleted_at"] is None
    assert (await ask("GET", f"/api/prompts/{prompt['id']}"))["category"] == made["id"]


async def test_a_category_is_not_put_below_itself_nor_below_nothing(ask: Asking) -> None:
    inner = await ask("POST", "/api/categories", {"name": "inner", "parent": "cat-writing"})
    innermost = await ask("POST", "/api/categories", {"name": "innermost", "parent": inner["id"]})
    for category, parent in (("cat-writing", innermost["id"]), ("cat-writing", "cat-writing"), (inner["id"], "nowhere")):
        assert await ask.refused("PATCH", f"/api/categories/{category}", {"parent": parent}) == (422, "unknown_reference")
    assert await ask.refused("POST", "/api/categories", {"name": "n", "parent": "nowhere"}) == (422, "unknown_reference")
    assert await ask.refused("PATCH", "/api/categories/cat-writing", {"after": "nowhere"}) == (422, "unknown_reference")
    assert await ask.refused("POST", "/api/categories", {"name": "n", "color": "red"}) == (422, "invalid_request")
    minted = str(uuid4())
    await ask("POST", "/api/categories", {"name": "n", "id": minted})
    assert await ask.refused("POST", "/api/categories", {"name": "n", "id": minted}) == (409, "already_there")
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/restore")):
        body = {"name": "n"} if method == "PATCH" else None
        assert await ask.refused(method, f"/api/categories/nowhere{path}", body) == (404, "not_found")


# --- tags


async def test_tags_are_listed_renamed_coloured_and_merged(ask: Asking) -> None:
    await ask("POST", "/api/prompts", {"title": "one", "tags": ["Work", "a/b"]})
    two = await ask("POST", "/api/prompts", {"title": "two", "tags": ["work ", "写作"]})
    listed = (await ask("GET", "/api/tags"))["tags"]
    assert [(each["tag"], each["label"], each["prompts"], each["color"]) for each in listed] == [
        ("a/b", "a/b", 1, None), ("work", "Work", 2, None), ("写作", "写作", 1, None),
    ]  # fmt: skip
    renamed = await ask("PATCH", "/api/tags/WORK", {"label": "Office", "color": "#00ff00"})
    assert (renamed["tag"], renamed["label"], renamed["color"], renamed["prompts"]) == ("office", "Office", "#00ff00", 2)
    assert (await ask("GET", f"/api/prompts/{two['id']}"))["tags"] == ["Office", "写作"]
    assert (await ask("GET", "/api/prompts?tags=work"))["total"] == 2  # by the old name, too
    assert (await ask("PATCH", f"/api/prompts/{two['id']}", {"tags": ["Work"]}))["tags"] == ["Office"]
    assert (await ask("PATCH", "/api/tags/a%2Fb", {"color": "#0000ff"}))["color"] == "#0000ff"
    merged = await ask("POST", "/api/tags/merge", {"tags": ["a/b", "office"], "into": "All"})
    assert (merged["label"], merged["prompts"]) == ("All", 2)
    assert [each["tag"] for each in (await ask("GET", "/api/tags"))["tags"]] == ["all", "写作"]
    await ask("DELETE", "/api/tags/%E5%86%99%E4%BD%9C", status=204)
    await ask("DELETE", "/api/tags/office", status=204)  # with all that is merged with it
    assert await ask("GET", "/api/tags") == {"tags": []}
    assert (await ask("GET", f"/api/prompts/{two['id']}"))["tags"] == []
    for method, path, body in (("PATCH", "/api/tags/nowhere", {"label": "x"}), ("DELETE", "/api/tags/nowhere", None),
                               ("POST", "/api/tags/merge", {"tags": ["nowhere"], "into": "all"})):  # fmt: skip
        assert await ask.refused(method, path, body) == (404, "not_found")
    assert await ask.refused("PATCH", "/api/tags/all", {"label": ""}) == (422, "invalid_request")


# --- templates


async def test_templates_are_made_changed_found_and_binned(ask: Asking) -> None:
    made = await ask("POST", "/api/templates", {"name": "Make it short", "type": "optimize", "language": "en", "content": "Shorten {{x}}"})
    messages = [{"role": "system", "content": "你是一个助手"}, {"role": "user", "content": "{{x}}"}]
    other = await ask("POST", "/api/templates", {"name": "长", "type": "iterate", "language": "zh-CN", "content": messages})
    assert other["content"] == messages
    assert [each["id"] for each in (await ask("GET", "/api/templates"))["templates"]] == [made["id"], other["id"]]
    assert [each["id"] for each in (await ask("GET", "/api/templates?type=iterate&language=zh-CN"))["templates"]] == [other["id"]]
    path = f"/api/templates/{made['id']}"
    changed = await ask("PATCH", path, {"name": "Shorter", "content": messages})
    assert (changed["name"], changed["content"], changed["type"]) == ("Shorter", messages, "optimize")
    assert await ask("PATCH", path, {"name": "Shorter"}) == changed  # nothing changes, nor does the date
    await ask("DELETE", path, status=204)
    assert [each["id"] for each in (await ask("GET", "/api/templates?deleted=true"))["templates"]] == [made["id"]]
    assert (await ask("POST", f"{path}/restore"))["deleted_at"] is None
    for wrong in ({"name": ""}, {"name": "n", "type": "a b"}, {"name": "n", "language": "english, please"}, {"name": "n", "content": 7},
                  {"name": "n", "content": [{"role": "robot", "content": ""}]}, {"name": "n", "more": 1}):  # fmt: skip
        assert await ask.refused("POST", "/api/templates", wrong) == (422, "invalid_request"), wrong
    assert await ask.refused("GET", "/api/templates/nowhere") == (404, "not_found")


# --- variables and preferences


async def test_variables_have_names_that_placeholders_can_have(ask: Asking) -> None:
    assert await ask("GET", "/api/variables") == {"variables": {}}
    await ask("PUT", "/api/variables/product", {"value": "Acme"}, status=204)
    await ask("PUT", "/api/variables/%E4%BA%A7%E5%93%81", {"value": "多行\n文本"}, status=204)
    assert await ask("GET", "/api/variables") == {"variables": {"product": "Acme", "产品": "多行\n文本"}}
    await ask("DELETE", "/api/variables/product", status=204)
    assert await ask.refused("DELETE", "/api/variables/product") == (404, "not_found")
    assert await ask("GET", "/api/variables") == {"variables": {"产品": "多行\n文本"}}
    for name in ("1st", "a%20b", "%7B%7Ba", "__proto__", "%23each", "x" * 51):
        assert (await ask.refused("PUT", f"/api/variables/{name}", {"value": ""}))[0] in (404, 422), name
    assert await ask.refused("PUT", "/api/variables/long", {"value": "x" * 10_001}) == (422, "invalid_request")


async def test_preferences_are_merged_shared_and_checked_where_they_are_known(ask: Asking) -> None:
    assert await ask("GET", "/api/users/me/preferences") == {}
    patch = {
        "language": "zh-CN",
        "theme": "dark",
        "default_model": "deepseek",
        "ui": {"sidebar": {"width": 3, "open": True}},
        "自由": [1, "x"],
    }
    assert await ask("PATCH", "/api/users/me/preferences", patch) == patch
    merged = await ask("PATCH", "/api/users/me/preferences", {"theme": None, "ui": {"sidebar": {"open": None}, "zoom": 1.5}})
    assert merged == {
        "language": "zh-CN", "default_model": "deepseek", "ui": {"sidebar": {"width": 3}, "zoom": 1.5}, "自由": [1, "x"],
    }  # fmt: skip
    assert await ask("GET", "/api/users/me/preferences") == merged
    senseless: tuple[object, ...] = (
        {"language": "english, please"},
        {"theme": 7},
        {"ui": []},
        {"free": 1 << 60},
        {"free": "a\x00b"},
        {"": 1},
        [],
    )
    for wrong in senseless:
        assert (await ask.refused("PATCH", "/api/users/me/preferences", wrong))[0] == 422, wrong
    assert await ask("GET", "/api/users/me/preferences") == merged


async def test_what_others_own_is_not_there_and_viewers_write_nothing(server: Running, user: User, ask: Asking) -> None:
    await ask("PUT", "/api/variables/secret", {"value": "mine"})
    stranger = await server.user()
    writes = (
        ("POST", "/api/categories", {"name": "n"}), ("PATCH", "/api/categories/cat-writing", {"name": "n"}),
        ("DELETE", "/api/categories/cat-writing", None), ("PATCH", "/api/tags/t", {"color": None}),
        ("DELETE", "/api/tags/t", None), ("POST", "/api/templates", {"name": "n"}),
        ("POST", "/api/tags/merge", {"tags": ["t"], "into": "u"}),
        ("PUT", "/api/variables/secret", {"value": "x"}), ("DELETE", "/api/variables/secret", None),
        ("PATCH", "/api/users/me/preferences", {"theme": "dark"}),
    )  # fmt: skip
    async with server.http(stranger) as client:
        other = Asking(client)
        for method, path, body in (*writes, ("GET", "/api/variables", None), ("GET", "/api/users/me/preferences", None)):
            assert await other.refused(method, f"{path}?library={user.library_id}", body) == (404, "not_found"), path
        await server.add_member(user.library_id, stranger, "viewer")
        for method, path, body in writes:
            assert await other.refused(method, f"{path}?library={user.library_id}", body) == (403, "forbidden"), path
        assert await other("GET", f"/api/variables?library={user.library_id}") == {"variables": {"secret": "mine"}}
