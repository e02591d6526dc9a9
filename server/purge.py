"""The purge of deleted libraries: in chunks, each its own short transaction, so that nobody waits for it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from uuid import UUID

import structlog

from storage import libraries, retention
from storage.errors import StorageError
from storage.job_queue import Handler, Job, enqueue
from storage.pool import Connection, Database

log = structlog.get_logger(__name__)

PURGE = "purge"
"""Destroys a library that is marked as deleted; the subject is its id."""
CHUNK_ROWS = 1_000
"""Rows one transaction deletes: about 10 ms, so that the writer's batches are not held up."""
PAUSE_SECONDS = 0.01
"""Left to others between two chunks."""
LOOK_SECONDS = 30.0
"""How often deleted libraries are looked for, besides being told of them."""


class Purge:
    """Destroys what is marked as deleted. Safe in several processes at once, and after any crash."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._awake = asyncio.Event()
        self._awake.set()  # what an earlier process left

    def wake(self) -> None:
        """A library was just deleted."""
        self._awake.set()

    async def run(self) -> None:
        """Purge until cancelled."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._awake.wait(), LOOK_SECONDS)
            self._awake.clear()
            try:
                await self._purge()
            except StorageError as error:
                log.warning("purge_postponed", error=type(error).__name__)
            except Exception as error:  # a damaged row: nobody else's trouble, and no reason to end the process
                log.error("purge_failed", error=type(error).__name__, exc_info=error)

    async def _purge(self) -> None:
        more = True
        while more:
            async with self._database.transaction() as connection:
                more = await libraries.purge_step(connection, CHUNK_ROWS)
            await asyncio.sleep(PAUSE_SECONDS)


async def enqueue_purge(connection: Connection, library_id: UUID) -> None:
    """Have a library destroyed once the caller's transaction, which marks it as deleted, has committed."""
    await enqueue(connection, PURGE, str(library_id))


def purge_library(database: Database) -> Handler:
    """What destroys a library. It may run twice, and in two processes at once."""

    async def purge(job: Job) -> None:
        await chunks(database, lambda connection: retention.purge_step(connection, UUID(job.subject), CHUNK_ROWS))

    return purge


async def chunks(database: Database, step: Callable[[Connection], Awaitable[bool]]) -> None:
    """Run a step, each time in a transaction of its own, until it says that there is no more to do."""
    more = True
    while more:
        async with database.transaction() as connection:
            more = await step(connection)
        await asyncio.sleep(PAUSE_SECONDS)
