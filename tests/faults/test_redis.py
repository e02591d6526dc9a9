"""Redis between two processes, killed under load: relay goes on by asking the database, and by messages once it is back."""

import random
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.faults.judge import Archive, Verdict, confirmed, converge, judge
from tests.faults.test_together import BYSTANDER_MS
from tests.faults.writers import bystander, load, open_libraries, wait_for_acknowledgements
from tests.support.many import Fleet, fleet
from tests.support.redis import RedisServer, need_redis

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    need_redis()
    with RedisServer() as redis:
        yield redis


@pytest.fixture(scope="module")
async def joined(redis: RedisServer) -> AsyncIterator[Fleet]:
    """Two processes that talk through Redis."""
    async with fleet(2, env={"PROMPTSYNC_REDIS_URL": redis.url}) as joined:
        yield joined


async def test_a_killed_redis_costs_time_and_never_data(joined: Fleet, redis: RedisServer) -> None:
    here, there = joined.nodes
    libraries = await open_libraries(2, here, there)
    p99: dict[str, float] = {}
    async with load(libraries, random.Random(3)):
        for state in ("with Redis", "without it", "with it again"):
            if state == "without it":
                redis.kill()
            elif state == "with it again":
                redis.start()
            async with bystander(here, there) as beside:
                await wait_for_acknowledgements(libraries, 200)
            p99[state] = beside.p99
    began = time.monotonic()
    verdict: Verdict = await judge(libraries, Archive(joined.postgres.dsn, joined.keys), joined.nodes)
    await confirmed(libraries)
    await converge(libraries)

    print(f"{verdict}, settled within {time.monotonic() - began:.1f} s; p99 of another library across the processes, ms: {p99}")
    verdict.check(duplicates=True)
    assert max(p99.values()) < BYSTANDER_MS
