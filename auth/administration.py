"""What is done to a whole account by its user, an administrator or an operator: disabled, given a role or a password, deleted.

Each is one short transaction with its line in the audit log, and whatever it ends is announced after the commit.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from auth import audit
from auth.audit import NOBODY, Caller, Event
from auth.credentials import ENDED_BY_A_PASSWORD
from auth.errors import Forbidden, LastAdmin, SessionEnded
from auth.passwords import Passwords, require_acceptable
from auth.sessions import OnRevoked
from storage import administration, deletion, mails, session_list, sessions
from storage.administration import Facts, Locked
from storage.errors import NotFound
from storage.pool import Connection, Database
from storage.users import Rank

REVOKED_DISABLED = "disabled"
REVOKED_BY_OTHERS = "ended_by_administrator"
REVOKED_PASSWORD = "password_replaced"  # noqa: S105  # a name
REVOKED_DELETED = "deleted"

OnDeleted = Callable[[UUID], None]
"""Told the id of a library that is gone, after the commit; must not block."""
EnqueuePurge = Callable[[Connection, UUID], Awaitable[None]]
"""Has the rows of a deleted account removed once the transaction has committed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """Who does it, as the audit log names it: the user, an administrator (with an id), or an operator at the terminal."""

    actor: str = "operator"
    id: UUID | None = None
    caller: Caller = NOBODY
    session_id: UUID | None = None


OPERATOR = Author()


class Administration:
    """Changes accounts, for whoever may: that is asked before."""

    def __init__(
        self, *, database: Database, passwords: Passwords, on_revoked: OnRevoked, on_deleted: OnDeleted, enqueue_purge: EnqueuePurge
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._on_revoked = on_revoked
        self._on_deleted = on_deleted
        self._enqueue_purge = enqueue_purge

    async def disable(self, user_id: UUID, author: Author, *, now: datetime) -> Facts:
        """Let nobody sign in to the account any more and end all its sessions. One that is disabled already is no error.

        Raises:
            NotFound: there is no such account.
            LastAdmin: an administrator would take the last one away.
        """
        async with self._holding(user_id, author, now, ends_admin=True) as (connection, found):
            await administration.disable(connection, user_id, now=now)
            ended = await session_list.revoke_all(connection, user_id, now=now, reason=REVOKED_DISABLED)
            if not found.disabled:
                await _note(connection, Event.ACCOUNT_DISABLED, user_id, author, now, ended=len(ended))
            facts = await _facts(connection, user_id, now)
        self._announce(ended)
        return facts

    async def enable(self, user_id: UUID, author: Author, *, now: datetime) -> Facts:
        """Let its user sign in again. Raises NotFound."""
        async with self._holding(user_id, author, now) as (connection, found):
            await administration.enable(connection, user_id)
            if found.disabled:
                await _note(connection, Event.ACCOUNT_ENABLED, user_id, author, now)
            return await _facts(connection, user_id, now)

    async def set_role(self, user_id: UUID, role: Rank, author: Author, *, now: datetime) -> Facts:
        """Make the account an administrator's or an ordinary one.

        Raises:
            NotFound: there is no such account.
            LastAdmin: an administrator would take the last one away.
        """
        async with self._holding(user_id, author, now, ends_admin=role is not Rank.ADMIN) as (connection, found):
            await administration.set_role(connection, user_id, role)
            if found.role is not role:
                await _note(connection, Event.ROLE_CHANGED, user_id, author, now, role=role.value, before=found.role.value)
            return await _facts(connection, user_id, now)

    async def end_sessions(self, user_id: UUID, author: Author, *, now: datetime) -> int:
        """End all sessions of the account: how many there were. Raises NotFound."""
        async with self._holding(user_id, author, now) as (connection, _):
            ended = await session_list.revoke_all(connection, user_id, now=now, reason=REVOKED_BY_OTHERS)
            await _note(connection, Event.SESSIONS_ENDED, user_id, author, now, ended=len(ended))
        self._announce(ended)
        return len(ended)

    async def replace_password(self, user_id: UUID, password: str, author: Author, *, now: datetime) -> int:
        """Give the account this password, whether or not it had one, and end all its sessions: how many there were. Mailed tokens of resets
        and of another address are none then.

        Raises:
            WeakPassword: it breaks a rule.
            NotFound: there is no such account.
            TooBusy: too many passwords wait to be hashed.
        """
        require_acceptable(password)
        password_hash = await self._passwords.hash(password)
        async with self._holding(user_id, author, now) as (connection, _):
            await administration.set_password(connection, user_id, password_hash)
            await mails.void(connection, user_id, ENDED_BY_A_PASSWORD, now=now)
            ended = await session_list.revoke_all(connection, user_id, now=now, reason=REVOKED_PASSWORD)
            await _note(connection, Event.PASSWORD_REPLACED, user_id, author, now, ended=len(ended))
        self._announce(ended)
        return len(ended)

    async def delete(self, user_id: UUID, author: Author, *, now: datetime) -> None:
        """Delete the account with the libraries it owns: unreadable from the commit on, its rows removed soon after.

        Raises:
            NotFound: there is no such account, or it was deleted before.
            LastAdmin: the last administrator would be gone, and no operator wants it so.
        """
        async with self._holding(user_id, author, now, ends_admin=True, whole=True) as (connection, _):
            destroyed = await deletion.destroy(connection, user_id, now=now, reason=REVOKED_DELETED)
            await _note(connection, Event.ACCOUNT_DELETED, user_id, author, now, libraries=len(destroyed.libraries))
            await self._enqueue_purge(connection, user_id)
        self._announce(destroyed.sessions)
        for library_id in destroyed.libraries:
            self._on_deleted(library_id)

    @asynccontextmanager
    async def _holding(
        self, user_id: UUID, author: Author, now: datetime, *, ends_admin: bool = False, whole: bool = False
    ) -> AsyncIterator[tuple[Connection, Locked]]:
        """A transaction that holds the account's row; with `ends_admin` only while another administrator remains, or for an operator.

        Raises:
            SessionEnded, Forbidden: the author was signed out, or is no administrator any more, while others held what is held here.
        """
        async with self._database.transaction() as connection:
            if ends_admin:
                await administration.alone(connection)
            found = await administration.lock(connection, user_id, whole=whole)
            if found is None:
                raise NotFound
            await _require_still(connection, author, now)
            is_admin = found.role is Rank.ADMIN and not found.disabled
            if ends_admin and is_admin and author.actor != OPERATOR.actor and await administration.is_last_admin(connection, user_id):
                raise LastAdmin
            yield connection, found

    def _announce(self, session_ids: Iterable[UUID]) -> None:
        if ids := list(session_ids):
            self._on_revoked(ids)


async def _require_still(connection: Connection, author: Author, now: datetime) -> None:
    """Ask again what was asked before the transaction began."""
    if author.session_id is None:
        return
    alive = await sessions.identify(connection, author.session_id, now=now)
    if alive is None:
        raise SessionEnded
    if author.id is not None and alive.user.role is not Rank.ADMIN:
        raise Forbidden


async def _note(connection: Connection, event: Event, user_id: UUID, author: Author, now: datetime, **details: str | int | bool) -> None:
    await audit.note(
        connection,
        event,
        now=now,
        user_id=user_id,
        caller=author.caller,
        session_id=author.session_id,
        actor=author.actor,
        actor_id=author.id,
        **details,
    )


async def _facts(connection: Connection, user_id: UUID, now: datetime) -> Facts:
    found = await administration.one(connection, user_id, now=now)
    assert found is not None  # noqa: S101  # the caller holds the row
    return found
