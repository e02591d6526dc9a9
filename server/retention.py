"""The jobs that time brings about: compacted updates, older snapshots, ended sessions, idempotency keys, abandoned sign-ins, limits'
counters and logs go."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import structlog

from server.config import Settings
from server.idempotency import KEPT_FOR
from server.purge import PURGE, PURGE_ACCOUNT, chunks
from storage import audit, deletion, idempotency, job_records, limit_counters, model_calls, retention, social_states
from storage.errors import StorageError
from storage.job_queue import Job, enqueue
from storage.pool import Connection, Database, is_connection_failure

log = structlog.get_logger(__name__)

SWEEP = "sweep"
"""Looks for libraries with something to purge or to retain, and enqueues a job for each."""
RETAIN = "retain"
"""Trims a library's compacted updates and thins its snapshots; the subject is its id."""
SESSIONS = "sessions"
JOB_LOG = "job_log"
IDEMPOTENCY = "idempotency"
SOCIAL_STATES = "social_states"
AUDIT = "audit"
USAGE = "usage"
LIMIT_COUNTERS = "limit_counters"

TRIM_ROWS = 1_000
"""Updates one transaction deletes: about 10 ms, so that the writer's batches are not held up."""
SNAPSHOT_ROWS = 20
"""Snapshots one transaction deletes; each may be many megabytes."""
PAGE_LIBRARIES = 500
"""Libraries, or accounts, looked at in one question."""
SMALL_ROWS = 1_000
"""Sessions, idempotency keys, counters, calls of models, or lines of a log, that one transaction deletes."""
ENDED_SESSION_DAYS = 30
"""Ended sessions are kept so long, to be looked at when somebody asks who was signed in."""
LOG_DAYS = 7
"""The log of jobs is kept so long; of jobs that are not done, as long as they are."""


class Retention:
    """What does those jobs. Each may run twice, or in two processes at once."""

    def __init__(self, database: Database, settings: Settings, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._trim_after = timedelta(seconds=settings.trim_after_seconds)
        self._usage_kept = timedelta(days=settings.usage_days)
        self._audit_kept = timedelta(days=settings.audit_days)
        self._clock = clock

    async def sweep(self, job: Job) -> None:
        """Enqueue what is due: purges that nobody enqueued, and libraries with something to retain."""
        await self._each_page(partial(retention.libraries_after, deleted=True), partial(self._purge, PURGE))
        await self._each_page(deletion.deleted_after, partial(self._purge, PURGE_ACCOUNT))
        await self._each_page(partial(retention.libraries_after, deleted=False), self._retain_due)

    async def _each_page(
        self, find: Callable[[Connection, UUID, int], Awaitable[list[UUID]]], look: Callable[[list[UUID]], Awaitable[None]]
    ) -> None:
        last = UUID(int=0)
        while True:
            async with self._database.acquire() as connection:
                page = await find(connection, last, PAGE_LIBRARIES)
            if not page:
                return
            await look(page)
            last = page[-1]

    async def _purge(self, kind: str, page: list[UUID]) -> None:
        async with self._database.transaction() as connection:
            await _enqueue_each(connection, kind, page)

    async def _retain_due(self, page: list[UUID]) -> None:
        due = await self._due(page)
        if due:
            async with self._database.transaction() as connection:
                await _enqueue_each(connection, RETAIN, due)

    async def _due(self, page: list[UUID]) -> list[UUID]:
        """Those with something to retain. One that cannot be asked is among them: its own job fails then, and nobody else's."""
        now = self._clock()
        try:
            async with self._database.acquire() as connection:
                return await retention.retainable(connection, page, now, now - self._trim_after)
        except Exception as error:
            if isinstance(error, StorageError) or is_connection_failure(error):
                raise
            if len(page) == 1:
                log.error("library_not_looked_at", library=str(page[0]), error=type(error).__name__)
                return page
            half = len(page) // 2
            return await self._due(page[:half]) + await self._due(page[half:])

    async def retain(self, job: Job) -> None:
        """Trim a library's log by its verified snapshots, then thin its older snapshots."""
        library_id, now = UUID(job.subject), self._clock()
        before = now - self._trim_after

        async def trim(connection: Connection) -> bool:
            return await retention.trim_step(connection, library_id, before, TRIM_ROWS)

        async def thin(connection: Connection) -> bool:
            return await retention.thin_step(connection, library_id, now, before, SNAPSHOT_ROWS)

        await chunks(self._database, trim)
        await chunks(self._database, thin)

    async def sessions(self, job: Job) -> None:
        """Delete the sessions that ended long ago."""
        before = self._clock() - timedelta(days=ENDED_SESSION_DAYS)
        await chunks(self._database, lambda connection: retention.purge_sessions_step(connection, before, SMALL_ROWS))

    async def idempotency(self, job: Job) -> None:
        """Delete the idempotency keys whose time is over, with the answers kept under them."""
        expired = self._clock() - KEPT_FOR
        await chunks(self._database, lambda connection: idempotency.purge_step(connection, expired, SMALL_ROWS))

    async def social_states(self, job: Job) -> None:
        """Delete what is left of sign-ins at other providers that never came back."""
        expired = self._clock()
        await chunks(self._database, lambda connection: social_states.purge_step(connection, expired, SMALL_ROWS))

    async def audit(self, job: Job) -> None:
        """Delete what the audit log has kept long enough."""
        before = self._clock() - self._audit_kept
        await chunks(self._database, lambda connection: audit.purge_step(connection, before, SMALL_ROWS))

    async def usage(self, job: Job) -> None:
        """Delete the calls of models that have been kept long enough."""
        before = self._clock() - self._usage_kept
        await chunks(self._database, lambda connection: model_calls.purge_step(connection, before, SMALL_ROWS))

    async def limit_counters(self, job: Job) -> None:
        """Delete the counters of limits whose window is over."""
        now = self._clock()
        await chunks(self._database, lambda connection: limit_counters.purge_step(connection, now, SMALL_ROWS))

    async def job_log(self, job: Job) -> None:
        """Prune the log of jobs."""
        before = self._clock() - timedelta(days=LOG_DAYS)
        await chunks(self._database, lambda connection: job_records.prune_step(connection, before, SMALL_ROWS))


async def _enqueue_each(connection: Connection, kind: str, subjects: list[UUID]) -> None:
    """Enqueue a job for each library or account that has none; one that was held is the operator's to send off again."""
    held = await job_records.held(connection, kind)
    for subject in subjects:
        if str(subject) not in held:
            await enqueue(connection, kind, str(subject))
            await asyncio.sleep(0)
