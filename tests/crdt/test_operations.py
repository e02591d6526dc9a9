"""What two devices do apart survives when it meets, whichever of them has the higher client id."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pycrdt import Map, Text

from crdt import operations as ops
from crdt.library import Library, Root
from crdt.operations import Missing, NewPrompt, NewVersion
from crdt.updates import EMPTY_UPDATE, merge

AT = 1_764_108_000_000
LOW, HIGH = 1_000, 4_000_000_000

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


@pytest.fixture(params=[(LOW, HIGH), (HIGH, LOW)], ids=["a low", "a high"])
def apart(request: pytest.FixtureRequest) -> tuple[Library, Library]:
    """Two devices that hold the same prompt, with two versions."""
    maker = Library(77)
    made = [
        ops.create_prompt(maker, prompt(tags=["Work"], version=version("v1", "Write a report."))),
        ops.add_version(maker, "p", version("v2", "Write a weekly report.", parent="v1")),
    ]
    devices = Library(request.param[0]), Library(request.param[1])
    for device in devices:
        for update in made:
            device.apply(update)
    return devices


def met(apart: tuple[Library, Library], a: Edit, b: Edit) -> Library:
    """Each device does its part, then they exchange; both must hold the same then."""
    one, other = apart
    left, right = a(one), b(other)
    one.apply(right)
    other.apply(left)
    assert {root: one.root(root).to_py() for root in Root} == {root: other.root(root).to_py() for root in Root}
    return one


def prompt_of(library: Library) -> dict[str, Any]:
    found = library.root(Root.PROMPTS)["p"].to_py()
    assert isinstance(found, dict)
    return found


def test_tags_added_on_both_are_both_there(apart: tuple[Library, Library]) -> None:
    library = met(apart, lambda one: ops.add_tags(one, "p", [" Urgent "]), lambda other: ops.add_tags(other, "p", ["中文", "urgent"]))
    assert set(prompt_of(library)["tags"]) == {"work", "urgent", "中文"}


def test_a_tag_taken_off_here_and_set_anew_there_stays(apart: tuple[Library, Library]) -> None:
    def again(other: Library) -> bytes:
        return merge([ops.remove_tags(other, "p", ["work"]), ops.add_tags(other, "p", ["work"])])

    library = met(apart, lambda one: ops.remove_tags(one, "p", ["Work"]), again)
    assert set(prompt_of(library)["tags"]) == {"work"}


def test_different_fields_both_win_and_of_one_field_one_value(apart: tuple[Library, Library]) -> None:
    library = met(
        apart,
        lambda one: ops.set_fields(one, "p", {"title": "A", "favorite": True}),
        lambda other: ops.set_fields(other, "p", {"title": "B", "category": "cat-writing"}),
    )
    found = prompt_of(library)
    assert (found["favorite"], found["category"]) == (True, "cat-writing")
    assert found["title"] in {"A", "B"}


def test_typing_on_both_into_one_text_meets_in_it(apart: tuple[Library, Library]) -> None:
    library = met(
        apart,
        lambda one: ops.edit_version(one, "v2", "# Role\nWrite a weekly report."),
        lambda other: ops.edit_version(other, "v2", "Write a weekly report. 用中文 🙂"),
    )
    assert str(library.root(Root.TEXTS)["v2"]) == "# Role\nWrite a weekly report. 用中文 🙂"


def test_an_optimisation_on_each_makes_two_versions_of_which_one_is_current(apart: tuple[Library, Library]) -> None:
    library = met(
        apart,
        lambda one: ops.add_version(one, "p", version("va", "RESULT A", parent="v2")),
        lambda other: ops.add_version(other, "p", version("vb", "RESULT B", parent="v2")),
    )
    texts = library.root(Root.TEXTS).to_py()
    assert texts is not None
    assert (texts["va"], texts["vb"]) == ("RESULT A", "RESULT B")
    assert prompt_of(library)["current"] in {"va", "vb"}


def test_typing_into_the_old_version_survives_an_optimisation_elsewhere(apart: tuple[Library, Library]) -> None:
    library = met(
        apart,
        lambda one: ops.add_version(one, "p", version("v3", "NEW", parent="v2")),
        lambda other: ops.edit_version(other, "v2", "Write a weekly report, typed."),
    )
    assert prompt_of(library)["current"] == "v3"
    assert str(library.root(Root.TEXTS)["v2"]) == "Write a weekly report, typed."


def test_deletion_wins_in_lists_and_edits_stay_readable_in_the_bin(apart: tuple[Library, Library]) -> None:
    library = met(apart, lambda one: ops.delete_prompt(one, "p", AT + 1), lambda other: ops.edit_original(other, "p", "KEEP write 周报 🙂"))
    assert prompt_of(library)["deleted_at"] == AT + 1
    assert prompt_of(library)["original"] == "KEEP write 周报 🙂"
    ops.restore_prompt(library, "p")
    assert prompt_of(library)["deleted_at"] is None


def test_uses_on_both_devices_add_up(apart: tuple[Library, Library]) -> None:
    imported = ops.count_use(Library.load(apart[0].content(), 9), "p", "import")
    for device in apart:
        device.apply(imported)
    library = met(apart, lambda one: ops.count_use(one, "p", "a"), lambda other: ops.count_use(other, "p", "b"))
    assert library.root(Root.USES).to_py() == {"p/import": 1, "p/a": 1, "p/b": 1}
    ops.count_use(library, "p", "a")
    assert library.root(Root.USES)["p/a"] == 2


def test_a_category_deleted_here_and_filed_into_there_is_legal(apart: tuple[Library, Library]) -> None:
    made = ops.create_category(apart[0], "c", name="Work", order="a0", at=AT, more={"color": "#fff"})
    apart[1].apply(made)
    library = met(apart, lambda one: ops.delete_category(one, "c", AT), lambda other: ops.set_fields(other, "p", {"category": "c"}))
    assert prompt_of(library)["category"] == "c"
    category = library.root(Root.CATEGORIES)["c"].to_py()
    assert (category["deleted_at"], category["color"]) == (AT, "#fff")


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
