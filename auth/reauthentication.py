"""Showing once more that it is you: what sensitive routes ask for, while the session goes on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from auth import audit
from auth.audit import NOBODY, Caller, Event
from auth.errors import InvalidCredentials, SessionEnded
from auth.passwords import Passwords
from auth.sessions import Principal
from storage import session_list, users
from storage.pool import Connection, Database


class Reauthentication:
    """Notes of a session that its user has shown who it is, by a password or by another provider's word."""

    def __init__(self, *, database: Database, passwords: Passwords) -> None:
        self._database = database
        self._passwords = passwords

    async def by_password(self, asking: Principal, password: str, *, now: datetime, caller: Caller = NOBODY) -> None:
        """Note it if this is the password of the asking user.

        Takes the same time whether the password is wrong or the account has none.

        Raises:
            InvalidCredentials: it is not, or was changed while it was checked.
            SessionEnded: the session has ended meanwhile.
            TooBusy: too many passwords wait to be checked.
        """
        async with self._database.acquire() as connection:
            account = await users.by_id(connection, asking.user.id)
        stored = account.password_hash if account else None
        checked = await self._passwords.check(password, stored)
        if not checked.correct:
            async with self._database.transaction() as connection:
                await self._note(connection, Event.REAUTHENTICATION_FAILED, asking, "password", now, caller)
            raise InvalidCredentials
        async with self.proven(asking, "password", now=now, caller=caller) as connection:
            # asked again with the row held: the password may have been changed since it was checked
            if not await users.has_hash(connection, asking.user.id, stored):
                raise InvalidCredentials

    @asynccontextmanager
    async def proven(self, asking: Principal, method: str, *, now: datetime, caller: Caller = NOBODY) -> AsyncIterator[Connection]:
        """A transaction, holding the user's row, in which it is noted that the user has shown who it is by `method`.

        What is raised inside takes the note back.

        Raises:
            SessionEnded: the session, or the account, has ended meanwhile.
        """
        async with self._database.transaction() as connection:
            if not await users.lock(connection, asking.user.id):
                raise SessionEnded
            if not await session_list.note_authentication(connection, asking.session_id, now=now):
                raise SessionEnded
            await self._note(connection, Event.REAUTHENTICATED, asking, method, now, caller)
            yield connection

    async def _note(self, connection: Connection, event: Event, asking: Principal, method: str, now: datetime, caller: Caller) -> None:
        await audit.note(connection, event, now=now, user_id=asking.user.id, caller=caller, session_id=asking.session_id, method=method)
