"""How pgqueuer reaches the database: over our pool, with one connection that listens, and settling only what its process still holds.

The names of tables and channels are given in full: pgqueuer would take them from bare environment names such as CHANNEL.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

import structlog
from pgqueuer.adapters.persistence import qb
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.core.tm import TaskManager
from pgqueuer.domain import models, types
from pgqueuer.domain.settings import DBSettings, Durability
from pgqueuer.errors import RetryRequested
from pgqueuer.ports.driver import Driver, NotifyCallback

from storage.pool import Connection, Database, Dedicated, is_connection_failure

log = structlog.get_logger(__name__)

# `model_construct` reads nothing of the environment, `DBSettings()` would.
SETTINGS = DBSettings.model_construct(
    prefix="jobs_",
    db_schema=None,
    channel="jobs_ch_pgqueuer",
    function="jobs_fn_pgqueuer_changed",
    statistics_table="jobs_pgqueuer_statistics",
    queue_status_type="jobs_pgqueuer_status",
    queue_table="jobs_pgqueuer",
    queue_table_log="jobs_pgqueuer_log",
    trigger="jobs_tg_pgqueuer_changed",
    schedules_table="jobs_pgqueuer_schedules",
    durability=Durability.durable,
    widen_id=True,
)
"""What migration 0003 has made."""

REASON_CHARACTERS = 500
"""What is kept of an error's text, for `promptsync jobs`."""
TRACE_CHARACTERS = 4000
"""What is kept of its traceback: the end."""
_AGAIN_SECONDS = (0.1, 2.0)
"""First and longest wait before the database is told once more that a job was put back."""

# Settled by the process that holds the job: one that was paused, and whose job went to another, changes nothing any more.
_SETTLE = """
    WITH ended AS (SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[]) AS e (id, status, traceback)),
    gone AS (
        DELETE FROM jobs_pgqueuer j USING ended e
        WHERE j.id = e.id AND j.status = 'picked' AND j.queue_manager_id = $4 AND e.status <> 'failed'
        RETURNING j.id, j.entrypoint, j.priority
    ), held AS (
        UPDATE jobs_pgqueuer j SET status = 'failed', updated = now(), queue_manager_id = NULL FROM ended e
        WHERE j.id = e.id AND j.status = 'picked' AND j.queue_manager_id = $4 AND e.status = 'failed'
        RETURNING j.id, j.entrypoint, j.priority
    ), settled AS (SELECT * FROM gone UNION ALL SELECT * FROM held)
    INSERT INTO jobs_pgqueuer_log (job_id, status, entrypoint, priority, traceback)
    SELECT s.id, e.status::jobs_pgqueuer_status, s.entrypoint, s.priority, e.traceback::jsonb FROM settled s JOIN ended e ON e.id = s.id
"""
_PUT_BACK = """
    WITH back AS (
        UPDATE jobs_pgqueuer SET status = 'queued', execute_after = now() + $2, attempts = attempts + $3, updated = now(),
            queue_manager_id = NULL
        WHERE id = $1 AND status = 'picked' AND queue_manager_id = $5
        RETURNING id, entrypoint, priority
    )
    INSERT INTO jobs_pgqueuer_log (job_id, status, entrypoint, priority, traceback)
    SELECT id, 'queued', entrypoint, priority, $4::text::jsonb FROM back
"""
_BEAT = "UPDATE jobs_pgqueuer SET heartbeat = now() WHERE id = ANY($1::bigint[]) AND queue_manager_id = $2"


class PutBack(RetryRequested):
    """The job goes back into the queue without being blamed: its process stops, or the database is away."""


class JobDriver(Driver):
    """pgqueuer's questions go over the pool, its LISTEN over a connection of its own."""

    def __init__(self, database: Database, listener: Dedicated, ending: asyncio.Event) -> None:
        """`ending` is set by the first question that fails: what runs is put back, and a new turn begins."""
        self._database = database
        self._listener = listener
        self._open: set[asyncio.Timeout] = set()
        self.ending = ending
        self.hurried = False

    def hurry(self) -> None:
        """From now on every question fails at once, also those under way."""
        self.hurried = True
        for bound in self._open:
            bound.reschedule(asyncio.get_running_loop().time())

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        async with self._asking() as connection:
            return [dict(row) for row in await connection.fetch(query, *args)]

    async def execute(self, query: str, *args: object) -> str:
        async with self._asking() as connection:
            return str(await connection.execute(query, *args))

    async def notify(self, channel: str, payload: str) -> None:
        await self.fetch("SELECT pg_notify($1, $2)", channel, payload)

    async def add_listener(self, channel: str, callback: NotifyCallback) -> None:
        await self._listener.add_listener(channel, lambda connection, pid, name, payload: callback(str(payload)))

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[Connection]:
        try:
            async with asyncio.timeout(0 if self.hurried else None) as bound:
                self._open.add(bound)
                try:
                    async with self._database.acquire() as connection:
                        yield connection
                finally:
                    self._open.discard(bound)
        except Exception:
            self.ending.set()
            raise

    @property
    def shutdown(self) -> asyncio.Event:
        return self.ending

    @property
    def tm(self) -> TaskManager:
        return TaskManager()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """The listening connection is the business of whoever made it."""


@dataclass
class FencedQueries(Queries):
    """pgqueuer's queries, but a process settles only the jobs that it still holds, and loses none when it is cut short."""

    owner: types.QueueManagerId | None = None
    """Who holds the jobs: the queue manager's id."""

    async def log_jobs(self, job_status: list[tuple[models.Job, types.JOB_STATUS, models.TracebackRecord | None]]) -> None:
        # pgqueuer deletes what it cancels; a job that was cut short stays picked, and is taken over
        ended = [(job.id, status, _kept(trace)) for job, status, trace in job_status if status != "canceled"]
        if ended:
            await self.driver.execute(_SETTLE, *map(list, zip(*ended, strict=True)), self.owner)

    async def retry_job(self, job: models.Job, delay: timedelta, traceback_record: models.TracebackRecord | None) -> None:
        """Put the job back. Tried until the database takes it: pgqueuer would hold the job as failed."""
        driver = self.driver
        assert isinstance(driver, JobDriver)  # noqa: S101  # made for it
        blame = 0 if traceback_record is not None and traceback_record.exception_type == PutBack.__name__ else 1
        wait, longest = _AGAIN_SECONDS
        while True:
            try:
                await driver.execute(_PUT_BACK, job.id, delay, blame, _kept(traceback_record), self.owner)
            except Exception as error:
                if driver.hurried or not is_connection_failure(error):
                    log.warning("job_left_to_others", job=job.id, kind=job.entrypoint, error=type(error).__name__)
                    return
            else:
                return
            await asyncio.sleep(wait)
            wait = min(2 * wait, longest)

    async def update_heartbeat(self, job_ids: list[types.JobId]) -> None:
        await self.driver.execute(_BEAT, list(set(job_ids)), self.owner)


def queries_over(driver: Driver) -> Queries:
    """pgqueuer's queries on our tables."""
    return Queries(driver, **_builders())


def fenced_queries_over(driver: Driver) -> FencedQueries:
    """The same for a process that runs jobs; its `owner` is still to be told."""
    return FencedQueries(driver, **_builders())


def _builders() -> dict[str, Any]:
    return {"qbe": qb.QueryBuilderEnvironment(SETTINGS), "qbq": qb.QueryQueueBuilder(SETTINGS), "qbs": qb.QuerySchedulerBuilder(SETTINGS)}


def _kept(record: models.TracebackRecord | None) -> str | None:
    """The record as JSON that PostgreSQL takes, whatever an error's text holds, and bounded."""
    if record is None:
        return None
    message, trace = _plain(record.exception_message)[:REASON_CHARACTERS], _plain(record.traceback)[-TRACE_CHARACTERS:]
    return record.model_copy(update={"exception_message": message, "traceback": trace, "additional_context": None}).model_dump_json()


def _plain(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode().replace("\0", "\\0")
