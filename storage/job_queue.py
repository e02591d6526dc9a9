"""Durable jobs in the database, on pgqueuer: what is enqueued in a transaction is run, at least once, by some process after its commit.

pgqueuer finds and hands out the jobs; what it leaves open is closed here and in `storage/job_driver.py`. A job whose process dies
again and again is held for an operator, and so is one that goes on failing; one that ends with its process, or with the connection
to the database, is put back without being blamed; one that was taken over from a paused process is settled by the later one only.
So a job may run twice, even at once: it must be safe to repeat.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from pgqueuer import PgQueuer
from pgqueuer.core.executors import EntrypointExecutor
from pgqueuer.db import AsyncpgDriver
from pgqueuer.domain import models
from pgqueuer.errors import FailingListenerError, RetryRequested

from storage.errors import StorageError, Unavailable
from storage.job_driver import SETTINGS, JobDriver, PutBack, fenced_queries_over, queries_over
from storage.job_records import HEARTBEAT_SECONDS
from storage.pool import Connection, Database, is_connection_failure

MAX_FAILURES = 4
"""A job that fails once more after so many failures is held; with the waits below that takes about three minutes."""
RETRY_SECONDS = (2.0, 300.0)
"""First and longest wait before a job is tried again; each is four times the one before."""
MAX_STARTS = 3
"""A job that was started so often without coming to any end kills its worker: at the next start it is held."""
REVIVE_AFTER = timedelta(hours=1)
"""A job of the clock that was held is begun anew by the clock after so long, not each time the clock strikes."""

# Since an operator last sent it off again. Each start is logged, and each time it was put back or failed, with a reason.
_STARTS = """
    SELECT count(*) FILTER (WHERE status = 'picked') AS started, count(*) FILTER (WHERE status = 'queued' AND traceback IS NOT NULL) AS back
    FROM jobs_pgqueuer_log WHERE job_id = $1
    AND id > coalesce((SELECT max(id) FROM jobs_pgqueuer_log WHERE job_id = $1 AND status = 'failed'), 0)
"""
_MAY_BEGIN = """
    WITH forgotten AS (DELETE FROM jobs_pgqueuer WHERE status = 'failed' AND dedupe_key = $1 AND updated < now() - $2::interval)
    SELECT NOT EXISTS (SELECT FROM jobs_pgqueuer WHERE status = 'failed' AND dedupe_key = $1 AND updated >= now() - $2::interval)
"""


class TooManyStarts(StorageError):
    """A job was started again and again and never came to an end."""

    def __init__(self, starts: int) -> None:
        super().__init__(f"started {starts} times without coming to an end: it seems to kill its worker")


@dataclass(frozen=True, slots=True)
class Job:
    """A job at hand: what is to be done (`kind`), to what (`subject`), and how often it has failed so far."""

    id: int
    kind: str
    subject: str
    failures: int


@dataclass(frozen=True, slots=True)
class Pace:
    """How quickly jobs are noticed."""

    heartbeat_seconds: float = HEARTBEAT_SECONDS
    """A running job that gave no sign for so long is taken over; it gives one at half of it."""
    look_seconds: float = 5.0
    """How often the queue is looked at, besides being told of new jobs."""
    at_once: int = 2
    """Jobs that one process runs side by side (at least 2); each uses a connection of the pool while it works."""


Handler = Callable[[Job], Awaitable[None]]


async def enqueue(connection: Connection, kind: str, subject: str = "") -> bool:
    """Have a job done after the caller's transaction commits; False when the same one waits or runs already."""
    ids = await queries_over(AsyncpgDriver(connection)).enqueue(  # type: ignore[arg-type]  # one of the pool asks as well as any
        kind, subject.encode(), dedupe_key=key_of(kind, subject), on_conflict="skip"
    )
    return ids[0] is not None


def key_of(kind: str, subject: str = "") -> str:
    """What tells jobs apart: of each there is at most one that waits or runs."""
    return f"{kind}:{subject}"


class JobQueue:
    """One turn at the queue: runs jobs until it is told to stop or the database is away. For the next turn make another.

    Uses one connection of its own, which listens; all else goes over the pool.
    """

    def __init__(self, database: Database, handlers: Mapping[str, Handler], schedules: Mapping[str, str], pace: Pace) -> None:
        """`handlers` by the kind of job they do; `schedules`: kinds that the clock enqueues, with when (cron, five fields, UTC)."""
        self._database = database
        self._handlers = handlers
        self._schedules = schedules
        self._pace = pace
        self._ending = asyncio.Event()
        self._driver: JobDriver | None = None

    def stop(self) -> None:
        """Take no more jobs, and put back those that run. `run` returns soon after."""
        self._ending.set()

    def hurry(self) -> None:
        """Wait for the database no longer: what is not settled is taken over by another process."""
        self._ending.set()
        if self._driver is not None:
            self._driver.hurry()

    async def run(self) -> None:
        """Run jobs until `stop`.

        Raises:
            Unavailable: the database is away, or the connection that listens was lost.
            whatever pgqueuer does, when its tables are not as they should be.
        """
        listener = await self._database.connect("jobs")
        try:
            listener.add_termination_listener(self._lose)
            self._driver = JobDriver(self._database, listener, self._ending)
            await self._queuer(self._driver).run(
                dequeue_timeout=timedelta(seconds=self._pace.look_seconds),
                batch_size=1,
                max_concurrent_tasks=self._pace.at_once,
                shutdown_on_listener_failure=True,
                heartbeat_timeout=timedelta(seconds=self._pace.heartbeat_seconds),
                log_aggregation_interval=timedelta(0),  # statistics that nobody reads and nothing prunes
            )
        except FailingListenerError as error:  # pgqueuer heard nothing of its own question for ten seconds: a busy database
            raise Unavailable("the connection that listens for jobs does not answer") from error
        else:
            if listener.is_closed():
                raise Unavailable("the connection that listens for jobs was lost")
        finally:
            listener.remove_termination_listener(self._lose)
            listener.terminate()

    def _lose(self, listener: Connection) -> None:
        self._ending.set()

    def _queuer(self, driver: JobDriver) -> PgQueuer:
        queries = fenced_queries_over(driver)
        queuer = PgQueuer(driver, SETTINGS.channel, {"driver": driver}, queries)
        queries.owner = queuer.qm.queue_manager_id
        queuer.shutdown = queuer.qm.shutdown = queuer.sm.shutdown = self._ending
        for kind, handler in self._handlers.items():
            queuer.entrypoint(kind, on_failure="hold", accepts_context=False, executor_factory=_Durable)(_adapted(handler))
        for kind, cron in self._schedules.items():
            queuer.schedule(kind, cron, accepts_context=False)(self._enqueuing(kind))
        return queuer

    def _enqueuing(self, kind: str) -> Callable[[models.Schedule], Awaitable[None]]:
        async def due(schedule: models.Schedule) -> None:
            async with self._database.transaction() as connection:
                if await connection.fetchval(_MAY_BEGIN, key_of(kind), REVIVE_AFTER):
                    await enqueue(connection, kind)

        return due


def _adapted(handler: Handler) -> Callable[[models.Job], Awaitable[None]]:
    async def work(job: models.Job) -> None:
        await handler(Job(job.id, job.entrypoint, (job.payload or b"").decode(), job.attempts))

    return work


class _Durable(EntrypointExecutor):
    """Runs a job so that it ends in one of three ways: done, put back, or held."""

    async def execute(self, job: models.Job, context: models.Context) -> None:
        driver = context.resources["driver"]
        assert isinstance(driver, JobDriver)  # noqa: S101  # `JobQueue` put it there
        back = 0
        try:
            (counts,) = await driver.fetch(_STARTS, job.id)
            started, back = int(str(counts["started"])), int(str(counts["back"]))
            if started - back > MAX_STARTS:
                raise TooManyStarts(started - back)
            if await self._ran(job, context, driver.ending):
                return
        except TooManyStarts:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            if is_connection_failure(error):
                raise PutBack(_wait(back), reason) from error
            if job.attempts >= MAX_FAILURES:
                raise
            raise RetryRequested(_wait(job.attempts), reason) from error
        raise PutBack(timedelta(0), "its process stopped, or lost the database")

    async def _ran(self, job: models.Job, context: models.Context, ending: asyncio.Event) -> bool:
        """Whether the job was done; False when it was broken off because this turn ends."""
        work = asyncio.ensure_future(super().execute(job, context))
        end = asyncio.ensure_future(ending.wait())
        try:
            await asyncio.wait((work, end), return_when=asyncio.FIRST_COMPLETED)
        finally:
            end.cancel()
            if not work.done():
                work.cancel()
                await asyncio.wait((work,))
        with suppress(asyncio.CancelledError):
            await work
            return True
        return False


def _wait(times: int) -> timedelta:
    first, longest = RETRY_SECONDS
    return timedelta(seconds=min(first * 4 ** min(times, 10), longest))
