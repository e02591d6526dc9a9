"""Worker processes: the same answers as without them, replaced when they die, and nobody waits for ever."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crdt.errors import InvalidUpdate
from crdt.fold import FoldBroken, fold
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


async def test_who_was_in_flight_when_a_worker_died_is_not_refused_with_the_one_that_killed_it(pool: Workers) -> None:
    innocent = [pool.inspect(LARGE, Limits()) for _ in range(3)]
    outcomes = await asyncio.gather(pool._run(_die), *innocent, pool._run(_die), pool.inspect(LARGE, Limits()), return_exceptions=True)
    assert [isinstance(outcome, WorkerDied) for outcome in outcomes] == [True, False, False, False, True, False]
    assert outcomes[1] == outcomes[5] == inspect(LARGE)
    assert pool._suspects is None, "no process is kept for it"


def _touch_and_sleep(path: str) -> None:
    Path(path).touch()
    time.sleep(600)


async def test_one_who_gives_up_while_tried_alone_leaves_no_process_at_work(pool: Workers, tmp_path: Path) -> None:
    await pool.inspect(LARGE, Limits())
    waiting = asyncio.create_task(pool._run(_touch_and_sleep, str(tmp_path / "first")))
    await until((tmp_path / "first").exists, "the work's begin")
    (tmp_path / "first").unlink()
    for pid in processes(pool):
        os.kill(pid, signal.SIGKILL)
    await until((tmp_path / "first").exists, "the second begin")
    assert pool._suspects is not None
    pids = list(pool._suspects._processes)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), "the end of the work")
    assert await pool.inspect(LARGE, Limits()) == inspect(LARGE)


async def test_a_fold_is_made_in_a_nicer_process() -> None:
    pool = Workers(1, niceness=7)
    updates = typing(1, 20)
    folded = await pool.fold(updates[0], updates[1:])
    here = fold(None, updates)
    assert folded == (here.content, here.knowledge.pack(), here.collected)
    (pid,) = processes(pool)
    assert os.getpriority(os.PRIO_PROCESS, pid) == os.getpriority(os.PRIO_PROCESS, 0) + 7
    with pytest.raises(FoldBroken, match="too many clients"):
        await pool.fold(None, [b"\x01"])
    pool.close()


async def test_a_fold_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "FOLD_SECONDS", 0.5)
    monkeypatch.setattr(workers, "_fold", _sleep)
    pool = Workers(1)
    working = asyncio.create_task(pool.fold(None, typing(1, 3)))
    await until(lambda: pool._pool is not None and bool(processes(pool)), "a process")
    pids = processes(pool)
    with pytest.raises(WorkerDied):
        await working
    await until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), "its end")


def _sleep(*arguments: object) -> None:
    time.sleep(600)


async def test_workers_end_with_their_pool() -> None:
    pool = Workers(1)
    await pool.inspect(LARGE, Limits())
    pids = processes(pool)
    pool.close()

    def ended() -> bool:
        return not any(os.path.exists(f"/proc/{pid}") for pid in pids)

    await until(ended, "the end of the workers")
    await asyncio.sleep(0)
