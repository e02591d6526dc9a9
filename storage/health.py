"""Whether the database still commits, as opposed to merely answering."""

import asyncpg

from storage.errors import Unavailable
from storage.pool import Database

_COMMIT = "UPDATE cluster SET timeline = timeline"


async def prove_commits(database: Database) -> None:
    """Commit something that changes nothing.

    Raises:
        Unavailable: the database does not commit at the moment: away, stalled, full, read-only or damaged.
    """
    try:
        async with database.transaction() as connection:
            await connection.execute(_COMMIT)
    except asyncpg.PostgresError as error:
        raise Unavailable(type(error).__name__) from error
