"""Updates that decode but break Yrs: kept apart from the log, as it has them, so that trimming the log does not lose them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from storage.pool import Connection

_COPY = """
    INSERT INTO quarantined (library_id, seq, epoch, reason, sealed)
    SELECT u.library_id, u.seq, u.epoch, found.reason, u.sealed
    FROM unnest($2::bigint[], $3::text[]) AS found (seq, reason) JOIN updates AS u ON u.library_id = $1 AND u.seq = found.seq
    ON CONFLICT (library_id, seq) DO NOTHING RETURNING seq
"""
_RAISE_EPOCH = "UPDATE libraries SET epoch = epoch + 1 WHERE id = $1 AND epoch = $2 AND deleted_at IS NULL RETURNING epoch"
_OF_LIBRARY = "SELECT seq, epoch, reason, created_at, sealed FROM quarantined WHERE library_id = $1 ORDER BY seq"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """One update in quarantine: its place in the log, what Yrs did, and its bytes, sealed for that place."""

    seq: int
    epoch: int
    reason: str
    created_at: datetime
    sealed: bytes = field(repr=False)


async def record(connection: Connection, library_id: UUID, epoch: int, reasons: Mapping[int, str]) -> bool:
    """Copy these updates of the log (seq: reason) and put the library into a new epoch, so that every process opens it anew.

    Runs inside the caller's transaction; when it returns False, that is to be rolled back: the library is deleted or in another epoch.
    """
    await connection.fetch(_COPY, library_id, list(reasons), list(reasons.values()))
    # last, so that writers find the row locked for a moment only
    return await connection.fetchval(_RAISE_EPOCH, library_id, epoch) is not None


async def of_library(connection: Connection, library_id: UUID) -> Sequence[Quarantined]:
    """What is quarantined of a library, in the order of the log."""
    return [Quarantined(**row) for row in await connection.fetch(_OF_LIBRARY, library_id)]
