"""A limit of time over many waits: it ends the one that is under way, says so, and leaves the task as it was."""

import asyncio
from contextlib import closing

import pytest

from server.time_limit import TimeLimit


def in_seconds(seconds: float) -> TimeLimit:
    return TimeLimit(asyncio.get_running_loop().time() + seconds)


def cancellations() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def test_it_ends_the_wait_that_is_under_way_and_each_that_would_begin() -> None:
    with closing(in_seconds(0.05)) as limit:
        for _ in range(3):
            await limit.of(asyncio.sleep(0.001))
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await limit.of(asyncio.sleep(60))
    assert cancellations() == 0


async def test_it_can_be_shortened_and_not_made_longer() -> None:
    with closing(in_seconds(60)) as limit:
        limit.shorten(0.01)
        limit.shorten(30)
        async with asyncio.timeout(5):
            with pytest.raises(TimeoutError):
                await limit.of(asyncio.sleep(20))


async def test_one_within_another_that_ends_with_it_is_no_cancellation() -> None:
    with closing(in_seconds(0.02)) as outer, closing(in_seconds(0.02)) as inner, pytest.raises(TimeoutError):
        await outer.of(inner.of(asyncio.sleep(60)))
    assert cancellations() == 0


async def test_whoever_is_cancelled_while_waiting_is_cancelled() -> None:
    with closing(in_seconds(60)) as limit:
        waiting = asyncio.create_task(limit.of(asyncio.sleep(60)))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_a_cancellation_in_the_same_moment_is_not_taken_for_the_limit() -> None:
    with closing(in_seconds(60)) as limit:
        waiting = asyncio.create_task(limit.of(asyncio.sleep(60)))
        await asyncio.sleep(0)
        limit._end()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_what_tidies_up_and_fails_in_its_own_way_leaves_nothing_behind() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise LookupError from None

    with closing(in_seconds(0.01)) as limit, pytest.raises(LookupError):
        await limit.of(stubborn())
    assert cancellations() == 0
