"""Updates wait in order, are sent once at a time, and leave only when they are settled."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.outbox import Entry, Outbox


def holding(*sizes: int) -> Outbox:
    return Outbox(Entry(number, b"x" * size) for number, size in enumerate(sizes))


def test_entries_are_sent_in_order_under_refs_of_their_own() -> None:
    outbox = holding(1, 2, 3)
    sent = [outbox.send() for _ in range(3)]
    assert [len(update) for _, update in sent] == [1, 2, 3]
    assert len({ref for ref, _ in sent}) == 3
    assert (outbox.in_flight, outbox.in_flight_bytes, outbox.next_size()) == (3, 6, None)


def test_a_settled_entry_is_gone_and_the_others_stay() -> None:
    outbox = holding(1, 2)
    ref, _ = outbox.send()
    assert outbox.settle(ref) == Entry(0, b"x")
    assert [entry.number for entry in outbox] == [1]
    assert outbox.in_flight_bytes == 0
    with pytest.raises(KeyError):
        outbox.settle(ref)


def test_one_that_is_put_back_goes_first_again_under_another_ref() -> None:
    outbox = holding(1, 2, 3)
    first, _ = outbox.send()
    outbox.send()
    assert outbox.put_back(first) == 0
    again, update = outbox.send()
    assert (len(update), again != first) == (1, True)


def test_after_a_restart_everything_unsettled_is_sent_again_in_order() -> None:
    outbox = holding(1, 2, 3, 4)
    refs = [outbox.send()[0] for _ in range(3)]
    outbox.settle(refs[1])
    outbox.restart()
    assert (outbox.in_flight, outbox.in_flight_bytes) == (0, 0)
    assert [len(outbox.send()[1]) for _ in range(3)] == [1, 3, 4]
    with pytest.raises(KeyError):
        outbox.settle(refs[0])


def test_one_that_is_parked_is_sent_again_only_after_a_restart() -> None:
    outbox = holding(1, 2)
    assert outbox.park(outbox.send()[0]) == 0
    outbox.send()
    assert outbox.next_size() is None
    outbox.restart()
    assert len(outbox.send()[1]) == 1


def test_numbers_only_rise() -> None:
    outbox = holding(1, 1)
    with pytest.raises(ValueError, match="entry 1 after 1"):
        outbox.add(1, b"x")


def test_it_knows_whether_something_up_to_a_number_waits() -> None:
    outbox = holding(1, 1)
    assert outbox.waits_up_to(0)
    ref, _ = outbox.send()
    assert not outbox.waits_up_to(0)
    assert outbox.waits_up_to(1)
    outbox.put_back(ref)
    assert outbox.waits_up_to(0)


@given(st.lists(st.sampled_from(["add", "send", "settle", "put back", "park", "restart"]), max_size=60))
def test_whatever_happens_nothing_is_lost_and_the_order_is_kept(steps: list[str]) -> None:
    outbox, added, settled, refs = Outbox(), 0, 0, []
    for step in steps:
        if step == "add":
            outbox.add(added, b"%d" % added)
            added += 1
        elif step == "send" and outbox.next_size() is not None:
            refs.append(outbox.send()[0])
        elif step == "settle" and refs:
            outbox.settle(refs.pop())
            settled += 1
        elif step == "put back" and refs:
            outbox.put_back(refs.pop(0))
        elif step == "park" and refs:
            outbox.park(refs.pop(0))
        elif step == "restart":
            outbox.restart()
            refs.clear()
        numbers = [entry.number for entry in outbox]
        assert numbers == sorted(numbers)
        assert len(outbox) == added - settled
        assert outbox.in_flight == len(refs)
