"""Whether the database still commits, as opposed to merely answering."""

from storage.pool import Database

_COMMIT = "UPDATE cluster SET timeline = timeline"


async def prove_commits(database: Database) -> None:
    """Commit something that changes nothing.

    Raises:
        Unavailable: the database does not commit at the moment: away, stalled, full or read-only.
    """
    async with database.transaction() as connection:
        await connection.execute(_COMMIT)
