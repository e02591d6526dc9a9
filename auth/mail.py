"""Mails to the owners of accounts, and the tokens in them.

A mail is asked for in the transaction of what brings it about, as a row and a durable job that names only the row. What it says, and
whether it is sent at all, is found out by the job: so whoever asks is told the same, and waits as long, whether or not there is an
account. The token is made by the job too, 32 random bytes, and only its SHA-256 is kept: neither the database, nor the queue, nor a
log can be used in place of the mailbox. A job that runs twice makes a new token, and the one before is none then.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from auth import emails
from auth.errors import InvalidMailToken
from storage import mails, users
from storage.job_queue import enqueue
from storage.mails import Mail
from storage.pool import Connection, Database

MAIL = "mail"
"""The kind of job that sends a mail; the subject is its id."""
TOKEN_BYTES = 32


class Kind(StrEnum):
    """What a mail is about."""

    VERIFY = "verify"
    """A token that shows that the mailbox is the account's."""
    REGISTER = "register"
    """A token that makes an account of a registration."""
    RESET = "reset"
    """A token that takes a new password. Whose account it is, is found out when it is sent."""
    CHANGE = "change"
    """To a new address: a token that makes it the account's."""
    CHANGE_ASKED = "change_asked"
    """To the address until then: somebody signed in wants another one."""
    CHANGED = "changed"
    """To the address until then: it is the account's no more."""
    PASSWORD_CHANGED = "password_changed"  # noqa: S105  # a kind, not a secret
    """There is a new password."""
    HAS_ACCOUNT = "has_account"
    """In place of REGISTER, to an address that has an account."""
    TAKEN = "taken"
    """In place of CHANGE, to an address that another account has."""


WITH_TOKEN = frozenset({Kind.VERIFY, Kind.REGISTER, Kind.RESET, Kind.CHANGE})


class Language(StrEnum):
    """What a mail can be written in."""

    ENGLISH = "en"
    CHINESE = "zh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """What is to be sent: what about, where to (ASCII, as SMTP takes it), and the token that is nowhere else."""

    mail_id: UUID
    kind: Kind
    address: str
    language: Language
    token: str | None = field(default=None, repr=False)


async def ask(
    connection: Connection,
    kind: Kind,
    *,
    address: str,
    language: Language,
    now: datetime,
    random: Callable[[int], bytes],
    user_id: UUID | None = None,
    details: Mapping[str, Any] | None = None,
) -> UUID:
    """Have a mail sent once the caller's transaction has committed; its id."""
    mail = Mail(
        id=UUID(bytes=random(16), version=4),
        kind=kind.value,
        user_id=user_id,
        address=address,
        language=language.value,
        details=details or {},
    )
    await mails.create(connection, mail, now=now)
    await enqueue(connection, MAIL, str(mail.id))
    return mail.id


def hash_of(token: str) -> bytes:
    """What is kept of a token: nobody can guess 256 random bits, so it needs neither salt nor a slow hash."""
    return hashlib.sha256(token.encode()).digest()


async def find(connection: Connection, kind: Kind, token: str, *, now: datetime) -> Mail:
    """The mail of this kind that the token came in, without using it up.

    Raises:
        InvalidMailToken: it is none, was used already, or its time is over.
    """
    found = await mails.find(connection, kind.value, hash_of(token), now=now)
    if found is None:
        raise InvalidMailToken
    return found


async def spend(connection: Connection, mail: Mail, token: str, *, now: datetime) -> None:
    """Use the token up, in the transaction of what it is used for, which holds the row of the account.

    Raises:
        InvalidMailToken: somebody else has, or its time is over.
    """
    if not await mails.spend(connection, mail.id, hash_of(token), now=now):
        raise InvalidMailToken


class Desk:
    """Gets mails ready to be sent, and notes what became of them."""

    def __init__(self, database: Database, *, lifetime: timedelta, random: Callable[[int], bytes]) -> None:
        """A token is good for `lifetime` from when its mail is sent."""
        self._database = database
        self._lifetime = lifetime
        self._random = random

    async def letter(self, mail_id: UUID, *, now: datetime) -> Letter | None:
        """What is to be sent, with a new token if it has one; None where nothing is, or nothing any more."""
        async with self._database.transaction() as connection:
            mail = await mails.unsent(connection, mail_id)
            if mail is None:
                return None
            decided = await _decide(connection, mail)
            if decided is None:
                await mails.close(connection, mail.id, now=now)
                return None
            token = None
            if decided.kind in WITH_TOKEN:
                # before the mail, as whoever deletes or changes the account takes them
                if decided.user_id is not None and not await users.lock(connection, decided.user_id):
                    return None
                token = base64.urlsafe_b64encode(self._random(TOKEN_BYTES)).rstrip(b"=").decode()
                if not await mails.mint(connection, mail.id, hash_of(token), expires_at=now + self._lifetime, user_id=decided.user_id):
                    return None
        return Letter(
            mail_id=mail.id,
            kind=decided.kind,
            address=emails.parse(decided.address).ascii,
            language=Language(mail.language),
            token=token,
        )

    async def sent(self, mail_id: UUID, *, now: datetime) -> None:
        """The mail was handed over."""
        async with self._database.transaction() as connection:
            await mails.note_sent(connection, mail_id, now=now)

    async def refused(self, mail_id: UUID, *, now: datetime) -> None:
        """Nobody takes the mail, now or later."""
        async with self._database.transaction() as connection:
            await mails.close(connection, mail_id, now=now)


@dataclass(frozen=True, slots=True)
class _Decision:
    """What the mail says by now, to whom, and whose account it is about."""

    kind: Kind
    address: str
    user_id: UUID | None


async def _decide(connection: Connection, mail: Mail) -> _Decision | None:
    """None where nothing is to be sent."""
    kind = Kind(mail.kind)
    owner = await users.by_email(connection, emails.parse(mail.address).key)
    match kind:
        case Kind.RESET:
            # to the address as its owner writes it, not as somebody has typed it
            return _Decision(kind, owner.user.email, owner.user.id) if owner and owner.user.email and not owner.disabled else None
        case Kind.REGISTER:
            return _Decision(Kind.HAS_ACCOUNT if owner else kind, mail.address, None)
        case Kind.VERIFY:
            is_due = owner and owner.user.id == mail.user_id and owner.user.email_verified_at is None and not owner.disabled
            return _Decision(kind, mail.address, mail.user_id) if is_due else None
        case Kind.CHANGE:
            asking = await users.by_id(connection, mail.user_id) if mail.user_id else None
            if asking is None or asking.disabled:
                return None
            taken = owner is not None and owner.user.id != mail.user_id
            return _Decision(Kind.TAKEN if taken else kind, mail.address, mail.user_id)
        case _:
            return _Decision(kind, mail.address, mail.user_id)
