"""What a mail says is found out when it is sent, and its token is made then."""

import asyncio
import hashlib
import os
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from auth import mail
from auth.errors import InvalidMailToken
from auth.mail import WITH_TOKEN, Desk, Kind, Language
from storage import administration, deletion
from storage.pool import Database
from tests.support.core import eventually, store_user

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
LIFETIME = timedelta(minutes=10)
NOBODYS = "nobody@example.com"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def account(database: Database, *, disabled: bool = False, verified: bool = False) -> tuple[UUID, str]:
    """An account, and its address as its owner writes it."""
    async with database.transaction() as connection:
        user_id, local = await store_user(connection), uuid4().hex
        email = f"Ada.{local}@example.com"
        await connection.execute(
            "UPDATE users SET email = $2, email_key = lower($2), disabled_at = $3, email_verified_at = $4 WHERE id = $1",
            user_id,
            email,
            NOW if disabled else None,
            NOW if verified else None,
        )
    return user_id, email


async def sent(database: Database, kind: Kind, address: str, user_id: UUID | None = None) -> tuple[Kind, str] | None:
    """What the mail says in the end, and to whom."""
    async with database.transaction() as connection:
        mail_id = await mail.ask(connection, kind, address=address, user_id=user_id, language=Language.ENGLISH, now=NOW, random=os.urandom)
    desk = Desk(database, lifetime=LIFETIME, random=os.urandom)
    letter = await desk.letter(mail_id, now=NOW)
    if letter is None:
        assert await desk.letter(mail_id, now=NOW) is None
        return None
    assert (letter.token is not None) == (letter.kind in WITH_TOKEN)
    return letter.kind, letter.address


async def test_a_reset_goes_to_who_may_sign_in_at_the_address_as_it_is_known(database: Database) -> None:
    _, email = await account(database)
    _, disabled = await account(database, disabled=True)
    assert await sent(database, Kind.RESET, email.upper()) == (Kind.RESET, email)
    assert await sent(database, Kind.RESET, disabled) is None
    assert await sent(database, Kind.RESET, NOBODYS) is None


async def test_a_registration_is_told_of_an_account_that_is_there(database: Database) -> None:
    _, email = await account(database)
    assert await sent(database, Kind.REGISTER, email) == (Kind.HAS_ACCOUNT, email)
    assert await sent(database, Kind.REGISTER, NOBODYS) == (Kind.REGISTER, NOBODYS)


async def test_an_address_is_verified_by_the_account_that_has_it_and_once(database: Database) -> None:
    user_id, email = await account(database)
    verified_id, verified = await account(database, verified=True)
    disabled_id, disabled = await account(database, disabled=True)
    assert await sent(database, Kind.VERIFY, email, user_id) == (Kind.VERIFY, email)
    assert await sent(database, Kind.VERIFY, verified, verified_id) is None
    assert await sent(database, Kind.VERIFY, disabled, disabled_id) is None
    assert await sent(database, Kind.VERIFY, email, verified_id) is None
    assert await sent(database, Kind.VERIFY, NOBODYS, user_id) is None


async def test_a_new_address_is_told_when_it_is_taken(database: Database) -> None:
    user_id, email = await account(database)
    _, taken = await account(database, disabled=True)
    disabled_id, _ = await account(database, disabled=True)
    assert await sent(database, Kind.CHANGE, NOBODYS, user_id) == (Kind.CHANGE, NOBODYS)
    assert await sent(database, Kind.CHANGE, email.upper(), user_id) == (Kind.CHANGE, email.upper().replace("EXAMPLE.COM", "example.com"))
    assert await sent(database, Kind.CHANGE, taken, user_id) == (Kind.TAKEN, taken)
    assert await sent(database, Kind.CHANGE, NOBODYS, disabled_id) is None


async def test_a_mail_and_the_deletion_of_its_account_do_not_wait_for_each_other_in_a_circle(database: Database) -> None:
    user_id, email = await account(database)
    desk = Desk(database, lifetime=LIFETIME, random=os.urandom)
    async with database.transaction() as connection:
        asked = await mail.ask(connection, Kind.RESET, address=email, language=Language.ENGLISH, now=NOW, random=os.urandom)
    async with database.transaction() as connection:
        assert await administration.lock(connection, user_id, whole=True) is not None
        letter = asyncio.ensure_future(desk.letter(asked, now=NOW))

        async def waits() -> bool:
            async with database.acquire() as other:  # a transaction sees the activity as it was at its first look
                return bool(await other.fetchval(WAITING))

        await eventually(waits, "a letter that waits for the account")
        await deletion.destroy(connection, user_id, now=NOW, reason="deleted")
    assert await letter is None


@pytest.mark.parametrize("kind", [Kind.CHANGE_ASKED, Kind.CHANGED, Kind.PASSWORD_CHANGED])
async def test_notices_go_out_as_they_are(database: Database, kind: Kind) -> None:
    user_id, _ = await account(database)
    assert await sent(database, kind, "before@example.com", user_id) == (kind, "before@example.com")


async def test_an_address_of_an_international_domain_is_written_as_smtp_takes_it(database: Database) -> None:
    assert await sent(database, Kind.REGISTER, "ada@b\u00fccher.example.com") == (Kind.REGISTER, "ada@xn--bcher-kva.example.com")


async def test_a_token_is_thirty_two_random_bytes_and_only_its_hash_is_kept(database: Database) -> None:
    async with database.transaction() as connection:
        mail_id = await mail.ask(connection, Kind.REGISTER, address=NOBODYS, language=Language.CHINESE, now=NOW, random=os.urandom)
    letter = await Desk(database, lifetime=LIFETIME, random=lambda count: bytes(range(count))).letter(mail_id, now=NOW)
    assert letter is not None
    assert letter.token == "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    assert letter.language is Language.CHINESE
    assert letter.token not in repr(letter)
    async with database.transaction() as connection:
        kept = await connection.fetchval("SELECT token_hash FROM mails WHERE id = $1", mail_id)
        assert kept == hashlib.sha256(letter.token.encode()).digest()
        found = await mail.find(connection, Kind.REGISTER, letter.token, now=NOW)
        for kind, at in ((Kind.RESET, NOW), (Kind.REGISTER, NOW + LIFETIME)):
            with pytest.raises(InvalidMailToken):
                await mail.find(connection, kind, letter.token, now=at)
        await mail.spend(connection, found, letter.token, now=NOW)
        with pytest.raises(InvalidMailToken):
            await mail.spend(connection, found, letter.token, now=NOW)


async def test_a_mail_to_an_account_that_is_being_deleted_waits_for_that_and_is_not_sent(database: Database) -> None:
    user_id, email = await account(database)
    async with database.transaction() as connection:
        await administration.lock(connection, user_id, whole=True)
        sending = asyncio.create_task(sent(database, Kind.RESET, email))

        async def waits() -> bool:
            return bool(await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

        await eventually(waits, "the mail's transaction")
        await deletion.destroy(connection, user_id, now=NOW, reason="deleted")
    assert await sending is None
