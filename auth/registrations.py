"""Registrations that become accounts once their mailbox has been shown (the setting `registration: verified`)."""

from collections.abc import Callable
from datetime import datetime

from auth import audit, emails, mail
from auth.audit import Caller, Event
from auth.errors import InvalidCredentials, InvalidMailToken
from auth.mail import Kind, Language
from auth.new_accounts import NewAccounts
from auth.passwords import Passwords, require_acceptable
from auth.sessions import Device, Grant, Sessions
from storage import mails
from storage.errors import Conflict
from storage.keyring import Keyring
from storage.mails import Registration
from storage.pool import Database


class Registrations:
    """Takes registrations, and makes accounts of those that are confirmed."""

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
        self._passwords = passwords
        self._sessions = sessions
        self._new = NewAccounts(keyring=keyring, first_update=first_update, random=random)
        self._random = random

    async def ask(self, *, email: str, password: str, name: str | None, language: Language, caller: Caller, now: datetime) -> None:
        """Mail a token that makes an account, or, to an address that has one, that it has one.

        All the same is done, in the same time, whether or not there is an account: that is looked for when the mail is sent.

        Raises:
            InvalidEmail, WeakPassword: the address or the password breaks a rule.
            TooBusy: too many passwords wait to be hashed.
        """
        address = emails.parse(email)
        require_acceptable(password, address.text)
        password_hash = await self._passwords.hash(password)
        wanted = Registration(email=address.text, email_key=address.key, name=name, password_hash=password_hash)
        async with self._database.transaction() as connection:
            mail_id = await mail.ask(connection, Kind.REGISTER, address=address.text, language=language, now=now, random=self._random)
            await mails.create_registration(connection, mail_id, wanted)
            await audit.note(connection, Event.REGISTRATION_ASKED, now=now, user_id=None, caller=caller)

    async def confirm(self, *, token: str, password: str, device: Device, now: datetime) -> Grant:
        """Make the account, its address verified, and sign this device in.

        The password must be the registered one. Somebody may have registered another's address with a password of their own: the owner
        of the mailbox, who only follows a link, must not come by an account that somebody else can enter.

        Raises:
            InvalidMailToken: the token is none, was used, its time is over, or the address has an account by now.
            InvalidCredentials: the password is another one; the token can still be used.
            TooBusy: too many passwords wait to be checked.
        """
        async with self._database.acquire() as connection:
            found = await mail.find(connection, Kind.REGISTER, token, now=now)
            wanted = await mails.registration(connection, found.id)
        if wanted is None:
            raise InvalidMailToken
        if not (await self._passwords.check(password, wanted.password_hash)).correct:
            raise InvalidCredentials
        try:
            async with self._database.transaction() as connection:
                await mail.spend(connection, found, token, now=now)
                await mails.delete_registration(connection, found.id)
                user, data_key = await self._new.create(
                    connection,
                    address=emails.parse(wanted.email),
                    email_verified_at=now,
                    name=wanted.name,
                    password_hash=wanted.password_hash,
                    now=now,
                )
                grant, _ = await self._sessions.open(connection, user, data_key, device, now=now)
                for event in (Event.REGISTERED, Event.EMAIL_VERIFIED):
                    await audit.note(connection, event, now=now, user_id=user.id, caller=device.caller, session_id=grant.session_id)
        except Conflict as error:
            if error.constraint == "users_email_key":
                raise InvalidMailToken from error
            raise
        return grant
