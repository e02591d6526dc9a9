"""The audit log: written with what it tells or not at all, and never changed."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from storage import audit
from storage.audit import NewEntry
from storage.pool import Database

NOW = datetime.now(UTC)


async def note(database: Database, *, user_id: UUID | None = None, event: str = "e", at: datetime = NOW, **details: object) -> None:
    async with database.transaction() as connection:
        await audit.append(connection, NewEntry(at=at, event=event, user_id=user_id, details=details))


async def test_what_is_noted_is_read_back_as_it_was(database: Database) -> None:
    new = NewEntry(
        at=NOW,
        event="e",
        user_id=uuid4(),
        actor="admin",
        actor_id=uuid4(),
        session_id=uuid4(),
        address="2001:db8::1",
        user_agent="ein Gerät\n📱",
        target="t",
        details={"method": "password", "ended": 3, "none": None},
    )
    async with database.transaction() as connection:
        await audit.append(connection, new)
        (read,) = await audit.page(connection, limit=10)
    assert NewEntry(**{name: getattr(read, name) for name in NewEntry.__slots__}) == new


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET event = 'x'",
        "UPDATE audit SET at = at - interval '1 year'",
        "DELETE FROM audit",
        "DELETE FROM audit WHERE at > now() - interval '29 days'",
        "TRUNCATE audit",
        "TRUNCATE audit CASCADE",
    ],
)
async def test_it_is_append_only(database: Database, statement: str) -> None:
    await note(database)
    async with database.acquire() as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await connection.execute(statement)
        (entry,) = await audit.page(connection, limit=10)
    assert (entry.event, entry.at) == ("e", NOW)


async def test_what_is_old_may_go_and_is_still_not_changed(database: Database) -> None:
    await note(database, at=NOW - timedelta(days=31))
    async with database.acquire() as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("UPDATE audit SET event = 'x'")
        assert await connection.execute("DELETE FROM audit") == "DELETE 1"


async def test_a_transaction_that_is_taken_back_leaves_no_line(database: Database) -> None:
    class Aborted(Exception):
        pass

    async def fails() -> None:
        async with database.transaction() as connection:
            await audit.append(connection, NewEntry(at=NOW, event="e", user_id=None))
            raise Aborted

    with pytest.raises(Aborted):
        await fails()
    async with database.acquire() as connection:
        assert await audit.page(connection, limit=10) == []


async def test_a_page_is_of_an_account_a_kind_and_a_time(database: Database) -> None:
    ada, bob = uuid4(), uuid4()
    for number in range(5):
        for user_id in (ada, bob, None):
            await note(database, user_id=user_id, event="odd" if number % 2 else "even", at=NOW + timedelta(minutes=number), number=number)
    async with database.acquire() as connection:

        async def numbers(**asked: object) -> list[int]:
            return [entry.details["number"] for entry in await audit.page(connection, limit=100, **asked)]  # type: ignore[arg-type]

        assert await numbers(user_id=ada) == [4, 3, 2, 1, 0]
        assert await numbers(user_id=bob, event="odd") == [3, 1]
        assert await numbers(user_id=ada, since=NOW + timedelta(minutes=3)) == [4, 3]
        assert len(await numbers()) == 15
        assert await numbers(user_id=uuid4()) == []
        everything = await audit.page(connection, user_id=ada, limit=100)
        middle = everything[2].id
        assert await numbers(user_id=ada, before=middle) == [1, 0]
        assert await numbers(user_id=ada, after=middle) == [4, 3]
        assert [entry.id for entry in await audit.of_user(connection, ada, before=middle, limit=1)] == [everything[3].id]
        assert await audit.newest(connection) == max(entry.id for entry in await audit.page(connection, limit=100))


async def test_the_purge_deletes_what_is_old_enough_in_chunks_and_nothing_younger(database: Database) -> None:
    for days in (400, 370, 366, 364, 10):
        await note(database, at=NOW - timedelta(days=days), days=days)
    before = NOW - timedelta(days=365)
    async with database.acquire() as connection:
        assert await audit.purge_step(connection, before, 2)
        assert not await audit.purge_step(connection, before, 2)
        assert [entry.details["days"] for entry in await audit.page(connection, limit=10)] == [10, 364]
        assert not await audit.purge_step(connection, NOW + timedelta(days=1), 10), "a clock that is ahead deletes nothing young"
        assert [entry.details["days"] for entry in await audit.page(connection, limit=10)] == [10]


async def test_two_purges_at_once_delete_it_all_once(database: Database) -> None:
    for number in range(50):
        await note(database, at=NOW - timedelta(days=400), number=number)

    async def purge() -> None:
        more = True
        while more:
            async with database.transaction() as connection:
                more = await audit.purge_step(connection, NOW - timedelta(days=365), 10)

    await asyncio.gather(purge(), purge())
    async with database.acquire() as connection:
        assert await audit.page(connection, limit=100) == []
