"""The purge of deleted libraries and accounts, durable jobs: in chunks, each its own short transaction, so that nobody waits for it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from uuid import UUID

from storage import deletion, model_calls, retention
from storage.job_queue import Handler, Job, enqueue
from storage.pool import Connection, Database

PURGE = "purge"
"""Destroys a library that is marked as deleted; the subject is its id."""
PURGE_ACCOUNT = "purge_account"
"""Destroys what a deleted account owned, and then its row; the subject is the user's id."""
CHUNK_ROWS = 1_000
"""Rows one transaction deletes: about 10 ms, so that the writer's batches are not held up."""
PAGE_LIBRARIES = 100
"""Libraries of a deleted account that are looked for in one question."""
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


async def enqueue_account_purge(connection: Connection, user_id: UUID) -> None:
    """Have the rows of an account removed once the caller's transaction, which destroys the account, has committed."""
    await enqueue(connection, PURGE_ACCOUNT, str(user_id))


def purge_account(database: Database, clock: Callable[[], datetime]) -> Handler:
    """What removes a deleted account. It may run twice, and in two processes at once; one that is not deleted is left alone."""

    async def purge(job: Job) -> None:
        user_id = UUID(job.subject)
        libraries = await _libraries_left(database, user_id, clock())
        while libraries:
            for library_id in libraries:
                await chunks(database, partial(retention.purge_step, library_id=library_id, limit=CHUNK_ROWS))
            libraries = await _libraries_left(database, user_id, clock())
        await chunks(database, partial(model_calls.purge_user_step, user_id=user_id, limit=CHUNK_ROWS))
        async with database.transaction() as connection:
            await deletion.remove(connection, user_id)

    return purge


async def _libraries_left(database: Database, user_id: UUID, now: datetime) -> list[UUID]:
    async with database.transaction() as connection:
        if not await deletion.is_marked(connection, user_id):
            return []
        # one that was being made while the account was deleted
        await deletion.destroy_libraries(connection, user_id, now=now)
        return await deletion.libraries_left(connection, user_id, PAGE_LIBRARIES)


async def chunks(database: Database, step: Callable[[Connection], Awaitable[bool]]) -> None:
    """Run a step, each time in a transaction of its own, until it says that there is no more to do."""
    more = True
    while more:
        async with database.transaction() as connection:
            more = await step(connection)
        await asyncio.sleep(PAUSE_SECONDS)
