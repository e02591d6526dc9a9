"""A worker process for tests: the real runner at a quick pace, with jobs that note, wait, fail, and kill their process.

`python -m tests.support.job_worker DSN HEARTBEAT_SECONDS` runs until SIGTERM. What its jobs did is in the table `noted`.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import uuid4

from server.config import Settings, load_settings
from server.jobs import Jobs, handlers_on
from server.logs import configure_logs
from server.times import utc_now
from storage import job_records
from storage.errors import Unavailable
from storage.job_queue import Handler, Job, Pace, enqueue
from storage.job_records import JobRecord
from storage.pool import Database
from tests.support.core import eventually
from tests.support.server import ROOT

HEARTBEAT_SECONDS = 1.0
NOTED = "CREATE TABLE IF NOT EXISTS noted (id bigserial, pid int, job bigint, kind text, subject text, what text)"
NOTE = "INSERT INTO noted (pid, job, kind, subject, what) VALUES ($1, $2, $3, $4, $5)"


@dataclass(frozen=True)
class Ground:
    """What a runner stands on."""

    database: Database
    settings: Settings = field(default_factory=load_settings)
    clock: Callable[[], datetime] = utc_now


def handlers(database: Database) -> dict[str, Handler]:
    """The real jobs, and those made for tests."""

    async def note(job: Job, what: str = "ran") -> None:
        async with database.acquire() as connection:
            await connection.execute(NOTE, os.getpid(), job.id, job.kind, job.subject, what)

    async def wait(job: Job) -> None:
        """Waits until the test says `go` to this subject."""
        await note(job, "began")
        while True:
            async with database.acquire() as connection:
                if await connection.fetchval("SELECT EXISTS (SELECT FROM noted WHERE kind = 'go' AND subject = $1)", job.subject):
                    break
            await asyncio.sleep(0.02)
        await note(job, "ended")

    async def die(job: Job) -> None:
        await note(job, "began")
        os.kill(os.getpid(), signal.SIGKILL)

    async def fail(job: Job) -> None:
        await note(job)
        raise ValueError(f"cannot do {job.subject} \0 \ud800")

    return handlers_on(Ground(database)) | {"note": note, "wait": wait, "die": die, "fail": fail}


class WorkerProcess:
    """A worker in a process of its own, ended with the test."""

    def __init__(self, dsn: str, heartbeat_seconds: float, env: Mapping[str, str]) -> None:
        command = [sys.executable, "-m", "tests.support.job_worker", dsn, str(heartbeat_seconds)]
        self.process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **env}, stdin=subprocess.DEVNULL)

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def terminate(self) -> int:
        """SIGTERM, and its exit code."""
        self.process.terminate()
        return self.process.wait(10)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()


class Bench:
    """A database with jobs in it, and who works on them."""

    def __init__(self, dsn: str, database: Database) -> None:
        self.dsn = dsn
        self.database = database
        self.workers: list[WorkerProcess] = []

    def worker(self, *, heartbeat_seconds: float = HEARTBEAT_SECONDS, env: Mapping[str, str] | None = None) -> WorkerProcess:
        """Start a worker process."""
        self.workers.append(WorkerProcess(self.dsn, heartbeat_seconds, env or {}))
        return self.workers[-1]

    async def enqueue(self, kind: str, subject: str | None = None) -> str:
        """Enqueue a job; its subject."""
        subject = uuid4().hex if subject is None else subject
        async with self.database.transaction() as connection:
            assert await enqueue(connection, kind, subject)
        return subject

    async def noted(self, subject: str, what: str) -> list[int]:
        """The process ids that noted this."""
        async with self.database.acquire() as connection:
            rows = await connection.fetch("SELECT pid FROM noted WHERE subject = $1 AND what = $2 ORDER BY id", subject, what)
        return [row["pid"] for row in rows]

    async def until_noted(self, subject: str, what: str, times: int = 1, within: float = 20.0) -> list[int]:
        """Wait until it was noted so often; by whom."""

        async def noted() -> bool:
            with suppress(Unavailable):  # its connections may be among those that the test breaks
                return len(await self.noted(subject, what)) >= times
            return False

        await eventually(noted, f"{what!r} of {subject}, {times} times", within=within)
        return await self.noted(subject, what)

    async def go(self, subject: str) -> None:
        """Let what waits come to its end."""
        await self.execute("INSERT INTO noted (kind, subject) VALUES ('go', $1)", subject)

    async def execute(self, statement: str, *arguments: object) -> str:
        async with self.database.acquire() as connection:
            return str(await connection.execute(statement, *arguments))

    async def record(self, subject: str, *, heartbeat_seconds: float = HEARTBEAT_SECONDS) -> JobRecord | None:
        """The job as an operator sees it, or None when it is done."""
        async with self.database.acquire() as connection:
            found = await job_records.jobs(connection, stuck_after=timedelta(seconds=heartbeat_seconds), limit=1000)
        return next((record for record in found if record.subject == subject), None)

    async def until_state(self, subject: str, state: str | None, within: float = 20.0) -> JobRecord | None:
        """Wait until the job is in this state, or (None) done."""

        async def reached() -> bool:
            record = await self.record(subject)
            return (record.state if record else None) == state

        await eventually(reached, f"{state or 'the end'} of the job {subject}", within=within)
        return await self.record(subject)


@asynccontextmanager
async def bench(dsn: str) -> AsyncIterator[Bench]:
    """A bench on this database; its workers end with it."""
    database = await Database.open(dsn, size=4)
    made = Bench(dsn, database)
    try:
        await made.execute(NOTED)
        yield made
    finally:
        for worker in made.workers:
            worker.close()
        await database.close()


async def main(dsn: str, heartbeat_seconds: float) -> None:
    """Work until SIGTERM."""
    configure_logs("warning", json=False)
    database = await Database.open(dsn, size=4)
    jobs = Jobs(Ground(database), pace=Pace(heartbeat_seconds, 0.2, 4), handlers=handlers(database), schedules={})
    work = asyncio.create_task(jobs.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.cancel)
    await asyncio.wait((work,))
    if not work.cancelled():
        work.result()
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
