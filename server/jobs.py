"""The background jobs of a server: which there are, when they are due, and a runner that goes on whatever happens to the database."""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from time import monotonic
from typing import Protocol

import structlog

from auth.mail import MAIL
from server import metrics
from server.config import Settings
from server.mail import make_mailer
from server.mail_job import MAILS, forget_mails, send_mail
from server.purge import PURGE, PURGE_ACCOUNT, purge_account, purge_library
from server.retention import AUDIT, IDEMPOTENCY, JOB_LOG, LIMIT_COUNTERS, RETAIN, SESSIONS, SOCIAL_STATES, SWEEP, USAGE, Retention
from storage import job_records
from storage.errors import StorageError
from storage.job_queue import Handler, JobQueue, Pace
from storage.pool import Database

log = structlog.get_logger(__name__)

SCHEDULES = {
    SWEEP: "*/5 * * * *",
    LIMIT_COUNTERS: "7,22,37,52 * * * *",
    SESSIONS: "17 3 * * *",
    IDEMPOTENCY: "29 * * * *",
    JOB_LOG: "41 * * * *",
    SOCIAL_STATES: "53 * * * *",
    MAILS: "59 * * * *",
    AUDIT: "53 4 * * *",
    USAGE: "23 4 * * *",
}
"""When the clock enqueues which job (cron, UTC); of several processes one does."""
AGAIN_SECONDS = (0.2, 5.0)
"""First and longest wait before the queue is gone to again after the database was lost; it doubles in between."""
STOP_SECONDS = 0.7
"""What running jobs have to be put back at a stop; past it they are left, and taken over once their heartbeat is old."""
CUT_SECONDS = 0.3
"""What the runner has after that to end, with every question to the database cut off."""
COUNT_SECONDS = 15.0
"""How often the jobs are counted for `GET /metrics`."""


class Ground(Protocol):
    """What jobs need of a server."""

    @property
    def database(self) -> Database: ...
    @property
    def settings(self) -> Settings: ...
    @property
    def clock(self) -> Callable[[], datetime]: ...


class Jobs:
    """Runs jobs in this process. Any number of processes may do so on one database: each job is handed to one of them."""

    def __init__(
        self,
        ground: Ground,
        *,
        pace: Pace | None = None,
        handlers: Mapping[str, Handler] | None = None,
        schedules: Mapping[str, str] = SCHEDULES,
    ) -> None:
        self._database = ground.database
        self._pace = pace or Pace()
        self._handlers = handlers if handlers is not None else handlers_on(ground)
        self._schedules = schedules

    async def run(self) -> None:
        """Run jobs until cancelled; then what runs is put back, within a second, also when the database does not answer."""
        _take_over_logging()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._count())
            group.create_task(self._turns())

    async def _turns(self) -> None:
        wait, longest = AGAIN_SECONDS
        while True:
            began = monotonic()
            try:
                await self._turn()
                reason = "stopped"
            except StorageError as error:
                reason = str(error)
            except Exception as error:  # what pgqueuer raises is no reason to end the process
                log.error("jobs_failed", error=type(error).__name__, exc_info=error)
                reason = type(error).__name__
            if monotonic() - began > longest:
                wait = AGAIN_SECONDS[0]
            log.warning("jobs_interrupted", reason=reason, again_seconds=wait)
            await asyncio.sleep(wait)
            wait = min(2 * wait, longest)

    async def _turn(self) -> None:
        """Run one queue to its end; when cancelled, end it in order."""
        queue = JobQueue(self._database, self._handlers, self._schedules, self._pace)
        work = asyncio.create_task(queue.run())
        try:
            await asyncio.wait((work,))
            await work
        except asyncio.CancelledError:
            queue.stop()
            if not await _ended(work, STOP_SECONDS):
                queue.hurry()
                if not await _ended(work, CUT_SECONDS):
                    work.cancel()
                    await _ended(work, CUT_SECONDS)
            raise

    async def _count(self) -> None:
        while True:
            try:
                async with self._database.acquire() as connection:
                    for state, number in (
                        await job_records.counts(connection, stuck_after=timedelta(seconds=self._pace.heartbeat_seconds))
                    ).items():
                        metrics.jobs.labels(state).set(number)
            except Exception as error:
                log.debug("jobs_not_counted", error=type(error).__name__)
            await asyncio.sleep(COUNT_SECONDS)


def handlers_on(ground: Ground) -> dict[str, Handler]:
    """What does each kind of job."""
    retention = Retention(ground.database, ground.settings, ground.clock)
    return {
        PURGE: purge_library(ground.database),
        PURGE_ACCOUNT: purge_account(ground.database, ground.clock),
        SWEEP: retention.sweep,
        RETAIN: retention.retain,
        SESSIONS: retention.sessions,
        IDEMPOTENCY: retention.idempotency,
        LIMIT_COUNTERS: retention.limit_counters,
        JOB_LOG: retention.job_log,
        SOCIAL_STATES: retention.social_states,
        AUDIT: retention.audit,
        USAGE: retention.usage,
        MAIL: send_mail(ground.database, ground.settings, make_mailer(ground.settings), ground.clock, os.urandom),
        MAILS: forget_mails(ground.database, ground.clock),
    }


async def _ended(work: asyncio.Task[None], seconds: float) -> bool:
    """Whether the task has ended within so long, however it did."""
    done, _ = await asyncio.wait((work,), timeout=seconds)
    if done and not work.cancelled() and (error := work.exception()) is not None:
        log.debug("jobs_ended", error=type(error).__name__)
    return bool(done)


class _Forward(logging.Handler):
    """pgqueuer's own lines go where ours go, without tracebacks: what a job failed with is kept in the log of jobs."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        log.log(record.levelno, "job_queue", said=record.getMessage(), error=error)


def _take_over_logging() -> None:
    logger = logging.getLogger("pgqueuer")
    logger.handlers[:] = [_Forward()]
    logger.setLevel(logging.WARNING)
    logger.propagate = False
