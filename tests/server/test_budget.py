"""A budget of bytes: never overspent, given back in every case, and nobody is passed over."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.budget import ByteBudget


async def test_those_who_come_when_it_is_spent_wait_in_line() -> None:
    budget, order = ByteBudget(10), list[int]()

    async def take(number: int, count: int) -> None:
        async with budget.taken(count):
            order.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(take(1, 8), take(2, 5), take(3, 1), take(4, 99), take(5, 1))
    assert order == [1, 2, 3, 4, 5]
    assert budget._taken == 0


async def test_one_that_is_larger_than_all_of_it_is_let_in_alone() -> None:
    budget = ByteBudget(10)
    async with budget.taken(1000):
        assert budget._taken == 10
    assert budget._taken == 0


async def test_one_who_fails_gives_back() -> None:
    budget = ByteBudget(10)
    with pytest.raises(ValueError, match="x"):
        async with budget.taken(5):
            raise ValueError("x")
    assert budget._taken == 0


async def test_who_holds_something_gets_more_or_is_refused_and_who_holds_nothing_waits() -> None:
    budget = ByteBudget(10)
    async with budget.growing() as first, budget.growing() as second:
        assert await first.add(4)
        assert await second.add(5)
        async with budget.growing() as third:
            waiting = asyncio.create_task(third.add(3))
            await asyncio.sleep(0)
            assert await first.add(1)  # past the one who waits
            assert not await second.add(1)
            assert (budget._taken, waiting.done()) == (10, False)
            waiting.cancel()
    assert budget._taken == 0
    async with budget.growing() as whole:
        assert await whole.add(8)
        assert await whole.add(80)  # larger than all of it
        assert budget._taken == 10
    assert budget._taken == 0


@given(st.integers(1, 50), st.lists(st.tuples(st.integers(0, 60), st.integers(0, 4), st.booleans()), max_size=25))
async def test_it_is_never_overspent_whoever_gives_up(size: int, comers: list[tuple[int, int, bool]]) -> None:
    budget, inside, most = ByteBudget(size), 0, 0

    async def take(count: int, turns: int) -> None:
        nonlocal inside, most
        async with budget.taken(count):
            inside += min(count, size)
            most = max(most, inside)
            try:
                for _ in range(turns):
                    await asyncio.sleep(0)
            finally:
                inside -= min(count, size)

    tasks = []
    for count, turns, gives_up in comers:
        tasks.append(asyncio.create_task(take(count, turns)))
        if gives_up:
            await asyncio.sleep(0)
            tasks[len(tasks) // 2].cancel()
    await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
    assert most <= size
    assert budget._taken == 0
    assert not budget._line
