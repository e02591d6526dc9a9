"""Mails that wait to be sent, and what is kept of the tokens in them: the SHA-256, and only from when the mail is sent."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from storage.pool import Connection, Record

_INSERT = "INSERT INTO mails (id, kind, user_id, address, language, details, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)"
_COLUMNS = "id, kind, user_id, address, language, details"
_OPEN = f"SELECT {_COLUMNS} FROM mails WHERE id = $1 AND sent_at IS NULL AND used_at IS NULL"  # noqa: S608  # constants only
_MINT = """
    UPDATE mails SET token_hash = $2, expires_at = $3, user_id = $4
    WHERE id = $1 AND sent_at IS NULL AND used_at IS NULL RETURNING id
"""
_SENT = "UPDATE mails SET sent_at = $2 WHERE id = $1"
_CLOSE = "UPDATE mails SET used_at = $2, token_hash = NULL WHERE id = $1 AND used_at IS NULL"
_FIND = f"""
    SELECT {_COLUMNS} FROM mails WHERE token_hash = $1 AND kind = $2 AND used_at IS NULL AND expires_at > $3
"""  # noqa: S608  # constants only
# Of several who come with one token, those that waited for the row find it used.
_SPEND = """
    UPDATE mails SET used_at = $3 WHERE id = $1 AND token_hash = $2 AND used_at IS NULL AND expires_at > $3 RETURNING id
"""
_VOID = "UPDATE mails SET used_at = $3, token_hash = NULL WHERE user_id = $1 AND kind = ANY($2) AND used_at IS NULL"
_FORGET = "DELETE FROM mails WHERE user_id = $1"
_PURGE = """
    DELETE FROM mails WHERE id = ANY(ARRAY(
        SELECT id FROM mails WHERE created_at < $1 ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED
    )) RETURNING 1
"""

_REGISTER = "INSERT INTO registrations (mail_id, email, email_key, name, password_hash) VALUES ($1, $2, $3, $4, $5)"
_REGISTRATION = "SELECT email, email_key, name, password_hash FROM registrations WHERE mail_id = $1"
_UNREGISTER = "DELETE FROM registrations WHERE mail_id = $1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """A mail. `user_id` is None where it is to nobody who has an account, or that is found out only when it is sent."""

    id: UUID
    kind: str
    user_id: UUID | None
    address: str
    language: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """An account that somebody wants, until its mailbox has been shown."""

    email: str
    email_key: str
    name: str | None
    password_hash: str = field(repr=False)


async def create(connection: Connection, mail: Mail, *, now: datetime) -> None:
    """Note a mail that is to be sent."""
    await connection.execute(_INSERT, mail.id, mail.kind, mail.user_id, mail.address, mail.language, json.dumps(dict(mail.details)), now)


async def unsent(connection: Connection, mail_id: UUID) -> Mail | None:
    """The mail while it is still to be sent."""
    row = await connection.fetchrow(_OPEN, mail_id)
    return None if row is None else _mail(row)


async def mint(connection: Connection, mail_id: UUID, token_hash: bytes, *, expires_at: datetime, user_id: UUID | None) -> bool:
    """Keep the hash of the mail's token, in place of an earlier one; False where the mail is not to be sent any more."""
    return await connection.fetchval(_MINT, mail_id, token_hash, expires_at, user_id) is not None


async def note_sent(connection: Connection, mail_id: UUID, *, now: datetime) -> None:
    """Note that the mail was handed over: it is not sent again."""
    await connection.execute(_SENT, mail_id, now)


async def close(connection: Connection, mail_id: UUID, *, now: datetime) -> None:
    """Give the mail up: it is not sent, and a token that it has is none."""
    await connection.execute(_CLOSE, mail_id, now)


async def find(connection: Connection, kind: str, token_hash: bytes, *, now: datetime) -> Mail | None:
    """The mail of this kind whose token this is, while it may be used."""
    row = await connection.fetchrow(_FIND, token_hash, kind, now)
    return None if row is None else _mail(row)


async def spend(connection: Connection, mail_id: UUID, token_hash: bytes, *, now: datetime) -> bool:
    """Use the token up; False where somebody else has, or its time is over. Whoever changes an account by it holds that row first."""
    return await connection.fetchval(_SPEND, mail_id, token_hash, now) is not None


async def void(connection: Connection, user_id: UUID, kinds: Collection[str], *, now: datetime) -> None:
    """Have the user's mails of these kinds not be sent, and their tokens be none. For the holder of the user's row."""
    await connection.execute(_VOID, user_id, list(kinds), now)


async def forget_all(connection: Connection, user_id: UUID) -> None:
    """Delete the user's mails and tokens."""
    await connection.execute(_FORGET, user_id)


async def purge_step(connection: Connection, before: datetime, limit: int) -> bool:
    """Delete mails made before then, at most `limit`, with the registrations that hang on them; whether there may be more."""
    return len(await connection.fetch(_PURGE, before, limit)) == limit


async def create_registration(connection: Connection, mail_id: UUID, registration: Registration) -> None:
    """Keep what is to become an account once the token in this mail comes back."""
    await connection.execute(_REGISTER, mail_id, registration.email, registration.email_key, registration.name, registration.password_hash)


async def registration(connection: Connection, mail_id: UUID) -> Registration | None:
    """What is to become an account."""
    row = await connection.fetchrow(_REGISTRATION, mail_id)
    return None if row is None else Registration(**dict(row))


async def delete_registration(connection: Connection, mail_id: UUID) -> None:
    """It has become an account."""
    await connection.execute(_UNREGISTER, mail_id)


def _mail(row: Record) -> Mail:
    return Mail(
        id=row["id"],
        kind=row["kind"],
        user_id=row["user_id"],
        address=row["address"],
        language=row["language"],
        details=json.loads(row["details"]),
    )
