"""A deadline that moves: it passes once, when it was last said to."""

import asyncio
import time

import uvloop

from server.moving_deadline import MovingDeadline
from tests.support.core import until


class Passing:
    """A deadline, and when it passed."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.deadline = MovingDeadline(lambda: self.times.append(time.monotonic()))


async def test_it_passes_once_when_it_was_last_moved_to() -> None:
    passing = Passing()
    passing.deadline.move(0.05)
    moved = time.monotonic()
    passing.deadline.move(0.2)
    await until(lambda: bool(passing.times))
    assert passing.times[0] - moved >= 0.19
    await asyncio.sleep(0.1)
    assert len(passing.times) == 1


async def test_it_can_be_moved_to_an_earlier_time() -> None:
    passing = Passing()
    passing.deadline.move(60)
    passing.deadline.move(0.01)
    await until(lambda: bool(passing.times), within=5)


async def test_one_that_is_lifted_or_closed_does_not_pass() -> None:
    lifted, closed, again = Passing(), Passing(), Passing()
    for each in (lifted, closed, again):
        each.deadline.move(0.02)
    lifted.deadline.lift()
    closed.deadline.close()
    again.deadline.lift()
    again.deadline.move(0.05)
    await until(lambda: bool(again.times))
    assert lifted.times == closed.times == []


async def test_it_can_be_used_again_after_it_passed() -> None:
    passing = Passing()
    for number in range(1, 4):
        passing.deadline.move(0.001)
        await until(lambda number=number: len(passing.times) == number)  # type: ignore[misc]  # a default, bound here


def test_one_that_is_due_at_once_can_be_moved_with_the_loop_that_servers_run() -> None:
    async def moved() -> list[float]:
        passing = Passing()
        passing.deadline.move(0.0)
        passing.deadline.move(60)
        await asyncio.sleep(0.01)
        passing.deadline.move(0.005)
        await until(lambda: bool(passing.times))
        return passing.times

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert len(runner.run(moved())) == 1
