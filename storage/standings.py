"""What live sessions are to the libraries they have open: one question for all sockets of a process."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from storage.libraries import Role
from storage.pool import Connection, Record
from storage.updates import Place

_STANDINGS = """
    SELECT asked.session_id, asked.library_id, m.role, l.head, l.epoch
    FROM unnest($1::uuid[], $2::uuid[]) AS asked (session_id, library_id)
    JOIN sessions AS s ON s.id = asked.session_id
        AND s.revoked_at IS NULL AND s.idle_expires_at > now() AND s.expires_at > now()
    JOIN users AS u ON u.id = s.user_id AND u.disabled_at IS NULL
    LEFT JOIN libraries AS l ON l.id = asked.library_id AND l.deleted_at IS NULL
    LEFT JOIN members AS m ON m.library_id = l.id AND m.user_id = s.user_id
"""


@dataclass(frozen=True, slots=True)
class Standing:
    """A live session's role in a library, or None when it is no member; and where its log stands, None once it is deleted."""

    role: Role | None
    place: Place | None


async def standings(connection: Connection, pairs: Iterable[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID], Standing]:
    """For each (session, library) whose session still lives, what it is to the library now. Ended sessions are absent."""
    asked = list(pairs)
    rows = await connection.fetch(_STANDINGS, [session for session, _ in asked], [library for _, library in asked])
    return {(row["session_id"], row["library_id"]): _standing(row) for row in rows}


def _standing(row: Record) -> Standing:
    place = Place(row["head"], row["epoch"]) if row["head"] is not None else None
    return Standing(Role(row["role"]) if row["role"] else None, place)
