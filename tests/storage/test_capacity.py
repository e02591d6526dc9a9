"""A database that is too old, or has too few connections, is refused by name."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from storage.capacity import Facts, Unsuitable, facts
from storage.embedded import Embedded
from storage.errors import Unavailable
from tests.support.database import database_named


def test_a_database_that_is_too_old_is_refused_by_its_version() -> None:
    with pytest.raises(Unsuitable, match=r"PostgreSQL 14\.11 \(Debian\); promptsync needs PostgreSQL 15"):
        Facts(major=14, version="14.11 (Debian)", connections=100).check(needed=1)


def test_a_database_with_too_few_connections_is_refused_with_both_numbers_and_the_remedies() -> None:
    with pytest.raises(Unsuitable, match=r"takes 97 connections.* may need 98.*PROMPTSYNC_WORKERS.*max_connections"):
        Facts(major=15, version="15.1", connections=97).check(needed=98)


def test_a_database_that_is_just_enough_is_taken() -> None:
    Facts(major=15, version="15.1", connections=97).check(needed=97)


async def test_what_it_says_of_itself_is_read(database_dsn: str) -> None:
    found = await facts(database_dsn)

    assert found.major == 18
    assert found.version.startswith("18.")
    assert found.connections == 97, "100, and 3 for superusers"


async def test_the_limit_of_the_database_counts_too(database_dsn: str) -> None:
    connection = await asyncpg.connect(database_dsn)
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f'ALTER DATABASE "{name}" CONNECTION LIMIT 7')
    await connection.close()

    assert (await facts(database_dsn)).connections == 7


async def test_a_database_that_is_not_there_is_said_so_without_its_address(database_dsn: str) -> None:
    with pytest.raises(Unavailable, match="cannot connect to the database"):
        await facts(database_named(database_dsn, "nothing"))


def test_the_embedded_one_takes_as_many_as_each_start_asks_for(own_folder: Path) -> None:
    for connections in (40, 150, 20):
        with Embedded(own_folder, durable=False, max_connections=connections) as cluster:
            found = asyncio.run(facts(cluster.start()))
        assert found.connections == connections - 3
