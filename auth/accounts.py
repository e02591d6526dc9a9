"""Accounts: registering and signing in with a password."""

from collections.abc import Callable
from datetime import datetime

from auth import audit, emails
from auth.audit import Event
from auth.errors import EmailTaken, InvalidCredentials
from auth.new_accounts import NewAccounts
from auth.passwords import Passwords, require_acceptable
from auth.sessions import Device, Grant, Sessions
from storage import users
from storage.cipher import user_key_place
from storage.errors import Conflict
from storage.keyring import Keyring
from storage.pool import Database
from storage.users import Account


class Accounts:
    """Registers users and signs them in."""

    def __init__(
        self,
        *,
        database: Database,
        keyring: Keyring,
        passwords: Passwords,
        sessions: Sessions,
        first_update: bytes,
        random: Callable[[int], bytes],
    ) -> None:
        """`first_update` is what the library of every account begins with."""
        self._database = database
        self._keyring = keyring
        self._passwords = passwords
        self._sessions = sessions
        self._new = NewAccounts(keyring=keyring, first_update=first_update, random=random)

    async def register(self, *, email: str, password: str, name: str | None, device: Device, now: datetime) -> Grant:
        """Make a user with a data key, a library of the user's own and a first session, all or nothing.

        Without a name the part of the address before the @ serves.

        Raises:
            InvalidEmail, WeakPassword: the address or the password breaks a rule.
            EmailTaken: an account with this address exists.
            TooBusy: too many passwords wait to be hashed.
        """
        address = emails.parse(email)
        require_acceptable(password)
        password_hash = await self._passwords.hash(password)
        try:
            async with self._database.transaction() as connection:
                user, data_key = await self._new.create(connection, address=address, name=name, password_hash=password_hash, now=now)
                grant, _ = await self._sessions.open(connection, user, data_key, device, now=now)
                await audit.note(connection, Event.REGISTERED, now=now, user_id=user.id, caller=device.caller, session_id=grant.session_id)
        except Conflict as error:
            if error.constraint == "users_email_key":
                raise EmailTaken from error
            raise
        return grant

    async def login(self, *, email: str, password: str, device: Device, now: datetime) -> Grant:
        """Open a session for the user whose address and password these are.

        Takes the same time whether or not there is such a user.

        Raises:
            InvalidEmail: the text cannot be an address of anybody.
            InvalidCredentials: unknown address, wrong password, or a disabled account.
            TooBusy: too many passwords wait to be checked.
        """
        address = emails.parse(email)
        async with self._database.acquire() as connection:
            account = await users.by_email(connection, address.key)
        stored = account.password_hash if account else None
        checked = await self._passwords.check(password, stored)
        if account is None or stored is None or not checked.correct or account.disabled:
            await self._note_failure(account, device, now)
            raise InvalidCredentials
        fresh = await self._passwords.hash(password) if checked.outdated else stored
        data_key = self._keyring.unwrap(account.key_id, account.wrapped_key, user_key_place(account.user.id))
        async with self._database.transaction() as connection:
            user = await users.note_login(connection, account.user.id, password_hash=stored, now=now)
            if user is None:
                raise InvalidCredentials
            if fresh != stored:
                await users.replace_hash(connection, user.id, old=stored, new=fresh)
            grant, replaced = await self._sessions.open(connection, user, data_key, device, now=now)
            await audit.note(connection, Event.SIGNED_IN, now=now, user_id=user.id, caller=device.caller, session_id=grant.session_id)
        self._sessions.announce(replaced)
        return grant

    async def _note_failure(self, account: Account | None, device: Device, now: datetime) -> None:
        """The same question to the database whether or not there is such an account, so that time tells neither."""
        user_id = None if account is None else account.user.id
        async with self._database.transaction() as connection:
            await audit.note(connection, Event.SIGN_IN_FAILED, now=now, user_id=user_id, caller=device.caller, method="password")
