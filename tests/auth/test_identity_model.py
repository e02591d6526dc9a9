"""Two people who do whatever they can, in any order: no account is ever open to both, unless one of them let the other in."""

import asyncio
import os
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from auth.accounts import Accounts
from auth.audit import NOBODY
from auth.errors import AuthError, EmailTaken, IdentityTaken, InvalidCredentials, LastWayIn, SocialRefused
from auth.external_identities import ExternalIdentity
from auth.identities import Identities
from auth.passwords import Passwords
from auth.sessions import Device, Grant, Lifetimes, Principal, Sessions
from auth.tokens import Audience, Tokens
from storage.identities import Provider
from storage.pool import Database
from tests.auth.test_sessions import awaited
from tests.support.rest import START, cheap_passwords, new_keyring

PEOPLE = ("alice", "mallory")
people = st.sampled_from(PEOPLE)
numbers = st.integers(0, 1)


def device() -> Device:
    return Device(id=uuid4(), name="d", platform="test")


class Parts:
    """What signs people in, on one database."""

    def __init__(self, database: Database, passwords: Passwords) -> None:
        self.database, self.passwords = database, passwords
        keyring, tokens = new_keyring(), Tokens([("s1", os.urandom(32))], issuer="test", random=os.urandom)
        self.sessions = Sessions(
            database=database, keyring=keyring, tokens=tokens, lifetimes=Lifetimes(), random=os.urandom, on_revoked=lambda ids: None
        )
        made_with: dict[str, Any] = {"database": database, "keyring": keyring, "sessions": self.sessions, "random": os.urandom}
        self.accounts = Accounts(passwords=passwords, first_update=b"first", **made_with)
        self.identities = Identities(first_update=b"first", **made_with)


class People(RuleBasedStateMachine):
    """Each person has a mailbox of Google's, shares one that changed hands, and has identities and one password that only they know."""

    def __init__(self, runner: asyncio.Runner, parts: Parts) -> None:
        super().__init__()
        self.runner, self.parts = runner, parts

    @initialize()
    def begin(self) -> None:
        self.world = uuid4().hex[:12]
        self.grants: list[tuple[str, Grant]] = []

    def mailbox(self, person: str) -> str:
        return f"{person}.{self.world}@gmail.com"

    @property
    def handed_on(self) -> str:
        """A mailbox that each of them had once, and Google has seen both of them have."""
        return f"{self.world}@handed-on.example.com"

    def google(self, person: str, number: int, email: str | None, *, verified: bool, owned: bool) -> ExternalIdentity:
        keys = (("https://accounts.google.com", f"{person}-{number}-{self.world}"),)
        return ExternalIdentity(
            provider=Provider.GOOGLE, keys=keys, email=email, email_verified=verified, authoritative=owned, method="google"
        )

    def wechat(self, person: str, which: set[str]) -> ExternalIdentity:
        keys = tuple((name, f"{person}-{name}-{self.world}") for name in sorted(which))
        return ExternalIdentity(provider=Provider.WECHAT, keys=keys, method="wechat_app")

    @rule(person=people, whose=people)
    @awaited
    async def registers_any_address(self, person: str, whose: str) -> None:
        try:
            grant = await self.parts.accounts.register(
                email=self.mailbox(whose), password=f"password of {person}", name=None, device=device(), now=START
            )
        except EmailTaken:
            return
        self.grants.append((person, grant))

    @rule(person=people, whose=people)
    @awaited
    async def prepares_an_account_with_a_way_in_of_their_own(self, person: str, whose: str) -> None:
        try:
            grant = await self.parts.accounts.register(
                email=self.mailbox(whose), password=f"password of {person}", name=None, device=device(), now=START
            )
        except EmailTaken:
            return
        self.grants.append((person, grant))
        principal = await self.principal(grant)
        assert principal is not None
        with suppress(IdentityTaken):
            await self.parts.identities.link(principal, self.wechat(person, {"unionid"}), now=START, caller=NOBODY)

    @rule(person=people, whose=people)
    @awaited
    async def logs_in_with_their_password(self, person: str, whose: str) -> None:
        try:
            grant = await self.parts.accounts.login(email=self.mailbox(whose), password=f"password of {person}", device=device(), now=START)
        except InvalidCredentials:
            return
        self.grants.append((person, grant))

    @rule(person=people, number=numbers)
    @awaited
    async def signs_in_with_their_own_mailbox(self, person: str, number: int) -> None:
        known = await self.owner(google := self.google(person, number, self.mailbox(person), verified=True, owned=True))
        grant = await self.signs_in(person, google)
        assert grant is not None
        assert known in (None, grant.user.id)

    @rule(person=people, number=numbers, whose=people)
    @awaited
    async def signs_in_with_an_address_that_is_not_verified(self, person: str, number: int, whose: str) -> None:
        assert await self.signs_in(person, self.google(person, number, self.mailbox(whose), verified=False, owned=False))

    @rule(person=people, number=numbers)
    @awaited
    async def signs_in_with_the_mailbox_that_changed_hands(self, person: str, number: int) -> None:
        await self.signs_in(person, self.google(person, number, self.handed_on, verified=True, owned=False))

    @rule(person=people, which=st.sets(st.sampled_from(["unionid", "openid:a", "openid:b"]), min_size=1))
    @awaited
    async def signs_in_with_wechat(self, person: str, which: set[str]) -> None:
        await self.signs_in(person, self.wechat(person, which))

    @rule(data=st.data(), number=numbers, which=st.sampled_from(["google", "unionid", "openid:a"]))
    @awaited
    async def links_one_of_their_own(self, data: st.DataObject, number: int, which: str) -> None:
        if (asking := await self.somebody(data)) is None:
            return
        person, principal = asking
        own = self.google(person, number, self.mailbox(person), verified=True, owned=True) if which == "google" else None
        try:
            await self.parts.identities.link(principal, own or self.wechat(person, {which}), now=START, caller=NOBODY)
        except IdentityTaken:
            assert await self.owner(own or self.wechat(person, {which})) != principal.user.id

    @rule(data=st.data())
    @awaited
    async def unlinks_one(self, data: st.DataObject) -> None:
        if (asking := await self.somebody(data)) is None:
            return
        linked = await self.parts.identities.of_user(asking[1].user.id)
        if linked:
            chosen = data.draw(st.sampled_from(range(len(linked))))
            try:
                await self.parts.identities.unlink(asking[1], linked[chosen].id, now=START, caller=NOBODY)
            except LastWayIn:
                assert len(linked) == 1

    @invariant()
    @awaited
    async def no_account_is_open_to_both(self) -> None:
        for user_id in {grant.user.id for _, grant in self.grants}:
            assert len(await self.who_can_enter(user_id)) == 1

    async def who_can_enter(self, user_id: UUID) -> set[str]:
        """Whose sessions are alive, whose identities sign in, and whose password it is."""
        found = {person for person, grant in self.grants if grant.user.id == user_id and await self.principal(grant) is not None}
        async with self.parts.database.acquire() as connection:
            subjects = await connection.fetch(
                "SELECT subject FROM identity_keys k JOIN identities i ON i.id = k.identity_id WHERE i.user_id = $1", user_id
            )
            stored = await connection.fetchval("SELECT password_hash FROM users WHERE id = $1", user_id)
        found |= {row["subject"].partition("-")[0] for row in subjects}
        return found | {person for person in PEOPLE if (await self.parts.passwords.check(f"password of {person}", stored)).correct}

    async def signs_in(self, person: str, external: ExternalIdentity) -> Grant | None:
        try:
            grant = await self.parts.identities.sign_in(external, device(), now=START)
        except SocialRefused as error:
            raise AssertionError("nobody is disabled here") from error
        except AuthError:
            return None
        self.grants.append((person, grant))
        return grant

    async def somebody(self, data: st.DataObject) -> tuple[str, Principal] | None:
        """Somebody with a session that is alive."""
        alive = [(person, found) for person, grant in self.grants if (found := await self.principal(grant)) is not None]
        return data.draw(st.sampled_from(alive)) if alive else None

    async def principal(self, grant: Grant) -> Principal | None:
        try:
            return await self.parts.sessions.authenticate(grant.access_token, {Audience.ACCESS}, now=START)
        except AuthError:
            return None

    async def owner(self, external: ExternalIdentity) -> UUID | None:
        async with self.parts.database.acquire() as connection:
            namespaces, subjects = zip(*external.keys, strict=True)
            found = await connection.fetchval(
                "SELECT i.user_id FROM identity_keys k JOIN identities i ON i.id = k.identity_id"
                " WHERE k.namespace = ANY($1) AND k.subject = ANY($2)",
                namespaces,
                subjects,
            )
        return found if isinstance(found, UUID) else None


def test_no_account_is_ever_open_to_two_people(database_dsn: str) -> None:
    with asyncio.Runner() as runner:
        database, passwords = runner.run(Database.open(database_dsn, size=4)), cheap_passwords()
        parts = Parts(database, passwords)

        class Machine(People):
            def __init__(self) -> None:
                super().__init__(runner, parts)

        try:
            run_state_machine_as_test(
                Machine,
                settings=settings(max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)),
            )
        finally:
            passwords.close()
            runner.run(database.close())
