"""A library is readable whatever clients have written into it, and what is wrong with it is said."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from pycrdt import Map, Text

from crdt import operations as ops
from crdt.library import Library, Mode, Root
from crdt.operations import NewPrompt, NewVersion
from crdt.seed import SEED
from crdt.view import View
from tests.crdt.garbage import WRITES, Write, write

AT = 1_764_108_000_000


@pytest.fixture
def library() -> Library:
    library = Library.load(SEED, 5)
    first = NewVersion(
        id="v1", text="# 周报 🙂", kind="optimize", at=AT + 10, device="d", more={"model": "deepseek", "model_name": "DeepSeek"}
    )
    made = NewPrompt(
        id="p",
        title="Weekly",
        created_at=AT,
        device="d",
        order="a0",
        original="write",
        tags=["Work"],
        category="cat-writing",
        version=first,
    )
    ops.create_prompt(library, made)
    ops.add_version(library, "p", NewVersion(id="v2", text="# two", kind="iterate", at=AT + 5, device="e", parent="v1"), current=False)
    ops.count_use(library, "p", "d")
    ops.count_use(library, "p", "e")
    ops.label_version(library, "p", "production", "v2")
    return library


def put(library: Library, root: Root, key: str, value: Any) -> None:
    library.edit(lambda: library.root(root).__setitem__(key, value))


def test_a_prompt_is_read_with_what_belongs_to_it(library: Library) -> None:
    view = View(library)
    (prompt,) = view.prompts()
    assert (prompt.title, prompt.tags, prompt.category, prompt.mode) == ("Weekly", ("work",), "cat-writing", Mode.BASIC_SYSTEM)
    assert (prompt.current, prompt.model, prompt.uses) == ("v1", "deepseek", 2)
    assert (prompt.created_at, prompt.touched_at, prompt.updated_at, prompt.deleted_at) == (AT, AT, AT + 10, None)
    assert (view.original("p"), view.text(prompt.current)) == ("write", "# 周报 🙂")
    assert view.labels("p") == {"production": "v2"}
    assert view.problems == []


def test_versions_are_numbered_by_time_and_id(library: Library) -> None:
    versions = View(library).versions("p")
    assert [(version.number, version.id, version.parent) for version in versions] == [(1, "v2", "v1"), (2, "v1", None)]
    assert versions[1].bytes == len("# 周报 🙂".encode())


def test_a_current_version_that_is_not_there_is_the_newest(library: Library) -> None:
    library.edit(lambda: library.root(Root.PROMPTS)["p"].__setitem__("current", "gone"))
    prompt = View(library).prompt("p")
    assert prompt is not None
    assert prompt.current == "v1"


def test_a_category_that_is_gone_or_in_the_bin_is_none(library: Library) -> None:
    ops.delete_category(library, "cat-writing", AT)
    prompt = View(library).prompt("p")
    assert prompt is not None
    assert prompt.category is None
    ops.restore_category(library, "cat-writing")
    prompt = View(library).prompt("p")
    assert prompt is not None
    assert prompt.category == "cat-writing"


def test_parents_in_a_circle_are_broken_at_the_smallest_id(library: Library) -> None:
    for child, parent in (("b", "c"), ("c", "d"), ("d", "b"), ("x", "b"), ("self", "self"), ("lost", "gone")):
        ops.create_category(library, child, name=child, order="z", at=AT)
        library.edit(lambda: library.root(Root.CATEGORIES)[child].__setitem__("parent", parent))  # noqa: B023  # called at once
    view = View(library)
    parents = {category.id: category.parent for category in view.categories()}
    assert parents == parents | {"b": None, "c": "d", "d": "b", "x": "b", "self": None, "lost": None}
    assert {problem.partition(":")[0] for problem in view.problems} == {"categories/b", "categories/self", "categories/lost"}


def test_merged_tags_show_under_their_new_name_and_circles_end(library: Library) -> None:
    ops.add_tags(library, "p", ["old", "a"])
    put(library, Root.TAGS, "old", {"label": "Old", "merged_into": "Work"})
    put(library, Root.TAGS, "work", {"label": "Work!"})
    put(library, Root.TAGS, "a", {"merged_into": "b"})
    put(library, Root.TAGS, "b", {"merged_into": "a"})
    view = View(library)
    prompt = view.prompt("p")
    assert prompt is not None
    assert prompt.tags == ("Work!", "a")
    assert view.problems == ["tags/a: merged in a circle"]


def test_what_a_client_damaged_is_shown_as_best_it_can_and_reported(library: Library) -> None:
    def damage() -> None:
        prompt = library.root(Root.PROMPTS)["p"]
        broken = {
            "title": 7,
            "favorite": "yes",
            "tags": "none",
            "created_at": float("nan"),
            "variables": [1],
            "mode": "x",
            "original": "plain",
        }
        for name, value in broken.items():
            prompt[name] = value
        library.root(Root.PROMPTS)["text"] = Text("no map")
        library.root(Root.VERSIONS)["v9"] = [1]
        library.root(Root.USES)["p/x"] = "many"

    library.edit(damage)
    view = View(library)
    (prompt,) = view.prompts()
    assert (prompt.title, prompt.favorite, prompt.tags, prompt.created_at, prompt.variables) == ("", False, (), 0, {})
    assert view.original("p") == "plain"
    places = {problem.partition(":")[0] for problem in view.problems}
    fields = {f"prompts/p/{name}" for name in ("title", "favorite", "tags", "created_at", "variables", "mode", "original")}
    assert places == fields | {"prompts/text", "versions/v9", "uses/p/x"}


def test_maps_within_maps_without_end_are_cut_off(library: Library) -> None:
    def nest() -> None:
        there: Map[Any] = library.root(Root.PROMPTS)["p"]
        for name in ["source"] + ["x"] * 1_500:
            there[name] = there = Map({})

    library.edit(nest)
    view = View(library)
    prompt = view.prompt("p")
    assert prompt is not None
    assert str(prompt.source).count("x") < 130
    assert view.problems == ["prompts/p/source: not JSON"]


@given(WRITES)
def test_nothing_that_a_client_may_write_makes_reading_raise(writes: list[Write]) -> None:
    library = Library.load(SEED, 5)
    ops.create_prompt(library, NewPrompt(id="p", title="t", created_at=AT, device="d", order="a0"))
    library.edit(write(library, writes))
    view = View(library)
    for prompt in view.prompts():
        view.original(prompt.id)
        view.text(prompt.current)
        view.labels(prompt.id)
        assert prompt.updated_at >= prompt.touched_at
    assert all(category.parent != category.id for category in view.categories())
    assert len(set(view.problems)) == len(view.problems)
