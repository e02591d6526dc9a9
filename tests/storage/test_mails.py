"""The rows of mails: sent once, their tokens used once, and gone in time."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from storage import mails
from storage.mails import Mail, Registration
from storage.pool import Database
from tests.support.core import store_user

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=10)
HASH, OTHER = b"h" * 32, b"o" * 32


@pytest.fixture
async def database(database_dsn: str) -> AsyncIterator[Database]:
    opened = await Database.open(database_dsn, size=6)
    yield opened
    await opened.close()


async def mail(database: Database, kind: str = "verify", user_id: UUID | None = None, *, at: datetime = NOW) -> UUID:
    made = Mail(id=uuid4(), kind=kind, user_id=user_id, address="ada@example.com", language="zh", details={"a": 1})
    async with database.transaction() as connection:
        await mails.create(connection, made, now=at)
        assert await mails.unsent(connection, made.id) == made
    return made.id


async def minted(database: Database, mail_id: UUID, token_hash: bytes = HASH, user_id: UUID | None = None) -> bool:
    async with database.transaction() as connection:
        return await mails.mint(connection, mail_id, token_hash, expires_at=LATER, user_id=user_id)


async def found(database: Database, token_hash: bytes = HASH, kind: str = "verify", *, at: datetime = NOW) -> UUID | None:
    async with database.acquire() as connection:
        mail = await mails.find(connection, kind, token_hash, now=at)
    return mail.id if mail else None


async def spent(database: Database, mail_id: UUID, token_hash: bytes = HASH, *, at: datetime = NOW) -> bool:
    async with database.transaction() as connection:
        return await mails.spend(connection, mail_id, token_hash, now=at)


async def test_a_token_is_found_by_its_hash_and_kind_until_its_time_is_over(database: Database) -> None:
    mail_id = await mail(database)
    assert await found(database) is None
    assert await minted(database, mail_id)
    assert await found(database) == mail_id
    assert await found(database, OTHER) is None
    assert await found(database, kind="reset") is None
    assert await found(database, at=LATER - timedelta(microseconds=1)) == mail_id
    assert await found(database, at=LATER) is None
    assert not await spent(database, mail_id, at=LATER)


async def test_of_those_who_spend_a_token_at_once_one_does(database: Database) -> None:
    mail_id = await mail(database)
    await minted(database, mail_id)
    assert sum(await asyncio.gather(*(spent(database, mail_id) for _ in range(6)))) == 1
    assert await found(database) is None


async def test_the_token_that_was_minted_last_is_the_only_one(database: Database) -> None:
    mail_id = await mail(database)
    await minted(database, mail_id)
    assert await minted(database, mail_id, OTHER)
    assert await found(database) is None
    assert not await spent(database, mail_id)
    assert await spent(database, mail_id, OTHER)


async def test_what_was_sent_closed_or_used_is_not_to_be_sent(database: Database) -> None:
    for number, end in enumerate((mails.note_sent, mails.close)):
        mail_id = await mail(database)
        await minted(database, mail_id, bytes([number]) * 32)
        async with database.transaction() as connection:
            await end(connection, mail_id, now=NOW)
            assert await mails.unsent(connection, mail_id) is None
        assert not await minted(database, mail_id, OTHER)
        assert await found(database, bytes([number]) * 32) == (mail_id if end is mails.note_sent else None)


async def test_a_users_mails_are_voided_by_kind_whether_sent_or_not(database: Database) -> None:
    async with database.transaction() as connection:
        user_id, other = await store_user(connection), await store_user(connection)
    waiting, notice = await mail(database, "reset", user_id), await mail(database, "changed", user_id)
    sent, others = await mail(database, "verify", user_id), await mail(database, "verify", other)
    await minted(database, sent, HASH, user_id)
    await minted(database, others, OTHER, other)
    async with database.transaction() as connection:
        await mails.void(connection, user_id, {"reset", "verify"}, now=NOW)
        assert await mails.unsent(connection, waiting) is None
        assert await mails.unsent(connection, notice) is not None
    assert (await found(database), await found(database, OTHER)) == (None, others)
    async with database.transaction() as connection:
        await mails.forget_all(connection, user_id)
        assert await connection.fetchval("SELECT array_agg(id) FROM mails") == [others]


async def test_a_registration_goes_with_its_mail_and_shows_no_hash(database: Database) -> None:
    old, young = await mail(database, "register"), await mail(database, "register", at=NOW + timedelta(seconds=1))
    wanted = Registration(email="Ada@example.com", email_key="ada@example.com", name=None, password_hash="$argon2id$x")
    assert "argon2" not in repr(wanted)
    async with database.transaction() as connection:
        for mail_id in (old, young):
            await mails.create_registration(connection, mail_id, wanted)
        assert await mails.purge_step(connection, NOW, 10) is False
        assert await mails.purge_step(connection, NOW + timedelta(seconds=1), 1) is True
        assert await mails.registration(connection, old) is None
        assert await mails.registration(connection, young) == wanted
        await mails.delete_registration(connection, young)
        assert await mails.registration(connection, young) is None
