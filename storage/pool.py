"""Connections to PostgreSQL: a pool for questions and dedicated connections for what must not wait in it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from storage.errors import Unavailable

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
Dedicated: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Record: TypeAlias = asyncpg.Record

CONNECT_SECONDS = 5.0
"""How long one attempt to connect may take before it counts as failed."""
ACQUIRE_SECONDS = 10.0
"""How long a question waits for a free connection before it is answered `Unavailable`."""
CLOSE_SECONDS = 1.0
"""The pool's share of the ten seconds in which a server stops: what is still asked then is cut."""
COMMAND_SECONDS = 30.0
"""How long one statement on the pool may take before it is cancelled."""

_CONNECTION_FAILURES = (
    OSError,
    asyncio.TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.CannotConnectNowError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InternalClientError,
    asyncpg.LockNotAvailableError,
    asyncpg.TransactionRollbackError,
)
_NO_CONNECTION = (*_CONNECTION_FAILURES, asyncpg.PostgresError)
"""While connecting, the server's refusals too: a password that was changed, a database that is being restored."""


_CONTENT_FAILURES = (ValueError, asyncpg.DataError, asyncpg.ProgramLimitExceededError, asyncpg.CheckViolationError)


def is_connection_failure(error: BaseException) -> bool:
    """Whether `error` speaks of the way to the database, or of the whole of it, rather than of what was asked: trying again may succeed.

    A page that cannot be read, a missing file or too little memory for a row does not count: of many things asked at once the others may
    well be done, and would wait for ever for the one. asyncpg's refusal of an argument is an InterfaceError, and a ValueError as well.
    """
    return isinstance(error, (Unavailable, *_CONNECTION_FAILURES)) and not isinstance(error, asyncpg.OutOfMemoryError)


def is_content_failure(error: BaseException) -> bool:
    """Whether the database refuses what was sent for what it is, so that sending it again is useless.

    Anything else that is no connection failure is trouble of the database's own (a damaged page, a disk that fails, a schema that is not
    ours), which an operator may put right: to be told as temporary.
    """
    return isinstance(error, _CONTENT_FAILURES)


class Database:
    """A PostgreSQL database, reached through a bounded pool; broken connections are replaced by themselves."""

    def __init__(self, dsn: str, *, size: int) -> None:
        self._dsn = dsn
        self._pool = asyncpg.create_pool(
            dsn,
            min_size=0,
            max_size=size,
            timeout=CONNECT_SECONDS,
            command_timeout=COMMAND_SECONDS,
            server_settings=_named("promptsync"),
            reset=_keep,
        )

    @classmethod
    async def open(cls, dsn: str, *, size: int = 8) -> "Database":
        """A database that has answered once.

        Raises:
            Unavailable: it cannot be reached.
        """
        database = cls(dsn, size=size)
        await database._pool
        try:
            async with database.acquire() as connection:
                await connection.execute("SELECT 1")
        except BaseException:
            database._pool.terminate()
            raise
        return database

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        """A connection outside any transaction.

        Raises:
            Unavailable: none could be had, or it broke while it was used.
        """
        try:
            # a bound on a wait that there is none costs a fifth of a small question
            connection = await self._pool.acquire(timeout=None if self._pool.get_idle_size() else ACQUIRE_SECONDS)
        except _NO_CONNECTION as error:
            raise Unavailable(type(error).__name__) from error
        try:
            try:
                yield connection
            except asyncio.CancelledError:
                # Giving it back would wait for the answer, and a stalled database's silence would pass for an error in place of this one.
                connection.terminate()
                raise
            finally:
                await self._pool.release(connection, timeout=ACQUIRE_SECONDS)
        except _CONNECTION_FAILURES as error:
            raise Unavailable(type(error).__name__) from error

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection inside a transaction that commits when the block ends well.

        Raises:
            Unavailable: no connection could be had, or it broke; after a broken COMMIT the outcome is unknown.
        """
        async with self.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                yield connection
            except Exception:
                if not connection.is_closed():
                    await transaction.rollback()
                raise
            await transaction.commit()

    async def connect(self, name: str, *, command_seconds: float = COMMAND_SECONDS, **settings: str) -> Dedicated:
        """A connection of the caller's own, outside the pool, named `name` in pg_stat_activity.

        Raises:
            Unavailable: the database cannot be reached.
        """
        try:
            return await asyncpg.connect(
                self._dsn, timeout=CONNECT_SECONDS, command_timeout=command_seconds, server_settings=_named(f"promptsync {name}") | settings
            )
        except _NO_CONNECTION as error:
            raise Unavailable(type(error).__name__) from error

    async def close(self) -> None:
        """Close every pooled connection, waiting up to a second for those in use."""
        try:
            await asyncio.wait_for(self._pool.close(), CLOSE_SECONDS)
        except TimeoutError:
            self._pool.terminate()


async def _keep(connection: object) -> None:
    """Nothing to reset when a connection goes back: no statement here leaves session state, and the question costs a round trip."""


def _named(name: str) -> dict[str, str]:
    return {"application_name": name}
