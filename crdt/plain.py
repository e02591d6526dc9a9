"""JSON values: which may be written into a document, when two are the same, and one form of each for all processes.

Yjs knows one kind of number, so an integer that went through a document comes back as a float: here 1 and 1.0 are the same, and what is
read is an integer where it can be. True is no number. What Yrs cannot take makes it panic in the middle of a transaction, so what is
written is checked before.
"""

from __future__ import annotations

import json
import math
from typing import Any

from crdt.contents import MAX_DEPTH

MAX_INTEGER = 1 << 53
"""Beyond it, either way, JavaScript's numbers are not exact: such integers are written as the float that JSON.parse makes of them, never as
a BigInt, which JSON.stringify refuses."""


def writable(value: Any, depth: int = 0) -> Any:
    """The value as it is written. Raises ValueError for what is no JSON, or is nested deeper than any device would take."""
    match value:
        case None | bool():
            return value
        case str():
            return writable_text(value)
        case int():
            return value if -MAX_INTEGER <= value <= MAX_INTEGER else _finite(value)
        case float():
            return _finite(value)
        case list() | tuple() | dict() if depth >= MAX_DEPTH:
            raise ValueError("nested too deeply")
        case list() | tuple():
            return [writable(each, depth + 1) for each in value]
        case dict():
            return {writable_text(name): writable(each, depth + 1) for name, each in value.items()}
    raise ValueError(f"a {type(value).__name__} is no JSON")


def writable_text(value: Any) -> str:
    """The string, or an id or a key. Raises ValueError for another kind, and for half of a surrogate pair, which UTF-8 does not have."""
    if not isinstance(value, str):
        raise ValueError(f"a {type(value).__name__} is no string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair") from None
    return value


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same: 1 and 1.0 are, 1 and True are not."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def number_read(value: float) -> int | float | None:
    """A number of a document: an integer where it is one that JavaScript has exactly, None where it is no number at all."""
    if not math.isfinite(value):
        return None
    return int(value) if value == int(value) and abs(value) <= MAX_INTEGER else value


def canonical(value: Any) -> bytes:
    """One form of a JSON value as it was read, the same in every process whatever the order in which its maps were filled."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _finite(value: float) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("not a finite number")
    return number
