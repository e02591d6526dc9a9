"""What two devices do apart survives when it meets, whichever of them has the higher client id."""

from __future__ import annotations

import pytest

from crdt import operations as ops
from crdt.library import Library, Root
from crdt.view import View
from tests.crdt.layout_scenarios import HIGH, LOW, SCENARIOS, Scenario, filled

BASE = filled().content()


def both(*clients: int) -> tuple[Library, ...]:
    return tuple(Library.load(BASE, client) for client in clients)


@pytest.mark.parametrize(("here", "there"), [(LOW, HIGH), (HIGH, LOW)], ids=["here low", "here high"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_both_sides_end_with_the_same_and_nothing_lost(scenario: Scenario, here: int, there: int) -> None:
    one, other = both(here, there)
    views, before = (View(one), View(other)), one.state_vector()
    for view in views:
        view.prompts()
    scenario.here(one)
    scenario.there(other)
    made, typed = one.content(before), other.content(before)
    one.apply(typed)
    other.apply(made)
    assert {root: one.root(root).to_py() for root in Root} == {root: other.root(root).to_py() for root in Root}
    for view in (*views, View(one), View(other)):
        scenario.check(view)
    assert views[0].tags() == views[1].tags()
    assert max(len(made), len(typed)) <= scenario.most_bytes


def test_a_title_makes_a_small_update_however_much_was_deleted_before() -> None:
    (library,) = both(LOW)
    prompt, text = library.root(Root.PROMPTS)["q"], library.root(Root.TEXTS)["w1"]
    library.edit(lambda: text.insert(0, "word " * 5_000))
    for place in range(2_000):
        library.edit(lambda: text.__delitem__(slice(place, place + 1)))  # noqa: B023  # called at once
    assert len(library.content(library.state_vector())) > 4_000  # what get_update would repeat
    assert len(ops.set_fields(library, "q", {"title": "Weekly report of the week"})) < 100
    assert prompt["title"] == "Weekly report of the week"


def test_a_time_with_each_keystroke_takes_many_times_as_much() -> None:
    """Why `touched_at` is written when the user leaves the prompt."""
    plain, noisy = both(LOW, HIGH)
    sizes = []
    for library in (plain, noisy):
        text, before = library.root(Root.TEXTS)["w1"], library.state_vector()
        for place in range(1_000):
            library.edit(lambda: text.insert(place, "x"))  # noqa: B023  # called at once
            if library is noisy:
                ops.set_fields(library, "q", {"touched_at": 1_764_108_000_001 + place})
        sizes.append(len(library.content(before)))
    assert sizes[0] < 1_200
    assert sizes[1] > 10 * sizes[0]
