"""LISTEN and NOTIFY on a connection of their own: processes on one database tell each other small things.

NOTIFY stands in no transaction that writes data: at its commit it takes a lock that is one for the whole database.
"""

import asyncio
from collections.abc import Callable, Sequence

import asyncpg

from storage.errors import Unavailable
from storage.pool import Database, Dedicated

MAX_TEXT_BYTES = 7999
"""The longest text of a notification; PostgreSQL refuses 8,000 bytes."""
CONNECTION = "bus"
_COMMAND_SECONDS = 5.0

_NOTIFY = "SELECT pg_notify($1, text) FROM unnest($2::text[]) AS said (text)"
_OTHERS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE application_name = current_setting('application_name') AND datname = current_database() AND pid <> pg_backend_pid()
"""


class Notifications:
    """A connection that listens on one channel. What is said on it by others, and by ourselves, is given to `heard` as it comes."""

    def __init__(self, connection: Dedicated, channel: str) -> None:
        self._connection = connection
        self._channel = channel
        self._ended = asyncio.Event()
        self._asking = asyncio.Lock()  # a connection takes one question at a time, and refuses a second one

    @classmethod
    async def listen(cls, database: Database, channel: str, heard: Callable[[str], None]) -> "Notifications":
        """Connect and listen; in effect when it returns.

        Raises:
            Unavailable: the database cannot be reached.
        """
        # A notification's commit would wait for the disk though nothing of it is kept there.
        connection = await database.connect(CONNECTION, command_seconds=_COMMAND_SECONDS, synchronous_commit="off")
        notifications = cls(connection, channel)
        connection.add_termination_listener(lambda _: notifications._ended.set())
        try:
            await connection.add_listener(channel, lambda _connection, _pid, _channel, text: heard(str(text)))
        except BaseException as error:
            connection.terminate()
            if isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError | OSError | TimeoutError):
                raise Unavailable(type(error).__name__) from error
            raise
        return notifications

    async def notify(self, texts: Sequence[str]) -> None:
        """Say these texts, in this order, each of at most `MAX_TEXT_BYTES`. Who listens hears them soon after.

        Raises:
            Unavailable: the connection is broken, or PostgreSQL takes no more (a listener that reads nothing for long fills its queue).
        """
        try:
            async with self._asking:
                await self._connection.execute(_NOTIFY, self._channel, list(texts))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise Unavailable(type(error).__name__) from error

    async def others(self) -> int:
        """How many other connections of this kind the database has.

        Raises:
            Unavailable: the connection is broken.
        """
        try:
            async with self._asking:
                return int(await self._connection.fetchval(_OTHERS))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise Unavailable(type(error).__name__) from error

    async def ended(self) -> None:
        """Wait until the connection is gone."""
        await self._ended.wait()

    def close(self) -> None:
        """Break the connection off: nothing on it is worth waiting for."""
        self._connection.terminate()
