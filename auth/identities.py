"""Identities: accounts at other providers that sign in here. Who they belong to, and when they may come to belong to somebody.

Whoever signs in is found by (provider, namespace, subject), never by an address. An address counts once only: for an identity that
nobody has seen yet, and only if the provider says that it is verified. Then an account with that address
- is linked, if the provider owns the mailbox and the account's owner has shown it too;
- is taken from whoever made it, if the provider owns the mailbox and nobody has shown it here: its password, its other identities,
  its sessions and its share links go, since they may be somebody's who waited for the owner (pre-hijacking);
- stays as it is, if the provider does not own the mailbox: its owner signs in as before and links.

Everything happens under the lock of the user's row, on which logins, links and unlinks of one user wait for each other.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from auth import audit, mail
from auth.audit import Caller, Event
from auth.emails import Address
from auth.errors import (
    AuthError,
    IdentityConflict,
    IdentityTaken,
    LastWayIn,
    LinkRequired,
    SessionEnded,
    SocialRefused,
    TooManyIdentities,
)
from auth.external_identities import ExternalIdentity
from auth.mail import Kind, Language
from auth.new_accounts import NewAccounts
from auth.sessions import Device, Grant, Principal, Sessions
from storage import identities, session_list, sessions, shares, users
from storage.cipher import DataKey, user_key_place
from storage.errors import Conflict, NotFound, Unavailable
from storage.identities import Linked
from storage.keyring import Keyring
from storage.pool import Connection, Database
from storage.users import Account, User

MAX_IDENTITIES = 20
"""Identities of one account; more than anybody has accounts elsewhere. Past it: 409."""
ATTEMPTS = 5
"""Times that a sign-in begins again since somebody else has just changed whom the identity belongs to. Past it: 503."""
REVOKED_RECLAIMED = "reclaimed"
_RACED = frozenset({"identity_keys_pkey", "users_email_key"})


@dataclass(frozen=True, slots=True)
class _Opened:
    grant: Grant
    ended: list[UUID]


class _Raced(Exception):
    """What was found is no longer so: begin again."""


class Identities:
    """Signs in by identities, links and unlinks them."""

    def __init__(
        self, *, database: Database, keyring: Keyring, sessions: Sessions, first_update: bytes, random: Callable[[int], bytes]
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._sessions = sessions
        self._new = NewAccounts(keyring=keyring, first_update=first_update, random=random)
        self._random = random

    async def sign_in(self, external: ExternalIdentity, device: Device, *, now: datetime, language: Language = Language.ENGLISH) -> Grant:
        """A session for the user whom the identity belongs to; for one that is new, a new account or the one that the rules above say.

        Where a new account has an address whose mailbox the provider does not own, a mail in this language asks to have it verified.

        Raises:
            SocialRefused: the user may not sign in.
            LinkRequired: there is an account with the address, and the provider does not own the mailbox.
            IdentityConflict: the identity's keys belong to two users.
            Unavailable: others kept changing whom it belongs to.
        """
        for _ in range(ATTEMPTS):
            try:
                async with self._database.transaction() as connection:
                    outcome = await self._sign_in(connection, external, device, language, now)
            except _Raced:
                continue
            except Conflict as error:
                if error.constraint not in _RACED:
                    raise
                continue
            # Only here, after the commit: an exception inside would take back what was noted.
            if isinstance(outcome, AuthError):
                raise outcome
            self._sessions.announce(outcome.ended)
            return outcome.grant
        raise Unavailable("an identity that others keep changing")

    async def link(self, principal: Principal, external: ExternalIdentity, *, now: datetime, caller: Caller) -> Linked:
        """Have the identity sign in this user from now on; one that does already is only brought up to date.

        Raises:
            IdentityTaken: it signs another account in.
            TooManyIdentities: the account has as many as one may.
            SessionEnded: the session, or the account, is over by now.
        """
        _require_well_formed(external)
        user_id = principal.user.id
        try:
            async with self._database.transaction() as connection:
                await self._hold(connection, principal, now)
                found = await identities.find(connection, external.provider, external.keys)
                if any(linked.user_id != user_id for linked in found):
                    raise IdentityTaken
                if found:
                    return await self._refresh(connection, found, external, now)
                if len(await identities.of_user(connection, user_id)) >= MAX_IDENTITIES:
                    raise TooManyIdentities
                return await self._add(connection, user_id, external, now, caller, session_id=principal.session_id)
        except Conflict as error:
            raise IdentityTaken from error

    async def unlink(self, principal: Principal, identity_id: UUID, *, now: datetime, caller: Caller) -> None:
        """Have the identity sign nobody in any more. Sessions that were opened with it go on.

        Raises:
            NotFound: the user has no such identity.
            LastWayIn: there is no other identity, and no password with an address to give it with.
            SessionEnded: the session, or the account, is over by now.
        """
        async with self._database.transaction() as connection:
            account = await self._hold(connection, principal, now)
            linked = await identities.of_user(connection, principal.user.id)
            chosen = next((each for each in linked if each.id == identity_id), None)
            if chosen is None:
                raise NotFound
            if len(linked) == 1 and (account.password_hash is None or account.user.email is None):
                raise LastWayIn
            await identities.remove(connection, principal.user.id, identity_id)
            await audit.note(
                connection,
                Event.IDENTITY_UNLINKED,
                now=now,
                user_id=principal.user.id,
                caller=caller,
                session_id=principal.session_id,
                target=identity_id,
                provider=chosen.provider.value,
            )

    async def of_user(self, user_id: UUID) -> list[Linked]:
        """The identities that sign this user in, oldest first."""
        async with self._database.acquire() as connection:
            return await identities.of_user(connection, user_id)

    async def prove(self, connection: Connection, principal: Principal, external: ExternalIdentity, *, now: datetime) -> None:
        """Return if the identity is one of the asking user's own: as good as the password, to show once more who asks.

        Runs inside the caller's transaction, which holds the user's row.

        Raises:
            SocialRefused: it is nobody's, or another user's.
        """
        found = await identities.find(connection, external.provider, external.keys)
        if not found or any(linked.user_id != principal.user.id for linked in found):
            raise SocialRefused("another_identity")
        await self._refresh(connection, found, external, now)

    async def note_refusal(self, reason: str, *, method: str, caller: Caller, now: datetime, user_id: UUID | None = None) -> None:
        """Note a sign-in that failed before it was known who signs in."""
        async with self._database.transaction() as connection:
            await audit.note(connection, Event.SIGN_IN_FAILED, now=now, user_id=user_id, caller=caller, method=method, reason=reason)

    async def _sign_in(
        self, connection: Connection, external: ExternalIdentity, device: Device, language: Language, now: datetime
    ) -> _Opened | AuthError:
        if not external.is_well_formed:
            return await self._refuse(connection, SocialRefused("malformed_identity"), None, external, device, now)
        found = await identities.find(connection, external.provider, external.keys)
        if not found:
            return await self._first_time(connection, external, device, language, now)
        user_id = found[0].user_id
        if any(linked.user_id != user_id for linked in found):
            return await self._refuse(connection, IdentityConflict(), None, external, device, now)
        account = await users.lock_account(connection, user_id)
        if [each.id for each in await identities.find(connection, external.provider, external.keys)] != [each.id for each in found]:
            raise _Raced
        if account is None or account.disabled:
            return await self._refuse(connection, SocialRefused("disabled_user"), user_id, external, device, now)
        linked = await self._refresh(connection, found, external, now)
        return await self._open(connection, account, linked, external, device, now)

    async def _first_time(
        self, connection: Connection, external: ExternalIdentity, device: Device, language: Language, now: datetime
    ) -> _Opened | AuthError:
        address = external.address
        account = None if address is None else await users.lock_by_email(connection, address.key)
        if account is None:
            return await self._register(connection, address, external, device, language, now)
        user_id = account.user.id
        if not external.authoritative:
            return await self._refuse(connection, LinkRequired(), user_id, external, device, now)
        if account.disabled:
            return await self._refuse(connection, SocialRefused("disabled_user"), user_id, external, device, now)
        ended: list[UUID] = []
        if account.user.email_verified_at is None:
            ended = await self._reclaim(connection, account.user, external, device, now)
        linked = await self._add(connection, user_id, external, now, device.caller, automatic=True)
        opened = await self._open(connection, account, linked, external, device, now)
        return replace(opened, ended=ended + opened.ended)

    async def _register(
        self,
        connection: Connection,
        address: Address | None,
        external: ExternalIdentity,
        device: Device,
        language: Language,
        now: datetime,
    ) -> _Opened:
        """A new account. Its address counts as shown only where the provider owns the mailbox."""
        verified_at = now if address and external.authoritative else None
        user, data_key = await self._new.create(
            connection, address=address, email_verified_at=verified_at, name=external.shown_name or None, password_hash=None, now=now
        )
        grant, ended = await self._sessions.open(connection, user, data_key, device, now=now, method=external.method)
        await audit.note(
            connection,
            Event.REGISTERED,
            now=now,
            user_id=user.id,
            caller=device.caller,
            session_id=grant.session_id,
            method=external.method,
        )
        await self._add(connection, user.id, external, now, device.caller, session_id=grant.session_id)
        if address is not None and verified_at is None:
            await mail.ask(connection, Kind.VERIFY, address=address.text, user_id=user.id, language=language, now=now, random=self._random)
        return _Opened(grant, ended)

    async def _reclaim(self, connection: Connection, user: User, external: ExternalIdentity, device: Device, now: datetime) -> list[UUID]:
        """Take from an account whatever somebody may have prepared who never showed its mailbox; the ids of the sessions that ended."""
        await users.reclaim(connection, user.id, name=external.shown_name or None, now=now)
        demoted = await users.demote(connection, user.id)
        removed = await identities.remove_all(connection, user.id)
        ended = await session_list.revoke_all(connection, user.id, now=now, reason=REVOKED_RECLAIMED)
        links = await shares.end_all_of(connection, user.id, now=now)
        await audit.note(
            connection,
            Event.ACCOUNT_RECLAIMED,
            now=now,
            user_id=user.id,
            caller=device.caller,
            method=external.method,
            sessions=len(ended),
            identities=len(removed),
            shares=links,
            demoted=demoted,
        )
        return ended

    async def _open(
        self, connection: Connection, account: Account, linked: Linked, external: ExternalIdentity, device: Device, now: datetime
    ) -> _Opened:
        user = await users.note_login(connection, account.user.id, password_hash=None, now=now)
        if user is None:
            raise _Raced
        grant, ended = await self._sessions.open(connection, user, self._key_of(account), device, now=now, method=external.method)
        await audit.note(
            connection,
            Event.SIGNED_IN,
            now=now,
            user_id=user.id,
            caller=device.caller,
            session_id=grant.session_id,
            target=linked.id,
            method=external.method,
        )
        return _Opened(grant, ended)

    async def _add(
        self,
        connection: Connection,
        user_id: UUID,
        external: ExternalIdentity,
        now: datetime,
        caller: Caller,
        *,
        session_id: UUID | None = None,
        automatic: bool = False,
    ) -> Linked:
        linked = Linked(
            id=UUID(bytes=self._random(16), version=4),
            user_id=user_id,
            provider=external.provider,
            email=external.shown_email,
            name=external.shown_name,
            created_at=now,
            last_used_at=now,
        )
        await identities.create(connection, linked, external.keys)
        await audit.note(
            connection,
            Event.IDENTITY_LINKED,
            now=now,
            user_id=user_id,
            caller=caller,
            session_id=session_id,
            target=linked.id,
            provider=external.provider.value,
            automatic=automatic,
        )
        return linked

    async def _refresh(self, connection: Connection, found: list[Linked], external: ExternalIdentity, now: datetime) -> Linked:
        """The identity with what is newly known of it. Several that turn out to be one person's, all of this user, become one."""
        kept, *others = found
        if others:
            await identities.join(connection, kept, others)
            await audit.note(
                connection,
                Event.IDENTITIES_JOINED,
                now=now,
                user_id=kept.user_id,
                target=kept.id,
                actor="server",
                provider=external.provider.value,
                joined=len(found),
            )
        await identities.add_keys(connection, kept.id, external.keys)
        return await identities.used(connection, kept.id, email=external.shown_email, name=external.shown_name, now=now)

    async def _hold(self, connection: Connection, principal: Principal, now: datetime) -> Account:
        """The asking account, its row held. The session is asked for again: it may have ended while the row was another's to hold."""
        account = await users.lock_account(connection, principal.user.id)
        if account is None or await sessions.identify(connection, principal.session_id, now=now) is None:
            raise SessionEnded
        return account

    async def _refuse(
        self,
        connection: Connection,
        refusal: AuthError,
        user_id: UUID | None,
        external: ExternalIdentity,
        device: Device,
        now: datetime,
    ) -> AuthError:
        reason = refusal.reason if isinstance(refusal, SocialRefused) else type(refusal).__name__
        await audit.note(
            connection,
            Event.SIGN_IN_FAILED,
            now=now,
            user_id=user_id,
            caller=device.caller,
            method=external.method,
            reason=reason,
        )
        return refusal

    def _key_of(self, account: Account) -> DataKey:
        return self._keyring.unwrap(account.key_id, account.wrapped_key, user_key_place(account.user.id))


def _require_well_formed(external: ExternalIdentity) -> None:
    if not external.is_well_formed:
        raise SocialRefused("malformed_identity")
