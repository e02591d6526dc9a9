"""Server processes of PostgreSQL, one a connection: named, so that one whose connection broke can be ended for certain.

A statement whose connection broke may still be running, or wait to be read, and take effect later. Once its backend is gone it
cannot, and what is in the tables then is final.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from storage.pool import Connection

_OWN = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
_END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2"
_LOOK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Backend:
    """A backend by its process id and the time it was started, since ids are used again."""

    pid: int
    started: datetime


async def backend_of(connection: Connection) -> Backend:
    """The backend that serves this connection."""
    row = await connection.fetchrow(_OWN)
    assert row is not None  # noqa: S101  # it is running this statement
    return Backend(row["pid"], row["backend_start"])


async def end(connection: Connection, backend: Backend) -> None:
    """End a backend of our own role and wait until it is gone; at once when it is gone already, or PostgreSQL has restarted."""
    while await connection.fetch(_END, backend.pid, backend.started):  # noqa: ASYNC110  # nobody tells us
        await asyncio.sleep(_LOOK_SECONDS)
