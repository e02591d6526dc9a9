"""Identities against a real database: who is signed in, what is linked, and what nobody may get."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from auth.administration import OPERATOR
from auth.audit import Caller
from auth.errors import IdentityConflict, IdentityTaken, LastWayIn, LinkRequired, SessionEnded, SocialRefused
from auth.external_identities import ExternalIdentity
from auth.identities import Identities
from auth.sessions import Device, Grant, Principal
from auth.tokens import Audience
from storage.errors import NotFound
from storage.identities import Provider
from storage.users import Rank
from tests.support.rest import PASSWORD, Rest, fresh_email, rest_api

ISSUER = "https://accounts.google.com"
CALLER = Caller(address="192.0.2.7", user_agent="test")


@pytest.fixture(scope="module")
async def running(shared_dsn: str) -> AsyncIterator[Rest]:
    async with rest_api(shared_dsn) as rest:
        yield rest


@pytest.fixture
def rest(running: Rest) -> Rest:
    running.revoked.clear()
    return running


@pytest.fixture
def identities(rest: Rest) -> Identities:
    return rest.services.identities


def google(subject: str | None = None, email: str | None = None, **said: Any) -> ExternalIdentity:
    """Somebody at Google with a verified mailbox that is Google's."""
    known: dict[str, Any] = {
        "email_verified": email is not None,
        "authoritative": email is not None,
        "name": "Alice",
        "method": "google",
    } | said
    return ExternalIdentity(provider=Provider.GOOGLE, keys=((ISSUER, subject or uuid4().hex),), email=email, **known)


def wechat(*keys: tuple[str, str]) -> ExternalIdentity:
    return ExternalIdentity(provider=Provider.WECHAT, keys=keys, name="小红", method="wechat_web")


def device() -> Device:
    return Device(id=uuid4(), name="phone", platform="test", address="192.0.2.7")


async def signed_in(rest: Rest, external: ExternalIdentity) -> Grant:
    return await rest.services.identities.sign_in(external, device(), now=rest.clock())


async def principal(rest: Rest, access_token: str) -> Principal:
    return await rest.services.sessions.authenticate(access_token, {Audience.ACCESS}, now=rest.clock())


async def with_password(rest: Rest, email: str, *, verified: bool = False) -> Principal:
    """Who asks with a new account that has a password."""
    registered = await rest.register(email)
    if verified:
        await execute(rest, "UPDATE users SET email_verified_at = now() WHERE id = $1", UUID(registered["user"]["id"]))
    return await principal(rest, registered["access_token"])


async def execute(rest: Rest, statement: str, *arguments: object) -> None:
    async with rest.services.database.acquire() as connection:
        await connection.execute(statement, *arguments)


async def fetch(rest: Rest, question: str, *arguments: object) -> list[Any]:
    async with rest.services.database.acquire() as connection:
        return [tuple(row) for row in await connection.fetch(question, *arguments)]


async def events(rest: Rest, user_id: UUID) -> list[str]:
    return [event for (event,) in await fetch(rest, "SELECT event FROM audit WHERE user_id = $1 ORDER BY id", user_id)]


async def test_a_new_identity_makes_an_account_with_a_library_and_no_password(rest: Rest) -> None:
    email = fresh_email()
    grant = await signed_in(rest, google(email=email))

    assert (grant.user.email, grant.user.email_verified_at, grant.user.name) == (email, rest.clock(), "Alice")
    assert await fetch(rest, "SELECT password_hash FROM users WHERE id = $1", grant.user.id) == [(None,)]
    assert await fetch(rest, "SELECT method FROM sessions WHERE id = $1", grant.session_id) == [("google",)]
    libraries = (await rest.get("/api/libraries", grant.access_token)).json()["libraries"]
    assert [library["id"] for library in libraries] == [str(grant.user.library_id)]
    assert await events(rest, grant.user.id) == ["registered", "identity_linked"]
    assert (await rest.refresh(grant.refresh_token)).status_code == 200


async def test_the_same_identity_comes_back_to_the_same_account_whatever_its_address_is_now(rest: Rest) -> None:
    other = await with_password(rest, fresh_email(), verified=True)
    first = await signed_in(rest, google("same", fresh_email()))
    again = await signed_in(rest, google("same", other.user.email))

    assert again.user.id == first.user.id
    assert again.session_id != first.session_id
    assert again.user.email == first.user.email
    assert (await events(rest, first.user.id))[-1] == "signed_in"


async def test_a_mailbox_of_the_providers_is_linked_to_the_verified_account(rest: Rest, identities: Identities) -> None:
    mine = await with_password(rest, email := fresh_email(), verified=True)
    grant = await signed_in(rest, google(email=email.upper()))

    assert grant.user.id == mine.user.id
    assert rest.revoked == []
    assert (await rest.post("/api/auth/login", {"email": email, "password": PASSWORD})).status_code == 200
    assert [linked.email for linked in await identities.of_user(mine.user.id)] == [email.upper().replace("EXAMPLE.COM", "example.com")]
    assert (await events(rest, mine.user.id))[1:3] == ["identity_linked", "signed_in"]


async def test_who_prepared_an_account_for_anothers_mailbox_loses_all_of_it(rest: Rest, identities: Identities) -> None:
    """Case 33: pre-hijacking."""
    email = fresh_email()
    attacker = await rest.register(email)
    asking = await principal(rest, attacker["access_token"])
    await identities.link(asking, google("attackers-own"), now=rest.clock(), caller=CALLER)
    library = attacker["library_id"]
    await execute(
        rest,
        "INSERT INTO shares (id, library_id, code_hash, prompt_hash, sealed, created_by, created_at)"
        " VALUES ($1, $2, $3, $3, $3, $4, now())",
        uuid4(),
        UUID(library),
        b"x" * 32,
        asking.user.id,
    )
    await execute(
        rest,
        "INSERT INTO mails (id, kind, user_id, address, created_at) VALUES ($1, 'reset', $2, $3, now())",
        uuid4(),
        asking.user.id,
        email,
    )

    await execute(rest, "UPDATE users SET role = 'admin' WHERE id = $1", asking.user.id)

    victim = await signed_in(rest, google("victim", email))

    assert victim.user.id == asking.user.id
    assert victim.user.role is Rank.USER
    assert victim.user.email_verified_at == rest.clock()
    assert rest.revoked == [asking.session_id]
    assert await rest.status_of(attacker["access_token"]) == 401
    assert (await rest.refresh(attacker["refresh_token"])).status_code == 401
    assert (await rest.post("/api/auth/login", {"email": email, "password": PASSWORD})).status_code == 401
    assert (await signed_in(rest, google("attackers-own"))).user.id != victim.user.id
    assert len(await identities.of_user(victim.user.id)) == 1
    assert await rest.status_of(victim.access_token) == 200
    assert await fetch(rest, "SELECT 1 FROM shares WHERE created_by = $1 AND revoked_at IS NULL", victim.user.id) == []
    assert await fetch(rest, "SELECT 1 FROM mails WHERE user_id = $1", victim.user.id) == []
    noted = await fetch(rest, "SELECT details FROM audit WHERE user_id = $1 AND event = 'account_reclaimed'", victim.user.id)
    assert '"sessions": 1' in noted[0][0]
    assert '"demoted": true' in noted[0][0]


async def test_a_mailbox_that_the_provider_only_once_verified_is_not_linked(rest: Rest) -> None:
    """Case 35."""
    for verified in (False, True):
        mine = await with_password(rest, email := fresh_email(), verified=verified)
        with pytest.raises(LinkRequired):
            await signed_in(rest, google(email=email, authoritative=False))
        assert await fetch(rest, "SELECT 1 FROM identities WHERE user_id = $1", mine.user.id) == []
        assert (await events(rest, mine.user.id))[-1] == "sign_in_failed"
    assert rest.revoked == []


async def test_with_an_address_that_is_not_verified_one_gets_an_account_without_it(rest: Rest) -> None:
    """Case 34."""
    mine = await with_password(rest, email := fresh_email(), verified=True)
    grant = await signed_in(rest, google(email=email, email_verified=False, authoritative=True))
    assert grant.user.id != mine.user.id
    assert grant.user.email is None
    assert grant.user.name == "Alice"


async def test_an_address_that_the_provider_does_not_own_is_kept_as_not_shown(rest: Rest) -> None:
    grant = await signed_in(rest, google(email=(email := fresh_email()), authoritative=False))
    assert (grant.user.email, grant.user.email_verified_at) == (email, None)


async def test_one_subject_of_two_issuers_apps_or_providers_is_two_people(rest: Rest) -> None:
    """Case 36."""
    people = [
        google("subject-36"),
        replace(google(), keys=(("https://issuer.example", "subject-36"),)),
        wechat(("openid:app-a", "subject-36")),
        wechat(("openid:app-b", "subject-36")),
        wechat(("unionid", "subject-36")),
    ]
    assert len({(await signed_in(rest, person)).user.id for person in people}) == len(people)


async def test_a_key_that_is_learned_later_leads_to_the_same_account(rest: Rest) -> None:
    """Case 37."""
    union, first_app, second_app = ("unionid", "u-37"), ("openid:app-a", "a-37"), ("openid:app-b", "b-37")
    first = await signed_in(rest, wechat(first_app))
    assert (await signed_in(rest, wechat(first_app, union))).user.id == first.user.id
    assert (await signed_in(rest, wechat(second_app, union))).user.id == first.user.id
    assert (await signed_in(rest, wechat(second_app))).user.id == first.user.id


async def test_two_accounts_are_not_merged_unasked(rest: Rest) -> None:
    """Case 37."""
    first = await signed_in(rest, wechat(("openid:app-a", "a-38")))
    second = await signed_in(rest, wechat(("unionid", "u-38")))
    with pytest.raises(IdentityConflict):
        await signed_in(rest, wechat(("openid:app-a", "a-38"), ("unionid", "u-38")))
    assert (await signed_in(rest, wechat(("openid:app-a", "a-38")))).user.id == first.user.id
    assert (await signed_in(rest, wechat(("unionid", "u-38")))).user.id == second.user.id


async def test_two_identities_of_one_account_become_one(rest: Rest, identities: Identities) -> None:
    first = await signed_in(rest, wechat(("openid:app-a", "a-39")))
    asking = await principal(rest, first.access_token)
    await identities.link(asking, wechat(("openid:app-b", "b-39")), now=rest.clock(), caller=CALLER)
    assert len(await identities.of_user(first.user.id)) == 2
    both = wechat(("openid:app-a", "a-39"), ("openid:app-b", "b-39"), ("unionid", "u-39"))
    assert (await signed_in(rest, both)).user.id == first.user.id
    assert len(await identities.of_user(first.user.id)) == 1
    for key in both.keys:
        assert (await signed_in(rest, wechat(key))).user.id == first.user.id


@pytest.mark.parametrize("subject", ["", "x" * 256, "nul\0", "line\n"])
async def test_a_subject_that_is_none_signs_nobody_in(rest: Rest, identities: Identities, subject: str) -> None:
    malformed = replace(google(), keys=((ISSUER, subject),))
    with pytest.raises(SocialRefused):
        await signed_in(rest, malformed)
    asking = await with_password(rest, fresh_email())
    with pytest.raises(SocialRefused):
        await identities.link(asking, malformed, now=rest.clock(), caller=CALLER)
    with pytest.raises(SocialRefused):
        await signed_in(rest, replace(google(), keys=()))


async def test_what_cannot_be_stored_of_a_name_or_an_address_is_left_out(rest: Rest) -> None:
    grant = await signed_in(rest, google(email="no address", name="\0Zo\u202eë\n" + "x" * 200))
    assert grant.user.email is None
    assert grant.user.name == "Zoë" + "x" * 97


async def test_a_disabled_user_is_refused_by_each_way_in(rest: Rest) -> None:
    mine = await signed_in(rest, google("disabled", email := fresh_email()))
    await execute(rest, "UPDATE users SET disabled_at = now() WHERE id = $1", mine.user.id)
    for external in (google("disabled"), google(email=email)):
        with pytest.raises(SocialRefused):
            await signed_in(rest, external)
    await execute(rest, "UPDATE users SET email_verified_at = NULL WHERE id = $1", mine.user.id)
    with pytest.raises(SocialRefused):
        await signed_in(rest, google(email=email))
    assert (await events(rest, mine.user.id))[-3:] == ["sign_in_failed"] * 3


async def test_linking_takes_nothing_that_is_anothers(rest: Rest, identities: Identities) -> None:
    """Case 38."""
    owner = await signed_in(rest, google("owned"))
    thief = await with_password(rest, fresh_email())
    with pytest.raises(IdentityTaken):
        await identities.link(thief, google("owned"), now=rest.clock(), caller=CALLER)
    assert (await signed_in(rest, google("owned"))).user.id == owner.user.id

    linked = await identities.link(thief, google("own"), now=rest.clock(), caller=CALLER)
    again = await identities.link(thief, google("own"), now=rest.clock(), caller=CALLER)
    assert again.id == linked.id
    assert (await signed_in(rest, google("own"))).user.id == thief.user.id


async def test_the_last_way_in_stays(rest: Rest, identities: Identities) -> None:
    """Case 38."""
    grant = await signed_in(rest, google("last"))
    asking = await principal(rest, grant.access_token)
    (only,) = await identities.of_user(grant.user.id)
    with pytest.raises(LastWayIn):
        await identities.unlink(asking, only.id, now=rest.clock(), caller=CALLER)
    await identities.link(asking, google("second"), now=rest.clock(), caller=CALLER)
    await identities.unlink(asking, only.id, now=rest.clock(), caller=CALLER)
    assert (await signed_in(rest, google("last"))).user.id != grant.user.id
    assert "identity_unlinked" in await events(rest, grant.user.id)


async def test_with_a_password_every_identity_may_go(rest: Rest, identities: Identities) -> None:
    asking = await with_password(rest, fresh_email())
    linked = await identities.link(asking, google(), now=rest.clock(), caller=CALLER)
    await identities.unlink(asking, linked.id, now=rest.clock(), caller=CALLER)
    assert await identities.of_user(asking.user.id) == []


async def test_anothers_identity_is_not_there_to_unlink(rest: Rest, identities: Identities) -> None:
    owner = await signed_in(rest, google())
    (theirs,) = await identities.of_user(owner.user.id)
    asking = await with_password(rest, fresh_email())
    for identity_id in (theirs.id, uuid4()):
        with pytest.raises(NotFound):
            await identities.unlink(asking, identity_id, now=rest.clock(), caller=CALLER)


async def test_only_ones_own_identity_proves_who_asks(rest: Rest, identities: Identities) -> None:
    mine = await signed_in(rest, google("proof"))
    asking = await principal(rest, mine.access_token)
    await signed_in(rest, google("not-mine"))
    async with rest.services.database.transaction() as connection:
        await identities.prove(connection, asking, google("proof"), now=rest.clock())
        for external in (google("not-mine"), google("nobodys")):
            with pytest.raises(SocialRefused):
                await identities.prove(connection, asking, external, now=rest.clock())


async def test_first_sign_ins_that_race_make_one_account(rest: Rest) -> None:
    for _ in range(5):
        external = google(email=fresh_email())
        grants = await asyncio.gather(*(signed_in(rest, external) for _ in range(6)))
        assert len({grant.user.id for grant in grants}) == 1


async def test_of_two_who_link_one_identity_at_once_one_gets_it(rest: Rest, identities: Identities) -> None:
    for _ in range(5):
        people = [await with_password(rest, fresh_email()) for _ in range(2)]
        external = google()
        outcomes = await asyncio.gather(
            *(identities.link(each, external, now=rest.clock(), caller=CALLER) for each in people), return_exceptions=True
        )
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["IdentityTaken", "Linked"]


async def test_a_link_that_races_the_owners_return_leaves_the_attacker_nothing(rest: Rest, identities: Identities) -> None:
    for _ in range(10):
        attacker = await with_password(rest, email := fresh_email())
        attackers, victims = google(), google(email=email)
        linked, grant = await asyncio.gather(
            identities.link(attacker, attackers, now=rest.clock(), caller=CALLER), signed_in(rest, victims), return_exceptions=True
        )
        assert isinstance(grant, Grant)
        assert grant.user.id == attacker.user.id
        assert not isinstance(linked, BaseException) or isinstance(linked, SessionEnded)
        assert [each.email for each in await identities.of_user(grant.user.id)] == [email]
        assert (await signed_in(rest, attackers)).user.id != grant.user.id


async def test_a_sign_in_that_races_its_unlinking_gets_the_account_before_or_none_of_it(rest: Rest, identities: Identities) -> None:
    for _ in range(10):
        asking = await with_password(rest, fresh_email())
        external = google()
        linked = await identities.link(asking, external, now=rest.clock(), caller=CALLER)
        _, grant = await asyncio.gather(identities.unlink(asking, linked.id, now=rest.clock(), caller=CALLER), signed_in(rest, external))
        assert await identities.of_user(asking.user.id) == []
        if grant.user.id != asking.user.id:
            assert len(await identities.of_user(grant.user.id)) == 1


async def test_of_two_ways_in_that_are_unlinked_at_once_one_stays(rest: Rest, identities: Identities) -> None:
    for _ in range(5):
        grant = await signed_in(rest, google())
        asking = await principal(rest, grant.access_token)
        await identities.link(asking, google(), now=rest.clock(), caller=CALLER)
        both = await identities.of_user(grant.user.id)
        outcomes = await asyncio.gather(
            *(identities.unlink(asking, each.id, now=rest.clock(), caller=CALLER) for each in both), return_exceptions=True
        )
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["LastWayIn", "NoneType"]


async def test_a_password_login_that_races_the_owners_return_leaves_the_attacker_nothing(rest: Rest) -> None:
    for _ in range(10):
        attacker = await rest.register(email := fresh_email())
        login, refresh, victim = await asyncio.gather(
            rest.post("/api/auth/login", {"email": email, "password": PASSWORD}),
            rest.refresh(attacker["refresh_token"]),
            signed_in(rest, google(email=email)),
        )
        for answer in (login, refresh):
            if answer.status_code == 200:
                assert await rest.status_of(answer.json()["access_token"]) == 401
                assert (await rest.refresh(answer.json()["refresh_token"])).status_code == 401
            else:
                assert answer.status_code == 401
        assert await rest.status_of(victim.access_token) == 200
        assert await fetch(rest, "SELECT 1 FROM sessions WHERE user_id = $1 AND revoked_at IS NULL", victim.user.id) == [(1,)]


async def test_a_sign_in_that_races_the_accounts_disabling_or_deletion_opens_nothing_that_stays(rest: Rest) -> None:
    administration = rest.services.administration
    for end in (administration.disable, administration.delete) * 5:
        external = google()
        mine = await signed_in(rest, external)
        _, outcome = await asyncio.gather(end(mine.user.id, OPERATOR, now=rest.clock()), signed_in(rest, external), return_exceptions=True)
        assert isinstance(outcome, Grant | SocialRefused)
        assert await fetch(rest, "SELECT 1 FROM sessions WHERE user_id = $1 AND revoked_at IS NULL", mine.user.id) == []
        if isinstance(outcome, Grant) and outcome.user.id == mine.user.id:
            assert await rest.status_of(outcome.access_token) == 401
