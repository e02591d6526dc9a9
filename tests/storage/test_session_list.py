"""The sessions of one account: listed, touched, and ended many at once."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from storage import session_list, sessions, users
from storage.pool import Database
from storage.sessions import NewSession
from storage.users import NewUser

NOW = datetime(2026, 11, 22, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


async def user(database: Database) -> UUID:
    user_id = uuid4()
    new = NewUser(
        id=user_id,
        email=None,
        email_key=None,
        name="a",
        password_hash=None,
        library_id=uuid4(),
        wrapped_key=b"wrapped",
        key_id="k1",
        created_at=NOW,
    )
    async with database.acquire() as connection:
        await users.create(connection, new)
    return user_id


async def session(
    database: Database, user_id: UUID, *, idle: timedelta = timedelta(days=60), whole: timedelta = timedelta(days=180)
) -> UUID:
    new = NewSession(
        id=uuid4(),
        user_id=user_id,
        device_id=uuid4(),
        device_name="d",
        platform="web",
        refresh_key=b"sealed",
        created_at=NOW,
        idle_expires_at=NOW + idle,
        expires_at=NOW + whole,
        user_agent="agent",
        address="192.0.2.1",
        method="wechat",
    )
    async with database.acquire() as connection:
        await sessions.create(connection, new)
    return new.id


async def test_only_what_is_not_over_is_listed_the_last_used_first(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, other = await user(database), await user(database)
    first, second = await session(database, owner), await session(database, owner)
    ended, idle, old = (
        await session(database, owner),
        await session(database, owner, idle=MINUTE),
        await session(database, owner, whole=MINUTE),
    )
    await session(database, other)
    async with database.acquire() as connection:
        assert await sessions.revoke(connection, ended, now=NOW, reason="logout")
        await session_list.touch(connection, second, now=NOW + MINUTE, address="2001:db8::1", every=MINUTE)
        listed = await session_list.live(connection, owner, now=NOW + MINUTE)
        assert [each.id for each in listed] == [second, first]
        assert (listed[0].address, listed[0].last_seen_at, listed[0].method) == ("2001:db8::1", NOW + MINUTE, "wechat")
        assert {each.id for each in await session_list.live(connection, owner, now=NOW)} == {first, second, idle, old}
        monkeypatch.setattr(session_list, "MAX_LISTED", 1)
        assert [each.id for each in await session_list.live(connection, owner, now=NOW)] == [second]


async def test_a_use_is_noted_once_in_so_long_a_time(database: Database) -> None:
    used = await session(database, await user(database))

    async def seen() -> tuple[datetime, str]:
        async with database.acquire() as connection:
            row = await connection.fetchrow("SELECT last_seen_at, address FROM sessions WHERE id = $1", used)
        assert row is not None
        return row["last_seen_at"], row["address"]

    async with database.acquire() as connection:
        await session_list.touch(connection, used, now=NOW + MINUTE / 2, address="192.0.2.2", every=MINUTE)
        assert await seen() == (NOW, "192.0.2.1")
        await session_list.touch(connection, used, now=NOW + MINUTE, address=None, every=MINUTE)
        assert await seen() == (NOW + MINUTE, "192.0.2.1")


async def test_one_or_all_but_one_are_ended_and_only_the_users_own(database: Database) -> None:
    owner, other = await user(database), await user(database)
    mine, theirs = [await session(database, owner) for _ in range(4)], await session(database, other)
    async with database.acquire() as connection:
        assert not await session_list.revoke_one(connection, theirs, owner, now=NOW, reason="r")
        assert await session_list.revoke_one(connection, mine[0], owner, now=NOW, reason="r")
        assert not await session_list.revoke_one(connection, mine[0], owner, now=NOW, reason="r")
        assert not await session_list.revoke_one(connection, mine[1], owner, now=NOW + timedelta(days=60), reason="r"), "it is over"
        assert set(await session_list.revoke_all(connection, owner, now=NOW, reason="others", but=mine[1])) == {mine[2], mine[3]}
        assert await session_list.revoke_all(connection, owner, now=NOW, reason="all") == [mine[1]]
        assert await session_list.revoke_all(connection, owner, now=NOW, reason="all") == []
        assert await session_list.owner(connection, mine[2]) == owner
        assert await session_list.owner(connection, uuid4()) is None
        assert [await session_list.ended_by(connection, each) for each in (mine[2], mine[1], theirs, uuid4())] == [
            "others",
            "all",
            None,
            None,
        ]
        assert not await session_list.note_authentication(connection, mine[1], now=NOW)
        assert await session_list.note_authentication(connection, theirs, now=NOW + MINUTE)
        assert not await session_list.note_authentication(connection, uuid4(), now=NOW)
        (left,) = await session_list.live(connection, other, now=NOW)
    assert left.authenticated_at == NOW + MINUTE
