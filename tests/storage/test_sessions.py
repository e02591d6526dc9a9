"""The sessions' rows."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from storage import sessions, users
from storage.errors import Conflict
from storage.pool import Database
from storage.sessions import NewSession
from storage.users import NewUser

NOW = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.fixture
async def database(database_dsn: str) -> AsyncIterator[Database]:
    opened = await Database.open(database_dsn, size=6)
    yield opened
    await opened.close()


@pytest.fixture
async def session(database: Database) -> NewSession:
    user_id = uuid4()
    new = NewSession(
        id=uuid4(),
        user_id=user_id,
        device_id=uuid4(),
        device_name="d",
        platform="web",
        refresh_key=b"sealed",
        created_at=NOW,
        idle_expires_at=NOW + timedelta(days=60),
        expires_at=NOW + timedelta(days=180),
        user_agent="agent",
        method="password",
        address="192.0.2.1",
    )
    user = NewUser(
        id=user_id,
        email="a@example.com",
        email_key="a@example.com",
        name="a",
        password_hash="hash",
        library_id=uuid4(),
        wrapped_key=b"wrapped",
        key_id="k1",
        created_at=NOW,
    )
    async with database.transaction() as connection:
        await users.create(connection, user)
        await sessions.create(connection, new)
    return new


async def test_a_device_has_one_live_session(database: Database, session: NewSession) -> None:
    second = replace(session, id=uuid4())
    async with database.acquire() as connection:
        with pytest.raises(Conflict) as refused:
            await sessions.create(connection, second)
        assert refused.value.constraint == "sessions_one_live_a_device"
        assert await sessions.revoke_device(connection, session.user_id, uuid4(), now=NOW, reason="replaced") == []
        assert await sessions.revoke_device(connection, session.user_id, session.device_id, now=NOW, reason="replaced") == [session.id]
        await sessions.create(connection, second)
        assert await sessions.identify(connection, session.id, now=NOW) is None
        assert await sessions.identify(connection, second.id, now=NOW) is not None


async def test_a_session_is_revoked_once_and_keeps_its_first_reason(database: Database, session: NewSession) -> None:
    async with database.acquire() as connection:
        assert await sessions.revoke(connection, session.id, now=NOW, reason="logout")
        assert not await sessions.revoke(connection, session.id, now=NOW, reason="refresh_reuse")
        assert not await sessions.revoke(connection, uuid4(), now=NOW, reason="logout")
        assert await connection.fetchval("SELECT revoke_reason FROM sessions") == "logout"


@pytest.mark.parametrize("end", ["revoked", "idle", "absolute", "disabled", "gone"])
async def test_a_session_that_is_over_identifies_nobody(database: Database, session: NewSession, end: str) -> None:
    now = NOW
    async with database.acquire() as connection:
        assert await sessions.identify(connection, session.id, now=now) is not None
        match end:
            case "revoked":
                await sessions.revoke(connection, session.id, now=now, reason="logout")
            case "idle":
                now = session.idle_expires_at
            case "absolute":
                await sessions.rotate(connection, session.id, counter=1, now=now, idle_expires_at=now + timedelta(days=999))
                now = session.expires_at
            case "disabled":
                await connection.execute("UPDATE users SET disabled_at = now()")
            case "gone":
                await connection.execute("DELETE FROM users")
        assert await sessions.identify(connection, session.id, now=now) is None
        async with connection.transaction():
            locked = await sessions.lock(connection, session.id)
        assert locked is None or locked.is_over(now)


async def test_only_the_current_generation_is_marked_used(database: Database, session: NewSession) -> None:
    async def used(connection_id: UUID) -> bool:
        async with database.acquire() as connection:
            identity = await sessions.identify(connection, connection_id, now=NOW)
        assert identity is not None
        return identity.current_used

    async with database.acquire() as connection:
        await sessions.rotate(connection, session.id, counter=1, now=NOW, idle_expires_at=session.idle_expires_at)
        await sessions.mark_used(connection, session.id, 0, now=NOW)
        assert not await used(session.id)
        await sessions.mark_used(connection, session.id, 1, now=NOW)
        assert await used(session.id)
        await sessions.rotate(connection, session.id, counter=2, now=NOW, idle_expires_at=session.idle_expires_at)
        assert not await used(session.id)


async def test_who_locks_second_sees_what_the_first_did(database: Database, session: NewSession) -> None:
    async def advance() -> int:
        async with database.transaction() as connection:
            locked = await sessions.lock(connection, session.id)
            assert locked is not None
            await sessions.rotate(connection, session.id, counter=locked.counter + 1, now=NOW, idle_expires_at=session.idle_expires_at)
            return locked.counter

    assert sorted(await asyncio.gather(*(advance() for _ in range(6)))) == [0, 1, 2, 3, 4, 5]


async def test_a_device_is_called_what_its_newest_session_says(database: Database, session: NewSession) -> None:
    newest = replace(session, id=uuid4(), device_name="renamed", created_at=session.created_at + timedelta(days=1))
    async with database.transaction() as connection:
        await sessions.revoke(connection, session.id, now=session.created_at, reason="test")
        await sessions.create(connection, newest)
        names = await sessions.device_names(connection, session.user_id, [session.device_id, uuid4()])
        assert {device: each.name for device, each in names.items()} == {session.device_id: "renamed"}
        assert await sessions.device_names(connection, uuid4(), [session.device_id]) == {}
