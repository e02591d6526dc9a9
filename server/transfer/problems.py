"""What is told of a file besides what became of its items: what could not be taken, what is other than it was, what was left out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

MOST_TOLD = 100
"""Problems, and secrets left out, that are told one by one: an answer is read by people. The rest is counted."""
MAX_NAME = 120
"""Characters of an item's name, or of a place, in what is told. What is longer is cut there."""
SINGLE = "file"
"""What a file is called that is no part of a package."""


class Reason(StrEnum):
    """Why an item, or a part of one, is not in the library as it is in the file."""

    INVALID = "invalid"
    """A field without which the item is none is missing, or is not what it should be."""
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    TOO_MANY = "too_many"
    """It lies past the number of such items that a file, or a library, may have."""
    DUPLICATE = "duplicate"
    """There is one of that id in the file already."""
    ID_TAKEN = "id_taken"
    """The version belongs to another prompt of the library."""
    DAMAGED = "damaged"
    """A client has written the library's own item as what it must not be, so that nothing can be merged into it."""
    MALFORMED = "malformed"
    """A file of the package, or a value that should be JSON, is not."""
    ENCODING = "unsupported_encoding"
    MISSING_FILE = "missing_file"
    """The package's manifest names a file that is not there."""
    UNKNOWN_FILE = "unknown_file"
    """A file of the package is of no kind that is known."""

    NOTHING_IN_IT = "nothing_in_it"
    """The app has saved the text "[object Object]" in its place."""
    NOT_SYNCED = "not_synced"
    """Drafts of a screen, caches and marks of one browser: no library holds them."""
    BUILT_IN = "built_in"
    """A template of the app's own."""
    FIELD_LEFT_OUT = "field_left_out"
    """There is no place for this field, or it is not what it should be; the item is there without it."""
    UNKNOWN_FIELD = "unknown_field"
    REPAIRED_TEXT = "repaired_text"
    """Halves of characters (lone surrogates) are replaced by U+FFFD."""
    SHORTENED = "shortened"
    LOST_ROOT = "lost_root"
    """The first version of a history is not in the file; the others are kept."""
    UNKNOWN_CATEGORY = "unknown_category"
    CIRCULAR_PARENT = "circular_parent"
    MESSAGES_AS_TEXT = "messages_as_text"
    """A version that is a list of messages is kept as their text."""
    KEPT_OURS = "kept_ours"
    """The library has another one of that id or name, which stays as it is."""


NOTES = frozenset(
    {
        Reason.NOTHING_IN_IT, Reason.NOT_SYNCED, Reason.BUILT_IN, Reason.FIELD_LEFT_OUT, Reason.UNKNOWN_FIELD, Reason.REPAIRED_TEXT,
        Reason.SHORTENED, Reason.LOST_ROOT, Reason.UNKNOWN_CATEGORY, Reason.CIRCULAR_PARENT, Reason.MESSAGES_AS_TEXT, Reason.KEPT_OURS,
    }
)  # fmt: skip
"""Those that are no errors: nothing is lost that a library could have kept, or the item is there all the same."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it was in the file. `item` is an id, a key or a place (`#3`), `where` the field; never a value."""

    file: str
    section: str
    item: str
    reason: Reason
    where: str | None = None

    @property
    def is_error(self) -> bool:
        return self.reason not in NOTES


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A secret that was in the file and is nowhere else now."""

    place: str
    kind: str


@dataclass(slots=True)
class Findings:
    """All that is told of a file, within bounds."""

    problems: list[Problem] = field(default_factory=list)
    more_problems: int = 0
    errors: int = 0
    left_out: list[LeftOut] = field(default_factory=list)
    more_left_out: int = 0
    resources: int = 0
    """Images whose bytes are in the package."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Items that are not taken, by section."""

    def tell(self, file: str, section: str, item: str, reason: Reason, where: str | None = None) -> None:
        """Of an item that is taken all the same."""
        problem = Problem(file, section, item[:MAX_NAME], reason, None if where is None else where[:MAX_NAME])
        self.errors += problem.is_error
        if len(self.problems) < MOST_TOLD:
            self.problems.append(problem)
        else:
            self.more_problems += 1

    def skip(self, file: str, section: str, item: str, reason: Reason, where: str | None = None) -> None:
        """Of an item that is not taken."""
        self.skipped[section] += 1
        self.tell(file, section, item, reason, where)

    def leave_out(self, place: str, kind: str) -> None:
        """Of a secret."""
        if len(self.left_out) < MOST_TOLD:
            self.left_out.append(LeftOut(place[:MAX_NAME], kind))
        else:
            self.more_left_out += 1
