"""How a user ends sessions: the one at hand, one from the list, all others, or all.

Ending several takes the user's row first, then sessions; so does a login, and neither waits for the other in a circle.
"""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from auth import audit, refresh_tokens
from auth.audit import NOBODY, Caller, Event
from auth.errors import InvalidToken, NotAuthenticated, SessionEnded
from auth.refresh_tokens import Verdict
from auth.sessions import Principal, Sessions
from auth.tokens import Audience, Claims, Tokens
from storage import session_list, sessions, users
from storage.pool import Connection, Database
from storage.sessions import LockedSession

REVOKED_LOGOUT = "logout"
REVOKED_FROM_LIST = "ended_from_list"
REVOKED_OTHERS = "logout_others"
REVOKED_GLOBAL = "logout_everywhere"


class Scope(StrEnum):
    """Which of a user's sessions end with a logout (the names are Supabase's)."""

    LOCAL = "local"
    OTHERS = "others"
    GLOBAL = "global"


class Endings:
    """Ends sessions for their users."""

    def __init__(self, *, database: Database, tokens: Tokens, sessions: Sessions) -> None:
        self._database = database
        self._tokens = tokens
        self._sessions = sessions

    async def log_out(
        self,
        access_token: str | None,
        *,
        now: datetime,
        caller: Caller = NOBODY,
        scope: Scope = Scope.LOCAL,
        refresh_token: str | None = None,
    ) -> None:
        """End the session of these tokens, its user's others, or all. Repeating it changes nothing and is no error.

        The refresh token counts where the access token is not good any more: its time is over, usually.

        Raises:
            NotAuthenticated: there is no token at all.
            InvalidToken: not ours; ExpiredToken if its time is over.
            InvalidRefreshToken, RefreshReused: as `Sessions.refresh`.
            SessionEnded: others were to end as well, and something else has ended this session before: its tokens end no others.
        """
        claims = self._claims(access_token, refresh_token, now)
        session_id = claims.session_id if claims is not None else refresh_tokens.parse(refresh_token or "").session_id
        async with self._database.transaction() as connection:
            if scope is not Scope.LOCAL and (owner := await session_list.owner(connection, session_id)) is not None:
                await users.lock(connection, owner)
            session, verdict = await self._judged(connection, claims, refresh_token, now, caller)
            ended = await self._end(connection, session, scope, now, caller) if session is not None and verdict in _GOOD else []
            before = await session_list.ended_by(connection, session_id) if verdict is Verdict.ENDED else None
        self._sessions.announce(ended)
        if verdict is not Verdict.ENDED:
            self._sessions.require_good(session_id, verdict)
        elif scope is Scope.OTHERS or (scope is Scope.GLOBAL and before != REVOKED_GLOBAL):
            raise SessionEnded

    async def end_one(self, asking: Principal, session_id: UUID, *, now: datetime, caller: Caller = NOBODY) -> bool:
        """End one of the asking user's sessions; False where there is none such, or it is over."""
        async with self._database.transaction() as connection:
            if not await session_list.revoke_one(connection, session_id, asking.user.id, now=now, reason=REVOKED_FROM_LIST):
                return False
            await audit.note(
                connection,
                Event.SESSION_ENDED,
                now=now,
                user_id=asking.user.id,
                caller=caller,
                session_id=asking.session_id,
                target=session_id,
            )
        self._sessions.announce([session_id])
        return True

    def _claims(self, access_token: str | None, refresh_token: str | None, now: datetime) -> Claims | None:
        """What the access token says, or None where the refresh token is to be asked."""
        if access_token is None and refresh_token is None:
            raise NotAuthenticated
        try:
            return None if access_token is None else self._tokens.verify(access_token, {Audience.ACCESS}, now=now)
        except InvalidToken:
            if refresh_token is None:
                raise
            return None

    async def _judged(
        self, connection: Connection, claims: Claims | None, refresh_token: str | None, now: datetime, caller: Caller
    ) -> tuple[LockedSession | None, Verdict]:
        """The session, its row held, and whether its token may end anything."""
        if claims is None:
            session, _, verdict = await self._sessions.judge(connection, refresh_token or "", now=now, caller=caller)
            return session, verdict
        found = await sessions.lock(connection, claims.session_id)
        if found is None or found.user.id != claims.user_id or found.is_over(now):
            return None, Verdict.ENDED
        return found, Verdict.ROTATE

    async def _end(self, connection: Connection, session: LockedSession, scope: Scope, now: datetime, caller: Caller) -> list[UUID]:
        if scope is Scope.LOCAL:
            await sessions.revoke(connection, session.id, now=now, reason=REVOKED_LOGOUT)
            ended = [session.id]
        else:
            reason, but = (REVOKED_OTHERS, session.id) if scope is Scope.OTHERS else (REVOKED_GLOBAL, None)
            ended = await session_list.revoke_all(connection, session.user.id, now=now, reason=reason, but=but)
        event = Event.SESSIONS_ENDED if scope is Scope.OTHERS else Event.SIGNED_OUT
        await audit.note(
            connection,
            event,
            now=now,
            user_id=session.user.id,
            caller=caller,
            session_id=session.id,
            scope=scope.value,
            ended=len(ended),
        )
        return ended


_GOOD = frozenset({Verdict.ROTATE, Verdict.REPEAT})
