"""The seed is the same bytes for ever, and meets itself without harm."""

from __future__ import annotations

import hashlib

import pytest

from crdt import operations
from crdt.library import SCHEMA, Library, Root
from crdt.seed import CATEGORIES, SEED, build


def test_the_published_bytes_have_not_changed_and_can_be_made_again() -> None:
    assert hashlib.sha256(SEED).hexdigest() == "8fb72662f6d5e704352a40db8cdaa58acbf4c405951db3af0f193d206bb803c2"
    assert build() == SEED


def test_it_holds_the_number_of_the_layout_and_the_categories() -> None:
    library = Library.load(SEED)
    assert library.root(Root.META)["schema"] == SCHEMA
    categories = library.root(Root.CATEGORIES)
    found = {(key, category["name"], category["color"], category["order"]) for key, category in categories.items()}
    assert found == set(CATEGORIES)


@pytest.mark.parametrize("first", [2, 4_000_000_000])
def test_devices_that_each_apply_it_keep_what_both_have_set(first: int) -> None:
    one, other = Library(first), Library(3_000_000)
    made = []
    for library, fields in ((one, {"name": "Prose"}), (other, {"color": "#000000"})):
        library.apply(SEED)
        made.append(operations.set_category_fields(library, "cat-writing", fields))
    for library in (one, other):
        for update in (*made, SEED):
            library.apply(update)
        category = library.root(Root.CATEGORIES)["cat-writing"]
        assert (category["name"], category["color"]) == ("Prose", "#000000")
