"""What there is to see of the jobs, and what an operator can do to them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from storage.pool import Connection, Record

# A job that waits because it failed before, and one whose process gave no sign for a while, are told from the ordinary.
_STATE = """
    CASE WHEN j.status = 'failed' THEN 'failed'
        WHEN j.status = 'picked' AND j.heartbeat < now() - $1::interval THEN 'stuck'
        WHEN j.status = 'picked' THEN 'running'
        WHEN j.execute_after > now() THEN 'waiting'
        ELSE 'queued' END
"""
_LIST = f"""
    SELECT j.id, j.entrypoint, j.payload, {_STATE} AS state, j.created, j.updated, j.heartbeat, j.execute_after, j.attempts,
        (SELECT count(*) FROM jobs_pgqueuer_log l WHERE l.job_id = j.id AND l.status = 'picked') AS starts,
        (SELECT traceback FROM jobs_pgqueuer_log l WHERE l.job_id = j.id AND traceback IS NOT NULL ORDER BY l.id DESC LIMIT 1) AS trace
    FROM jobs_pgqueuer j WHERE ($2::bigint IS NULL OR j.id = $2) AND ($3::text IS NULL OR {_STATE} = $3)
    ORDER BY j.status = 'failed' DESC, j.id LIMIT $4
"""  # noqa: S608  # constants only
_COUNTS = f"SELECT {_STATE} AS state, count(*) AS number FROM jobs_pgqueuer j GROUP BY 1"  # noqa: S608  # constants only
_HISTORY = """
    SELECT created, status::text AS status, traceback FROM jobs_pgqueuer_log WHERE job_id = $1 ORDER BY id DESC LIMIT $2
"""
# One that runs is left alone; one that is stuck is given to the next process, and its own can do no harm any more.
_RETRY = """
    WITH again AS (
        UPDATE jobs_pgqueuer SET status = 'queued', execute_after = now(), attempts = 0, updated = now(), queue_manager_id = NULL
        WHERE id = $2 AND (status IN ('failed', 'queued') OR heartbeat < now() - $1::interval)
        AND NOT EXISTS (
            SELECT FROM jobs_pgqueuer o WHERE o.dedupe_key = jobs_pgqueuer.dedupe_key AND o.id <> $2 AND o.status IN ('queued', 'picked')
        )
        RETURNING id, entrypoint, priority
    ), logged AS (
        INSERT INTO jobs_pgqueuer_log (job_id, status, entrypoint, priority) SELECT id, 'queued', entrypoint, priority FROM again
    )
    SELECT pg_notify('jobs_ch_pgqueuer', json_build_object('channel', 'jobs_ch_pgqueuer', 'operation', 'update', 'sent_at', now(),
        'table', 'jobs_pgqueuer', 'type', 'table_changed_event')::text) FROM again
"""
_DISCARD = """
    WITH gone AS (
        DELETE FROM jobs_pgqueuer WHERE id = $2 AND (status IN ('failed', 'queued') OR heartbeat < now() - $1::interval)
        RETURNING id, entrypoint, priority
    )
    INSERT INTO jobs_pgqueuer_log (job_id, status, entrypoint, priority) SELECT id, 'deleted', entrypoint, priority FROM gone RETURNING 1
"""
# What tells how often a job was started stays as long as the job.
_PRUNE = """
    DELETE FROM jobs_pgqueuer_log WHERE id = ANY(ARRAY(
        SELECT l.id FROM jobs_pgqueuer_log l WHERE l.created < $1 AND NOT EXISTS (SELECT FROM jobs_pgqueuer j WHERE j.id = l.job_id)
        LIMIT $2
    )) RETURNING 1
"""
_HELD = "SELECT payload FROM jobs_pgqueuer WHERE status = 'failed' AND entrypoint = $1"
HEARTBEAT_SECONDS = 30.0
"""A running job that gave no sign for so long is taken over by another process: its own has died, or is paused."""
STATES = ("queued", "waiting", "running", "stuck", "failed")
"""`waiting`: put back, to be tried again later; `stuck`: its process gives no sign, and nobody has taken it over yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job that is not done yet."""

    id: int
    kind: str
    subject: str
    state: str
    created: datetime
    changed: datetime
    due: datetime
    failures: int
    """Since an operator last sent it off."""
    starts: int
    reason: str
    """Why it was last put back or held; empty when it never was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """A line of a job's history."""

    at: datetime
    status: str
    reason: str
    trace: str


async def jobs(
    connection: Connection, *, stuck_after: timedelta, limit: int, state: str | None = None, job_id: int | None = None
) -> list[JobRecord]:
    """The jobs that are not done, the failed ones first, at most `limit`; only those in `state`, or only `job_id`, if given."""
    return [_record(row) for row in await connection.fetch(_LIST, stuck_after, job_id, state, limit)]


async def counts(connection: Connection, *, stuck_after: timedelta) -> dict[str, int]:
    """How many jobs are in each state."""
    found = {row["state"]: int(row["number"]) for row in await connection.fetch(_COUNTS, stuck_after)}
    return {state: found.get(state, 0) for state in STATES}


async def history(connection: Connection, job_id: int, limit: int) -> Sequence[JobEvent]:
    """What became of a job so far, the latest `limit` lines, oldest first; also of one that is done, until the log is pruned."""
    rows = await connection.fetch(_HISTORY, job_id, limit)
    return [JobEvent(at=row["created"], status=row["status"], **_trace(row["traceback"])) for row in reversed(rows)]


async def retry(connection: Connection, job_id: int, *, stuck_after: timedelta) -> bool:
    """Send a job off again at once, its failures forgotten; False when it runs, is not there, or the same one waits already."""
    return bool(await connection.fetch(_RETRY, stuck_after, job_id))


async def discard(connection: Connection, job_id: int, *, stuck_after: timedelta) -> bool:
    """Remove a job without doing it; False when it runs or is not there."""
    return bool(await connection.fetch(_DISCARD, stuck_after, job_id))


async def held(connection: Connection, kind: str) -> set[str]:
    """The subjects of the jobs of this kind that failed for good and wait for an operator."""
    return {(row["payload"] or b"").decode() for row in await connection.fetch(_HELD, kind)}


async def prune_step(connection: Connection, before: datetime, limit: int) -> bool:
    """Delete lines of the log older than `before`, at most `limit`, but none of a job that is not done; whether there may be more."""
    return len(await connection.fetch(_PRUNE, before, limit)) == limit


def _record(row: Record) -> JobRecord:
    return JobRecord(
        id=row["id"],
        kind=row["entrypoint"],
        subject=(row["payload"] or b"").decode(),
        state=row["state"],
        created=row["created"],
        changed=row["heartbeat"] if row["state"] in ("running", "stuck") else row["updated"],
        due=row["execute_after"],
        failures=row["attempts"],
        starts=row["starts"],
        reason=_trace(row["trace"])["reason"],
    )


def _trace(text: str | None) -> dict[str, str]:
    record = json.loads(text) if text else {}
    kind, message = record.get("exception_type", ""), record.get("exception_message", "")
    # one that was put back tells the cause itself
    reason = message if kind in ("PutBack", "RetryRequested") else f"{kind}: {message}".strip(": ")
    return {"reason": reason, "trace": record.get("traceback", "")}
