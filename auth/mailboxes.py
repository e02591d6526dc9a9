"""The mail addresses of accounts: shown to be their owner's, and changed."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from auth import audit, emails, mail
from auth.audit import Caller, Event
from auth.errors import InvalidMailToken, NoAddress, SessionEnded
from auth.mail import Kind, Language
from auth.sessions import Principal, Sessions
from storage import mails, session_list, sessions, users
from storage.errors import Conflict
from storage.mails import Mail
from storage.pool import Connection, Database
from storage.users import Account

REVOKED_EMAIL = "email_changed"
ENDED_BY_A_CHANGE = frozenset({Kind.VERIFY, Kind.RESET, Kind.CHANGE})
"""Mails whose tokens are none once the address is another: they lie in the mailbox until then, or would change it again."""


class Mailboxes:
    """Verifies and changes addresses."""

    def __init__(self, *, database: Database, sessions: Sessions, random: Callable[[int], bytes]) -> None:
        self._database = database
        self._sessions = sessions
        self._random = random

    async def ask_verification(self, principal: Principal, *, language: Language, caller: Caller, now: datetime) -> None:
        """Mail a token that shows that the mailbox is the account's; nothing where that was shown already.

        Raises:
            NoAddress: the account has none.
        """
        user = principal.user
        if user.email is None:
            raise NoAddress
        if user.email_verified_at is not None:
            return
        async with self._database.transaction() as connection:
            await self._ask(connection, Kind.VERIFY, user.email, user.id, language, now)
            await _note(connection, Event.VERIFICATION_ASKED, principal, caller, now)

    async def verify(self, principal: Principal, token: str, *, caller: Caller, now: datetime) -> None:
        """Note that the user, who has this token, has shown the account's mailbox.

        It takes a session of the account besides the token: whoever gets a mail since somebody else made an account of their address, and
        follows its link, must not vouch for that account.

        Raises:
            InvalidMailToken: it is none of this account's, was used, its time is over, or the address is another by now.
            SessionEnded: the session was ended meanwhile.
        """
        async with self._database.transaction() as connection:
            account, found = await self._shown(connection, principal, Kind.VERIFY, token, now)
            if not emails.same(account.user.email, found.address):
                raise InvalidMailToken
            if await users.verify_email(connection, account.user.id, emails.parse(found.address).key, now=now):
                await audit.note(
                    connection, Event.EMAIL_VERIFIED, now=now, user_id=account.user.id, caller=caller, session_id=principal.session_id
                )

    async def ask_change(self, principal: Principal, email: str, *, language: Language, caller: Caller, now: datetime) -> None:
        """Mail a token to the new address, and to the one until then that another is wanted.

        Whether another account has the new address is told to that mailbox only.

        Raises:
            InvalidEmail: the text cannot be an address of anybody.
            SessionEnded: the session, or the account, is over by now.
        """
        address = emails.parse(email)
        async with self._database.transaction() as connection:
            account = await users.lock_account(connection, principal.user.id)
            if account is None or await sessions.identify(connection, principal.session_id, now=now) is None:
                raise SessionEnded
            user = account.user
            await mails.void(connection, user.id, [Kind.CHANGE], now=now)  # the last one asked for is the one that is meant
            await self._ask(connection, Kind.CHANGE, address.text, user.id, language, now)
            if user.email is not None:
                await self._ask(connection, Kind.CHANGE_ASKED, user.email, user.id, language, now)
            await _note(connection, Event.EMAIL_CHANGE_ASKED, principal, caller, now)

    async def confirm_change(self, principal: Principal, token: str, *, language: Language, caller: Caller, now: datetime) -> None:
        """Make the address that the token was mailed to the account's, and end its other sessions.

        It takes a session of the account besides the token: a mistyped address belongs to somebody else, who must not come by the account.

        Raises:
            InvalidMailToken: it is none of this account's, was used, its time is over, or another account has the address by now.
            SessionEnded: the session was ended meanwhile.
        """
        try:
            async with self._database.transaction() as connection:
                account, found = await self._shown(connection, principal, Kind.CHANGE, token, now)
                ended = await self._change(connection, account, found.address, principal.session_id, language, now)
                await audit.note(
                    connection,
                    Event.EMAIL_CHANGED,
                    now=now,
                    user_id=account.user.id,
                    caller=caller,
                    session_id=principal.session_id,
                    sessions=len(ended),
                )
        except Conflict as error:
            if error.constraint == "users_email_key":
                raise InvalidMailToken from error
            raise
        self._sessions.announce(ended)

    async def _shown(self, connection: Connection, principal: Principal, kind: Kind, token: str, now: datetime) -> tuple[Account, Mail]:
        """The asking account, held, and the mail of its own whose token this is, which is spent by it."""
        account = await _held(connection, principal.user.id)
        if await sessions.identify(connection, principal.session_id, now=now) is None:
            raise SessionEnded
        found = await mail.find(connection, kind, token, now=now)
        if found.user_id != account.user.id:
            raise InvalidMailToken
        await mail.spend(connection, found, token, now=now)
        return account, found

    async def _change(
        self, connection: Connection, account: Account, to: str, session_id: UUID, language: Language, now: datetime
    ) -> list[UUID]:
        user, address = account.user, emails.parse(to)
        await users.set_email(connection, user.id, address.text, address.key, now=now)
        await mails.void(connection, user.id, ENDED_BY_A_CHANGE, now=now)
        if user.email is not None:
            await self._ask(connection, Kind.CHANGED, user.email, user.id, language, now)
        return await session_list.revoke_all(connection, user.id, now=now, reason=REVOKED_EMAIL, but=session_id)

    async def _ask(self, connection: Connection, kind: Kind, address: str, user_id: UUID, language: Language, now: datetime) -> None:
        await mail.ask(connection, kind, address=address, user_id=user_id, language=language, now=now, random=self._random)


async def _held(connection: Connection, user_id: UUID | None) -> Account:
    """The account, its row held until the transaction ends."""
    account = await users.lock_account(connection, user_id) if user_id else None
    if account is None:
        raise InvalidMailToken
    return account


async def _note(connection: Connection, event: Event, principal: Principal, caller: Caller, now: datetime) -> None:
    await audit.note(connection, event, now=now, user_id=principal.user.id, caller=caller, session_id=principal.session_id)
