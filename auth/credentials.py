"""The passwords of accounts: changed by who is signed in, and reset by who has the mailbox."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from auth import audit, emails, mail
from auth.audit import Caller, Event
from auth.errors import InvalidCredentials, InvalidMailToken, SessionEnded
from auth.mail import Kind, Language
from auth.passwords import Passwords, require_acceptable
from auth.sessions import Principal, Sessions
from storage import identities, mails, session_list, sessions, shares, users
from storage.pool import Connection, Database
from storage.users import Account, User

REVOKED_PASSWORD = "password_changed"  # noqa: S105  # a reason, not a secret
ENDED_BY_A_PASSWORD = frozenset({Kind.RESET, Kind.CHANGE})
"""Mails whose tokens are none once there is a new password: whoever had the old one may have asked for them."""


class Credentials:
    """Changes and resets passwords."""

    def __init__(self, *, database: Database, passwords: Passwords, sessions: Sessions, random: Callable[[int], bytes]) -> None:
        self._database = database
        self._passwords = passwords
        self._sessions = sessions
        self._random = random

    async def change(
        self, principal: Principal, *, current: str | None, new: str, language: Language, caller: Caller, now: datetime
    ) -> None:
        """Give the account a new password, its first one maybe, and end its other sessions. A notice is mailed.

        The current password is shown, or else that was done (or another provider's word brought) a short time ago.

        Raises:
            InvalidCredentials: the current password is another one, or there is none.
            RecentLoginNeeded: none was given, and the last sign-in is too long ago.
            WeakPassword: the new one breaks a rule.
            SessionEnded: the session, or the password that was shown, is over by now.
            TooBusy: too many passwords wait to be hashed.
        """
        user = principal.user
        shown = None
        if current is None:
            self._sessions.require_recent(principal, now=now)
        else:
            shown = await self._check(principal, current, caller, now)
        require_acceptable(new, user.email)
        password_hash = await self._passwords.hash(new)
        async with self._database.transaction() as connection:
            account = await users.lock_account(connection, user.id)
            alive = await sessions.identify(connection, principal.session_id, now=now)
            if account is None or alive is None or (shown is not None and account.password_hash != shown):
                raise SessionEnded
            ended = await self._set(connection, account.user, password_hash, language, now, but=principal.session_id)
            await audit.note(
                connection,
                Event.PASSWORD_CHANGED,
                now=now,
                user_id=user.id,
                caller=caller,
                session_id=principal.session_id,
                sessions=len(ended),
            )
        self._sessions.announce(ended)

    async def ask_reset(self, *, email: str, language: Language, caller: Caller, now: datetime) -> None:
        """Mail a token that takes a new password, if there is an account with this address that may sign in.

        All the same is done, in the same time, whether or not there is: the mail's job looks for the account.

        Raises:
            InvalidEmail: the text cannot be an address of anybody.
        """
        address = emails.parse(email)
        async with self._database.transaction() as connection:
            account = await users.by_email(connection, address.key)
            await mail.ask(connection, Kind.RESET, address=address.text, language=language, now=now, random=self._random)
            user_id = None if account is None else account.user.id
            await audit.note(connection, Event.PASSWORD_RESET_ASKED, now=now, user_id=user_id, caller=caller)

    async def reset(self, *, token: str, password: str, language: Language, caller: Caller, now: datetime) -> None:
        """Give the account a new password, its first one maybe, and end all of its sessions. The address counts as verified.

        Raises:
            InvalidMailToken: the token is none, was used, or its time is over; or a new password was set since it was mailed.
            WeakPassword: the new password breaks a rule; the token can still be used.
            TooBusy: too many passwords wait to be hashed.
        """
        async with self._database.acquire() as connection:
            found = await mail.find(connection, Kind.RESET, token, now=now)
        require_acceptable(password, found.address)
        password_hash = await self._passwords.hash(password)
        async with self._database.transaction() as connection:
            account = await users.lock_account(connection, found.user_id) if found.user_id else None
            await mail.spend(connection, found, token, now=now)
            if account is None or account.disabled or not emails.same(account.user.email, found.address):
                raise InvalidMailToken
            await self._claim(connection, account, found.address, caller, now)
            ended = await self._set(connection, account.user, password_hash, language, now)
            await audit.note(connection, Event.PASSWORD_RESET, now=now, user_id=account.user.id, caller=caller, sessions=len(ended))
        self._sessions.announce(ended)

    async def _check(self, principal: Principal, password: str, caller: Caller, now: datetime) -> str:
        """The hash of the account's password, which this is."""
        user_id = principal.user.id
        async with self._database.acquire() as connection:
            account = await users.by_id(connection, user_id)
        stored = account.password_hash if account else None
        checked = await self._passwords.check(password, stored)
        if stored is None or not checked.correct:
            async with self._database.transaction() as connection:
                await audit.note(
                    connection,
                    Event.SIGN_IN_FAILED,
                    now=now,
                    user_id=user_id,
                    caller=caller,
                    session_id=principal.session_id,
                    method="password",
                )
            raise InvalidCredentials
        return stored

    async def _claim(self, connection: Connection, account: Account, address: str, caller: Caller, now: datetime) -> None:
        """Who resets has shown the mailbox. Where nobody had, whoever made the account may have waited for its owner (pre-hijacking):
        what else signs in to it goes, and links to what is in it."""
        user_id = account.user.id
        if await users.verify_email(connection, user_id, emails.parse(address).key, now=now):
            demoted = await users.demote(connection, user_id)
            removed = await identities.remove_all(connection, user_id)
            links = await shares.end_all_of(connection, user_id, now=now)
            await audit.note(connection, Event.EMAIL_VERIFIED, now=now, user_id=user_id, caller=caller)
            if removed or links or demoted:
                await audit.note(
                    connection,
                    Event.ACCOUNT_RECLAIMED,
                    now=now,
                    user_id=user_id,
                    caller=caller,
                    method="mail",
                    identities=len(removed),
                    shares=links,
                    demoted=demoted,
                )

    async def _set(
        self,
        connection: Connection,
        user: User,
        password_hash: str,
        language: Language,
        now: datetime,
        *,
        but: UUID | None = None,
    ) -> list[UUID]:
        """For the holder of the user's row; the ids of the sessions that have ended."""
        await users.set_password(connection, user.id, password_hash)
        await mails.void(connection, user.id, ENDED_BY_A_PASSWORD, now=now)
        if user.email is not None:
            await mail.ask(
                connection,
                Kind.PASSWORD_CHANGED,
                address=user.email,
                user_id=user.id,
                language=language,
                now=now,
                random=self._random,
            )
        return await session_list.revoke_all(connection, user.id, now=now, reason=REVOKED_PASSWORD, but=but)
