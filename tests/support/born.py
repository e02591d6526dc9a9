"""What a new library has, for tests that count; and libraries from before there was a seed."""

from uuid import UUID

from crdt.library import Library
from crdt.seed import SEED
from crdt.updates import decode_state_vector
from storage.pool import Connection

BORN = 1
"""The head of a new library: the seed is the first row of its log."""
BORN_VECTOR = Library.load(SEED).state_vector()
"""The state vector of a document with the seed alone."""
SEEDED = decode_state_vector(BORN_VECTOR)
"""The same, by client."""
SEED_SPANS = [(client, 0, clock) for client, clock in SEEDED.items()]
"""What it holds: client, first clock, the clock after the last one."""


async def make_older(connection: Connection, library_id: UUID) -> None:
    """Let a new library be as one was made before there was a seed: with an empty log."""
    await connection.execute("DELETE FROM updates WHERE library_id = $1", library_id)
    await connection.execute("UPDATE libraries SET head = 0 WHERE id = $1", library_id)
