"""What operators and administrators ask of accounts, and change: found by a part of the address, disabled, given a role or a password.

None of it is content, or a secret. What takes an administrator away is done by one at a time (`alone`), so that two cannot take each
other's role away and leave none.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from storage.pool import Connection, Record
from storage.users import Rank, User, user_of

ROLES_LOCK = 0x50_53_72_6F_6C_65_73
"""The advisory lock of whoever may take an administrator away."""

_USER = "u.id, u.email, u.email_verified_at, u.name, u.library_id, u.role AS rank, u.created_at, u.last_login_at, u.disabled_at"
_FACTS = f"""
    {_USER}, u.password_hash IS NOT NULL AS has_password,
    ARRAY(SELECT DISTINCT provider FROM identities WHERE user_id = u.id ORDER BY provider) AS providers,
    (SELECT count(*) FROM libraries WHERE owner_id = u.id AND deleted_at IS NULL) AS libraries,
    (SELECT count(*) FROM sessions WHERE user_id = u.id AND revoked_at IS NULL AND expires_at > $1 AND idle_expires_at > $1) AS sessions
"""  # noqa: S608  # constants only
_ONE = f"SELECT {_FACTS} FROM users u WHERE u.id = $2 AND u.deleted_at IS NULL"  # noqa: S608  # constants only
# position(), not LIKE: in what people search for, % and _ are letters like others
_PAGE = f"""
    SELECT {_FACTS} FROM users u WHERE u.deleted_at IS NULL AND (u.created_at, u.id) > ($2, $3)
    AND ($4 = '' OR position(lower($4) IN lower(coalesce(u.email, ''))) > 0 OR position(lower($4) IN lower(u.name)) > 0
        OR u.id::text = lower($4))
    ORDER BY u.created_at, u.id LIMIT $5
"""  # noqa: S608  # constants only
_ADDRESSES = "SELECT id, email FROM users WHERE id = ANY($1) AND email IS NOT NULL"
_ALONE = "SELECT pg_advisory_xact_lock($1)"
_OTHER_ADMINS = """
    SELECT EXISTS (SELECT FROM users WHERE role = 'admin' AND id <> $1 AND disabled_at IS NULL AND deleted_at IS NULL)
"""
_LOCK = "SELECT role, disabled_at FROM users WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE"
_LOCK_WHOLE = "SELECT role, disabled_at FROM users WHERE id = $1 AND deleted_at IS NULL FOR UPDATE"
_DISABLE = "UPDATE users SET disabled_at = coalesce(disabled_at, $2) WHERE id = $1"
_ENABLE = "UPDATE users SET disabled_at = NULL WHERE id = $1"
_SET_ROLE = "UPDATE users SET role = $2 WHERE id = $1"
_SET_PASSWORD = "UPDATE users SET password_hash = $2 WHERE id = $1"  # noqa: S105  # a statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """An account as whoever runs the server sees it: how one signs in to it, and how many libraries and sessions it has."""

    user: User
    disabled_at: datetime | None
    has_password: bool
    providers: tuple[str, ...]
    libraries: int
    sessions: int


@dataclass(frozen=True, slots=True)
class Locked:
    """What an account is at the moment, its row held."""

    role: Rank
    disabled: bool


async def one(connection: Connection, user_id: UUID, *, now: datetime) -> Facts | None:
    """The account with this id, unless it was deleted."""
    row = await connection.fetchrow(_ONE, now, user_id)
    return None if row is None else _facts(row)


async def page(connection: Connection, *, query: str, after: tuple[datetime, UUID], limit: int, now: datetime) -> list[Facts]:
    """Accounts made after that time and id, oldest first: those whose address or name has `query` in it, or whose id it is."""
    return [_facts(row) for row in await connection.fetch(_PAGE, now, *after, query, limit)]


async def addresses(connection: Connection, user_ids: Iterable[UUID]) -> dict[UUID, str]:
    """The mail addresses of those of the accounts that have one."""
    return {row["id"]: row["email"] for row in await connection.fetch(_ADDRESSES, list(user_ids))}


async def alone(connection: Connection) -> None:
    """Wait for whoever else may take an administrator away; before any row is locked. Held until the transaction ends."""
    await connection.execute(_ALONE, ROLES_LOCK)


async def is_last_admin(connection: Connection, user_id: UUID) -> bool:
    """Whether without this one there would be no administrator who can sign in. For the holder of `alone`."""
    return not await connection.fetchval(_OTHER_ADMINS, user_id)


async def lock(connection: Connection, user_id: UUID, *, whole: bool = False) -> Locked | None:
    """Hold the account's row until the transaction ends; None where there is none, or it was deleted.

    `whole` keeps out those as well who add something that refers to it: for whoever changes its address. Taken later, two of them could
    wait for each other.
    """
    row = await connection.fetchrow(_LOCK_WHOLE if whole else _LOCK, user_id)
    return None if row is None else Locked(Rank(row["role"]), row["disabled_at"] is not None)


async def disable(connection: Connection, user_id: UUID, *, now: datetime) -> None:
    """Let nobody sign in to the account. For the holder of its row."""
    await connection.execute(_DISABLE, user_id, now)


async def enable(connection: Connection, user_id: UUID) -> None:
    """Let its user sign in again. For the holder of its row."""
    await connection.execute(_ENABLE, user_id)


async def set_role(connection: Connection, user_id: UUID, role: Rank) -> None:
    """Give the account another role. For the holder of its row."""
    await connection.execute(_SET_ROLE, user_id, role.value)


async def set_password(connection: Connection, user_id: UUID, password_hash: str) -> None:
    """Put this hash in the place of whatever the account has. For the holder of its row."""
    await connection.execute(_SET_PASSWORD, user_id, password_hash)


def _facts(row: Record) -> Facts:
    return Facts(
        user=user_of(row),
        disabled_at=row["disabled_at"],
        has_password=row["has_password"],
        providers=tuple(row["providers"]),
        libraries=row["libraries"],
        sessions=row["sessions"],
    )
