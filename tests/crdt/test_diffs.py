"""Diffs say what both texts are, and nothing besides."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt import diffs
from crdt.diffs import NO_NEWLINE, Op, Segment, compared

TEXTS = st.text(alphabet=st.sampled_from("ab \n,.é中文字🙂👩‍💻한\r\u2028"), max_size=80) | st.lists(
    st.sampled_from(["one", "two", "三行", "", " "]), max_size=40
).map("\n".join)


def applied(old: str, unified: list[str]) -> str:
    """What a reader of unified diffs makes of the old text."""
    lines = old.split("\n")
    ended = [f"{line}\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
    made: list[str] = []
    at = 0
    for index, line in enumerate(unified):
        without_end = unified[index + 1 : index + 2] == [NO_NEWLINE]
        text = line[1:] + ("" if without_end else "\n")
        if head := re.fullmatch(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@", line):
            start = int(head[1]) - (head[2] != "0")
            made += ended[at:start]
            at = start
            assert len(made) == int(head[3]) - (head[4] != "0")
        elif line != NO_NEWLINE:
            if line[0] in " -":
                assert ended[at] == text
                at += 1
            if line[0] in " +":
                made.append(text)
    return "".join(made + ended[at:])


@given(TEXTS, TEXTS)
def test_a_diff_holds_both_texts(old: str, new: str) -> None:
    diff = compared(old, new)
    assert "".join(each.text for each in diff.segments if each.op is not Op.INSERT) == old
    assert "".join(each.text for each in diff.segments if each.op is not Op.DELETE) == new
    assert all(each.text for each in diff.segments)
    assert all(one.op is not other.op for one, other in zip(diff.segments, diff.segments[1:], strict=False))
    assert applied(old, diff.unified) == new


@given(TEXTS)
def test_equal_texts_have_no_hunks(text: str) -> None:
    assert compared(text, text) == diffs.Diff([Segment(Op.EQUAL, text)] if text else [], [])


def test_words_and_chinese_characters_are_told_apart() -> None:
    assert compared("写一份周报 for the team.", "写一份日报 for my team!").segments == [
        Segment(Op.EQUAL, "写一份"), Segment(Op.DELETE, "周"), Segment(Op.INSERT, "日"), Segment(Op.EQUAL, "报 for "),
        Segment(Op.DELETE, "the"), Segment(Op.INSERT, "my"), Segment(Op.EQUAL, " team"), Segment(Op.DELETE, "."), Segment(Op.INSERT, "!"),
    ]  # fmt: skip


def test_hunks_have_three_lines_around_them() -> None:
    old = [f"line {number}\n" for number in range(1, 31)]
    new = old.copy()
    new[4], new[20:22] = "changed\n", ["added 1\n", "added 2\n", "added 3\n"]
    assert compared("".join(old), "".join(new)).unified == [
        "@@ -2,7 +2,7 @@", " line 2", " line 3", " line 4", "-line 5", "+changed", " line 6", " line 7", " line 8",
        "@@ -18,8 +18,9 @@", " line 18", " line 19", " line 20", "-line 21", "-line 22", "+added 1", "+added 2", "+added 3",
        " line 23", " line 24", " line 25",
    ]  # fmt: skip
    assert compared("", "x").unified == ["@@ -0,0 +1 @@", "+x", NO_NEWLINE]
    assert compared("x\n", "x").unified == ["@@ -1 +1 @@", "-x", "+x", NO_NEWLINE]


def test_past_the_bound_what_differs_is_told_as_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffs, "MOST_STEPS", 10)
    old, new = "\n".join("abcdefghij"), "\n".join("aXcYeZgWij")
    diff = compared(old, new)
    assert [each.op for each in diff.segments] == [Op.EQUAL, Op.DELETE, Op.INSERT, Op.EQUAL]
    assert applied(old, diff.unified) == new
