"""How far a device has everything: the rule of the page, one sentence a test."""

from hypothesis import given
from hypothesis import strategies as st

from protocol.cursor import MAX_AHEAD, Cursor


def synced_at(seq: int) -> Cursor:
    cursor = Cursor()
    cursor.synced(seq)
    return cursor


def test_nothing_is_known_before_synced() -> None:
    cursor = Cursor()
    cursor.update(1)
    cursor.ours(2)
    assert cursor.value is None


def test_a_kept_cursor_stands_until_synced() -> None:
    cursor = Cursor(5)
    cursor.update(6)
    assert cursor.value == 5
    cursor.synced(8)
    assert cursor.value == 8


def test_it_begins_with_synced_or_the_update_before_it() -> None:
    assert synced_at(7).value == 7
    cursor = Cursor()
    cursor.update(9)
    cursor.synced(7)
    assert cursor.value == 9


def test_an_ack_before_synced_counts_where_it_is_the_next() -> None:
    cursor = Cursor()
    cursor.ours(8)
    cursor.ours(10)
    cursor.synced(7)
    assert cursor.value == 8


def test_the_next_update_and_the_next_ack_move_it_by_one() -> None:
    cursor = synced_at(7)
    cursor.update(8)
    cursor.ours(9)
    assert cursor.value == 9


def test_what_comes_before_its_predecessors_counts_once_they_have_come() -> None:
    cursor = synced_at(7)
    cursor.ours(9)
    assert cursor.value == 7
    cursor.update(8)
    assert cursor.value == 9


def test_nothing_moves_it_back() -> None:
    cursor = synced_at(7)
    cursor.update(3)
    cursor.ours(7)
    assert cursor.value == 7


def test_without_a_channel_it_stays_and_forgets_what_was_ahead() -> None:
    cursor = synced_at(7)
    cursor.ours(9)
    cursor.suspend()
    cursor.update(8)
    assert cursor.value == 7
    cursor.synced(8)
    assert cursor.value == 8


def test_another_epoch_forgets_it() -> None:
    cursor = synced_at(7)
    cursor.forget()
    cursor.update(8)
    assert cursor.value is None


def test_what_is_remembered_ahead_is_bounded_and_costs_only_time() -> None:
    cursor = synced_at(0)
    for seq in range(2, MAX_AHEAD + 100):
        cursor.ours(seq)
    cursor.update(1)
    assert cursor.value == MAX_AHEAD + 1
    cursor.ours(MAX_AHEAD + 2)
    assert cursor.value == MAX_AHEAD + 2


@given(st.integers(0, 5), st.permutations(range(1, 12)), st.sets(st.integers(1, 11)))
def test_in_whatever_order_they_come_it_never_passes_a_missing_one(begin: int, order: list[int], lost: set[int]) -> None:
    cursor = synced_at(begin)
    come: set[int] = set()
    for seq in order:
        if seq in lost:
            continue
        cursor.update(seq) if seq % 2 else cursor.ours(seq)
        come.add(seq)
        expected = begin
        while expected + 1 in come:
            expected += 1
        assert cursor.value == expected
