"""The purge of deleted libraries, a durable job: in chunks, each its own short transaction, so that nobody waits for it."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

from storage import retention
from storage.job_queue import Handler, Job, enqueue
from storage.pool import Connection, Database

PURGE = "purge"
"""Destroys a library that is marked as deleted; the subject is its id."""
CHUNK_ROWS = 1_000
"""Rows one transaction deletes: about 10 ms, so that the writer's batches are not held up."""
PAUSE_SECONDS = 0.01
"""Left to others between two chunks."""


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
