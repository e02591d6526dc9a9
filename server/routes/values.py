"""JSON values that requests carry and libraries keep: what passes here every Yjs client reads back as it was sent.

Yjs keeps numbers as doubles, and pycrdt ends its thread on what it cannot convert; so this is refused before it gets there.
"""

import json
import re
from collections.abc import Iterable
from math import isfinite
from typing import Annotated

from pydantic import JsonValue, PlainValidator
from pydantic_core import PydanticCustomError

MAX_DEPTH = 32
"""Objects and lists inside each other: what people write has three or four, and every reader recurses. Past it: 422."""
MAX_INTEGER = 1 << 53
"""Largest integer up to which a double, which is what Yjs keeps, holds each one; the same below zero. Past it: 422."""
MAX_VALUE_BYTES = 256 << 10
"""One value as JSON in UTF-8: it is kept, and sent again, as a whole whenever a part of it changes. Past it: 422."""

_BROKEN = re.compile("[\0\ud800-\udfff]")


def kept_alike(value: object) -> object:
    """The value, or the refusal of one that a library cannot keep as it is."""
    _look(value)
    # after the look: neither the nesting nor a number can be more than this takes
    if len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()) > MAX_VALUE_BYTES:
        raise PydanticCustomError("json_size", "is larger than a value may be")
    return value


def _look(value: object) -> None:
    """Refuse what would not be read back as it is, level by level, so that nothing nested breaks the look itself."""
    level = [value]
    for levels_left in range(MAX_DEPTH, -1, -1):
        containers = [part for part in level if isinstance(part, list | dict)]
        if len(containers) < len(level):
            _look_at_scalars(part for part in level if not isinstance(part, list | dict))
        if not containers:
            return
        if not levels_left:
            raise PydanticCustomError("json_depth", "has more levels than a value may")
        level = []
        for container in containers:
            if isinstance(container, dict):
                _look_at_texts(container)
                level.extend(container.values())
            else:
                level.extend(container)


def _look_at_scalars(values: Iterable[object]) -> None:
    for value in values:
        if isinstance(value, str):
            _look_at_texts((value,))
        elif isinstance(value, int):
            if not -MAX_INTEGER <= value <= MAX_INTEGER:
                raise PydanticCustomError("json_number", "has an integer that a double does not hold")
        elif isinstance(value, float):
            if not isfinite(value):
                raise PydanticCustomError("json_number", "has a number that JSON does not know")
        elif value is not None:
            raise PydanticCustomError("json_value", "is no JSON value")


def _look_at_texts(texts: Iterable[object]) -> None:
    for text in texts:
        if not isinstance(text, str):
            raise PydanticCustomError("json_value", "is no JSON value")
        if _BROKEN.search(text):
            raise PydanticCustomError("json_text", "has the character NUL or half of a surrogate pair in a text")


def _object(value: object) -> object:
    if not isinstance(value, dict):
        raise PydanticCustomError("json_object", "is no JSON object")
    return kept_alike(value)


Value = Annotated[JsonValue, PlainValidator(kept_alike, json_schema_input_type=JsonValue)]
"""Any JSON value that a library can keep."""
Values = Annotated[dict[str, JsonValue], PlainValidator(_object, json_schema_input_type=dict[str, JsonValue])]
"""A JSON object that a library can keep, its values by their names."""
