"""The queue of jobs in the database: part of the caller's transaction, one of each, seen, retried, discarded and pruned."""

import asyncio
import os
from datetime import UTC, datetime, timedelta

import pytest
from pgqueuer.adapters.persistence import qb
from pgqueuer.core.qm import QueueManager
from pgqueuer.domain.settings import DBSettings
from pgqueuer.errors import FailingListenerError

from storage import job_queue, job_records
from storage.errors import Unavailable
from storage.job_driver import SETTINGS, JobDriver, queries_over
from storage.job_queue import JobQueue, Pace, enqueue, key_of
from storage.job_records import JobRecord
from storage.pool import Database
from tests.support.core import eventually
from tests.support.database import SCRIPTS

STUCK = timedelta(seconds=30)
QUICK = Pace(heartbeat_seconds=30, look_seconds=0.1)


async def listed(database: Database, **options: object) -> list[JobRecord]:
    async with database.acquire() as connection:
        return await job_records.jobs(connection, stuck_after=STUCK, limit=100, **options)  # type: ignore[arg-type]  # by name


async def put(database: Database, kind: str, subject: str = "") -> int:
    async with database.transaction() as connection:
        assert await enqueue(connection, kind, subject)
    return (await listed(database))[-1].id


async def execute(database: Database, statement: str) -> None:
    async with database.acquire() as connection:
        await connection.execute(statement)


# --- pgqueuer's part of the schema


def test_the_migration_is_what_the_installed_pgqueuer_declares() -> None:
    declared = qb.QueryBuilderEnvironment(SETTINGS).build_install_query().strip()
    assert declared in (SCRIPTS / "versions" / "0003_jobs.sql").read_text(), "write a migration with what `pgq upgrade --plan` says"


async def test_pgqueuer_finds_nothing_to_upgrade(database: Database) -> None:
    connection = await database.connect("test")
    plan = await queries_over(JobDriver(database, connection, asyncio.Event())).plan_upgrade()
    await connection.close()
    assert not plan.statements


def test_the_names_are_those_of_the_prefix_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if "PGQUEUER" in name]:
        monkeypatch.delenv(name)
    plain = DBSettings(prefix="jobs_")
    assert plain == SETTINGS
    monkeypatch.setenv("CHANNEL", "evil")
    assert DBSettings(prefix="jobs_").channel == "evil", "what SETTINGS guards against"


# --- enqueueing


async def test_a_job_is_there_only_if_its_transaction_commits(database: Database) -> None:
    class Undone(Exception):
        pass

    async def undone() -> None:
        async with database.transaction() as connection:
            assert await enqueue(connection, "purge", "a")
            raise Undone

    with pytest.raises(Undone):
        await undone()
    assert await listed(database) == []
    await put(database, "purge", "a")
    (record,) = await listed(database)
    assert (record.kind, record.subject, record.state, record.starts, record.failures, record.reason) == ("purge", "a", "queued", 0, 0, "")


async def test_of_the_same_job_there_is_one_that_waits(database: Database) -> None:
    await put(database, "purge", "a")
    async with database.transaction() as connection:
        assert not await enqueue(connection, "purge", "a")
        assert await enqueue(connection, "purge", "b")
        assert await enqueue(connection, "retain", "a")
    assert [(record.kind, record.subject) for record in await listed(database)] == [("purge", "a"), ("purge", "b"), ("retain", "a")]


# --- running


async def ran(database: Database, handler: job_queue.Handler, until: str | None, kind: str = "k") -> None:
    """Run a queue until the only job is in this state, or done."""
    queue = JobQueue(database, {kind: handler}, {}, QUICK)
    work = asyncio.create_task(queue.run())

    async def reached() -> bool:
        found = await listed(database)
        return (found[0].state if found else None) == until

    await eventually(reached, f"{until or 'the end'} of the job")
    queue.stop()
    await asyncio.wait_for(work, 5)


async def test_a_job_that_fails_is_tried_again_later_and_at_last_held(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_queue, "RETRY_SECONDS", (0.01, 0.05))
    await put(database, "k", "a")
    failures: list[int] = []

    async def fail(job: job_queue.Job) -> None:
        failures.append(job.failures)
        raise ValueError("no [good]")

    await ran(database, fail, "failed")
    assert failures == [0, 1, 2, 3, 4]
    (record,) = await listed(database)
    assert (record.state, record.starts, record.failures, record.reason) == ("failed", 5, 4, "ValueError: no [good]")
    async with database.acquire() as connection:
        history = await job_records.history(connection, record.id, 100)
    assert [event.status for event in history] == ["queued"] + ["picked", "queued"] * 4 + ["picked", "failed"]
    assert "in fail" in history[-1].trace


async def test_a_database_that_is_away_is_nobodys_fault(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_queue, "RETRY_SECONDS", (0.01, 0.05))
    await put(database, "k", "a")
    left = 3 * job_queue.MAX_STARTS

    async def away(job: job_queue.Job) -> None:
        nonlocal left
        left -= 1
        assert job.failures == 0
        if left:
            raise Unavailable("away")

    await ran(database, away, None)
    assert left == 0


async def test_a_listener_that_hears_nothing_is_the_databases_trouble(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unheard(self: QueueManager, timeout: timedelta = timedelta(0)) -> None:
        raise FailingListenerError

    monkeypatch.setattr(QueueManager, "listener_healthy", unheard)
    with pytest.raises(Unavailable, match="does not answer"):
        await JobQueue(database, {}, {}, QUICK).run()


async def test_a_job_that_is_broken_off_is_cancelled_inside(database: Database) -> None:
    await put(database, "k", "a")
    seen = []

    async def wait(job: job_queue.Job) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    await ran(database, wait, "running")
    assert set(seen) == {"cancelled"}, "once, or again where the machine was slow enough for it to be put back and taken anew"
    (record,) = await listed(database)
    assert (record.state, record.failures, record.reason) == ("queued", 0, "its process stopped, or lost the database")


async def test_the_clock_enqueues_what_is_due_once(database: Database) -> None:
    done = []

    async def note(job: job_queue.Job) -> None:
        done.append(job.kind)

    queues = [JobQueue(database, {"tick": note}, {"tick": "* * * * * *"}, QUICK) for _ in range(2)]
    works = [asyncio.create_task(queue.run()) for queue in queues]
    began = asyncio.get_running_loop().time()

    async def thrice() -> bool:
        return len(done) >= 3

    await eventually(thrice, "three jobs of the clock")
    assert asyncio.get_running_loop().time() - began > 1.5
    for queue in queues:
        queue.stop()
    await asyncio.wait_for(asyncio.gather(*works), 5)


@pytest.mark.parametrize(("held_for", "begins"), [("10 minutes", False), ("2 hours", True)])
async def test_the_clock_begins_a_held_job_anew_only_after_a_while(database: Database, held_for: str, begins: bool) -> None:
    await put(database, "tick")
    await execute(database, f"UPDATE jobs_pgqueuer SET status = 'failed', updated = now() - interval '{held_for}'")  # noqa: S608
    queue = JobQueue(database, {}, {}, QUICK)
    await queue._enqueuing("tick")(None)  # type: ignore[arg-type]  # the schedule tells it nothing
    assert [record.state for record in await listed(database)] == (["queued"] if begins else ["failed"])


# --- what an operator sees and does


async def test_states_are_told_apart(database: Database) -> None:
    ids = [await put(database, "k", name) for name in ("queued", "waiting", "running", "stuck", "failed")]
    picked = "UPDATE jobs_pgqueuer SET status = 'picked', queue_manager_id = gen_random_uuid()"
    await execute(database, f"UPDATE jobs_pgqueuer SET execute_after = now() + interval '1 h' WHERE id = {ids[1]}")  # noqa: S608
    await execute(database, f"{picked} WHERE id = {ids[2]}")
    await execute(database, f"{picked}, heartbeat = now() - interval '31 s' WHERE id = {ids[3]}")
    await execute(database, f"UPDATE jobs_pgqueuer SET status = 'failed' WHERE id = {ids[4]}")  # noqa: S608
    assert {record.subject: record.state for record in await listed(database)} == {name: name for name in job_records.STATES}
    assert (await listed(database))[0].id == ids[4]
    assert [record.id for record in await listed(database, state="stuck")] == [ids[3]]
    assert [record.id for record in await listed(database, job_id=ids[1])] == [ids[1]]
    async with database.acquire() as connection:
        assert await job_records.counts(connection, stuck_after=STUCK) == dict.fromkeys(job_records.STATES, 1)
        assert await job_records.held(connection, "k") == {"failed"}
        retried = {job_id: await job_records.retry(connection, job_id, stuck_after=STUCK) for job_id in ids}
    assert retried == dict(zip(ids, [True, True, False, True, True], strict=True))
    assert [record.state for record in await listed(database)] == ["queued", "queued", "running", "queued", "queued"]
    async with database.acquire() as connection:
        discarded = [await job_records.discard(connection, job_id, stuck_after=STUCK) for job_id in [*ids, 999]]
    assert discarded == [True, True, False, True, True, False]
    assert [record.id for record in await listed(database)] == [ids[2]]


async def test_a_failed_job_is_not_retried_beside_the_same_one_that_waits(database: Database) -> None:
    failed = await put(database, "k", "a")
    await execute(database, "UPDATE jobs_pgqueuer SET status = 'failed'")
    await put(database, "k", "a")
    async with database.acquire() as connection:
        assert not await job_records.retry(connection, failed, stuck_after=STUCK)
    assert key_of("k", "a") == "k:a"


async def test_the_log_is_pruned_but_for_jobs_that_are_not_done(database: Database) -> None:
    kept, gone = await put(database, "k", "kept"), await put(database, "k", "gone")
    async with database.acquire() as connection:
        assert await job_records.discard(connection, gone, stuck_after=STUCK)
    await execute(database, "UPDATE jobs_pgqueuer_log SET created = now() - interval '8 days'")
    late = await put(database, "k", "late")
    async with database.acquire() as connection:
        assert await job_records.discard(connection, late, stuck_after=STUCK)
        week = datetime.now(UTC) - timedelta(days=7)
        assert await job_records.prune_step(connection, week, 2)
        assert not await job_records.prune_step(connection, week, 2)
        left = await connection.fetch("SELECT DISTINCT job_id FROM jobs_pgqueuer_log")
    assert {row["job_id"] for row in left} == {kept, late}
