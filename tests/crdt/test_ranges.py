"""Ranges against a model: the plain set of (client, clock)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt.errors import InvalidKnowledge
from crdt.ranges import Ranges
from crdt.varint import MAX_INTEGER

CLOCKS = st.integers(0, 30)
ADDITIONS = st.lists(st.tuples(st.integers(1, 3), CLOCKS, CLOCKS), max_size=12)
Addition = tuple[int, int, int]


def ranges_of(additions: list[Addition]) -> Ranges:
    ranges = Ranges()
    for client, start, end in additions:
        ranges.add(client, start, end)
    return ranges


def clocks_of(additions: list[Addition] | Ranges) -> set[tuple[int, int]]:
    return {(client, clock) for client, start, end in additions for clock in range(start, end)}


def edges(ranges: Ranges) -> int:
    """How many interval ends there really are, to compare with the number kept beside them."""
    return 2 * len(list(ranges))


@given(ADDITIONS, st.tuples(st.integers(1, 3), CLOCKS, CLOCKS))
def test_adding_says_whether_anything_was_new(before: list[Addition], addition: Addition) -> None:
    ranges = ranges_of(before)
    assert ranges.add(*addition) is bool(clocks_of([addition]) - clocks_of(before))
    assert clocks_of(ranges) == clocks_of([*before, addition])


@given(ADDITIONS)
def test_intervals_stay_sorted_apart_and_counted(additions: list[Addition]) -> None:
    ranges = ranges_of(additions)
    last: dict[int, int] = {}
    for client, start, end in ranges:
        assert start < end
        assert client not in last or last[client] < start
        last[client] = end
    assert ranges._edges == edges(ranges)
    assert bool(ranges) is bool(clocks_of(additions))
    assert ranges.clients == len(last)


@given(ADDITIONS, ADDITIONS)
def test_union_cover_and_difference_are_those_of_sets(ours: list[Addition], theirs: list[Addition]) -> None:
    one, two = ranges_of(ours), ranges_of(theirs)
    assert one.covers(two) is (clocks_of(ours) >= clocks_of(theirs))
    rest = one.minus(two)
    assert clocks_of(rest) == clocks_of(ours) - clocks_of(theirs)
    assert rest._edges == edges(rest)
    both = one.copy()
    both.union(two)
    assert clocks_of(both) == clocks_of(ours) | clocks_of(theirs)
    assert both._edges == edges(both)
    assert one == ranges_of(ours), "neither the copy nor the difference shares arrays with the original"
    assert two == ranges_of(theirs)
    assert (one == two) is (clocks_of(ours) == clocks_of(theirs))


@given(ADDITIONS, st.tuples(st.integers(1, 3), CLOCKS, CLOCKS))
def test_containing_an_interval_means_each_of_its_clocks(additions: list[Addition], asked: Addition) -> None:
    assert ranges_of(additions).contains(*asked) is (clocks_of([asked]) <= clocks_of(additions))


@given(ADDITIONS)
def test_the_prefix_is_the_first_clock_missing_of_each_client_that_starts_at_zero(additions: list[Addition]) -> None:
    held = clocks_of(additions)
    expected = {client: next(c for c in range(32) if (client, c) not in held) for client in (1, 2, 3) if (client, 0) in held}
    ranges = ranges_of(additions)
    assert ranges.prefix() == expected
    assert ranges.gapless is (len(held) == sum(expected.values()))
    ends = {client: 1 + max(clock for other, clock in held if other == client) for client, _ in held}
    assert ranges.gapped == sum(expected.get(client) != end for client, end in ends.items())


@given(ADDITIONS, st.dictionaries(st.integers(1, 4), CLOCKS))
def test_above_keeps_what_the_vector_lacks(additions: list[Addition], vector: dict[int, int]) -> None:
    above = ranges_of(additions).above(vector)
    assert clocks_of(above) == {(client, clock) for client, clock in clocks_of(additions) if clock >= vector.get(client, 0)}
    assert above._edges == edges(above)


def test_the_largest_clocks_and_client_ids_fit() -> None:
    ranges = ranges_of([(MAX_INTEGER, MAX_INTEGER - 1, MAX_INTEGER), (0, 0, MAX_INTEGER)])
    assert Ranges.unpack(ranges.pack()) == ranges
    assert ranges.prefix() == {0: MAX_INTEGER}


@given(ADDITIONS)
def test_packed_ranges_come_back_the_same(additions: list[Addition]) -> None:
    ranges = ranges_of(additions)
    back = Ranges.unpack(ranges.pack())
    assert back == ranges
    assert back._edges == ranges._edges
    assert back.pack() == ranges.pack()


@given(ADDITIONS)
def test_every_early_end_of_packed_ranges_is_refused(additions: list[Addition]) -> None:
    packed = ranges_of(additions).pack()
    for size in range(len(packed)):
        with pytest.raises(InvalidKnowledge):
            Ranges.unpack(packed[:size])


@given(st.binary(max_size=40))
def test_junk_is_refused_or_is_what_packing_gives(junk: bytes) -> None:
    try:
        ranges = Ranges.unpack(b"\x01" + junk)
    except InvalidKnowledge:
        return
    assert ranges.pack() == b"\x01" + junk


@pytest.mark.parametrize(
    ("packed", "reason"),
    [
        (b"", "packed ranges end early"),
        (b"\x02\x00", "packed ranges of an unknown format"),
        (b"\x01\x00\x00", "bytes after packed ranges"),
        (b"\x01\x01\x05\xff\xff\xff\x7f", "packed ranges out of order"),
        (b"\x01\x02\x05\x01\x00\x01\x05\x01\x00\x01", "packed ranges out of order"),
        (b"\x01\x01\x05\x01\x03\x00", "packed ranges out of order"),
        (b"\x01\x01\x05\x01\x01\xff\xff\xff\xff\xff\xff\xff\x0f", "packed ranges out of order"),
        (b"\x01" + b"\xff" * 9, "integer of more than 8 bytes"),
    ],
)
def test_packed_junk_is_refused_by_name(packed: bytes, reason: str) -> None:
    with pytest.raises(InvalidKnowledge) as refusal:
        Ranges.unpack(packed)
    assert refusal.value.reason == reason


def test_memory_is_counted_by_clients_and_intervals() -> None:
    ranges = Ranges()
    assert ranges.nbytes == 0
    for clock in range(0, 18_000, 2):
        ranges.add(7, clock, clock + 1)
    assert 9_000 * 16 <= ranges.nbytes < 9_000 * 16 + 1_000
    ranges.add(7, 0, 18_000)
    assert ranges.nbytes < 1_000


def test_ranges_show_their_intervals_and_are_no_keys() -> None:
    assert repr(ranges_of([(1, 2, 3)])) == "Ranges([(1, 2, 3)])"
    assert Ranges() != "Ranges([])"
    with pytest.raises(TypeError):
        hash(Ranges())
