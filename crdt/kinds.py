"""What a register may hold: each kind takes a value and returns it as it is written, or raises ValueError."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from crdt.library import Mode
from crdt.plain import writable, writable_text
from crdt.reader import number_in

Kind = Callable[[Any], Any]
text: Kind = writable_text
json: Kind = writable


def text_or_none(value: Any) -> str | None:
    return None if value is None else writable_text(value)


def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("not true or false")
    return value


def time(value: Any) -> int:
    number = number_in(value)
    if number is None:
        raise ValueError("not a time in ms since 1970")
    return number


def mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("not a map")
    return dict(writable(value))


def listing(value: Any) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise ValueError("not a list")
    return list(writable(value))


def listing_or_none(value: Any) -> list[Any] | None:
    return None if value is None else listing(value)


def mode(value: Any) -> str:
    return Mode(value).value


def checked(fields: Mapping[str, Any], kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """The fields as they are written. Raises ValueError, naming the field, for one that may not be set or not to this."""
    if unknown := fields.keys() - kinds.keys():
        raise ValueError(f"not to be set: {', '.join(sorted(map(str, unknown)))}")
    found = {}
    for name, value in fields.items():
        try:
            found[name] = kinds[name](value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return found
