"""Kinds of text: what is content passes untouched and can be stored, what is not is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycrdt import Doc, Map, Text
from pydantic import TypeAdapter, ValidationError

from crdt.tags import normalise_tag
from server.routes.texts import MAX_DESCRIPTION, MAX_PROMPT_TEXT, MAX_TAG, MAX_TITLE, Description, PromptText, Tag, Title

TITLE, TAG = TypeAdapter[str](Title), TypeAdapter[str](Tag)
DESCRIPTION, PROMPT_TEXT = TypeAdapter[str](Description), TypeAdapter[str](PromptText)
ANY_TEXT = st.text(st.characters(exclude_categories=()))
"""Lone surrogates and NUL among it."""


def kind(adapter: TypeAdapter[str], value: object) -> str:
    """What the value is refused for."""
    with pytest.raises(ValidationError) as refused:
        adapter.validate_python(value)
    return refused.value.errors()[0]["type"]


@pytest.mark.parametrize(
    "text", ["", "a\tb\r\nc\n\n", "\u2028\u2029\u202e\x01\x7f\ufeff", "\U0001f469\u200d\U0001f4bb 提示词", "  edges  "]
)
@pytest.mark.parametrize("adapter", [DESCRIPTION, PROMPT_TEXT], ids=["description", "prompt"])
def test_a_text_of_many_lines_passes_character_for_character(adapter: TypeAdapter[str], text: str) -> None:
    assert adapter.validate_python(text) == text


@pytest.mark.parametrize("adapter", [TITLE, TAG, DESCRIPTION, PROMPT_TEXT], ids=["title", "tag", "description", "prompt"])
@pytest.mark.parametrize("value", ["a\0b", "\0", "a\ud800", "\udfff", 5, None, True, b"a", ["a"]])
def test_what_is_no_text_is_refused(adapter: TypeAdapter[str], value: object) -> None:
    assert kind(adapter, value) in {"text_characters", "string_unicode", "string_type"}


@pytest.mark.parametrize(
    ("adapter", "least", "most"),
    [(TITLE, 1, MAX_TITLE), (TAG, 1, MAX_TAG), (DESCRIPTION, 0, MAX_DESCRIPTION), (PROMPT_TEXT, 0, MAX_PROMPT_TEXT)],
    ids=["title", "tag", "description", "prompt"],
)
def test_a_text_is_bounded_in_characters(adapter: TypeAdapter[str], least: int, most: int) -> None:
    assert len(adapter.validate_python("\U0001f600" * most)) == most
    assert kind(adapter, "x" * (most + 1)) == "string_too_long"
    if least:
        assert kind(adapter, "x" * (least - 1)) == "string_too_short"


@pytest.mark.parametrize("adapter", [TITLE, TAG], ids=["title", "tag"])
def test_a_line_is_trimmed_and_is_one(adapter: TypeAdapter[str]) -> None:
    assert adapter.validate_python(" \u3000 周报 \U0001f600\n") == "周报 \U0001f600"
    assert kind(adapter, " \n\u3000") == "string_too_short"
    for text in ("a\nb", "a\tb", "a\u2028b", "a\u202eb", "a\x9fb"):
        assert kind(adapter, text) == "text_characters"


@given(ANY_TEXT)
def test_what_passes_as_a_tag_is_a_key_that_stays_the_same(text: str) -> None:
    try:
        tag = TAG.validate_python(text)
    except ValidationError:
        return
    key = normalise_tag(tag)
    assert key
    assert normalise_tag(key) == key


@given(ANY_TEXT)
def test_what_passes_comes_back_from_another_document_equal(text: str) -> None:
    for adapter in (TITLE, TAG, DESCRIPTION, PROMPT_TEXT):
        try:
            passed = adapter.validate_python(text)
        except ValidationError:
            continue
        here: Map[Any] = Doc[Any]().get("m", type=Map)
        here["value"], here["text"] = passed, Text(passed)
        assert here.doc is not None
        there = Doc[Any]()
        there.apply_update(here.doc.get_update())
        read: Map[Any] = there.get("m", type=Map)
        assert (read["value"], str(read["text"])) == (passed, passed)
