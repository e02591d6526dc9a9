"""The JSON in a file's bytes, however another program has written it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import MalformedFile, TooManyValues, UnsupportedEncoding
from server.transfer import json_text
from server.transfer.json_text import MAX_DEPTH, TooDeep, check_depth, json_in

VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda each: st.lists(each) | st.dictionaries(st.text(), each))


@given(VALUES, st.booleans(), st.booleans())
def test_json_in_utf_8_is_read_with_or_without_a_mark(value: object, mark: bool, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert json_in((b"\xef\xbb\xbf" if mark else b"") + text.encode()) == (value, False)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_other_encodings_are_told(encoding: str) -> None:
    with pytest.raises(UnsupportedEncoding):
        json_in('{"version": "1.0", "favorites": []}'.encode(encoding))


def test_bytes_that_are_no_utf_8_are_told() -> None:
    for text in ('{"title": "周报"}'.encode("gb18030"), b'{"a": "\xff"}', b'{"a": "\xed\xa0\x80"}'):
        with pytest.raises(UnsupportedEncoding):
            json_in(text)


def test_every_beginning_of_a_file_is_malformed() -> None:
    whole = json.dumps({"favorites": [{"title": "周报 😀", "n": -1.5e3}], "ok": True}, ensure_ascii=False).encode()
    for end in range(len(whole)):
        with pytest.raises(MalformedFile):
            json_in(whole[:end])


@pytest.mark.parametrize("text", ["NaN", "[1e999]", "[Infinity]", "9" * 5000, "[" * 100_000, '{"a":' * 100_000, "{}{}", "'a'", ""])
def test_what_is_no_json_is_malformed(text: str) -> None:
    with pytest.raises(MalformedFile):
        json_in(text.encode())


def test_halves_of_characters_are_replaced_and_whole_ones_are_not() -> None:
    assert json_in(rb'{"\ud83d\ude00": ["a\ud800", {"\udfff": 1}], "b": "\ud83d\ude00"}') == (
        {"😀": ["a�", {"�": 1}], "b": "😀"},
        True,
    )
    assert json_in(rb'["\ud83d\ude00"]') == (["😀"], False)


def test_more_values_than_are_read_at_once_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_text, "MAX_PARTS", 10)
    assert json_in(b"[1,2,3,4,5,6,7,8,9,10]")[0]
    with pytest.raises(TooManyValues):
        json_in(b"[1,2,3,4,5,6,7,8,9,10,11]")


def test_nesting_is_bounded_at_its_bound() -> None:
    value: object = 0
    for _ in range(MAX_DEPTH + 1):
        value = [value]
    check_depth(value)
    with pytest.raises(TooDeep):
        check_depth({"a": value})
