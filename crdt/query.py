"""Which prompts are asked for, in which order, page by page.

A page ends with a cursor: the place of its last prompt in the order. The next page is what comes after that place, so whatever is added,
deleted or edited meanwhile, a prompt that was left alone is neither shown twice nor left out. It is no secret and grants nothing: it says
where to go on, and for which query.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from hashlib import blake2b
from operator import eq
from typing import Any

from crdt.errors import CrdtError
from crdt.library import Mode
from crdt.plain import canonical
from crdt.rows import Fact, Row, normalised
from crdt.shown import Category, Prompt
from crdt.view import View

UNCATEGORISED = ""
"""In place of a category: prompts that are shown in none. No category has the empty id."""
DEFAULT_LIMIT = 50
MAX_LIMIT = 200
"""Prompts on a page: more make an answer of megabytes."""
MAX_TERMS = 50
"""Words of a search: each is looked for in every prompt."""
MAX_SORTED = 200
"""Characters of a title or an order that are compared, so that a cursor fits into an address; what is equal so far goes by id."""
DIGEST_BYTES = 8
"""Enough that a cursor of another query is not taken by mistake."""


class InvalidCursor(CrdtError):
    """Not a cursor that this query gave."""


class Match(StrEnum):
    """Whether a prompt must have all of the tags that are asked for."""

    ANY = "any"
    ALL = "all"


class Sort(StrEnum):
    """What prompts are ordered by; equal ones go by id."""

    UPDATED_AT = "updated_at"
    CREATED_AT = "created_at"
    TITLE = "title"
    ORDER = "order"
    USES = "uses"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is asked for; None means whatever it is. Times in ms since 1970, from the first on and before the second."""

    tags: tuple[str, ...] = ()
    """By the name that they are shown under, or any that was merged into it."""
    tags_match: Match = Match.ALL
    category: str | None = None
    """With all below it; or UNCATEGORISED."""
    favorite: bool | None = None
    pinned: bool | None = None
    deleted: bool | None = False
    """True for what is in the bin."""
    mode: Mode | None = None
    model: str | None = None
    created_from: int | None = None
    created_to: int | None = None
    updated_from: int | None = None
    updated_to: int | None = None
    search: str = ""
    """Words that must all occur, anywhere in title, description, texts and tags."""
    sort: Sort = Sort.UPDATED_AT
    descending: bool = True
    limit: int = DEFAULT_LIMIT
    after: str | None = None
    """Where the page before ended: its `next`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some of the prompts that were asked for."""

    prompts: tuple[Prompt, ...]
    next: str | None
    """For `after`; None on the last page."""
    total: int
    """How many there are on all pages, as of now."""


Place = tuple[int | str, str]
"""A prompt's place in an order: what it is sorted by, and its id."""
Test = tuple[Fact, Callable[[Any], bool]]
"""Whether a prompt is wanted, by a fact of it."""


def run(view: View, query: Query) -> Page:
    """The page of prompts. Raises InvalidCursor, ValueError for a limit or a search out of bounds."""
    if not 1 <= query.limit <= MAX_LIMIT:
        raise ValueError(f"a page holds 1 to {MAX_LIMIT} prompts")
    if len(terms(query.search)) > MAX_TERMS:
        raise ValueError(f"a search has at most {MAX_TERMS} words")
    after = _place_in(query) if query.after is not None else None
    sorted_by, compared = Fact(query.sort.value), _COMPARED.get(query.sort, int)
    found = [((compared(row.facts[sorted_by]), row.id), row) for row in _matching(view, query, sorted_by)]
    total = len(found)
    if after is not None:
        found = [one for one in found if (one[0] < after if query.descending else one[0] > after)]
    found.sort(key=lambda one: one[0], reverse=query.descending)
    page = found[: query.limit]
    more = len(found) > len(page)
    return Page(prompts=tuple(view.shown([row for _, row in page])), next=_cursor(query, page[-1][0]) if more else None, total=total)


# --- filters


def _matching(view: View, query: Query, sorted_by: Fact) -> list[Row]:
    tests = _tests(view, query)
    rows = view.rows(sorted_by, *(fact for fact, _ in tests))
    for fact, test in tests:
        rows = [row for row in rows if test(row.facts[fact])]
    if wanted := terms(query.search):
        rows = [row for row, words in zip(rows, view.words(rows), strict=True) if all(term in words for term in wanted)]
    return rows


def terms(search: str) -> list[str]:
    """The words that a search looks for, each once."""
    return list(dict.fromkeys(normalised(search).split()))


def _tests(view: View, query: Query) -> list[Test]:
    tests: list[Test] = []
    if query.deleted is not None:
        tests.append((Fact.DELETED_AT, lambda deleted_at: (deleted_at is not None) == query.deleted))
    if query.category is not None:
        wanted = {None} if query.category == UNCATEGORISED else _with_below(view.categories(), query.category)
        tests.append((Fact.CATEGORY, lambda category: category in wanted))
    if query.tags:
        keys = {view.tag_key(tag) for tag in query.tags}
        every = query.tags_match is Match.ALL
        tests.append((Fact.TAGS, keys.issubset if every else lambda own: not keys.isdisjoint(own)))
    for fact, value in (
        (Fact.FAVORITE, query.favorite),
        (Fact.PINNED, query.pinned),
        (Fact.MODE, query.mode),
        (Fact.MODEL, query.model),
    ):
        if value is not None:
            tests.append((fact, partial(eq, value)))
    for fact, first, end in (
        (Fact.CREATED_AT, query.created_from, query.created_to),
        (Fact.UPDATED_AT, query.updated_from, query.updated_to),
    ):
        if first is not None or end is not None:
            tests.append((fact, partial(_is_within, first, end)))
    return tests


def _is_within(first: int | None, end: int | None, at: int) -> bool:
    return (first is None or first <= at) and (end is None or at < end)


def _with_below(categories: list[Category], category_id: str) -> set[str | None]:
    """The category and all below it. That there are no circles is seen to by the view."""
    below: dict[str | None, list[str]] = {}
    for category in categories:
        below.setdefault(category.parent, []).append(category.id)
    found: set[str | None] = set()
    coming = [category_id]
    while coming:
        at = coming.pop()
        found.add(at)
        coming.extend(below.get(at, ()))
    return found


# --- order


_COMPARED: dict[Sort, Callable[[Any], int | str]] = {
    Sort.TITLE: lambda title: normalised(title)[:MAX_SORTED],
    Sort.ORDER: lambda order: str(order)[:MAX_SORTED],
}
_TEXTUAL = (Sort.TITLE, Sort.ORDER)


def _digest(query: Query) -> str:
    """Of all but how large the pages are, and where they begin."""
    same = replace(query, limit=DEFAULT_LIMIT, after=None)
    return blake2b(canonical({name: getattr(same, name) for name in Query.__slots__}), digest_size=DIGEST_BYTES).hexdigest()


def _cursor(query: Query, place: Place) -> str:
    return base64.urlsafe_b64encode(json.dumps([_digest(query), *place]).encode()).decode().rstrip("=")


def _place_in(query: Query) -> Place:
    cursor = query.after or ""
    try:
        found = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        raise InvalidCursor("not a cursor") from None
    match found:
        case [str(digest), (int() | str()) as value, str(prompt_id)] if not isinstance(value, bool) and isinstance(value, str) == (
            query.sort in _TEXTUAL
        ):
            if digest != _digest(query):
                raise InvalidCursor("a cursor of another query")
            return value, prompt_id
    raise InvalidCursor("not a cursor")
