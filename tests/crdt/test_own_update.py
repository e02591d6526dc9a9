"""The update that a change makes: it is what the document's own transactions hold, however large it is."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pycrdt import Doc, Map, Text

from crdt.knowledge import Knowledge
from crdt.own_update import READ_BYTES, making, update_of
from crdt.updates import EMPTY_UPDATE, Inspected, inspect

SIZES = st.sampled_from((0, 1, 100, READ_BYTES, 3 * READ_BYTES))


def known(inspected: Inspected) -> Knowledge:
    knowledge = Knowledge()
    knowledge.learn(inspected)
    return knowledge


@given(st.lists(st.tuples(st.sampled_from("abc"), SIZES, st.booleans()), max_size=6))
def test_what_was_made_is_told_as_it_would_be_read(steps: list[tuple[str, int, bool]]) -> None:
    doc: Doc[Any] = Doc(client_id=7)
    other: Doc[Any] = Doc(client_id=9)
    other.get("others", type=Map)["before"] = 1
    doc.apply_update(other.get_update())
    texts: Map[Text] = doc.get("texts", type=Map)
    texts["a"] = Text("before")
    with making(doc) as made:
        for key, size, deletes in steps:
            if deletes and key in texts:
                del texts[key]
            elif size:
                texts[key] = Text("文" * (size // 3) + "x" * (size % 3))
    assert known(made.inspected) == known(inspect(made.update))
    held = inspect(made.update).held
    assert made.inspected.held == held
    assert (made.update == EMPTY_UPDATE) == (not held and not made.inspected.deleted)


def test_a_change_that_changes_nothing_makes_nothing() -> None:
    doc: Doc[Any] = Doc()
    assert update_of(doc, lambda: None) == EMPTY_UPDATE
    with making(doc) as made:
        pass
    assert (made.update, list(made.inspected.held), list(made.inspected.deleted)) == (EMPTY_UPDATE, [], [])
