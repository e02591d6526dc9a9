"""JSON values that requests carry and libraries keep: what passes here every Yjs client reads back as it was sent.

Yjs keeps numbers as doubles, and pycrdt ends its thread on what it cannot convert; so this is refused before it gets there.
"""

import json
import re
from math import isfinite
from typing import Annotated

from pydantic import BeforeValidator, JsonValue
from pydantic_core import PydanticCustomError

MAX_DEPTH = 32
"""Objects and lists inside each other: what people write has three or four, and every reader recurses. Past it: 422."""
MAX_INTEGER = 1 << 53
"""Largest integer up to which a double, which is what Yjs keeps, holds each one; the same below zero. Past it: 422."""
MAX_VALUE_BYTES = 256 << 10
"""One value as JSON in UTF-8: it is kept, and sent again, as a whole whenever a part of it changes. Past it: 422."""

_BROKEN = re.compile("[\0\ud800-\udfff]")


def _kept_alike(value: object) -> object:
    _look(value, MAX_DEPTH)
    # after the look: neither the nesting nor a number can be more than this takes
    if len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()) > MAX_VALUE_BYTES:
        raise PydanticCustomError("json_size", "is larger than a value may be")
    return value


def _look(value: object, levels: int) -> None:
    """Refuse what would not be read back as it is, down to `levels` levels of containers."""
    match value:
        case None | bool():
            pass
        case str():
            _look_at_text(value)
        case int():
            if abs(value) > MAX_INTEGER:
                raise PydanticCustomError("json_number", "has an integer that a double does not hold")
        case float():
            if not isfinite(value):
                raise PydanticCustomError("json_number", "has a number that JSON does not know")
        case list() | dict():
            if not levels:
                raise PydanticCustomError("json_depth", "has more levels than a value may")
            for key in value if isinstance(value, dict) else ():
                _look_at_text(key)
            for part in value.values() if isinstance(value, dict) else value:
                _look(part, levels - 1)
        case _:
            raise PydanticCustomError("json_value", "is no JSON value")


def _look_at_text(text: object) -> None:
    if not isinstance(text, str):
        raise PydanticCustomError("json_value", "is no JSON value")
    if _BROKEN.search(text):
        raise PydanticCustomError("json_text", "has the character NUL or half of a surrogate pair in a text")


def _object(value: object) -> object:
    if not isinstance(value, dict):
        raise PydanticCustomError("json_object", "is no JSON object")
    return value


Value = Annotated[JsonValue, BeforeValidator(_kept_alike)]
"""Any JSON value that a library can keep."""
Values = Annotated[dict[str, JsonValue], BeforeValidator(_kept_alike), BeforeValidator(_object)]
"""A JSON object that a library can keep, its values by their names."""
