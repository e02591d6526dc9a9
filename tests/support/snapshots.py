"""Snapshots put into the database by hand, as if compaction had made and verified them."""

from uuid import UUID

from storage import snapshots
from storage.pool import Connection
from storage.updates import SealedSnapshot


async def store_verified(connection: Connection, library_id: UUID, snapshot: SealedSnapshot) -> None:
    """Store a snapshot that is believed from the commit on."""
    assert await snapshots.insert(connection, library_id, snapshot)
    assert await snapshots.verify(connection, library_id, snapshot.seq, snapshot.epoch)
