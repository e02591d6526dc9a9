"""What a room knows, against a model: two plain sets of (client, clock)."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt.errors import InvalidKnowledge
from crdt.knowledge import Knowledge
from crdt.ranges import Ranges
from crdt.updates import Inspected

CLOCKS = st.integers(0, 20)
TRIPLES = st.lists(st.tuples(st.integers(1, 3), CLOCKS, st.integers(1, 6)), max_size=4)


@st.composite
def updates(draw: st.DrawFn) -> Inspected:
    return inspected(*([(client, start, start + length) for client, start, length in draw(TRIPLES)] for _ in range(2)))


def inspected(held: list[tuple[int, int, int]], deleted: list[tuple[int, int, int]] | None = None) -> Inspected:
    flat = [array("Q", [number for triple in triples for number in triple]) for triples in (held, deleted or [])]
    return Inspected(flat[0], flat[1])


def knowledge_of(*learned: Inspected) -> Knowledge:
    knowledge = Knowledge()
    for update in learned:
        knowledge.learn(update)
    return knowledge


def clocks(flat: array[int]) -> set[tuple[int, int]]:
    return {(flat[place], clock) for place in range(0, len(flat), 3) for clock in range(flat[place + 1], flat[place + 2])}


def model(*learned: Inspected) -> set[tuple[str, int, int]]:
    return {("held", *c) for u in learned for c in clocks(u.held)} | {("deleted", *c) for u in learned for c in clocks(u.deleted)}


def seen(knowledge: Knowledge) -> set[tuple[str, int, int]]:
    sides = {"held": knowledge.held, "deleted": knowledge.deleted}
    return {(side, client, clock) for side, ranges in sides.items() for client, start, end in ranges for clock in range(start, end)}


@given(st.lists(updates(), max_size=5), updates())
def test_an_update_adds_when_it_holds_or_deletes_a_clock_not_known(before: list[Inspected], update: Inspected) -> None:
    knowledge = knowledge_of(*before)
    assert knowledge.adds(update) is bool(model(update) - model(*before))
    knowledge.learn(update)
    assert not knowledge.adds(update)
    assert seen(knowledge) == model(*before, update)


@given(st.lists(updates(), max_size=4), st.lists(updates(), max_size=4))
def test_scratch_answers_as_the_base_would_and_leaves_it_alone(before: list[Inspected], batch: list[Inspected]) -> None:
    base, ahead = knowledge_of(*before), knowledge_of(*before)
    scratch = base.scratch()
    for update in batch:
        assert scratch.adds(update) is ahead.adds(update)
        scratch.learn(update)
        ahead.learn(update)
    assert base == knowledge_of(*before)


@given(st.lists(updates(), max_size=4), st.lists(updates(), max_size=4))
def test_union_and_cover_are_those_of_both_sets(ours: list[Inspected], theirs: list[Inspected]) -> None:
    one, two = knowledge_of(*ours), knowledge_of(*theirs)
    assert one.covers(two) is (model(*ours) >= model(*theirs))
    both = one.copy()
    both.union(two)
    assert seen(both) == model(*ours, *theirs)
    assert seen(one) == model(*ours)
    assert (one == two) is (model(*ours) == model(*theirs))


def test_the_state_vector_stops_at_the_first_gap() -> None:
    knowledge = knowledge_of(inspected([(7, 0, 10), (7, 20, 30), (8, 5, 6)]))
    assert knowledge.state_vector() == {7: 10}
    assert not knowledge.gapless
    assert list(knowledge.lacking({7: 10})) == [(7, 20, 30), (8, 5, 6)]
    assert list(knowledge.lacking({7: 25, 8: 6})) == [(7, 25, 30)]
    knowledge.learn(inspected([(7, 10, 20), (8, 0, 5)]))
    assert knowledge.state_vector() == {7: 30, 8: 6}
    assert knowledge.gapless


def test_deletions_alone_add_something_though_the_state_vector_stays() -> None:
    knowledge = knowledge_of(inspected([(7, 0, 10)]))
    deletion = inspected([], [(7, 2, 4)])
    assert knowledge.adds(deletion)
    knowledge.learn(deletion)
    assert not knowledge.adds(deletion)
    assert knowledge.state_vector() == {7: 10}
    assert knowledge.adds(inspected([], [(7, 2, 5)]))


@given(st.lists(updates(), max_size=5))
def test_packed_knowledge_comes_back_and_every_early_end_is_refused(learned: list[Inspected]) -> None:
    knowledge = knowledge_of(*learned)
    packed = knowledge.pack()
    assert Knowledge.unpack(packed) == knowledge
    for size in range(len(packed)):
        with pytest.raises(InvalidKnowledge):
            Knowledge.unpack(packed[:size])


@pytest.mark.parametrize("packed", [b"", b"\x02", b"\x01", b"\x01\x02\x01\x00\x01\x00\x00", b"\x01" + b"\xff" * 12])
def test_packed_junk_is_refused(packed: bytes) -> None:
    with pytest.raises(InvalidKnowledge):
        Knowledge.unpack(packed)


def test_knowledge_counts_its_memory_and_shows_itself() -> None:
    knowledge = Knowledge()
    assert not knowledge
    assert knowledge.nbytes == 0
    knowledge.learn(inspected([(7, 0, 3)], [(7, 1, 2)]))
    assert knowledge
    assert knowledge.nbytes == knowledge.held.nbytes + knowledge.deleted.nbytes > 0
    assert repr(knowledge) == "Knowledge(held=Ranges([(7, 0, 3)]), deleted=Ranges([(7, 1, 2)]))"
    assert knowledge != Ranges()
