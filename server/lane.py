"""A lane: one connection to the database that stores batches, renewed whenever it breaks."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import structlog

from server import metrics
from storage.backends import Backend, backend_of
from storage.pool import Database, Dedicated, is_connection_failure

log = structlog.get_logger(__name__)

RECONNECT_SECONDS = (0.05, 1.0)
"""First and longest wait between attempts to reach the database again; it doubles in between."""
COMMAND_SECONDS = {"small": 15.0, "large": 120.0}
"""A statement that takes longer counts as a broken connection. A row of 128 MB takes a while to reach a database across a network."""
IDLE_IN_TRANSACTION = {"small": "1s", "large": "10s"}
"""PostgreSQL ends a transaction whose process paused inside it for so long, and frees the row locks."""


class Lane:
    """One connection that stores batches, renewed whenever it breaks."""

    def __init__(self, name: str, database: Database, connected: Callable[[], Awaitable[None]]) -> None:
        self.name = name
        self._database = database
        self._connected = connected
        self._connection: Dedicated | None = None
        self._backend = Backend(0, datetime.min.replace(tzinfo=UTC))
        self.failing_since = 0.0
        """Since when (Unix time) nothing could be stored over it; 0 while all is well, or nothing has been tried."""

    async def connection(self) -> Dedicated:
        """A working connection, for which it waits as long as it takes."""
        wait, longest = RECONNECT_SECONDS
        while self._connection is None or self._connection.is_closed():
            try:
                connection = await self._database.connect(
                    self.name,
                    command_seconds=COMMAND_SECONDS[self.name],
                    idle_in_transaction_session_timeout=IDLE_IN_TRANSACTION[self.name],
                )
                try:
                    self._backend = await backend_of(connection)
                    await self._connected()
                except BaseException:
                    connection.terminate()
                    raise
                self._connection = connection
            except Exception as error:
                if not is_connection_failure(error):
                    raise
                log.warning("database_unreachable", lane=self.name, error=type(error).__name__)
                self.fails(time.time())
                await asyncio.sleep(wait)
                wait = min(wait * 2, longest)
        return self._connection

    def fails(self, since: float) -> None:
        """What was begun then has not been stored, and is tried again."""
        if not self.failing_since:
            self.failing_since = since
            metrics.storing_failed_since.labels(self.name).set(since)

    def works(self) -> None:
        """What was to be stored is settled."""
        if self.failing_since:
            log.warning("storing_again", lane=self.name, after_seconds=round(time.time() - self.failing_since, 1))
            self.failing_since = 0.0
            metrics.storing_failed_since.labels(self.name).set(0)

    def abandon(self) -> Backend:
        """Let go of a connection that cannot be trusted any more; which backend served it."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
        return self._backend
