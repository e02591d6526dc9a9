"""Where counters are kept: whichever it is, it counts as `limits`' own memory storage does."""

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limits.aio.storage import MemoryStorage, Storage

from server.config import load_settings
from server.jobs import SCHEDULES, handlers_on
from server.limits.stores import LocalStore, PostgresStore
from server.retention import LIMIT_COUNTERS
from storage import limit_counters
from storage.errors import Unavailable
from storage.job_queue import Job
from storage.pool import Database
from tests.support.job_worker import Ground
from tests.support.rest import START, Clock

KEYS = ("a", "b")
steps = st.lists(
    st.one_of(
        st.tuples(st.just("incr"), st.sampled_from(KEYS), st.integers(1, 100), st.integers(1, 1 << 40)),
        st.tuples(st.sampled_from(("get", "get_expiry", "clear")), st.sampled_from(KEYS)),
        st.tuples(st.just("wait"), st.integers(0, 120)),
    ),
    max_size=25,
)


@dataclass
class WallClock:
    """Stands in for the `time` module that `limits`' memory storage asks."""

    clock: Clock

    def time(self) -> float:
        return self.clock().timestamp()


@pytest.fixture(params=["postgres", "local"])
def kept(request: pytest.FixtureRequest, database: Database) -> tuple[Storage, Clock]:
    clock = Clock()
    return (PostgresStore(database, clock) if request.param == "postgres" else LocalStore(clock)), clock


async def told(storage: Storage, step: tuple[Any, ...], prefix: str) -> object:
    name, key, *arguments = step
    return await getattr(storage, name)(f"{prefix}:{key}", *arguments)


@given(steps=steps)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_it_counts_as_the_librarys_own(kept: tuple[Storage, Clock], steps: list[tuple[Any, ...]]) -> None:
    storage, clock = kept
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("limits.aio.storage.memory.time", WallClock(clock))
        clock.now = START
        model, prefix = MemoryStorage(), uuid4().hex
        for step in steps:
            if step[0] == "wait":
                clock.advance(seconds=step[1])
                for key in KEYS:
                    await model.get(f"{prefix}:{key}")  # the model forgets a window that is over only when it is asked
            else:
                assert await told(storage, step, prefix) == await told(model, step, prefix), step


async def test_of_many_at_once_each_gets_a_number_of_its_own(kept: tuple[Storage, Clock]) -> None:
    storage, clock = kept
    assert sorted(await asyncio.gather(*(storage.incr("k", 60) for _ in range(100)))) == list(range(1, 101))
    clock.advance(seconds=60)
    assert sorted(await asyncio.gather(*(storage.incr("k", 60) for _ in range(10)))) == list(range(1, 11))


async def test_all_can_be_forgotten(kept: tuple[Storage, Clock]) -> None:
    storage, _ = kept
    for key in KEYS:
        await storage.incr(key, 60)
    assert (await storage.reset(), await storage.reset(), await storage.get("a")) == (2, 0, 0)
    assert await storage.check()


async def test_processes_on_one_database_count_together(database: Database, database_dsn: str) -> None:
    clock, other = Clock(), await Database.open(database_dsn, size=2)
    here, there = PostgresStore(database, clock), PostgresStore(other, clock)
    assert [await storage.incr("k", 60) for storage in (here, there, here)] == [1, 2, 3]
    await other.close()


async def test_a_database_that_is_away_is_said(database_dsn: str) -> None:
    database = await Database.open(database_dsn, size=1)
    await database.close()
    storage = PostgresStore(database, Clock())
    with pytest.raises(Unavailable):
        await storage.incr("k", 60)
    assert not await storage.check()


async def test_a_process_keeps_a_bounded_number() -> None:
    clock = Clock()
    storage = LocalStore(clock, most=3)
    for key in "abcd":
        await storage.incr(key, 60)
    assert [await storage.get(key) for key in "abcd"] == [0, 1, 1, 1]
    clock.advance(seconds=60)
    await storage.incr("b", 60)
    await storage.incr("e", 60)
    assert await storage.get("b") == 1, "its window has begun after c's"


async def test_counters_whose_time_is_over_go_in_chunks(database: Database) -> None:
    clock = Clock()
    storage = PostgresStore(database, clock)
    for number in range(5):
        await storage.incr(f"old {number}", 10)
    await storage.incr("young", 11)
    clock.advance(seconds=10)
    async with database.acquire() as connection:
        assert [await limit_counters.purge_step(connection, clock(), 2) for _ in range(3)] == [True, True, False]
        assert [row["key"] for row in await connection.fetch("SELECT key FROM limit_counters")] == ["young"]


async def test_a_job_does_that_every_quarter_of_an_hour(database: Database) -> None:
    clock = Clock()
    await PostgresStore(database, clock).incr("old", 10)
    await PostgresStore(database, clock).incr("young", 3600)
    clock.advance(seconds=10)
    work = handlers_on(Ground(database, load_settings(), clock))[LIMIT_COUNTERS]
    await work(Job(id=1, kind=LIMIT_COUNTERS, subject="", failures=0))
    async with database.acquire() as connection:
        assert [row["key"] for row in await connection.fetch("SELECT key FROM limit_counters")] == ["young"]
    assert SCHEDULES[LIMIT_COUNTERS] == "7,22,37,52 * * * *"
