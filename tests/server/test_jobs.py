"""The jobs of a server: what is deleted is destroyed, what is compacted is trimmed, and one library's damage is nobody else's."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from server import metrics, purge
from server.jobs import Jobs
from server.times import utc_now
from storage import deletion, job_queue, job_records, model_calls, retention
from storage.job_queue import Pace, enqueue
from storage.job_records import JobRecord
from storage.pool import Connection, Database
from tests.support.core import Core, core, eventually, store_user, typing
from tests.support.job_worker import Ground
from tests.support.model_calls import kept_call
from tests.support.rest import Rest, rest_api
from tests.support.stalling_proxy import stalling_proxy

QUICK = Pace(look_seconds=0.1)


@pytest.fixture
async def running(database_dsn: str) -> AsyncIterator[Core]:
    async with core(database_dsn) as running:
        yield running


@asynccontextmanager
async def working(database: Database, trim_after_seconds: float = 3600) -> AsyncIterator[Jobs]:
    """A runner in this process, without the clock."""
    ground = Ground(database)
    jobs = Jobs(Ground(database, ground.settings.model_copy(update={"trim_after_seconds": trim_after_seconds})), pace=QUICK, schedules={})
    work = asyncio.create_task(jobs.run())
    try:
        yield jobs
    finally:
        work.cancel()
        await asyncio.wait((work,))


async def put(running: Core, kind: str, subject: str = "") -> None:
    async with running.database.transaction() as connection:
        await enqueue(connection, kind, subject)


async def listed(running: Core) -> list[JobRecord]:
    async with running.database.acquire() as connection:
        return await job_records.jobs(connection, stuck_after=timedelta(seconds=30), limit=100)


async def until_done(running: Core) -> None:
    async def done() -> bool:
        return not await listed(running)

    await eventually(done, "the end of every job")


async def until_failed(running: Core, subject: str) -> JobRecord:
    async def failed() -> bool:
        return [(job.subject, job.state) for job in await listed(running)] == [(subject, "failed")]

    await eventually(failed, "one job that failed, and the end of the others")
    return (await listed(running))[0]


async def filled(running: Core, count: int = 25) -> UUID:
    room = await running.room()
    await running.push(room, *typing(1, count))
    return room.library_id


async def mark(running: Core, *ids: UUID) -> None:
    await running.execute("UPDATE libraries SET deleted_at = now() WHERE id = ANY($1)", list(ids))


async def snapshot(running: Core, library_id: UUID, seq: int, verified_at: datetime) -> None:
    await running.execute(
        "INSERT INTO snapshots (library_id, seq, epoch, created_at, verified_at, sealed_knowledge, sealed)"
        " VALUES ($1, $2, 1, $3, $3, '', '')",
        library_id,
        seq,
        verified_at,
    )


async def left(running: Core, *ids: UUID) -> int:
    return int(str(await running.fetchval("SELECT count(*) FROM libraries WHERE id = ANY($1)", list(ids))))


# --- purge


@pytest.fixture
async def application(database_dsn: str) -> AsyncIterator[Rest]:
    async with rest_api(database_dsn) as application:
        yield application


async def test_deleting_a_library_enqueues_its_purge_in_the_same_transaction(application: Rest) -> None:
    database = application.services.database
    account = await application.register()
    made = await application.post("/api/libraries", {"name": "n"}, account["access_token"])
    deleted = await application.delete(f"/api/libraries/{made.json()['id']}", account["access_token"])
    assert deleted.status_code == 204
    async with database.acquire() as connection:
        jobs = await job_records.jobs(connection, stuck_after=timedelta(seconds=30), limit=9)
    assert [job.subject for job in jobs if job.kind == "purge"] == [made.json()["id"]]
    async with working(database):

        async def gone() -> bool:
            async with database.acquire() as connection:
                return not await connection.fetchval("SELECT EXISTS (SELECT FROM libraries WHERE deleted_at IS NOT NULL)")

        await eventually(gone, "the end of the library")


async def test_libraries_that_were_marked_before_there_were_jobs_are_found(running: Core) -> None:
    marked, kept = [await filled(running, 3) for _ in range(3)], await filled(running)
    await mark(running, *marked)
    async with working(running.database):
        await put(running, "sweep")
        await until_done(running)
    assert await left(running, *marked) == 0
    assert await running.stored(kept) == typing(1, 25)


async def test_accounts_that_were_deleted_and_have_no_job_are_found(application: Rest) -> None:
    database = application.services.database
    gone, stays = await application.register(), await application.register()
    async with database.transaction() as connection:
        await deletion.destroy(connection, UUID(gone["user"]["id"]), now=application.clock(), reason="deleted")
        await enqueue(connection, "sweep")
    async with working(database):

        async def alone() -> bool:
            async with database.acquire() as connection:
                return [row["id"] for row in await connection.fetch("SELECT id FROM users")] == [UUID(stays["user"]["id"])]

        await eventually(alone, "the end of the account")


async def test_a_damaged_library_is_held_and_the_others_are_purged(running: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_queue, "RETRY_SECONDS", (0.01, 0.01))
    monkeypatch.setattr(purge, "CHUNK_ROWS", 10)
    damaged, *others = [await filled(running) for _ in range(4)]
    await mark(running, damaged, *others)
    real = retention.purge_step

    async def step(connection: Connection, library_id: UUID, limit: int) -> bool:
        if library_id == damaged:
            raise asyncpg.DataCorruptedError("invalid page in block 7")
        return await real(connection, library_id, limit)

    monkeypatch.setattr(retention, "purge_step", step)
    async with working(running.database):
        await put(running, "sweep")
        job = await until_failed(running, str(damaged))
        assert job.reason == "DataCorruptedError: invalid page in block 7"
        assert await left(running, damaged, *others) == 1
        await put(running, "sweep")
        assert (await until_failed(running, str(damaged))).id == job.id  # it is the operator's now
        monkeypatch.setattr(retention, "purge_step", real)
        async with running.database.acquire() as connection:
            assert await job_records.retry(connection, job.id, stuck_after=timedelta(seconds=30))
        await until_done(running)
    assert await left(running, damaged) == 0


# --- retention


async def test_the_sweep_trims_and_thins_where_there_is_something_to_do(running: Core) -> None:
    trimmed, young = await filled(running), await filled(running)
    now = utc_now()
    await snapshot(running, trimmed, 10, now - timedelta(hours=3))
    await snapshot(running, trimmed, 20, now - timedelta(hours=2))
    await snapshot(running, young, 20, now - timedelta(minutes=50))
    await running.execute("UPDATE snapshots SET created_at = $1", now - timedelta(days=2))
    async with working(running.database):
        await put(running, "sweep")
        await until_done(running)
    assert [seq for seq, _ in await rows(running, trimmed)] == list(range(21, 26))
    assert len(await rows(running, young)) == 25
    assert await running.fetchval("SELECT array_agg(seq) FROM snapshots WHERE library_id = $1", trimmed) == [20]
    assert await running.fetchval("SELECT count(*) FROM jobs_pgqueuer_log WHERE entrypoint = 'retain' AND status = 'queued'") == 1
    async with working(running.database, trim_after_seconds=60):
        await put(running, "sweep")
        await until_done(running)
    assert len(await rows(running, young)) == 5


async def rows(running: Core, library_id: UUID) -> list[tuple[int, int]]:
    async with running.database.acquire() as connection:
        return [
            tuple(row) for row in await connection.fetch("SELECT seq, epoch FROM updates WHERE library_id = $1 ORDER BY seq", library_id)
        ]


async def test_a_library_that_cannot_be_looked_at_has_a_job_that_fails_and_the_others_are_trimmed(
    running: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_queue, "RETRY_SECONDS", (0.01, 0.01))
    damaged, *others = [await filled(running) for _ in range(4)]
    for library_id in (damaged, *others):
        await snapshot(running, library_id, 20, utc_now() - timedelta(hours=3))
    real_look, real_trim = retention.retainable, retention.trim_step

    async def look(connection: Connection, library_ids: list[UUID], *rest: datetime) -> list[UUID]:
        if damaged in library_ids:
            raise asyncpg.DataCorruptedError("invalid page")
        return await real_look(connection, library_ids, *rest)

    async def trim(connection: Connection, library_id: UUID, older_than: datetime, limit: int) -> bool:
        if library_id == damaged:
            raise asyncpg.DataCorruptedError("invalid page")
        return await real_trim(connection, library_id, older_than, limit)

    monkeypatch.setattr(retention, "retainable", look)
    monkeypatch.setattr(retention, "trim_step", trim)
    async with working(running.database):
        await put(running, "sweep")
        await until_failed(running, str(damaged))
    assert [len(await rows(running, library_id)) for library_id in (damaged, *others)] == [25, 5, 5, 5]


async def test_the_log_of_jobs_and_old_sessions_are_pruned(running: Core) -> None:
    async with working(running.database):
        await put(running, "sessions")
        await until_done(running)
        await running.execute("UPDATE jobs_pgqueuer_log SET created = created - interval '8 days'")
        await put(running, "job_log")
        await until_done(running)
    assert await running.fetchval("SELECT count(*) FROM jobs_pgqueuer_log WHERE entrypoint = 'sessions'") == 0
    assert await running.fetchval("SELECT count(*) FROM jobs_pgqueuer_log WHERE entrypoint = 'job_log'") == 3


async def test_idempotency_keys_go_after_a_day(running: Core) -> None:
    for hours in (25, 23):
        library_id = await running.library()
        await running.execute(
            "INSERT INTO idempotency_keys (user_id, key_hash, fingerprint, seed, claimed_at, held_at)"
            " SELECT owner_id, 'k', 'f', 's', now() - $2::interval, now() FROM libraries WHERE id = $1",
            library_id,
            timedelta(hours=hours),
        )
    async with working(running.database):
        await put(running, "idempotency")
        await until_done(running)
    assert await running.fetchval("SELECT count(*) FROM idempotency_keys") == 1


async def test_sign_ins_that_never_came_back_go(running: Core) -> None:
    for number, minutes in enumerate((-1, 1)):
        await running.execute(
            "INSERT INTO social_states (state_hash, provider, cookie_hash, created_at, expires_at)"
            " VALUES ($1, 'google', 'c', now(), now() + $2::interval)",
            bytes([number]),
            timedelta(minutes=minutes),
        )
    async with working(running.database):
        await put(running, "social_states")
        await until_done(running)
    assert await running.fetchval("SELECT count(*) FROM social_states") == 1


async def test_calls_of_models_go_when_they_have_been_kept_long_enough(running: Core) -> None:
    async with running.database.transaction() as connection:
        user_id, kept = await store_user(connection), timedelta(days=Ground(running.database).settings.usage_days)
        calls = [kept_call(user_id, at=utc_now() - kept + ago) for ago in (timedelta(minutes=-1), timedelta(minutes=1))]
        await model_calls.add(connection, calls)
    async with working(running.database):
        await put(running, "usage")
        await until_done(running)
    assert await running.fetchval("SELECT array_agg(id) FROM model_calls") == [calls[1].id]


# --- the runner


async def test_jobs_are_counted(running: Core) -> None:
    await running.execute("INSERT INTO jobs_pgqueuer (priority, status, entrypoint) VALUES (0, 'failed', 'purge')")
    async with working(running.database):

        async def counted() -> bool:
            return metrics.registry.get_sample_value("promptsync_jobs", {"state": "failed"}) == 1

        await eventually(counted, "the count")


async def test_a_runner_stops_within_a_second_though_the_database_does_not_answer(database_dsn: str) -> None:
    async with stalling_proxy(database_dsn) as proxy, core(database_dsn) as running:
        database = await Database.open(proxy.dsn, size=4)
        room = await running.room()
        await running.push(room, *typing(1, 5))
        await mark(running, room.library_id)
        began = asyncio.Event()

        async def wait(job: job_queue.Job) -> None:
            began.set()
            await asyncio.Event().wait()

        jobs = Jobs(Ground(database), pace=QUICK, handlers={"purge": wait}, schedules={})
        work = asyncio.create_task(jobs.run())
        await put(running, "purge", str(room.library_id))
        await asyncio.wait_for(began.wait(), 10)
        proxy.stall()
        started = time.monotonic()
        work.cancel()
        await asyncio.wait((work,))
        assert time.monotonic() - started < 1.5
        assert work.cancelled()
        (job,) = await listed(running)
        assert job.state == "running"  # taken over once its heartbeat is old
        await database.close()
