"""Sessions: opened by a login, carried on by refresh tokens, asked at each request, ended for good.

Minting and revoking both happen under the session's row lock: otherwise a replay would revoke what is there at that moment, and
the one who won the race would go on with what came after.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from auth import audit, refresh_tokens
from auth.audit import NOBODY, Caller, Event
from auth.errors import InvalidRefreshToken, RecentLoginNeeded, RefreshReused, SessionEnded
from auth.refresh_tokens import Standing, Verdict
from auth.tokens import Audience, Claims, Tokens
from storage import session_list, sessions
from storage.cipher import DataKey, secret_place, user_key_place
from storage.keyring import Keyring
from storage.libraries import Library
from storage.pool import Connection, Database
from storage.sessions import Identity, LockedSession
from storage.users import User

REVOKED_REUSE = "refresh_reuse"
REVOKED_REPLACED = "replaced"
SEEN_EVERY = timedelta(minutes=1)
"""A socket that opens is noted as a use of its session, unless one was noted so short a time ago: many open at once after a restart."""

_KEY_PURPOSE = "refresh"
_NOTED = {Verdict.REUSED: Event.REFRESH_REUSED, Verdict.AHEAD: Event.REFRESH_AHEAD}

OnRevoked = Callable[[Iterable[UUID]], None]
"""Told the ids of sessions that have ended, after the commit; must not block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """How long things last (`server/config.py` has the defaults)."""

    access: timedelta = timedelta(minutes=10)
    idle: timedelta = timedelta(days=60)
    absolute: timedelta = timedelta(days=180)
    grace: timedelta = timedelta(seconds=30)
    recent: timedelta = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """The device that signs in, and where from. Its id is minted by the client and stays the same."""

    id: UUID
    name: str
    platform: str
    user_agent: str = ""
    address: str = ""

    @property
    def caller(self) -> Caller:
        """Where its request comes from."""
        return Caller(address=self.address, user_agent=self.user_agent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What a token is used for: by an address, which is asked for only where it is noted, and whether to open a socket."""

    address: Callable[[], str | None] = lambda: None
    is_opening: bool = False


UNSEEN = Use()


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a device is given: everything it needs until it refreshes."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    sync_token: str = field(repr=False)
    expires_in: int
    session_id: UUID
    user: User


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who asks: a live session and its user. The session ends by itself at `expires_at` at the latest; `authenticated_at` is when its
    user last showed a password or another provider's word."""

    user: User
    session_id: UUID
    device_id: UUID
    expires_at: datetime
    authenticated_at: datetime


class Sessions:
    """Opens, refreshes, asks and ends sessions."""

    def __init__(
        self,
        *,
        database: Database,
        keyring: Keyring,
        tokens: Tokens,
        lifetimes: Lifetimes,
        random: Callable[[int], bytes],
        on_revoked: OnRevoked,
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._tokens = tokens
        self._lifetimes = lifetimes
        self._random = random
        self._on_revoked = on_revoked

    async def open(
        self, connection: Connection, user: User, data_key: DataKey, device: Device, *, now: datetime, method: str = "password"
    ) -> tuple[Grant, list[UUID]]:
        """A new session for the device, and the ids of those it replaces: one device has one. `method` is what was shown for it.

        Runs inside the caller's transaction, which holds the user's row; after its commit the caller calls `announce` with the ids.
        """
        replaced = await sessions.revoke_device(connection, user.id, device.id, now=now, reason=REVOKED_REPLACED)
        session_id = UUID(bytes=self._random(16), version=4)
        key = self._random(refresh_tokens.KEY_BYTES)
        expires_at = now + self._lifetimes.absolute
        await sessions.create(
            connection,
            sessions.NewSession(
                id=session_id,
                user_id=user.id,
                device_id=device.id,
                device_name=device.name,
                platform=device.platform,
                refresh_key=data_key.seal(key, secret_place(user.id, _KEY_PURPOSE, session_id)),
                created_at=now,
                idle_expires_at=now + self._lifetimes.idle,
                expires_at=expires_at,
                user_agent=device.user_agent,
                address=device.address,
                method=method,
            ),
        )
        return self._grant(user, session_id, counter=0, key=key, expires_at=expires_at, now=now), replaced

    def announce(self, revoked: Iterable[UUID]) -> None:
        """Say that these sessions have ended, so that their sockets close. Only after the commit."""
        ids = list(revoked)
        if ids:
            self._on_revoked(ids)

    async def refresh(self, token: str, *, now: datetime, caller: Caller = NOBODY) -> Grant:
        """Exchange a refresh token for new tokens, by the rule in `refresh_tokens`.

        Raises:
            InvalidRefreshToken: not one that we gave out.
            SessionEnded: its session is over.
            RefreshReused: it was used twice; the session is revoked, durably, before this is raised.
        """
        async with self._database.transaction() as connection:
            session, key, verdict = await self.judge(connection, token, now=now, caller=caller)
            counter = session.counter
            if verdict is Verdict.ROTATE:
                counter += 1
                idle_expires_at = now + self._lifetimes.idle
                await sessions.rotate(
                    connection, session.id, counter=counter, now=now, idle_expires_at=idle_expires_at, address=caller.address or None
                )
        # Raised only here, after the commit: an exception inside would take the revocation back.
        self.require_good(session.id, verdict)
        return self._grant(session.user, session.id, counter=counter, key=key, expires_at=session.expires_at, now=now)

    async def judge(self, connection: Connection, token: str, *, now: datetime, caller: Caller) -> tuple[LockedSession, bytes, Verdict]:
        """The session that this refresh token is of, its row held, its key, and what becomes of the token.

        A session whose token is used again is ended, in the caller's transaction: commit it, then call `require_good`.

        Raises:
            InvalidRefreshToken: not one that we gave out.
            SessionEnded: the account was deleted, and with it what its tokens could be told by.
        """
        presented = refresh_tokens.parse(token)
        session = await sessions.lock(connection, presented.session_id)
        if session is None:
            raise InvalidRefreshToken
        key = self._key(session)
        if not presented.is_genuine(key):
            raise InvalidRefreshToken
        verdict = refresh_tokens.decide(_standing(session, now), presented.counter, now=now, grace=self._lifetimes.grace)
        if verdict is Verdict.REUSED:
            await sessions.revoke(connection, session.id, now=now, reason=REVOKED_REUSE)
        if (event := _NOTED.get(verdict)) is not None:
            await audit.note(connection, event, now=now, user_id=session.user.id, caller=caller, session_id=session.id)
        return session, key, verdict

    def require_good(self, session_id: UUID, verdict: Verdict) -> None:
        """Refuse a token that was judged to be none to go on with, and announce what was ended for it. Only after the commit.

        Raises:
            RefreshReused, SessionEnded, InvalidRefreshToken.
        """
        match verdict:
            case Verdict.REUSED:
                self.announce([session_id])
                raise RefreshReused
            case Verdict.ENDED:
                raise SessionEnded
            case Verdict.AHEAD:
                raise InvalidRefreshToken

    async def authenticate(self, token: str, audiences: Collection[Audience], *, now: datetime, use: Use = UNSEEN) -> Principal:
        """Who holds this token, asked of the session's row each time; the first use of a generation is noted.

        Raises:
            InvalidToken: not ours, or not for these audiences; ExpiredToken if its time is over.
            SessionEnded: revoked, expired or gone, or the user may not sign in any more.
        """
        claims = self._tokens.verify(token, audiences, now=now)
        async with self._database.acquire() as connection:
            identity = await sessions.identify(connection, claims.session_id, now=now)
            return await self._principal(connection, claims, identity, now, use)

    async def authenticate_in(
        self, token: str, audiences: Collection[Audience], library_id: UUID | None, *, now: datetime, use: Use = UNSEEN
    ) -> tuple[Principal, Library | None]:
        """The same, and at once a library as that user sees it, without an id the account's own: None where it is none of the user's."""
        claims = self._tokens.verify(token, audiences, now=now)
        async with self._database.acquire() as connection:
            identity, library = await sessions.identify_in(connection, claims.session_id, library_id, now=now) or (None, None)
            return await self._principal(connection, claims, identity, now, use), library

    def require_recent(self, principal: Principal, *, now: datetime) -> None:
        """Raise RecentLoginNeeded unless its user has shown a short time ago who it is."""
        if now - principal.authenticated_at > self._lifetimes.recent:
            raise RecentLoginNeeded

    async def _principal(self, connection: Connection, claims: Claims, identity: Identity | None, now: datetime, use: Use) -> Principal:
        if identity is None or identity.user.id != claims.user_id:
            raise SessionEnded
        if claims.generation == identity.counter and not identity.current_used:
            await sessions.mark_used(connection, identity.session_id, claims.generation, now=now, address=use.address())
        elif use.is_opening and now - identity.last_seen_at >= SEEN_EVERY:
            await session_list.touch(connection, identity.session_id, now=now, address=use.address(), every=SEEN_EVERY)
        return Principal(
            user=identity.user,
            session_id=identity.session_id,
            device_id=identity.device_id,
            expires_at=identity.expires_at,
            authenticated_at=identity.authenticated_at,
        )

    def _key(self, session: LockedSession) -> bytes:
        # a deletion that this waited for has emptied the session, while the user's row, which is not locked, is as it was before
        if session.wrapped_key is None or session.key_id is None or not session.sealed_key:
            raise SessionEnded
        data_key = self._keyring.unwrap(session.key_id, session.wrapped_key, user_key_place(session.user.id))
        return data_key.open(session.sealed_key, secret_place(session.user.id, _KEY_PURPOSE, session.id))

    def _grant(self, user: User, session_id: UUID, *, counter: int, key: bytes, expires_at: datetime, now: datetime) -> Grant:
        access_until = min(now + self._lifetimes.access, expires_at)
        access = self._tokens.access(user_id=user.id, session_id=session_id, generation=counter, now=now, expires_at=access_until)
        return Grant(
            access_token=access,
            refresh_token=refresh_tokens.make(session_id, counter, key),
            sync_token=self._tokens.sync(user_id=user.id, session_id=session_id, generation=counter, now=now, expires_at=expires_at),
            expires_in=int((access_until - now).total_seconds()),
            session_id=session_id,
            user=user,
        )


def _standing(session: LockedSession, now: datetime) -> Standing:
    return Standing(counter=session.counter, rotated_at=session.rotated_at, current_used=session.current_used, ended=session.is_over(now))
