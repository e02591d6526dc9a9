"""Durable jobs in real processes that are killed, paused and cut off: nothing enqueued is lost, and nobody is harmed by who comes late."""

import os
import signal
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from storage import job_records
from storage.job_queue import MAX_STARTS
from tests.support.core import core, eventually, typing
from tests.support.job_worker import Bench, bench

pytestmark = pytest.mark.faults


@pytest.fixture
async def jobs(database_dsn: str) -> AsyncIterator[Bench]:
    async with bench(database_dsn) as made:
        yield made


async def test_a_job_whose_worker_was_killed_is_done_by_another(jobs: Bench) -> None:
    first = jobs.worker()
    subject = await jobs.enqueue("wait")
    assert await jobs.until_noted(subject, "began") == [first.pid]
    first.kill()
    second = jobs.worker()
    assert await jobs.until_noted(subject, "began", 2) == [first.pid, second.pid]
    await jobs.go(subject)
    await jobs.until_state(subject, None)
    assert await jobs.noted(subject, "ended") == [second.pid]


async def test_a_job_that_kills_its_workers_is_held_with_the_reason_and_others_are_done(jobs: Bench) -> None:
    subject = await jobs.enqueue("die")
    for starts in range(1, MAX_STARTS + 1):
        worker = jobs.worker()
        await jobs.until_noted(subject, "began", starts)
        assert worker.process.wait(10) == -signal.SIGKILL
    jobs.worker()
    record = await jobs.until_state(subject, "failed")
    assert record is not None
    assert "TooManyStarts" in record.reason
    assert "kill its worker" in record.reason
    assert record.starts == MAX_STARTS + 1
    assert len(await jobs.noted(subject, "began")) == MAX_STARTS
    await jobs.until_state(await jobs.enqueue("note"), None)


async def test_a_worker_that_is_stopped_puts_its_job_back_at_once_and_without_blame(jobs: Bench) -> None:
    subject = await jobs.enqueue("wait")
    for _ in range(MAX_STARTS + 2):
        worker = jobs.worker(heartbeat_seconds=60)

        async def begun(pid: int = worker.pid) -> bool:
            return pid in await jobs.noted(subject, "began")  # by this one: it can be stopped in order from then on

        await eventually(begun, "the beginning of the job", within=20)
        began = time.monotonic()
        assert worker.terminate() == 0
        assert time.monotonic() - began < 2
        record = await jobs.record(subject)
        assert record is not None
        assert (record.state, record.failures) == ("queued", 0)
    await jobs.go(subject)
    jobs.worker()
    await jobs.until_state(subject, None)


async def test_a_paused_worker_whose_job_was_taken_over_does_no_harm(jobs: Bench) -> None:
    first = jobs.worker()
    subject = await jobs.enqueue("wait")
    await jobs.until_noted(subject, "began")
    os.kill(first.pid, signal.SIGSTOP)
    second = jobs.worker()
    assert await jobs.until_noted(subject, "began", 2) == [first.pid, second.pid]
    os.kill(second.pid, signal.SIGSTOP)  # the later one is amid its work
    os.kill(first.pid, signal.SIGCONT)
    await jobs.go(subject)
    assert await jobs.until_noted(subject, "ended") == [first.pid]
    settled = await jobs.enqueue("note")
    await jobs.until_state(settled, None)  # the first worker has settled what it had by now
    record = await jobs.record(subject)
    assert record is not None, "the job was settled by a worker that no longer held it"
    os.kill(second.pid, signal.SIGCONT)
    await jobs.until_noted(subject, "ended", 2)
    await jobs.until_state(subject, None)


async def test_a_purge_that_is_killed_amid_its_chunks_and_run_twice_destroys_everything_once(jobs: Bench) -> None:
    async with core(jobs.dsn) as running:
        doomed, kept = await running.room(), await running.room()
        await running.push(doomed, *typing(1, 3000))
        await running.push(kept, *typing(1, 30))
        await running.execute("UPDATE libraries SET deleted_at = now() WHERE id = $1", doomed.library_id)
        subject = await jobs.enqueue("purge", str(doomed.library_id))
        first = jobs.worker()
        left = "SELECT count(*) FROM updates WHERE library_id = $1"

        async def begun() -> bool:
            return int(str(await running.fetchval(left, doomed.library_id))) < 3000

        await eventually(begun, "the first chunk")
        first.kill()
        jobs.worker()
        jobs.worker()
        await jobs.until_state(subject, None)
        assert await running.fetchval(left, doomed.library_id) == 0
        assert await running.fetchval("SELECT count(*) FROM libraries WHERE id = $1", doomed.library_id) == 0
        assert await running.stored(kept.library_id) == typing(1, 30)


async def test_a_worker_whose_listening_connection_is_killed_listens_again(jobs: Bench) -> None:
    worker = jobs.worker(heartbeat_seconds=60)
    running = await jobs.enqueue("wait")
    await jobs.until_noted(running, "began")
    watcher = await asyncpg.connect(jobs.dsn)
    end = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'promptsync jobs' AND datname = current_database()"
    )
    try:
        for again in range(2, 5):
            assert len(await watcher.fetch(end)) == 1
            await jobs.until_noted(running, "began", again)
            assert (await jobs.until_noted(await jobs.enqueue("note"), "ran")) == [worker.pid]
    finally:
        await watcher.close()
    await jobs.go(running)
    await jobs.until_state(running, None)


async def test_a_worker_outlives_every_connection_and_finishes_its_job(jobs: Bench) -> None:
    worker = jobs.worker()
    subject = await jobs.enqueue("wait")
    await jobs.until_noted(subject, "began")
    watcher = await asyncpg.connect(jobs.dsn)
    end = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'promptsync%' AND datname = current_database()"
    )
    try:
        await watcher.fetch(end)
    finally:
        await watcher.close()
    await jobs.until_noted(subject, "began", 2)
    await jobs.go(subject)
    assert await jobs.until_noted(subject, "ended") == [worker.pid]
    await jobs.until_state(subject, None)


async def test_bare_names_in_the_environment_reach_no_statement(jobs: Bench) -> None:
    names = ("CHANNEL", "FUNCTION", "QUEUE_TABLE", "QUEUE_TABLE_LOG", "TRIGGER", "SCHEDULES_TABLE", "STATISTICS_TABLE", "QUEUE_STATUS_TYPE")
    hostile = {f"{before}{name}": "evil" for name in names for before in ("", "PGQUEUER_")}
    worker = jobs.worker(env=hostile | {"PGQUEUER_PREFIX": "evil_", "PGQUEUER_SCHEMA": "evil"})
    assert await jobs.until_noted(await jobs.enqueue("note"), "ran") == [worker.pid]
    assert worker.process.poll() is None


async def test_a_failed_job_is_seen_with_its_reason_and_done_when_it_is_retried(jobs: Bench) -> None:
    subject = await jobs.enqueue("fail")
    await jobs.execute("UPDATE jobs_pgqueuer SET attempts = 4")
    jobs.worker()
    record = await jobs.until_state(subject, "failed")
    assert record is not None
    assert record.reason == f"ValueError: cannot do {subject} \\0 \\ud800"
    async with jobs.database.transaction() as connection:
        assert await job_records.retry(connection, record.id, stuck_after=timedelta(seconds=1))
    await jobs.until_noted(subject, "ran", 2)
    waiting = await jobs.until_state(subject, "waiting")
    assert waiting is not None
    assert (waiting.failures, waiting.reason) == (1, record.reason)
