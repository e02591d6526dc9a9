"""What a model answers, made into a prompt's text."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.ai.calls import Finished, Reasoning, Token, Usage
from server.ai.failures import ModelFailed, Outcome
from server.ai.results import MAX_REASONING, MAX_RESULT, Result, unfenced


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("  # Role\nYou\n", "# Role\nYou"),
        ("```\n# Role\n```", "# Role"),
        ("```markdown\n# Role\n\nYou\n```\n", "# Role\n\nYou"),
        ("~~~\nx\n~~~", "x"),
        ("````md\n```js\n1\n```\n````", "```js\n1\n```"),
        ("Here is the optimised prompt:\n```\nx\n```", "Here is the optimised prompt:\n```\nx\n```"),
        ("```\na\n```\nbetween\n```\nb\n```", "```\na\n```\nbetween\n```\nb\n```"),
        ("```js\n1\n```\nand more", "```js\n1\n```\nand more"),
        ("```", "```"),
        (" \n\t", ""),
        ("```\n\n```", ""),
    ],
)
def test_only_one_fence_around_all_of_it_goes(answer: str, text: str) -> None:
    assert unfenced(answer) == text


@given(st.text())
def test_taking_a_fence_away_loses_no_line_of_the_inside(answer: str) -> None:
    found = unfenced(answer)
    assert found in answer
    assert unfenced(f"```\nx{answer.replace('`', '')}x\n```") == f"x{answer.replace('`', '')}x"


def test_pieces_are_gathered_in_their_order_and_reasoning_is_bounded() -> None:
    result = Result()
    for piece in (
        Reasoning("a"),
        Token("x\0"),
        Reasoning("b" * MAX_REASONING),
        Token("\ud800y"),
        Reasoning("c"),
        Finished("stop", Usage(1, 2)),
    ):
        result.take(piece)
    assert (result.text, result.reason, result.usage) == ("xy", "stop", Usage(1, 2))
    assert result.reasoning == "a" + "b" * (MAX_REASONING - 1)


def test_more_than_a_prompt_may_have_is_a_failure() -> None:
    result = Result()
    result.take(Token("x" * MAX_RESULT))
    with pytest.raises(ModelFailed) as failed:
        result.take(Token("y"))
    assert failed.value.outcome is Outcome.TOO_LARGE


@pytest.mark.parametrize("mark", ["`", "~"])
def test_an_answer_that_is_hardly_anything_but_a_fence_is_read_at_once(mark: str) -> None:
    half = MAX_RESULT // 2
    answer = mark * half + "\n" + "x" * half
    began = time.monotonic()
    assert unfenced(answer) == answer
    assert time.monotonic() - began < 1
