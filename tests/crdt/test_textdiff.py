"""Texts are changed where they differ, in the offsets of Yrs, and nowhere inside a character."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycrdt import Doc, Text

from crdt import textdiff
from crdt.textdiff import Edit, edits

TEXTS = st.text(alphabet=st.sampled_from("ab c\n,.é中文字🙂👩‍💻한"), max_size=60) | st.text(max_size=40).filter(
    lambda text: "\r" not in text
)


def retyped(old: str, new: str) -> str:
    """What Yrs makes of the edits."""
    doc: Doc[Text] = Doc()
    text = doc.get("t", type=Text)
    text += old
    for edit in edits(old, new):
        if edit.delete:
            del text[edit.start : edit.start + edit.delete]
        if edit.insert:
            text.insert(edit.start, edit.insert)
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
