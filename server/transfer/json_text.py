"""The JSON value in a file's bytes, as other programs write it: with or without a byte order mark, with halves of characters in it."""

from __future__ import annotations

import codecs
import json
import re
from math import isfinite
from typing import Any

from server.errors import MalformedFile, TooManyValues, UnsupportedEncoding

MAX_PARTS = 4 << 20
"""Commas and opening brackets of one file, those in its texts too: each value takes some hundred bytes of memory. Past it: 413."""
MAX_DEPTH = 64
"""Objects and lists inside one another in an item: people's have five. Past it the item is skipped (`too_deep`)."""

_MAY_BE_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_HALF = re.compile("[\ud800-\udfff]")


class TooDeep(ValueError):
    """An item is nested past MAX_DEPTH."""


def json_in(data: bytes) -> tuple[Any, bool]:
    """The one value in the bytes, and whether texts in it had to be repaired.

    Raises:
        UnsupportedEncoding: it is not UTF-8.
        MalformedFile: it is not JSON, or not all of it, or nested past all reason.
        TooManyValues: it has more values than are read here.
    """
    if sum(map(data.count, (b",", b"[", b"{"))) > MAX_PARTS:
        raise TooManyValues
    text = text_in(data)
    try:
        value = json.loads(text, parse_constant=_no_number, parse_float=_finite)
        repair = _MAY_BE_HALF.search(text) is not None
        return _repaired(value) if repair else (value, False)
    except (ValueError, RecursionError):
        raise MalformedFile("json") from None  # the error would quote the file


def text_in(data: bytes) -> str:
    """The text in the bytes. Raises UnsupportedEncoding; MalformedFile for one that ends within a character."""
    if b"\0" in data[:4]:
        raise UnsupportedEncoding("UTF-16 or UTF-32")
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":
            raise MalformedFile("json") from None
        raise UnsupportedEncoding("not UTF-8") from None


def check_depth(value: Any, most: int = MAX_DEPTH) -> None:
    """Raises TooDeep."""
    level = [value]
    for _ in range(most + 1):
        level = [
            each
            for part in level
            if isinstance(part, list | dict)
            for each in (part.values() if isinstance(part, dict) else part)
            if isinstance(each, list | dict)
        ]
        if not level:
            return
    raise TooDeep


def _repaired(value: Any) -> tuple[Any, bool]:
    """The value with U+FFFD for each half of a character, and whether there was any."""
    match value:
        case str():
            repaired = _HALF.sub("\N{REPLACEMENT CHARACTER}", value)
            return repaired, repaired != value
        case list():
            parts = [_repaired(each) for each in value]
            return [each for each, _ in parts], any(changed for _, changed in parts)
        case dict():
            named = [(_repaired(name), _repaired(each)) for name, each in value.items()]
            return {name: each for (name, _), (each, _) in named}, any(one or other for (_, one), (_, other) in named)
    return value, False


def _no_number(name: str) -> None:
    raise ValueError("no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError("a number past all bounds")
    return number
