"""The users' rows. Mail addresses and names are not sealed; the password is a hash, and the data key is wrapped."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from storage.conflicts import conflicts
from storage.pool import Connection, Record

_INSERT = """
    INSERT INTO users (
        id, email, email_key, name, password_hash, library_id, wrapped_key, key_id, created_at, last_login_at, email_verified_at
    ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10)
"""
_COLUMNS = "id, email, email_verified_at, name, library_id, role AS rank, created_at, last_login_at"
_ACCOUNT = f"{_COLUMNS}, password_hash, wrapped_key, key_id, disabled_at"
_BY_EMAIL = f"SELECT {_ACCOUNT} FROM users WHERE email_key = $1"  # noqa: S608  # constants only
_BY_ID = f"SELECT {_ACCOUNT} FROM users WHERE id = $1 AND deleted_at IS NULL"  # noqa: S608  # constants only
# The row lock orders the logins of one user, so that two of one device cannot both open a session.
# The hash is compared again: the password may have been changed since it was checked.
_LOGGED_IN = f"""
    UPDATE users SET last_login_at = $2
    WHERE id = $1 AND password_hash IS NOT DISTINCT FROM coalesce($3, password_hash) AND disabled_at IS NULL
    RETURNING {_COLUMNS}
"""  # noqa: S608  # constants only
_REHASH = "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2"
_RENAME = f"UPDATE users SET name = $2 WHERE id = $1 AND deleted_at IS NULL RETURNING {_COLUMNS}"  # noqa: S608  # constants only
_SET_HASH = "UPDATE users SET password_hash = $2 WHERE id = $1"
_VERIFY_EMAIL = "UPDATE users SET email_verified_at = $3 WHERE id = $1 AND email_key = $2 AND email_verified_at IS NULL RETURNING id"
_SET_EMAIL = "UPDATE users SET email = $2, email_key = $3, email_verified_at = $4 WHERE id = $1"
_LOCK_ACCOUNT = f"{_BY_ID} FOR NO KEY UPDATE"
_LOCK_BY_EMAIL = f"{_BY_EMAIL} FOR NO KEY UPDATE"
_RECLAIM = """
    UPDATE users SET password_hash = NULL, email_verified_at = $2, name = coalesce($3, name) WHERE id = $1
"""
_DEMOTE = "UPDATE users SET role = 'user' WHERE id = $1 AND role <> 'user' RETURNING id"
_FORGET_MAILS = "DELETE FROM mails WHERE user_id = $1"
_LOCK = "SELECT 1 FROM users WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE"
_HASH = "SELECT password_hash FROM users WHERE id = $1"
_LOCK_KEY = "SELECT wrapped_key, key_id FROM users WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUser:
    """What a user is created with: `email_key` is the address as compared, `wrapped_key` the data key for secrets.

    Whoever comes from another provider has no password, and may have no address."""

    id: UUID
    email: str | None
    email_key: str | None
    name: str
    password_hash: str | None = field(repr=False)
    library_id: UUID
    wrapped_key: bytes = field(repr=False)
    key_id: str
    created_at: datetime
    email_verified_at: datetime | None = None


class Rank(StrEnum):
    """What a user is to the whole server (roles in a library are `libraries.Role`)."""

    USER = "user"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user as the user may see it. `email_verified_at` is None while nobody has shown that the mailbox is theirs."""

    id: UUID
    email: str | None
    email_verified_at: datetime | None = None
    name: str
    library_id: UUID
    role: Rank = Rank.USER
    created_at: datetime
    last_login_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user with what signing in needs."""

    user: User
    password_hash: str | None = field(repr=False)
    wrapped_key: bytes = field(repr=False)
    key_id: str
    disabled: bool


async def create(connection: Connection, user: NewUser) -> User:
    """Store a new user, signed in for the first time at its creation.

    Raises:
        Conflict: `users_email_key`, an account with this address exists.
    """
    with conflicts():
        await connection.execute(
            _INSERT,
            user.id,
            user.email,
            user.email_key,
            user.name,
            user.password_hash,
            user.library_id,
            user.wrapped_key,
            user.key_id,
            user.created_at,
            user.email_verified_at,
        )
    return User(
        id=user.id,
        email=user.email,
        email_verified_at=user.email_verified_at,
        name=user.name,
        library_id=user.library_id,
        created_at=user.created_at,
        last_login_at=user.created_at,
    )


async def by_email(connection: Connection, email_key: str) -> Account | None:
    """The account of an address, as compared."""
    row = await connection.fetchrow(_BY_EMAIL, email_key)
    return None if row is None else _account(row)


async def by_id(connection: Connection, user_id: UUID) -> Account | None:
    """The account with this id, unless it was deleted."""
    row = await connection.fetchrow(_BY_ID, user_id)
    return None if row is None else _account(row)


async def lock_account(connection: Connection, user_id: UUID) -> Account | None:
    """The account as `by_id` finds it, its row held until the transaction ends."""
    row = await connection.fetchrow(_LOCK_ACCOUNT, user_id)
    return None if row is None else _account(row)


async def lock_by_email(connection: Connection, email_key: str) -> Account | None:
    """The account as `by_email` finds it, its row held until the transaction ends."""
    row = await connection.fetchrow(_LOCK_BY_EMAIL, email_key)
    return None if row is None else _account(row)


async def demote(connection: Connection, user_id: UUID) -> bool:
    """Have an administrator be one no more; False where the user was none."""
    return await connection.fetchval(_DEMOTE, user_id) is not None


async def reclaim(connection: Connection, user_id: UUID, *, name: str | None, now: datetime) -> None:
    """Give the account to who has shown its mailbox: the address counts as verified, the name is theirs, and the password is gone, with
    what was mailed, which could bring another password or address in."""
    await connection.execute(_RECLAIM, user_id, now, name)
    await connection.execute(_FORGET_MAILS, user_id)


def _account(row: Record) -> Account:
    return Account(
        user=user_of(row),
        password_hash=row["password_hash"],
        wrapped_key=row["wrapped_key"],
        key_id=row["key_id"],
        disabled=row["disabled_at"] is not None,
    )


async def note_login(connection: Connection, user_id: UUID, *, password_hash: str | None, now: datetime) -> User | None:
    """Lock the user's row and note a login with the password that has this hash; without one, a login by something else.

    None when the hash is no longer the user's, or the user is disabled or gone: then nobody may be signed in.
    """
    row = await connection.fetchrow(_LOGGED_IN, user_id, now, password_hash)
    return user_of(row) if row else None


async def replace_hash(connection: Connection, user_id: UUID, *, old: str, new: str) -> None:
    """Store a new hash of the same password, unless another password was set meanwhile."""
    await connection.execute(_REHASH, user_id, old, new)


async def set_password(connection: Connection, user_id: UUID, password_hash: str) -> None:
    """Give the user this password. For the holder of the user's row."""
    await connection.execute(_SET_HASH, user_id, password_hash)


async def verify_email(connection: Connection, user_id: UUID, email_key: str, *, now: datetime) -> bool:
    """Note that the mailbox was shown to be the user's; False, having changed nothing, where it was already, or the address is another."""
    return await connection.fetchval(_VERIFY_EMAIL, user_id, email_key, now) is not None


async def set_email(connection: Connection, user_id: UUID, email: str, email_key: str, *, now: datetime) -> None:
    """Give the user another address, whose mailbox was shown to be theirs. For the holder of the user's row.

    Raises:
        Conflict: `users_email_key`, another account has it.
    """
    with conflicts():
        await connection.execute(_SET_EMAIL, user_id, email, email_key, now)


async def rename(connection: Connection, user_id: UUID, name: str) -> User | None:
    """Give the user another name; the user as it is then, or None when there is none."""
    row = await connection.fetchrow(_RENAME, user_id, name)
    return user_of(row) if row else None


async def lock(connection: Connection, user_id: UUID) -> bool:
    """Hold the user's row until the transaction ends: orders what may be done once at a time for a user. False when the user is gone."""
    return await connection.fetchval(_LOCK, user_id) is not None


async def has_hash(connection: Connection, user_id: UUID, password_hash: str | None) -> bool:
    """Whether this is the hash of the user's password, for the holder of the user's row."""
    found: str | None = await connection.fetchval(_HASH, user_id)
    return found is not None and found == password_hash


async def lock_with_key(connection: Connection, user_id: UUID) -> tuple[str, bytes] | None:
    """Hold the user's row as `lock` does; returns the user's data key, wrapped, after the id of the encryption key that wraps it.

    None when the user is gone, and the key with the user.
    """
    row = await connection.fetchrow(_LOCK_KEY, user_id)
    return (row["key_id"], row["wrapped_key"]) if row else None


def user_of(row: Record) -> User:
    """The user in a row that has the users' columns under their own names."""
    return User(
        id=row["id"],
        email=row["email"],
        email_verified_at=row["email_verified_at"],
        name=row["name"],
        library_id=row["library_id"],
        role=Rank(row["rank"]),
        created_at=row["created_at"],
        last_login_at=row["last_login_at"],
    )
