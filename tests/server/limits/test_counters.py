"""Rates and growing waits, over whatever storage."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server import metrics
from server.errors import TooManyAttempts
from server.limits.counters import MOST_REFUSED, Counters, Failures, Rate
from server.limits.stores import LocalStore
from tests.support.rest import Clock

FREE, LONGEST, FORGET = 5, 900, 12 * 3600


class Asked(LocalStore):
    """Counts how often it is asked to count."""

    hits = 0

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        self.hits += 1
        return await super().incr(key, expiry, amount)


class Counting:
    """Counters of this process, whose clock is moved by hand."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.storage = Asked(self.clock)
        self.counters = Counters(self.storage, secret=b"secret" * 6, clock=self.clock)
        self.failures = Failures(self.counters, "failing", free=FREE, longest_seconds=LONGEST, forget_seconds=FORGET)

    async def refused(self, rate: Rate, *names: str, cost: int = 1) -> int:
        """0, or how long to wait."""
        try:
            await self.counters.hit(rate, *names, cost=cost)
        except TooManyAttempts as error:
            return error.retry_after
        return 0

    async def wait(self, *names: str) -> int:
        """0 where the attempt is let through, or how long to wait."""
        try:
            await self.failures.attempt(*names)
        except TooManyAttempts as error:
            return error.retry_after
        return 0


@pytest.fixture
def counting() -> Counting:
    return Counting()


async def test_a_rate_ends_when_the_answer_said_it_would(counting: Counting) -> None:
    rate = Rate("some", 3, 900)
    assert [await counting.refused(rate, "a") for _ in range(4)] == [0, 0, 0, 900]
    counting.clock.advance(seconds=100.5)
    assert await counting.refused(rate, "a") == 800
    assert await counting.refused(rate, "b") == 0
    counting.clock.advance(seconds=799.5)
    assert await counting.refused(rate, "a") == 0


async def test_whoever_is_refused_costs_nothing_until_then(counting: Counting) -> None:
    rate = Rate("some", 1, 60)
    before = metrics.limited.labels("some")._value.get()
    assert [await counting.refused(rate, "a") for _ in range(50)] == [0] + [60] * 49
    assert counting.storage.hits == 2
    assert metrics.limited.labels("some")._value.get() == before + 49


async def test_it_is_remembered_of_a_bounded_number(counting: Counting) -> None:
    rate = Rate("some", 1, 60)
    for number in range(MOST_REFUSED + 1):
        assert await counting.refused(rate, str(number), cost=2) == 60
    assert await counting.refused(rate, "0") == 60
    assert counting.storage.hits == MOST_REFUSED + 2, "the first one was asked for again, and no other"
    assert await counting.refused(rate, str(MOST_REFUSED)) == 60
    assert counting.storage.hits == MOST_REFUSED + 2


async def test_a_cost_may_be_more_than_one(counting: Counting) -> None:
    rate = Rate("bytes", 100, 60)
    assert [await counting.refused(rate, "a", cost=40) for _ in range(3)] == [0, 0, 60]


@given(number=st.integers(1, 100_000), burst=st.integers(1, 100_000))
def test_a_burst_is_what_may_come_in_its_window(number: int, burst: int) -> None:
    rate = Rate.a_minute("some", number, burst=burst)
    assert rate.amount == burst
    assert rate.amount / rate.seconds <= number / 60 or rate.seconds == 1


async def test_many_at_once_do_not_all_pass(counting: Counting) -> None:
    rate = Rate("some", 5, 60)
    assert sorted(await asyncio.gather(*(counting.refused(rate, "a") for _ in range(100)))) == [0] * 5 + [60] * 95
    assert sorted(await asyncio.gather(*(counting.wait("b") for _ in range(100)))) == [0] * 5 + [1] * 95


async def test_nobody_is_named_in_the_keys(counting: Counting) -> None:
    await counting.counters.hit(Rate("some", 5, 60), "ada@example.com", "192.0.2.1")
    await counting.failures.attempt("ada@example.com", "192.0.2.1")
    keys = list(counting.storage._held)
    assert [key.partition(":")[0] for key in keys] == ["some", "failing.tries"]
    assert not any("ada" in key or "192" in key for key in keys)
    other = Counters(counting.storage, secret=b"another", clock=counting.clock)
    await other.hit(Rate("some", 5, 60), "ada@example.com", "192.0.2.1")
    assert len(counting.storage._held) == 3, "whoever has no key cannot make them"


@given(st.lists(st.text(max_size=3), max_size=3), st.lists(st.text(max_size=3), max_size=3))
def test_names_are_kept_apart(one: list[str], other: list[str]) -> None:
    counters = Counting().counters
    assert (counters._key_of("some", tuple(one)) == counters._key_of("some", tuple(other))) == (one == other)


async def test_waits_begin_after_the_free_failures_and_double(counting: Counting) -> None:
    assert [await counting.wait("a") for _ in range(FREE)] == [0] * FREE
    for expected in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900):
        assert [await counting.wait("a") for _ in range(3)] == [expected] * 3
        counting.clock.advance(seconds=expected - 0.5)
        assert await counting.wait("a") == 1
        counting.clock.advance(seconds=0.5)
        assert await counting.wait("a") == 0
    assert await counting.wait("b") == 0


async def test_they_are_forgotten_when_one_succeeds_or_after_half_a_day(counting: Counting) -> None:
    for _ in range(FREE + 1):
        await counting.wait("a")
    await counting.failures.forget("a")
    assert [await counting.wait("a") for _ in range(FREE + 1)] == [0] * FREE + [1]
    counting.clock.advance(seconds=FORGET)
    assert [await counting.wait("a") for _ in range(FREE + 1)] == [0] * FREE + [1]
