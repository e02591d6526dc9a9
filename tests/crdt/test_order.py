"""There is always a place between two others."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt.order import DIGITS, between, spread

PLACES = st.text(DIGITS, min_size=1, max_size=6).filter(lambda text: text[-1] != DIGITS[0])


def test_the_digits_compare_as_they_stand() -> None:
    assert sorted(DIGITS) == list(DIGITS)


@given(st.none() | PLACES, st.none() | PLACES)
def test_a_place_lies_between_its_neighbours(one: str | None, other: str | None) -> None:
    before, after = (one, other) if one is None or other is None or one < other else (other, one)
    if before is not None and before == after:
        after = None
    place = between(before, after)
    assert place[-1] != DIGITS[0]
    assert before is None or before < place
    assert after is None or place < after


@pytest.mark.parametrize(("before", "after"), [("b", "a"), ("a", "a"), ("中", "a0"), ("", None), ("a0", "b")])
def test_bounds_that_are_none_still_give_a_place(before: str, after: str | None) -> None:
    assert between(before, after)


@given(st.none() | PLACES, st.integers(0, 5000))
def test_places_spread_behind_one_are_in_order_and_short(before: str | None, count: int) -> None:
    places = spread(before, count)
    assert len(places) == count
    assert places == sorted(set(places))
    assert before is None or all(before < place and place[-1] != DIGITS[0] for place in places)
    assert len(max(places, key=len, default="")) <= len(before or "") + 6


def test_appending_and_inserting_anywhere_keeps_the_order_and_the_places_short() -> None:
    source, places = random.Random(1), [between(None, None)]
    for _ in range(500):
        places.append(between(places[-1], None))
    assert max(map(len, places)) < 20
    for _ in range(500):
        at = source.randrange(len(places) + 1)
        places.insert(at, between(places[at - 1] if at else None, places[at] if at < len(places) else None))
    assert places == sorted(set(places))
    assert max(map(len, places)) < 30
