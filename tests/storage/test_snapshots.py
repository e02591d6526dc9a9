"""Snapshot rows."""

from uuid import uuid4

from storage import snapshots
from storage.pool import Database
from storage.updates import SealedSnapshot


async def test_a_snapshot_that_is_there_stays_as_it_is(database_dsn: str) -> None:
    database = await Database.open(database_dsn, size=2)
    library_id = uuid4()
    async with database.acquire() as connection:
        await snapshots.insert(connection, library_id, SealedSnapshot(3, 1, b"known", b"content"))
        await snapshots.insert(connection, library_id, SealedSnapshot(3, 1, b"other", b"other"))
        await snapshots.insert(connection, library_id, SealedSnapshot(5, 2, b"later", b"later"))
        rows = await connection.fetch(
            "SELECT seq, epoch, sealed_knowledge, sealed FROM snapshots WHERE library_id = $1 ORDER BY 1", library_id
        )
    assert [tuple(row) for row in rows] == [(3, 1, b"known", b"content"), (5, 2, b"later", b"later")]
    await database.close()
