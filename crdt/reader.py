"""The fields of one map in a document, read as what they should be, whatever a client has written there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from crdt.shared import Txn, YMap, YText, fields, plain

MAX_TIME = 253_402_300_799_999
"""The last millisecond of the year 9999: a larger time is no date."""
MOST_PROBLEMS = 1_000
"""Problems that are kept; of a library with more, the first ones found. So that a library of nothing but damage takes no more memory."""


class Problems:
    """What is not as the layout wants it, by the place that it was found in, so that it goes when that place is read anew."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, None]] = {}
        self._count = 0

    def note(self, place: str, what: str) -> None:
        """`what` says where below the place, and what is wrong; said again it counts once."""
        if self._count < MOST_PROBLEMS and what not in (found := self._found.setdefault(place, {})):
            found[what] = None
            self._count += 1

    def forget(self, place: str) -> None:
        self._count -= len(self._found.pop(place, ()))

    def all(self) -> list[str]:
        return [problem for found in self._found.values() for problem in found]


class Reader:
    """Reads the fields of one map, and reports those that are of another kind than they should be."""

    def __init__(self, values: Mapping[str, Any], place: str, problem: Callable[[str], None], txn: Txn) -> None:
        self._values = values
        self._place = place
        self._problem = problem
        self._txn = txn

    @classmethod
    def of(cls, there: YMap, names: Iterable[str], place: str, problem: Callable[[str], None], txn: Txn) -> Reader:
        """Reads these fields of a map."""
        return cls(fields(there, txn, names), place, problem, txn)

    def value(self, name: str) -> Any:
        """What lies there, shared types as themselves."""
        return self._values.get(name)

    def text(self, name: str, default: str = "") -> str:
        value = self.text_or_none(name)
        return default if value is None else value

    def text_or_none(self, name: str) -> str | None:
        value = self._values.get(name)
        if value is None or isinstance(value, str):
            return value
        self.wrong(name, "a string")
        return None

    def flag(self, name: str) -> bool:
        value = self._values.get(name)
        if isinstance(value, bool):
            return value
        if value is not None:
            self.wrong(name, "true or false")
        return False

    def time(self, name: str) -> int:
        return self.time_or_none(name) or 0

    def time_or_none(self, name: str) -> int | None:
        value = self._values.get(name)
        number = number_in(value)
        if number is None and value is not None:
            self.wrong(name, "a time")
        return number

    def mapping(self, name: str) -> dict[str, Any]:
        value = self.plain(name)
        if isinstance(value, dict):
            return value
        if value is not None:
            self.wrong(name, "a map")
        return {}

    def list_or_none(self, name: str) -> list[Any] | None:
        value = self.plain(name)
        if value is None or isinstance(value, list):
            return value
        self.wrong(name, "a list")
        return None

    def content(self, name: str) -> str:
        """A Y.Text's; a string that stands in its place is read as well, and reported."""
        value = self._values.get(name)
        if isinstance(value, YText):
            return value.get_string(self._txn)
        self.wrong(name, "a text")
        return value if isinstance(value, str) else ""

    def plain(self, name: str) -> Any:
        """A value of any kind, shared types as what they hold."""
        return plain(self._values.get(name), self._txn, lambda: self.wrong(name, "JSON"))

    def wrong(self, name: str, wanted: str) -> None:
        self._problem(f"{self._place}/{name}: not {wanted}")


def number_in(value: object) -> int | None:
    """A whole number that may be a time or a count; Yjs hands integers back as floats."""
    if (
        isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= MAX_TIME
    ):  # a tuple is twice as fast as a union; no number is in no range
        return int(value)
    return None
