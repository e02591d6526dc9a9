"""Sessions against a real database: whatever a device, a racer, a thief and the clock do, it behaves like a small model."""

import asyncio
import functools
import os
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from auth import refresh_tokens
from auth.accounts import Accounts
from auth.endings import Endings
from auth.errors import AuthError, InvalidRefreshToken, RefreshReused, SessionEnded
from auth.sessions import Device, Grant, Lifetimes, Sessions
from auth.tokens import Audience, Tokens
from storage.pool import Database
from tests.support.rest import PASSWORD, START, cheap_passwords, fresh_email, new_keyring

LIFETIMES = Lifetimes()


def awaited(function: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a coroutine rule on the machine's own loop."""

    @functools.wraps(function)
    def call(self: "SessionMachine", **arguments: object) -> None:
        self.runner.run(function(self, **arguments))

    return call


class SessionMachine(RuleBasedStateMachine):
    """One session; the model is a counter, whether its generation was used, when it began, and whether it is over."""

    def __init__(self, runner: asyncio.Runner, sessions: Sessions, endings: Endings, accounts: Accounts, revoked: list[UUID]) -> None:
        super().__init__()
        self.runner, self.sessions, self.endings, self.accounts, self.revoked = runner, sessions, endings, accounts, revoked

    @initialize()
    @awaited
    async def registers(self) -> None:
        self.now = START
        await self.begin()

    @precondition(lambda self: self.is_over())
    @rule()
    @awaited
    async def begins_again_with_another_session(self) -> None:
        await self.begin()

    async def begin(self) -> None:
        self.began = self.rotated = self.last = self.now
        self.used = self.over = False
        device = Device(id=uuid4(), name="d", platform="test")
        grant = await self.accounts.register(email=fresh_email(), password=PASSWORD, name=None, device=device, now=self.now)
        self.grants = [grant]
        self.session_id = grant.session_id

    @property
    def counter(self) -> int:
        return len(self.grants) - 1

    def is_over(self) -> bool:
        return self.over or self.now >= min(self.began + LIFETIMES.absolute, self.last + LIFETIMES.idle)

    @rule(back=st.sampled_from([0, 0, 0, 1, 1, 1, 2]))
    @awaited
    async def refreshes_with_any_token_it_ever_had(self, back: int) -> None:
        behind = min(back, self.counter)
        may_repeat = not self.used or self.now - self.rotated <= LIFETIMES.grace
        token = self.grants[self.counter - behind].refresh_token
        if self.is_over():
            assert isinstance(await self.refused(token), SessionEnded)
        elif behind == 0:
            self.rotate(await self.sessions.refresh(token, now=self.now))
        elif behind == 1 and may_repeat:
            grant = await self.sessions.refresh(token, now=self.now)
            assert grant.refresh_token == self.grants[-1].refresh_token
            self.grants[-1] = grant
        else:
            assert isinstance(await self.refused(token), RefreshReused)
            self.over = True
            assert self.session_id in self.revoked

    @precondition(lambda self: not self.is_over())
    @rule(days=st.sampled_from([0, 1, 3]))
    @awaited
    async def loses_an_answer_and_asks_again_later(self, days: int) -> None:
        token = self.grants[-1].refresh_token
        self.rotate(await self.sessions.refresh(token, now=self.now))
        self.now += timedelta(days=days)
        if not self.is_over():
            self.grants[-1] = await self.sessions.refresh(token, now=self.now)
            assert self.grants[-1].refresh_token not in {grant.refresh_token for grant in self.grants[:-1]}

    @precondition(lambda self: not self.is_over())
    @rule(racers=st.integers(2, 4))
    @awaited
    async def races_with_the_current_token(self, racers: int) -> None:
        token = self.grants[-1].refresh_token
        grants = await asyncio.gather(*(self.sessions.refresh(token, now=self.now) for _ in range(racers)))
        assert len({grant.refresh_token for grant in grants}) == 1
        self.rotate(grants[0])

    @rule(back=st.sampled_from([0, 0, 1, 2]), with_sync=st.booleans())
    @awaited
    async def uses_any_access_or_sync_token(self, back: int, with_sync: bool) -> None:
        behind = min(back, self.counter)
        grant = self.grants[self.counter - behind]
        token = grant.sync_token if with_sync else grant.access_token
        try:
            principal = await self.sessions.authenticate(token, frozenset(Audience), now=self.now)
        except AuthError:
            return
        assert not self.is_over()
        assert principal.session_id == self.session_id
        assert principal.expires_at == self.began + LIFETIMES.absolute
        self.used = self.used or behind == 0

    @rule()
    @awaited
    async def the_current_sync_token_opens_exactly_while_the_session_lives(self) -> None:
        refused = False
        try:
            await self.sessions.authenticate(self.grants[-1].sync_token, {Audience.SYNC}, now=self.now)
            self.used = True
        except AuthError:
            refused = True
        assert refused is self.is_over()

    @rule(token_of=st.sampled_from(["another key", "the future", "another session"]))
    @awaited
    async def a_made_up_token_changes_nothing(self, token_of: str) -> None:
        session_id = uuid4() if token_of == "another session" else self.session_id
        counter = self.counter + (5 if token_of == "the future" else 0)
        token = refresh_tokens.make(session_id, counter, os.urandom(32))
        assert isinstance(await self.refused(token), InvalidRefreshToken)

    @rule(days=st.sampled_from([0, 0, 0, 0, 3, 40]), seconds=st.sampled_from([0, 5, 31, 31]))
    def time_passes(self, days: int, seconds: int) -> None:
        self.now += timedelta(days=days, seconds=seconds)

    @precondition(lambda self: self.counter > 3)
    @rule(refreshing=st.booleans(), by_refresh_token=st.booleans())
    @awaited
    async def logs_out(self, refreshing: bool, by_refresh_token: bool) -> None:
        if self.is_over():
            return
        fresh = await self.sessions.refresh(self.grants[-1].refresh_token, now=self.now)
        self.rotate(fresh)
        access, refresh = (None, fresh.refresh_token) if by_refresh_token else (fresh.access_token, None)
        racing = [self.endings.log_out(access, refresh_token=refresh, now=self.now)]
        if refreshing:
            await asyncio.gather(*racing, self.sessions.refresh(fresh.refresh_token, now=self.now), return_exceptions=True)
        else:
            await racing[0]
        self.over = True

    def rotate(self, grant: Grant) -> None:
        assert grant.refresh_token not in {earlier.refresh_token for earlier in self.grants}
        self.grants.append(grant)
        self.rotated = self.last = self.now
        self.used = False

    async def refused(self, token: str) -> AuthError:
        try:
            await self.sessions.refresh(token, now=self.now)
        except AuthError as error:
            return error
        raise AssertionError("the token was taken")


def test_sessions_behave_like_the_model(database_dsn: str) -> None:
    with asyncio.Runner() as runner:
        database = runner.run(Database.open(database_dsn, size=4))
        keyring, passwords, revoked = new_keyring(), cheap_passwords(), list[UUID]()
        tokens = Tokens([("s1", os.urandom(32))], issuer="test", random=os.urandom)
        sessions = Sessions(
            database=database,
            keyring=keyring,
            tokens=tokens,
            lifetimes=LIFETIMES,
            random=os.urandom,
            on_revoked=revoked.extend,
        )
        accounts = Accounts(
            database=database, keyring=keyring, passwords=passwords, sessions=sessions, first_update=b"first", random=os.urandom
        )

        endings = Endings(database=database, tokens=tokens, sessions=sessions)

        class Machine(SessionMachine):
            def __init__(self) -> None:
                super().__init__(runner, sessions, endings, accounts, revoked)

        try:
            run_state_machine_as_test(
                Machine,
                settings=settings(max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)),
            )
        finally:
            passwords.close()
            runner.run(database.close())
