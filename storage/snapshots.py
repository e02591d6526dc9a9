"""Snapshots: a library's log folded up to a seq, with what it holds beside it."""

from uuid import UUID

from storage.pool import Connection
from storage.updates import SealedSnapshot

_INSERT = """
    INSERT INTO snapshots (library_id, seq, epoch, sealed_knowledge, sealed) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (library_id, seq) DO NOTHING
"""


async def insert(connection: Connection, library_id: UUID, snapshot: SealedSnapshot) -> None:
    """Store a snapshot; one that is already there for this seq stays as it is."""
    await connection.execute(_INSERT, library_id, snapshot.seq, snapshot.epoch, snapshot.knowledge, snapshot.content)
