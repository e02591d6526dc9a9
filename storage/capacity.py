"""Whether a PostgreSQL is one that this server can run on: new enough, and with room for its connections."""

from dataclasses import dataclass

import asyncpg

from storage.errors import StorageError, Unavailable

OLDEST_VERSION = 15
_CONNECT_SECONDS = 10.0

# Limits of -1 are none. What others hold at the moment is not counted: a server that is being replaced still holds its own.
_FACTS = """
    SELECT current_setting('server_version_num')::int / 10000 AS major, current_setting('server_version') AS version, least(
        current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
            - coalesce(current_setting('reserved_connections', true), '0')::int,
        (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user),
        (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database())
    ) AS connections
"""


class Unsuitable(StorageError):
    """This PostgreSQL cannot be used as it is; the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a PostgreSQL says of itself."""

    major: int
    version: str
    connections: int
    """How many this role may have to this database."""

    def check(self, *, needed: int) -> None:
        """Raise Unsuitable unless it is new enough and takes `needed` connections."""
        if self.major < OLDEST_VERSION:
            raise Unsuitable(f"the database is PostgreSQL {self.version}; promptsync needs PostgreSQL {OLDEST_VERSION} or newer")
        if self.connections < needed:
            raise Unsuitable(
                f"the database takes {self.connections} connections, and this server may need {needed}: lower PROMPTSYNC_WORKERS or "
                "PROMPTSYNC_DATABASE_POOL, or raise PostgreSQL's max_connections (or the limit of its role or database)"
            )


async def facts(dsn: str) -> Facts:
    """Ask it. Raises Unavailable when it cannot be reached."""
    try:
        connection = await asyncpg.connect(dsn, timeout=_CONNECT_SECONDS)
        try:
            row = await connection.fetchrow(_FACTS)
        finally:
            await connection.close()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        said = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise Unavailable(f"cannot connect to the database: {said}") from error
    assert row is not None  # noqa: S101  # a SELECT without FROM yields one row
    return Facts(**row)
