"""What a model thinks is told from what it answers, however the text is cut."""

import time
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from server.ai.calls import Reasoning, Token
from server.ai.thinking import MAX_SPACE, Thinking

WHOLE = "<think>let me\nsee 😀</think>\n\n# Role\nUse <think> and </think> wisely."


def fed(pieces: list[str]) -> tuple[str, str]:
    """The reasoning and the answer."""
    thinking = Thinking()
    found = [piece for text in pieces for piece in thinking.feed(text)] + thinking.end()
    assert all(piece.text for piece in found)
    return (
        "".join(piece.text for piece in found if isinstance(piece, Reasoning)),
        "".join(piece.text for piece in found if isinstance(piece, Token)),
    )


def cut(text: str, places: list[int]) -> list[str]:
    edges = [0, *sorted(place for place in places if place <= len(text)), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


@given(st.lists(st.integers(0, len(WHOLE)), max_size=12))
def test_tags_are_found_wherever_they_are_cut(places: list[int]) -> None:
    assert fed(cut(WHOLE, places)) == ("let me\nsee 😀", "# Role\nUse <think> and </think> wisely.")


@given(st.text(), st.lists(st.integers(0, 200), max_size=8))
def test_a_text_without_tags_comes_out_as_it_went_in(text: str, places: list[int]) -> None:
    assert fed(cut(text, places)) == ("", text.replace("\0", ""))


def test_an_answer_begins_at_once_where_no_tag_can() -> None:
    thinking = Thinking()
    assert thinking.feed(" ") == []
    assert thinking.feed("<th") == []
    assert thinking.feed("anks") == [Token(" <thanks")]
    assert thinking.feed("<think>") == [Token("<think>")]


def test_thoughts_that_do_not_end_are_no_answer() -> None:
    assert fed(["<think>", "hm </thi"]) == ("hm </thi", "")


def test_several_thoughts_may_come_before_the_answer() -> None:
    assert fed(["<think>a</think>\n<think>b</think>", "\nc"]) == ("ab", "c")


def test_half_characters_are_joined_or_replaced() -> None:
    assert fed(["a\ud83d", "\ude00b"]) == ("", "a😀b")
    assert fed(["a\ud83d", "b"]) == ("", "a\ufffdb")
    assert fed(["\ude00a\ud83d"]) == ("", "\ufffda\ufffd")
    assert fed(["a\0b"]) == ("", "ab")


def test_white_space_is_not_held_back_for_ever() -> None:
    began = time.monotonic()
    for before in ("", "<think>a</think>"):
        thinking = Thinking()
        thinking.feed(before)
        pieces = [piece for _ in range(20_000) for piece in thinking.feed(" " * 100)]
        assert sum(len(piece.text) for piece in pieces) >= 2_000_000 - MAX_SPACE - 100
        assert all(piece.text for piece in pieces)
    assert time.monotonic() - began < 1
