"""Worker processes: the same answers as without them, replaced when they die, and nobody waits for ever."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest

from crdt.errors import InvalidUpdate
from crdt.updates import EMPTY_STATE_VECTOR, Limits, encode_state_vector, inspect, merge
from server import workers
from server.errors import WorkerDied
from server.workers import Workers
from tests.support.core import typed, typing, until

LARGE = typed("x" * (workers.INLINE_MERGE_BYTES + 1), 1, 0)


@pytest.fixture(scope="module")
async def pool() -> AsyncIterator[Workers]:
    pool = Workers(1)
    yield pool
    pool.close()


def processes(pool: Workers) -> list[int]:
    assert pool._pool is not None
    return list(pool._pool._processes)


async def test_a_worker_answers_as_this_process_would(pool: Workers) -> None:
    assert await pool.inspect(LARGE, Limits()) == inspect(LARGE)
    assert inspect(await pool.merge([LARGE, *typing(2, 5)])) == inspect(merge([LARGE, *typing(2, 5)]))
    assert inspect(await pool.diff(LARGE, encode_state_vector({1: 10}))).held.tolist() == [1, 10, workers.INLINE_MERGE_BYTES + 1]
    assert await pool.diff(LARGE, EMPTY_STATE_VECTOR) == LARGE


async def test_what_is_small_is_done_here() -> None:
    idle = Workers(1)
    assert await idle.inspect(typed("a", 1, 0), Limits()) == inspect(typed("a", 1, 0))
    assert await idle.merge(typing(1, 5)) == merge(typing(1, 5))
    assert idle._pool is None


async def test_errors_come_back_as_what_they_are(pool: Workers) -> None:
    with pytest.raises(InvalidUpdate) as refused:
        await pool.inspect(b"\xff" * (workers.INLINE_INSPECT_BYTES + 1), Limits())
    assert refused.value.reason
    with pytest.raises(InvalidUpdate, match="too large"):
        await pool.inspect(LARGE, Limits(size=1000))


async def test_a_worker_that_is_killed_is_replaced(pool: Workers) -> None:
    await pool.inspect(LARGE, Limits())
    for pid in processes(pool):
        os.kill(pid, signal.SIGKILL)
    assert await pool.inspect(LARGE, Limits()) == inspect(LARGE)


def _die(*arguments: object) -> None:
    os._exit(9)


async def test_what_kills_its_worker_twice_is_given_up_and_others_go_on(pool: Workers) -> None:
    with pytest.raises(WorkerDied):
        await pool._run(_die)
    assert await pool.inspect(LARGE, Limits()) == inspect(LARGE)


async def test_workers_end_with_their_pool() -> None:
    pool = Workers(1)
    await pool.inspect(LARGE, Limits())
    pids = processes(pool)
    pool.close()

    def ended() -> bool:
        return not any(os.path.exists(f"/proc/{pid}") for pid in pids)

    await until(ended, "the end of the workers")
    await asyncio.sleep(0)
