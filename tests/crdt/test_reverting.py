"""A library is made what it was: by an edit that destroys nothing, and that another device merges."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from hypothesis import given
from pycrdt import Map

from crdt import operations as ops
from crdt.library import Library, Root
from crdt.operations import NewPrompt, NewVersion
from crdt.reverting import Kind, steps, take
from crdt.seed import SEED
from crdt.textdiff import Budget
from crdt.updates import EMPTY_UPDATE
from crdt.view import View
from tests.crdt.garbage import WRITES, Write, write

AT = 1_764_108_000_000
LATER = AT + 1_000_000


def made() -> Library:
    library = Library.load(SEED, 5)
    for key in ("p", "q"):
        first = NewVersion(id=f"{key}1", text=f"text of {key} 文", kind="optimize", at=AT, device="d", more={"model": "m"})
        prompt = NewPrompt(
            id=key, title=key, created_at=AT, device="d", order="a", original="写", tags=["Work"], category="cat-writing", version=first
        )
        ops.create_prompt(library, prompt)
    ops.label_version(library, "p", "production", "p1")
    ops.set_variable(library, "name", "Acme")
    ops.merge_preferences(library, {"theme": "dark"})
    ops.create_template(library, "t", {"name": "T", "content": "c"}, at=AT)
    ops.set_model_fields(library, "m", {"name": "M", "enabled": True})
    ops.register_tag(library, "Work", at=AT, color="#112233")
    return library


def told(view: View) -> dict[str, Any]:
    """What a user sees of what was there before."""
    live = {prompt.id: view.full(prompt.id) for prompt in view.prompts() if prompt.deleted_at is None}
    return {
        "prompts": {key: (full.prompt, full.original, full.optimized, full.examples) for key, full in live.items() if full is not None},
        "categories": [each for each in view.categories() if each.deleted_at is None],
        "templates": [each for each in view.templates() if each.deleted_at is None],
        "contexts": [each for each in view.contexts() if each.deleted_at is None],
        "rest": (view.tags(), view.variables(), view.preferences(), view.models()),
    }


def changed(library: Library) -> None:
    """As much as a user can do."""
    ops.set_fields(library, "p", {"title": "other", "favorite": True, "category": None, "touched_at": LATER})
    ops.set_tags(library, "p", ["home"])
    ops.edit_original(library, "p", "写一份")
    ops.edit_version(library, "p1", "another text 文字")
    ops.add_version(library, "q", NewVersion(id="q2", text="second", kind="iterate", at=LATER, device="d"))
    ops.delete_prompt(library, "q", LATER)
    ops.create_prompt(library, NewPrompt(id="new", title="new", created_at=LATER, device="d", order="b"))
    ops.label_version(library, "p", "production", None)
    ops.rename_tag(library, "work", "Job", at=LATER)
    ops.set_variable(library, "name", "Other")
    ops.set_variable(library, "more", "x")
    ops.merge_preferences(library, {"theme": None, "language": "zh"})
    ops.delete_category(library, "cat-writing", LATER)
    ops.create_category(library, "c", name="C", order="z", at=LATER)
    ops.delete_template(library, "t", LATER)
    ops.set_model_fields(library, "m", {"enabled": False})
    ops.create_context(library, "ctx", {"title": "X"}, at=LATER)


def test_everything_is_as_it_was_and_nothing_is_destroyed() -> None:
    library = made()
    past = Library.load(library.content())
    changed(library)
    device = Library.load(library.content(), 9)
    update = take(library, steps(library, past, LATER + 1))
    device.apply(update)
    for view in (View(library), View(device)):
        before, after = told(View(past)), told(view)
        q = after["prompts"].pop("q"), before["prompts"].pop("q")
        assert after == before
        assert q[0][1:] == q[1][1:]
        assert q[0][0].current == q[1][0].current == "q1"
        assert [version.id for version in view.versions("q")] == ["q1", "q2"]  # the newer one stays in the history
        new = view.prompt("new")
        assert new is not None
        assert new.deleted_at == LATER + 1
        assert not view.problems
    assert {step.root for step in steps(library, past, LATER + 2)} == set()


def test_what_was_purged_is_made_again() -> None:
    library = made()
    past = Library.load(library.content())
    ops.count_use(library, "q", "d")
    ops.purge_prompts(library, ["p", "q"])
    take(library, steps(library, past, LATER))
    assert told(View(library)) == told(View(past))


def test_what_others_type_meanwhile_is_kept() -> None:
    library = made()
    past = Library.load(library.content())
    ops.edit_version(library, "p1", "text of p 文, longer")
    device = Library.load(library.content(), 9)
    typed = ops.edit_version(device, "p1", "A text of p 文, longer")
    fresh = ops.create_prompt(device, NewPrompt(id="fresh", title="f", created_at=LATER, device="d", order="c"))
    update = take(library, steps(library, past, LATER))
    for each in (typed, fresh):
        library.apply(each)
    device.apply(update)
    for view in (View(library), View(device)):
        assert view.text("p1") == "A text of p 文"
        assert view.prompt("fresh") is not None


def held(view: View) -> tuple[Any, ...]:
    """What lies in prompts and templates."""
    prompt = view.prompt("p")
    assert prompt is not None
    return prompt.title, view.original("p"), view.original("q"), view.filed("q")[0], view.text("p1"), view.templates()


def test_what_was_damaged_then_and_is_not_now_stays() -> None:
    past = Library.load(SEED, 6)

    def damage() -> None:
        past.root(Root.PROMPTS)["p"] = "no map"
        past.root(Root.PROMPTS)["q"] = Map({"original": "no text", "tags": 1, "title": "q then"})
        past.root(Root.TEXTS)["p1"] = "no text"
        past.root(Root.TEMPLATES)["t"] = None

    past.edit(damage)
    library = made()
    kept = held(View(library))
    take(library, steps(library, past, LATER))
    after = View(library)
    assert held(after) == kept
    title = after.prompt("q")
    assert title is not None
    assert title.title == "q then"
    assert steps(library, past, LATER) == []


def test_a_prompt_that_never_was_in_the_bin_is_taken_out_by_a_value() -> None:
    library = made()
    library.edit(lambda: library.root(Root.PROMPTS)["p"].pop("deleted_at"))
    past = Library.load(library.content())
    ops.delete_prompt(library, "p", LATER)
    assert [(step.path, step.kind, step.value) for step in steps(library, past, LATER)] == [(("p", "deleted_at"), Kind.SET, None)]
    take(library, steps(library, past, LATER))
    assert steps(library, past, LATER) == []


def test_without_a_change_nothing_is_written() -> None:
    library = made()
    assert take(library, steps(library, Library.load(library.content()), LATER)) == EMPTY_UPDATE


def test_a_use_that_was_counted_since_stays_and_a_devices_preferences_too() -> None:
    library = made()
    past = Library.load(library.content())
    ops.count_use(library, "p", "d")
    ops.merge_device_prefs(library, "d", {"zoom": 2})
    assert steps(library, past, LATER) == []


@given(before=WRITES, after=WRITES)
def test_whatever_clients_have_written_one_restore_is_enough(before: list[Write], after: list[Write]) -> None:
    library = made()
    library.edit(write(library, before))
    past = Library.load(library.content())
    library.edit(write(library, after))
    update = take(library, steps(library, past, LATER))
    left = [step for step in steps(library, past, LATER) if step.path[-1:] != ("deleted_at",)]
    assert left == []
    again = Library.load(library.content())
    again.apply(update)
    View(again).prompts()


def test_types_in_one_another_without_end_are_left_alone() -> None:
    library = made()
    there: Any = library.root(Root.PROMPTS)["p"]

    def nest() -> None:
        inner = there
        for _ in range(2_000):
            inner["deeper"] = Map({})
            inner = inner["deeper"]

    library.edit(nest)
    past = Library.load(library.content())
    library.edit(lambda: there.__setitem__("title", "other"))
    take(library, steps(library, past, LATER))
    assert there["title"] == "p"


@pytest.mark.parametrize("value", [float("nan"), b"bytes"])
def test_what_is_no_json_is_no_reason_to_fail(value: Any) -> None:
    library = made()
    library.edit(lambda: library.root(Root.PREFS).__setitem__("odd", value))
    past = Library.load(library.content())
    library.edit(lambda: library.root(Root.PREFS).__setitem__("odd", 1))
    take(library, steps(library, past, LATER))
    assert library.root(Root.PREFS)["odd"] == 1


def test_however_many_texts_were_rewritten_they_are_put_back_within_what_a_call_may_take() -> None:
    library = made()
    for number in range(150):
        version = NewVersion(id=f"v{number}", text=_words(number), kind="edit", at=AT, device="d")
        ops.create_prompt(library, NewPrompt(id=f"n{number}", title="t", created_at=AT, device="d", order="b", version=version))
    past = Library.load(library.content(), 6)
    for number in range(150):
        ops.edit_version(library, f"v{number}", _words(number + 1_000), Budget(0))
    begun = time.process_time()
    take(library, steps(library, past, LATER))
    assert time.process_time() - begun < 8  # of 10 s; each for itself, they take 25
    found = [View(library).version(f"n{number}", f"v{number}") for number in (0, 149)]
    assert [each and each.text for each in found] == [_words(0), _words(149)]


def _words(seed: int) -> str:
    drawn = random.Random(seed)
    return " ".join(f"word{drawn.randrange(500)}" for _ in range(600))
