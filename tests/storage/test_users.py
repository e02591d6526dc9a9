"""The users' rows."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from storage import users
from storage.errors import Conflict
from storage.pool import Database
from storage.users import NewUser

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def new_user(email_key: str = "a@example.com") -> NewUser:
    return NewUser(
        id=uuid4(),
        email=email_key.title(),
        email_key=email_key,
        name="\u540d\u5b57",
        password_hash="hash",
        library_id=uuid4(),
        wrapped_key=b"wrapped",
        key_id="k1",
        created_at=NOW,
    )


async def test_a_user_is_found_by_the_address_as_compared(database: Database) -> None:
    user = new_user()
    async with database.acquire() as connection:
        created = await users.create(connection, user)
        account = await users.by_email(connection, "a@example.com")
        assert account is not None
        assert account.user == created
        assert (account.password_hash, account.wrapped_key, account.key_id, account.disabled) == ("hash", b"wrapped", "k1", False)
        assert await users.by_email(connection, "A@Example.Com") is None


async def test_a_second_user_of_an_address_is_a_conflict_by_name(database: Database) -> None:
    async with database.acquire() as connection:
        await users.create(connection, new_user())
        with pytest.raises(Conflict) as refused:
            await users.create(connection, new_user())
    assert refused.value.constraint == "users_email_key"


async def test_a_login_is_noted_only_with_the_hash_that_still_holds(database: Database) -> None:
    user = new_user()
    later = NOW + timedelta(days=1)
    async with database.acquire() as connection:
        await users.create(connection, user)
        assert await users.note_login(connection, user.id, password_hash="another", now=later) is None
        noted = await users.note_login(connection, user.id, password_hash="hash", now=later)
        assert noted is not None
        assert noted.last_login_at == later
        await users.replace_hash(connection, user.id, old="another", new="new")
        assert await users.note_login(connection, user.id, password_hash="hash", now=later) is not None
        await users.replace_hash(connection, user.id, old="hash", new="new")
        assert await users.note_login(connection, user.id, password_hash="hash", now=later) is None
        await connection.execute("UPDATE users SET disabled_at = now()")
        assert await users.note_login(connection, user.id, password_hash="new", now=later) is None


async def test_a_user_is_renamed_and_nothing_else(database: Database) -> None:
    user, other = new_user(), new_user("b@example.com")
    async with database.acquire() as connection:
        created = await users.create(connection, user)
        await users.create(connection, other)
        assert await users.rename(connection, user.id, "\u5468") == replace(created, name="\u5468")
        account, unchanged = [await users.by_email(connection, email) for email in ("a@example.com", "b@example.com")]
        assert await users.rename(connection, uuid4(), "nobody") is None
    assert account is not None
    assert unchanged is not None
    assert (account.user.name, unchanged.user.name) == ("\u5468", other.name)


def test_secrets_are_not_shown() -> None:
    shown = repr(replace(new_user(), password_hash="$argon2id$", wrapped_key=b"sealed"))
    assert "argon2id" not in shown
    assert "sealed" not in shown
