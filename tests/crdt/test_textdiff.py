"""Texts are changed where they differ, in the offsets of Yrs, and nowhere inside a character."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycrdt import Doc, Text

from crdt import textdiff
from crdt.textdiff import MOST_STEPS, Budget, Edit, edits, rebased

TEXTS = st.text(alphabet=st.sampled_from("ab c\n,.é中文字🙂👩‍💻한"), max_size=60) | st.text(max_size=40).filter(
    lambda text: "\r" not in text
)


def retyped(old: str, new: str) -> str:
    """What Yrs makes of the edits."""
    doc: Doc[Text] = Doc()
    text = doc.get("t", type=Text)
    text += old
    _retype(text, edits(old, new))
    return str(text)


@given(TEXTS, TEXTS)
def test_the_edits_make_the_new_text_of_the_old(old: str, new: str) -> None:
    assert retyped(old, new) == new


@given(TEXTS)
def test_an_equal_text_is_left_alone(text: str) -> None:
    assert edits(text, text) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("hello world", "hello brave world", [Edit(6, 0, "brave ")]),
        ("中文abc", "中文字abc", [Edit(6, 0, "字")]),
        ("a🙂b", "a🙃b", [Edit(1, 4, "🙃")]),
        ("# Role: writer\n\nWrite.", "# Role: poet\n\nWrite well.", [Edit(21, 0, " well"), Edit(8, 6, "poet")]),
        ("", "x", [Edit(0, 0, "x")]),
        ("x", "", [Edit(0, 1, "")]),
    ],
)
def test_only_what_differs_is_replaced_in_whole_words_and_characters(old: str, new: str, expected: list[Edit]) -> None:
    assert edits(old, new) == expected


def test_past_the_bound_what_lies_between_is_replaced_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textdiff, "MOST_STEPS", 10)
    assert edits("a b c d e z", "a X c Y e z") == [Edit(2, 5, "X c Y")]
    assert retyped("a b c d e z", "a X c Y e z") == "a X c Y e z"


def merged(base: str, wanted: str, current: str) -> str:
    """What Yrs makes of both, each written on a copy of the base; whoever got to `current` comes first where both insert at one place."""
    first: Doc[Text] = Doc(client_id=1)
    first.get("t", type=Text).insert(0, base)
    copies: list[Doc[Text]] = []
    for client_id, text in ((2, current), (3, wanted)):
        copy: Doc[Text] = Doc(client_id=client_id)
        copy.apply_update(first.get_update())
        _retype(copy.get("t", type=Text), edits(base, text))
        copies.append(copy)
    copies[0].apply_update(copies[1].get_update())
    return str(copies[0].get("t", type=Text))


def _retype(text: Text, made: list[Edit]) -> None:
    for edit in made:
        if edit.delete:
            del text[edit.start : edit.start + edit.delete]
        if edit.insert:
            text.insert(edit.start, edit.insert)


@given(TEXTS, TEXTS, TEXTS)
def test_a_change_from_a_base_is_merged_as_yjs_would(base: str, wanted: str, current: str) -> None:
    """But for what is the same on both sides, which would be there twice, and for where among the other's what was inserted stands."""
    assert rebased(base, wanted, base) == wanted
    assert rebased(base, base, current) == current
    assert rebased(base, wanted, wanted) == wanted
    if not set(edits(base, wanted)) & set(edits(base, current)):
        assert sorted(rebased(base, wanted, current)) == sorted(merged(base, wanted, current))


@pytest.mark.parametrize(
    ("base", "wanted", "current", "expected"),
    [
        ("Write a report.", "Write a short report.", "Please, write a report. Now!", "Please, write a short report. Now!"),
        ("写一份周报。", "写一份简短的周报。", "请写一份周报。", "请写一份简短的周报。"),
        ("a\nb\nc\n", "a\nB\nc\n", "a\nb\nc\nd\n", "a\nB\nc\nd\n"),
        ("one two three", "one three", "one two three four", "one three four"),
        ("red", "green", "blue", "bluegreen"),
    ],
)
def test_both_intents_are_in_the_text(base: str, wanted: str, current: str, expected: str) -> None:
    assert rebased(base, wanted, current) == expected


def test_many_texts_share_a_budget() -> None:
    def text(seed: int) -> str:
        return " ".join(f"w{number * seed % 1009}" for number in range(600))

    budget = Budget(2 * MOST_STEPS)
    made = [edits(text(3), text(5), budget) for _ in range(5)]
    assert len(made[0]) == 1  # what takes more than its own bound is replaced
    assert budget.steps < 0
    assert edits("one two three", "one 2 three", budget) == edits(
        "one two three", "one 2 three"
    )  # at both ends nothing has to be looked for
    assert edits("a b c d e", "x b y d z", budget) == [Edit(0, 9, "x b y d z")]
    assert rebased("one two", "one two three", "zero one two", budget) == "zero one two three"


def test_a_text_takes_no_more_of_a_shared_budget_than_its_bound() -> None:
    budget = Budget(10 * MOST_STEPS)
    edits("a " * 5_000, "b " * 5_000, budget)
    assert 8 * MOST_STEPS < budget.steps < 10 * MOST_STEPS
