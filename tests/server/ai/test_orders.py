"""What goes between a server and its model process, there and back."""

import math
from typing import Any

import pytest

from auth.model_secret import ModelSecret
from server.ai.calls import Finished, Message, Reasoning, Role, Target, Token, Usage
from server.ai.failures import Outcome
from server.ai.listed_models import ListedModel
from server.ai.orders import Done, Failed, Frames, Kind, Order, Word, framed, order_in, plain, target_in, words_in, written

ODD = "\ud800 \0 \U0001f600 \u2028"
"""What a provider may say, a lone surrogate with it."""
TARGET = Target(
    config_id=ODD,
    name="",
    provider="custom",
    model="m",
    base_url="http://a/v1",
    secret=ModelSecret("key", {"X-Gateway": "value"}),
    params={"a": [1, {"b": None}], "large": 10**400, "small": 1e-300, "empty": [], "no": False},
    is_shared=True,
)


def received(sent: bytes, size: int = 1 << 20) -> list[Any]:
    frames = Frames()
    return [content for begin in range(0, len(sent), size) for content in frames.feed(sent[begin : begin + size])]


@pytest.mark.parametrize(
    "word",
    [
        Token(""),
        Token(ODD),
        Reasoning(ODD),
        Finished("stop", Usage()),
        Finished(ODD, Usage(1 << 40, 0)),
        Done(()),
        Done((ListedModel("a", ODD), ListedModel("b", "B"))),
        *(Failed(outcome, ODD, 7) for outcome in Outcome),
        Failed(Outcome.CUT_OFF, "", None),
    ],
)
def test_every_word_arrives_as_it_was_said(word: Word) -> None:
    [content] = received(framed(written([(3, word), (1 << 60, word)])))
    arrived = list(words_in(content))
    assert arrived == [(3, word), (1 << 60, word)]
    assert type(arrived[0][1]) is type(word)


@pytest.mark.parametrize("kind", Kind)
def test_an_order_arrives_as_it_was_given(kind: Kind) -> None:
    messages = (Message(Role.SYSTEM, ODD), Message(Role.USER, ""), Message(Role.ASSISTANT, "x" * 100_000))
    [content] = received(framed(Order(5, kind, plain(TARGET), messages)))
    order = order_in(content)
    assert (order.number, order.kind, tuple(order.messages)) == (5, kind, messages)
    target = target_in(order)
    assert (target.secret.api_key, target.secret.headers) == ("key", {"X-Gateway": "value"})
    for name in ("config_id", "name", "provider", "model", "base_url", "request_style", "params", "is_shared"):
        assert getattr(target, name) == getattr(TARGET, name)


def test_numbers_that_json_has_none_for_arrive_too() -> None:
    [[nan, infinite]] = received(framed([math.nan, -math.inf]))
    assert math.isnan(nan)
    assert infinite == -math.inf


@pytest.mark.parametrize("size", [1, 3, 4, 5, 1 << 20])
def test_frames_are_put_together_of_pieces_of_any_size(size: int) -> None:
    contents = [[], ["a" * 1000], [1, None], {}]
    assert received(b"".join(map(framed, contents)), size) == contents


@pytest.mark.parametrize("content", [[[0, "unknown"]], [[0, "token"]], [[0, "failed", "unknown", "", None]], [0], 0])
def test_what_is_no_word_is_taken_for_none(content: Any) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        list(words_in(content))
