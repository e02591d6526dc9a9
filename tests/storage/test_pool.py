"""Connections: bounded, replaced when they break, and every way of being away is `Unavailable`."""

import asyncio
from collections.abc import Callable

import asyncpg
import pytest

from storage import pool
from storage.errors import Conflict, Unavailable
from storage.health import prove_commits
from storage.pool import Database, is_connection_failure, is_content_failure
from tests.support.cutting_proxy import cutting_proxy
from tests.support.database import database_named


async def test_a_transaction_commits_when_its_block_ends_well_and_only_then(database_dsn: str) -> None:
    database = await Database.open(database_dsn, size=2)
    async with database.acquire() as connection:
        await connection.execute("CREATE TABLE t (n int)")
    async with database.transaction() as connection:
        await connection.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(ValueError, match="no"):
        await _insert_and_fail(database)
    task = asyncio.create_task(_insert_and_wait(database))
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.wait({task})
    async with database.acquire() as connection:
        assert [row["n"] for row in await connection.fetch("SELECT n FROM t")] == [1]
    await database.close()


async def _insert_and_fail(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute("INSERT INTO t VALUES (2)")
        raise ValueError("no")


async def _insert_and_wait(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute("INSERT INTO t VALUES (3)")
        await connection.execute("SELECT pg_sleep(10)")


async def test_a_question_that_finds_no_free_connection_in_time_is_unavailable(database_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "ACQUIRE_SECONDS", 0.05)
    database = await Database.open(database_dsn, size=1)
    async with database.acquire():
        with pytest.raises(Unavailable):
            async with database.acquire():
                pass
    async with database.acquire() as connection:
        assert await connection.fetchval("SELECT 1") == 1
    await database.close()


async def test_a_broken_connection_is_unavailable_once_and_then_replaced(database_dsn: str) -> None:
    async with cutting_proxy(database_dsn) as proxy:
        database = await Database.open(proxy.dsn, size=2)
        with pytest.raises(Unavailable):
            await _ask_amid(database, proxy.cut_all)
        await prove_commits(database)
        proxy.refusing = True
        proxy.cut_all()
        for _ in range(3):
            with pytest.raises(Unavailable):
                await prove_commits(database)
        with pytest.raises(Unavailable):
            await database.connect("test")
        proxy.refusing = False
        await prove_commits(database)
        await database.close()


async def _ask_amid(database: Database, trouble: Callable[[], None]) -> None:
    async with database.acquire() as connection:
        trouble()
        await connection.execute("SELECT 1")


async def test_whatever_refuses_a_connection_is_unavailable(database_dsn: str) -> None:
    with pytest.raises(Unavailable):
        await Database.open(database_named(database_dsn, "nowhere"))
    with pytest.raises(Unavailable):
        await Database(database_named(database_dsn, "nowhere"), size=1).connect("test")


async def test_a_dedicated_connection_has_its_name_and_settings(database_dsn: str) -> None:
    database = await Database.open(database_dsn, size=1)
    connection = await database.connect("small", idle_in_transaction_session_timeout="1s")
    assert await connection.fetchval("SHOW application_name") == "promptsync small"
    assert await connection.fetchval("SHOW idle_in_transaction_session_timeout") == "1s"
    await connection.close()
    await database.close()


@pytest.mark.parametrize(
    ("error", "retried"),
    [
        (Unavailable(), True),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (asyncpg.AdminShutdownError("x"), True),
        (asyncpg.DeadlockDetectedError("x"), True),
        (asyncpg.DiskFullError("x"), True),
        (asyncpg.ReadOnlySQLTransactionError("x"), True),
        (asyncpg.CheckViolationError("x"), False),
        (asyncpg.UniqueViolationError("x"), False),
        (asyncpg.UndefinedTableError("x"), False),
        (Conflict("x"), False),
        (ValueError("x"), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_what_speaks_of_the_way_to_the_database_is_told_from_what_was_asked(error: Exception, retried: bool) -> None:
    assert is_connection_failure(error) is retried


@pytest.mark.parametrize(
    ("error", "connection", "content"),
    [
        (asyncpg.DiskFullError("53100"), True, False),
        (asyncpg.TooManyConnectionsError("53300"), True, False),
        (asyncpg.ReadOnlySQLTransactionError("25006"), True, False),
        (asyncpg.AdminShutdownError("57P01"), True, False),
        (TimeoutError(), True, False),
        (asyncpg.OutOfMemoryError("53200"), False, False),
        (asyncpg.PostgresIOError("58030"), False, False),
        (asyncpg.PostgresSystemError("58000"), False, False),
        (asyncpg.UndefinedFileError("58P01"), False, False),
        (asyncpg.DataCorruptedError("XX001"), False, False),
        (asyncpg.InsufficientPrivilegeError("42501"), False, False),  # what a read-only file system is called
        (asyncpg.UniqueViolationError("23505"), False, False),
        (asyncpg.CharacterNotInRepertoireError("22021"), False, True),
        (asyncpg.ProgramLimitExceededError("54000"), False, True),
        (asyncpg.CheckViolationError("23514"), False, True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_way_to_the_database_its_own_trouble_and_content_are_told_apart(error: Exception, connection: bool, content: bool) -> None:
    assert (is_connection_failure(error), is_content_failure(error)) == (connection, content)


async def test_an_argument_that_cannot_be_sent_is_no_reason_to_try_again(database_dsn: str) -> None:
    database = await Database.open(database_dsn, size=1)
    with pytest.raises(asyncpg.DataError) as refused:
        async with database.acquire() as connection:
            await connection.fetchval("SELECT $1::bigint", 1 << 70)
    assert is_content_failure(refused.value)
    assert not is_connection_failure(refused.value)
    await database.close()
