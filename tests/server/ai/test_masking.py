"""What is shown of what a provider says: one short line, and nothing of a secret in any spelling."""

import base64
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth.model_secret import ModelSecret
from server.ai.masking import masked

KEY = "sk-proj-Ab3dEf6hIj9kLm/N+o=q"
SECRET = ModelSecret(KEY, {"X-Gateway": "kurz12", "X-Other": "name with spaces & ünicode"})


def spellings(value: str) -> list[str]:
    data = value.encode()
    encoded = [encode(b"u:"[:count] + data) for count in range(3) for encode in (base64.b64encode, base64.urlsafe_b64encode)]
    whole = [value, value.upper(), quote(value, safe=""), quote_plus(value), json.dumps(value)[1:-1], data.hex()]
    return whole + [each.decode().rstrip("=") for each in encoded]


@pytest.mark.parametrize("value", SECRET.values)
def test_no_spelling_of_a_secret_is_shown(value: str) -> None:
    for spelling in spellings(value):
        said = masked(f"Not taken: {spelling}, sorry", SECRET)
        assert said.startswith("Not taken: ")
        assert spelling not in said
        assert spelling[1:-1] not in said


@pytest.mark.parametrize(
    "left", ["sk-p***+o=q", "sk-proj-Ab3d****************+o=q", "sk-p...+o=q", "sk-pr…", "****+o=q", "XXXX+o=q", '"sk-p***+o=q".']
)
def test_what_vendors_leave_of_a_key_is_not_shown(left: str) -> None:
    said = masked(f"Incorrect API key provided: {left} You can find it", SECRET)
    assert said == "Incorrect API key provided: *** You can find it"


@given(st.integers(0, len(KEY)), st.integers(0, len(KEY)), st.text(max_size=20), st.text(max_size=20))
def test_eight_characters_of_a_key_in_a_row_are_never_shown(start: int, end: int, before: str, after: str) -> None:
    said = masked(before + KEY[start:end] + after, SECRET)
    for place in range(len(KEY) - 7):
        assert KEY[place : place + 8] not in said


@given(st.text(max_size=1_000))
def test_what_is_shown_is_one_short_line(text: str) -> None:
    said = masked(text, ModelSecret("sk-1234567890"))
    assert len(said) <= 300
    assert said.isprintable()


def test_what_looks_like_a_key_is_not_shown_whoever_it_belongs_to() -> None:
    said = masked("use sk-somebodyelses1234567890 or Bearer abcdefghijklmnop", ModelSecret())
    assert "somebody" not in said
    assert "abcdefgh" not in said


def test_a_key_that_hides_behind_control_characters_is_found() -> None:
    assert "proj" not in masked("no: " + "\u200b".join(KEY) + "\x1b[31m", SECRET)


def test_a_long_text_is_cut_off_without_half_a_secret() -> None:
    assert "sk-p" not in masked("x" * 3_990 + " " + KEY, SECRET)
    assert masked("word " * 5_000, SECRET).startswith("word word")
    assert masked("x" * 1_000_000, SECRET) == ""


def test_an_ordinary_sentence_is_shown_as_it_is() -> None:
    said = "The model `gpt-9` does not exist, or you do not have access to it. See https://example.com/docs... (code 404)"
    assert masked(said, SECRET) == said
