"""The libraries' rows, and how a library is marked as deleted."""

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import libraries, updates, users
from storage.cipher import library_key_place, update_place
from storage.errors import SealBroken
from storage.libraries import Role, draw_client_id
from storage.pool import Connection, Database
from storage.users import NewUser
from tests.support.rest import new_keyring

NOW = datetime(2026, 11, 22, tzinfo=UTC)
KEYRING = new_keyring()
FIRST = b"the first update"


@pytest.fixture
async def database(database_dsn: str) -> AsyncIterator[Database]:
    opened = await Database.open(database_dsn, size=6)
    yield opened
    await opened.close()


async def user(connection: Connection) -> UUID:
    user_id = uuid4()
    email = f"{user_id.hex}@example.com"
    await users.create(
        connection,
        NewUser(
            id=user_id,
            email=email,
            email_key=email,
            name="a",
            password_hash="hash",
            library_id=uuid4(),
            wrapped_key=b"wrapped",
            key_id="k1",
            created_at=NOW,
        ),
    )
    return user_id


async def library(connection: Connection, owner_id: UUID, name: str = "n", now: datetime = NOW) -> UUID:
    new = libraries.new(library_id=uuid4(), owner_id=owner_id, name=name, first_update=FIRST, keyring=KEYRING, random=os.urandom, now=now)
    return (await libraries.create(connection, new)).id


async def fill(connection: Connection, library_id: UUID, *, updates: int, snapshots: int) -> None:
    """So many in all, with the one it was made with."""
    await connection.execute(
        "INSERT INTO updates (library_id, seq, epoch, sealed) SELECT $1, n, 1, 'x' FROM generate_series(2, $2::int) n", library_id, updates
    )
    await connection.execute(
        "INSERT INTO snapshots (library_id, seq, epoch, sealed_knowledge, sealed)"
        " SELECT $1, n, 1, 'x', 'x' FROM generate_series(1, $2::int) n",
        library_id,
        snapshots,
    )


async def rows_of(connection: Connection, library_id: UUID) -> tuple[int, int, int, int]:
    updates = await connection.fetchval("SELECT count(*) FROM updates WHERE library_id = $1", library_id)
    snapshots = await connection.fetchval("SELECT count(*) FROM snapshots WHERE library_id = $1", library_id)
    members = await connection.fetchval("SELECT count(*) FROM members WHERE library_id = $1", library_id)
    return updates, snapshots, members, await connection.fetchval("SELECT count(*) FROM libraries WHERE id = $1", library_id)


@given(st.binary(min_size=4, max_size=4))
def test_the_servers_client_id_is_one_that_yjs_could_draw(random: bytes) -> None:
    assert 2**31 <= draw_client_id(lambda count: random[:count]) < 2**32


def test_a_new_library_has_a_key_bound_to_it() -> None:
    new = libraries.new(library_id=uuid4(), owner_id=uuid4(), name="n", first_update=FIRST, keyring=KEYRING, random=os.urandom, now=NOW)
    key = KEYRING.unwrap(new.key_id, new.wrapped_key, library_key_place(new.id))
    assert key.open(key.seal(b"x", b"place"), b"place") == b"x"
    assert str(new.wrapped_key) not in repr(new)


async def test_a_new_library_is_stored_with_its_first_update_sealed_for_its_place(database: Database) -> None:
    async with database.acquire() as connection:
        owner = await user(connection)
        library_id, other_id = await library(connection, owner), await library(connection, owner)
        seen = await libraries.for_user(connection, library_id, owner)
        loaded = await updates.load(connection, library_id, content=True)
        session = await connection.fetchval("SELECT session_id FROM updates WHERE library_id = $1", library_id)
    assert seen is not None
    assert (seen.head, seen.epoch, session) == (1, 1, None)
    (row,) = loaded.tail
    assert (row.seq, row.epoch, FIRST in row.sealed) == (1, 1, False)
    key = KEYRING.unwrap(loaded.key_id, loaded.wrapped_key, library_key_place(library_id))
    assert key.open(row.sealed, update_place(library_id, 1, 1)) == FIRST
    for place in (update_place(library_id, 1, 2), update_place(library_id, 2, 1), update_place(other_id, 1, 1)):
        with pytest.raises(SealBroken):
            key.open(row.sealed, place)


async def test_members_see_their_libraries_with_their_role(database: Database) -> None:
    async with database.acquire() as connection:
        owner, viewer, stranger = [await user(connection) for _ in range(3)]
        await library(connection, owner, "second", NOW + timedelta(seconds=1))
        first = await library(connection, owner, "first")
        await connection.execute("INSERT INTO members (library_id, user_id, role) VALUES ($1, $2, 'viewer')", first, viewer)

        assert [(found.name, found.role) for found in await libraries.of_user(connection, owner)] == [
            ("first", Role.OWNER),
            ("second", Role.OWNER),
        ]
        seen = await libraries.for_user(connection, first, viewer)
        assert seen is not None
        assert (seen.role, seen.owner_id) == (Role.VIEWER, owner)
        assert await libraries.for_user(connection, first, stranger) is None
        assert await libraries.for_user(connection, uuid4(), owner) is None
        assert await libraries.count_of_owner(connection, owner) == 2


async def test_a_marked_library_is_hidden_and_still_there(database: Database) -> None:
    async with database.acquire() as connection:
        owner = await user(connection)
        doomed, kept = await library(connection, owner), await library(connection, owner)
        await fill(connection, doomed, updates=3, snapshots=1)
        assert await libraries.mark_deleted(connection, doomed, now=NOW)
        assert not await libraries.mark_deleted(connection, doomed, now=NOW)
        assert await libraries.for_user(connection, doomed, owner) is None
        assert [found.id for found in await libraries.of_user(connection, owner)] == [kept]
        assert await rows_of(connection, doomed) == (3, 1, 1, 1)


async def test_marking_waits_for_a_writer_and_lets_none_in_after_it(database: Database) -> None:
    async with database.acquire() as connection:
        owner = await user(connection)
        doomed = await library(connection, owner)
    async with database.acquire() as marker:
        async with database.transaction() as writer:
            await writer.execute("SELECT FROM libraries WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE", doomed)
            marking = asyncio.create_task(libraries.mark_deleted(marker, doomed, now=NOW))
            done, _ = await asyncio.wait({marking}, timeout=0.1)
            assert not done
            await fill(writer, doomed, updates=2, snapshots=0)
        assert await marking
    async with database.acquire() as connection:
        assert await connection.fetch("SELECT FROM libraries WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE", doomed) == []
