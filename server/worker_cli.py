"""`promptsync worker`: background jobs in a process of their own, without a port. The runner is imported when it is needed."""

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import structlog
import typer

from server.config import Settings
from server.database import MIGRATIONS, reachable_dsn
from server.terminal import explained, settings_of_terminal
from server.times import utc_now
from storage import schema
from storage.pool import Database

log = structlog.get_logger(__name__)

SPARE_CONNECTIONS = 2
"""Beside one for each job that runs: for the queue and for heartbeats. One more, outside the pool, listens."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What jobs need. No keys: they destroy and tidy up, and open nothing."""

    database: Database
    settings: Settings
    clock: Callable[[], datetime] = utc_now


def worker(
    at_once: Annotated[int, typer.Option(min=2, max=32, help="Jobs run side by side; each uses a connection while it works.")] = 2,
) -> None:
    """Run background jobs only: purges of deleted libraries, retention, pruning, mails. Until SIGTERM or Ctrl-C.

    `serve` runs them too, unless PROMPTSYNC_JOBS is false; with several servers, set that and run a worker or two, so that
    large purges take nothing from the sockets. Any number of workers may run on one database. One that is killed loses
    nothing: its jobs are taken over within half a minute. It needs the database, and neither the key file nor a port.
    """
    with explained():
        settings = settings_of_terminal()
        with reachable_dsn(settings) as dsn:
            asyncio.run(work(settings, dsn, at_once))


async def work(settings: Settings, dsn: str, at_once: int) -> None:
    """Run jobs until SIGTERM or SIGINT.

    Raises:
        SchemaMismatch: the database is not of this version.
        Unavailable: it cannot be reached; once it was, it is waited for.
    """
    from server.jobs import Jobs
    from storage.job_queue import Pace

    await schema.check(dsn, MIGRATIONS)
    database = await Database.open(dsn, size=at_once + SPARE_CONNECTIONS)
    try:
        jobs = asyncio.create_task(Jobs(Ground(database, settings), pace=Pace(at_once=at_once)).run())
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, jobs.cancel)
        typer.echo("promptsync worker runs background jobs; see them with `promptsync jobs list`. Stop with Ctrl-C.")
        await asyncio.wait((jobs,))
        if not jobs.cancelled():
            await jobs
    finally:
        await database.close()
