"""The fields of one item of another app's file, read as what they should be; what is otherwise is as if it were not there, and told."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from crdt.reader import number_in
from server.transfer.problems import Findings, Reason

MAX_TITLE = 500
"""Characters of a title, as REST has it. Past it it is cut (`shortened`)."""
MADE_TITLE = 80
"""Characters of a title that is made of a text's first line."""
MAX_ID = 200
"""Characters of an id. Past it the item is skipped (`invalid`)."""
_NO_LINE = frozenset({"Cc", "Cs", "Zl", "Zp"})
_SPACES = re.compile(r"\s+")


class Source(NamedTuple):
    """Where an item stands: in which file and section, and what it is called there."""

    file: str
    section: str
    item: str


class Ids:
    """Ids of what a foreign file holds: the same each time and on each server, so that what was imported is found again."""

    def __init__(self, library_id: UUID) -> None:
        self._library_id = library_id

    def of(self, key: str) -> str:
        """The id of what has this import key in this library."""
        return str(uuid5(self._library_id, key))


class Fields:
    """The fields of one item."""

    def __init__(self, raw: Mapping[str, Any], source: Source, findings: Findings, *, within: str = "") -> None:
        self.raw = raw
        self.source = source
        self.findings = findings
        self._within = within
        self._told: set[str] = set()

    def text(self, name: str) -> str:
        """A string; empty where there is none."""
        value = self.raw.get(name)
        if isinstance(value, str):
            return value
        self._wrong(name, value)
        return ""

    def flag(self, name: str, default: bool) -> bool:
        value = self.raw.get(name)
        if isinstance(value, bool):
            return value
        self._wrong(name, value)
        return default

    def time(self, name: str, default: int) -> int:
        """ms since 1970, written as a number or in ISO 8601."""
        value = self.raw.get(name)
        number = _moment(value) if isinstance(value, str) else number_in(value)
        if number is None:
            self._wrong(name, value)
            return default
        return number

    def number(self, name: str, default: int) -> int:
        """A whole number from 0 up."""
        value = self.raw.get(name)
        number = number_in(value)
        if number is None:
            self._wrong(name, value)
            return default
        return number

    def mapping(self, name: str) -> dict[str, Any]:
        value = self.raw.get(name)
        if isinstance(value, dict):
            return value
        self._wrong(name, value)
        return {}

    def items(self, name: str) -> list[Any]:
        value = self.raw.get(name)
        if isinstance(value, list):
            return value
        self._wrong(name, value)
        return []

    def below(self, name: str) -> Fields:
        """The fields of a map in the item."""
        return Fields(self.mapping(name), self.source, self.findings, within=f"{self._within}{name}.")

    def title(self, text: str, otherwise: str = "") -> str:
        """The text as one line, cut where it is too long; or one made of another text."""
        line = one_line(text)
        if len(line) > MAX_TITLE:
            self.tell(Reason.SHORTENED, "title")
        return line[:MAX_TITLE] or made_title(otherwise)

    def tell(self, reason: Reason, where: str | None = None) -> None:
        """Something of this item."""
        self.findings.tell(*self.source, reason, None if where is None else f"{self._within}{where}")

    def skip(self, reason: Reason, where: str | None = None) -> None:
        """That this item is not taken."""
        self.findings.skip(*self.source, reason, None if where is None else f"{self._within}{where}")

    def _wrong(self, name: str, value: Any) -> None:
        if value is not None and name not in self._told:
            self._told.add(name)
            self.tell(Reason.FIELD_LEFT_OUT, name)


def one_line(text: str) -> str:
    """The text without line ends and other controls, spaces put together."""
    seen = "".join(" " if unicodedata.category(character) in _NO_LINE else character for character in text[: 4 * MAX_TITLE])
    return _SPACES.sub(" ", seen).strip()


def made_title(text: str) -> str:
    """A title for what has none: the beginning of the text's first line."""
    first = next((line for line in text[: 4 * MAX_TITLE].splitlines() if line.strip()), "")
    line = one_line(first.lstrip("# "))
    return line if len(line) <= MADE_TITLE else f"{line[: MADE_TITLE - 1].rstrip()}…"


def _moment(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return number_in((moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp() * 1000)
