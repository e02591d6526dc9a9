"""What operations write, and how little of it; what meets is in test_layout_merges.py, what holds for all in test_operations_all.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pycrdt import Map, Text

from crdt import operations as ops
from crdt.library import Library, Root
from crdt.operations import Missing, NewPrompt, NewVersion
from crdt.updates import EMPTY_UPDATE

AT = 1_764_108_000_000

Edit = Callable[[Library], bytes]


def prompt(**fields: Any) -> NewPrompt:
    made: dict[str, Any] = {
        "id": "p",
        "title": "Weekly report",
        "created_at": AT,
        "device": "d",
        "order": "a0",
        "original": "write 周报 🙂",
    }
    return NewPrompt(**made | fields)


def version(version_id: str, text: str = "# Role", **fields: Any) -> NewVersion:
    made: dict[str, Any] = {"id": version_id, "text": text, "kind": "optimize", "at": AT, "device": "d"}
    return NewVersion(**made | fields)


def prompt_of(library: Library) -> dict[str, Any]:
    found = library.root(Root.PROMPTS)["p"].to_py()
    assert isinstance(found, dict)
    return found


def test_a_label_moves_and_an_older_version_is_chosen_again() -> None:
    library = Library(5)
    ops.create_prompt(library, prompt(version=version("v1")))
    ops.add_version(library, "p", version("v2"), current=False)
    assert prompt_of(library)["current"] == "v1"
    ops.label_version(library, "p", "production", "v1")
    ops.label_version(library, "p", "production", "v2")
    assert library.root(Root.LABELS).to_py() == {"p/production": "v2"}
    ops.label_version(library, "p", "production", None)
    assert library.root(Root.LABELS).to_py() == {}
    ops.choose_version(library, "p", "v2")
    assert prompt_of(library)["current"] == "v2"


def test_a_purge_leaves_nothing_of_a_prompt_and_all_of_the_others() -> None:
    library = Library(5)
    ops.create_prompt(library, prompt(version=version("v1")))
    ops.create_prompt(library, prompt(id="q", version=version("w1")))
    for each in ("p", "q"):
        ops.count_use(library, each, "d")
    ops.label_version(library, "p", "production", "v1")
    ops.purge_prompt(library, "p")
    left = {root: set(library.root(root).to_py() or {}) for root in Root}
    assert left[Root.PROMPTS] == {"q"}
    assert left[Root.VERSIONS] == left[Root.TEXTS] == {"w1"}
    assert left[Root.USES] == {"q/d"}
    assert left[Root.LABELS] == set()


def test_each_writes_little_and_nothing_where_nothing_changes() -> None:
    library = Library(5)
    ops.create_prompt(library, prompt(original="x" * 10_000, version=version("v1", "y" * 10_000)))
    for _ in range(200):  # a large delete set is not repeated
        ops.set_fields(library, "p", {"title": "z"})
        ops.set_fields(library, "p", {"title": "Weekly report"})
    assert len(ops.set_fields(library, "p", {"title": "new"})) < 100
    assert ops.set_fields(library, "p", {"title": "new"}) == EMPTY_UPDATE
    assert ops.add_tags(library, "p", []) == EMPTY_UPDATE
    assert ops.edit_version(library, "v1", "y" * 10_000) == EMPTY_UPDATE
    assert len(ops.edit_version(library, "v1", "y" * 10_000 + " and more")) < 60


def test_ten_thousand_keystrokes_take_about_a_byte_each_in_the_document() -> None:
    library = Library(5)
    ops.create_prompt(library, prompt(version=version("v1", "")))
    text = "word " * 100
    for end in range(1, len(text) + 1):
        ops.edit_version(library, "v1", text[:end])
    assert str(library.root(Root.TEXTS)["v1"]) == text
    assert len(library.content()) < 2_500


@pytest.mark.parametrize(
    "operation",
    [
        lambda library: ops.set_fields(library, "none", {"title": "x"}),
        lambda library: ops.add_tags(library, "broken", ["x"]),
        lambda library: ops.edit_original(library, "broken", "x"),
        lambda library: ops.set_fields(library, "text", {"title": "x"}),
        lambda library: ops.edit_version(library, "broken", "x"),
        lambda library: ops.choose_version(library, "p", "w1"),
        lambda library: ops.choose_version(library, "p", "broken"),
        lambda library: ops.label_version(library, "p", "l", "none"),
        lambda library: ops.delete_category(library, "none", 1),
        lambda library: ops.purge_prompt(library, "none"),
    ],
)
def test_what_is_not_there_or_was_broken_by_a_client_is_missing(operation: Edit) -> None:
    library = Library(5)
    ops.create_prompt(library, prompt(version=version("v1")))
    ops.create_prompt(library, prompt(id="q", version=version("w1")))

    def damage() -> None:
        library.root(Root.PROMPTS)["broken"] = Map({"tags": "no map", "original": "no text"})
        library.root(Root.PROMPTS)["text"] = Text("no map")
        library.root(Root.TEXTS)["broken"] = "no text"
        library.root(Root.VERSIONS)["broken"] = "no version"

    library.edit(damage)
    before = library.content()
    with pytest.raises(Missing):
        operation(library)
    assert library.content() == before


def test_fields_that_are_no_registers_are_refused() -> None:
    library = Library(5)
    ops.create_prompt(library, prompt())
    for name in ("tags", "original", "created_at", "deleted_at", "api_key"):
        with pytest.raises(ValueError, match=name):
            ops.set_fields(library, "p", {name: 1})
