"""The fields of one map in a document, read as what they should be, whatever a client has written there."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from pycrdt import Array, Map, Text

MAX_TIME = 253_402_300_799_999
"""The last millisecond of the year 9999: a larger time is no date."""


class Reader:
    """Reads the fields of one map, and reports those that are of another kind than they should be."""

    def __init__(self, there: Map[Any] | dict[str, Any], place: str, problem: Callable[[str], None]) -> None:
        self._there = there
        self._place = place
        self._problem = problem

    def text(self, name: str, default: str = "") -> str:
        value = self.text_or_none(name)
        return default if value is None else value

    def text_or_none(self, name: str) -> str | None:
        value = self._there.get(name)
        if value is None or isinstance(value, str):
            return value
        self._wrong(name, "a string")
        return None

    def flag(self, name: str) -> bool:
        value = self._there.get(name, False)
        if isinstance(value, bool):
            return value
        self._wrong(name, "true or false")
        return False

    def time(self, name: str) -> int:
        return self.time_or_none(name) or 0

    def time_or_none(self, name: str) -> int | None:
        value = self._there.get(name)
        number = number_in(value)
        if number is None and value is not None:
            self._wrong(name, "a time")
        return number

    def mapping(self, name: str) -> dict[str, Any]:
        value = self.plain(name)
        if isinstance(value, dict):
            return value
        if value is not None:
            self._wrong(name, "a map")
        return {}

    def list_or_none(self, name: str) -> list[Any] | None:
        value = self.plain(name)
        if value is None or isinstance(value, list):
            return value
        self._wrong(name, "a list")
        return None

    def plain(self, name: str) -> Any:
        """A value of any kind, shared types as what they hold."""
        value = self._there.get(name)
        if isinstance(value, Map | Array):
            return value.to_py()
        if isinstance(value, Text):
            return str(value)
        if value is None or isinstance(value, str | int | float | list | dict):
            return value
        self._wrong(name, "JSON")
        return None

    def _wrong(self, name: str, wanted: str) -> None:
        self._problem(f"{self._place}/{name}: not {wanted}")


def number_in(value: object) -> int | None:
    """A whole number that may be a time or a count; Yjs hands integers back as floats."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not 0 <= value <= MAX_TIME:
        return None
    return int(value)
