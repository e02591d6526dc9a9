"""What live sessions are to the libraries they have open: one question for all sockets of a process."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from storage.libraries import Role
from storage.pool import Connection

_STANDINGS = """
    SELECT asked.session_id, asked.library_id, m.role, l.id IS NOT NULL AS exists
    FROM unnest($1::uuid[], $2::uuid[]) AS asked (session_id, library_id)
    JOIN sessions AS s ON s.id = asked.session_id
        AND s.revoked_at IS NULL AND s.idle_expires_at > now() AND s.expires_at > now()
    JOIN users AS u ON u.id = s.user_id AND u.disabled_at IS NULL
    LEFT JOIN libraries AS l ON l.id = asked.library_id AND l.deleted_at IS NULL
    LEFT JOIN members AS m ON m.library_id = l.id AND m.user_id = s.user_id
"""


@dataclass(frozen=True, slots=True)
class Standing:
    """A live session's role in a library, or None when it is no member; `exists` is false once the library is deleted."""

    role: Role | None
    exists: bool


async def standings(connection: Connection, pairs: Iterable[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID], Standing]:
    """For each (session, library) whose session still lives, what it is to the library now. Ended sessions are absent."""
    asked = list(pairs)
    rows = await connection.fetch(_STANDINGS, [session for session, _ in asked], [library for _, library in asked])
    return {(row["session_id"], row["library_id"]): Standing(Role(row["role"]) if row["role"] else None, row["exists"]) for row in rows}
