"""The accounts elsewhere that sign in here, and the keys they are known by. Whoever writes holds the user's row."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from storage.conflicts import conflicts
from storage.pool import Connection, Record

_COLUMNS = "id, user_id, provider, email, name, created_at, last_used_at"
_FIND = f"""
    SELECT {_COLUMNS} FROM identities WHERE id IN (
        SELECT k.identity_id FROM identity_keys k JOIN unnest($2::text[], $3::text[]) AS asked (namespace, subject)
        ON k.namespace = asked.namespace AND k.subject = asked.subject WHERE k.provider = $1
    ) ORDER BY created_at, id
"""  # noqa: S608  # the columns are the constant above
_OF_USER = f"SELECT {_COLUMNS} FROM identities WHERE user_id = $1 ORDER BY created_at, id"  # noqa: S608  # constants only
_INSERT = """
    INSERT INTO identities (id, user_id, provider, email, name, created_at, last_used_at) VALUES ($1, $2, $3, $4, $5, $6, $6)
"""
# Ordered, so that two who add the same keys wait for each other in the same order.
_INSERT_KEYS = """
    INSERT INTO identity_keys (provider, namespace, subject, identity_id)
    SELECT i.provider, new.namespace, new.subject, i.id
    FROM identities i CROSS JOIN unnest($2::text[], $3::text[]) AS new (namespace, subject)
    WHERE i.id = $1 AND NOT EXISTS (
        SELECT FROM identity_keys k WHERE k.identity_id = i.id AND k.namespace = new.namespace AND k.subject = new.subject
    ) ORDER BY new.namespace, new.subject
"""
_MOVE_KEYS = "UPDATE identity_keys SET identity_id = $1 WHERE identity_id = ANY($2)"
_USED = f"""
    UPDATE identities SET last_used_at = $2, email = $3, name = coalesce(nullif($4, ''), name) WHERE id = $1 RETURNING {_COLUMNS}
"""  # noqa: S608  # constants only
_REMOVE = "DELETE FROM identities WHERE user_id = $1 AND id = ANY($2)"
_REMOVE_ALL = "DELETE FROM identities WHERE user_id = $1 RETURNING id"

Keys = Collection[tuple[str, str]]
"""(namespace, subject) pairs of one provider. Google: the issuer and `sub`. WeChat: `unionid`, or `openid:` and the app's id."""


class Provider(StrEnum):
    """Who else signs people in."""

    GOOGLE = "google"
    WECHAT = "wechat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Linked:
    """An identity of a user's. `email` and `name` are as the provider last said; nobody is found by them."""

    id: UUID
    user_id: UUID
    provider: Provider
    email: str | None
    name: str
    created_at: datetime
    last_used_at: datetime


async def find(connection: Connection, provider: Provider, keys: Keys) -> list[Linked]:
    """The identities that have any of these keys, oldest first: more than one where nobody knew yet that they are the same person's."""
    return [_linked(row) for row in await connection.fetch(_FIND, provider, *_columns(keys))]


async def of_user(connection: Connection, user_id: UUID) -> list[Linked]:
    """The identities of a user, oldest first."""
    return [_linked(row) for row in await connection.fetch(_OF_USER, user_id)]


async def create(connection: Connection, identity: Linked, keys: Keys) -> None:
    """Store a new identity of its user's with these keys.

    Raises:
        Conflict: `identity_keys_pkey`, one of the keys is another identity's.
    """
    await connection.execute(_INSERT, identity.id, identity.user_id, identity.provider, identity.email, identity.name, identity.created_at)
    await add_keys(connection, identity.id, keys)


async def add_keys(connection: Connection, identity_id: UUID, keys: Keys) -> None:
    """Have the identity known by these keys too; those it has are left alone.

    Raises:
        Conflict: `identity_keys_pkey`, one of them is another identity's.
    """
    with conflicts():
        await connection.execute(_INSERT_KEYS, identity_id, *_columns(keys))


async def join(connection: Connection, kept: Linked, others: Iterable[Linked]) -> None:
    """Give the keys of other identities of the same user to this one, and delete those."""
    ids = [other.id for other in others]
    await connection.execute(_MOVE_KEYS, kept.id, ids)
    await connection.execute(_REMOVE, kept.user_id, ids)


async def used(connection: Connection, identity_id: UUID, *, email: str | None, name: str, now: datetime) -> Linked:
    """Note a use of the identity and what the provider says of it now; an empty name leaves the one that is known."""
    return _linked(await connection.fetchrow(_USED, identity_id, now, email, name))


async def remove(connection: Connection, user_id: UUID, identity_id: UUID) -> None:
    """Delete an identity of the user's with its keys."""
    await connection.execute(_REMOVE, user_id, [identity_id])


async def remove_all(connection: Connection, user_id: UUID) -> list[UUID]:
    """Delete every identity of the user's; the ids of what was deleted."""
    return [row["id"] for row in await connection.fetch(_REMOVE_ALL, user_id)]


def _columns(keys: Keys) -> tuple[list[str], list[str]]:
    return [namespace for namespace, _ in keys], [subject for _, subject in keys]


def _linked(row: Record | None) -> Linked:
    assert row is not None  # noqa: S101  # asked for under the user's row lock; tells the type checker
    return Linked(
        id=row["id"],
        user_id=row["user_id"],
        provider=Provider(row["provider"]),
        email=row["email"],
        name=row["name"],
        created_at=row["created_at"],
        last_used_at=row["last_used_at"],
    )
