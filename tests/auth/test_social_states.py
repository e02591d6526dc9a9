"""States of sign-ins at other providers, against a real database: each comes back once, to where it began."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

import pytest

from auth.errors import InvalidState
from auth.sessions import Principal
from auth.social_states import LIFETIME, SocialStates
from auth.tokens import Audience
from storage import social_states
from storage.identities import Provider
from tests.support.rest import Rest, rest_api

GOOGLE, WECHAT = Provider.GOOGLE, Provider.WECHAT


@pytest.fixture(scope="module")
async def rest(shared_dsn: str) -> AsyncIterator[Rest]:
    async with rest_api(shared_dsn) as rest:
        yield rest


@pytest.fixture
def states(rest: Rest) -> SocialStates:
    return SocialStates(database=rest.services.database, random=rest.services.random)


async def asking(rest: Rest) -> Principal:
    registered = await rest.register()
    return await rest.services.sessions.authenticate(registered["access_token"], {Audience.ACCESS}, now=rest.clock())


async def test_what_began_comes_back_once(rest: Rest, states: SocialStates) -> None:
    begun = await states.begin(GOOGLE, now=rest.clock())
    returned = await states.take(GOOGLE, state=begun.state, cookie=begun.cookie, now=rest.clock() + LIFETIME * 0.99)
    assert (returned.nonce, returned.code_verifier) == (begun.nonce, begun.code_verifier)
    assert returned.nonce != returned.code_verifier
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", begun.code_verifier)
    assert re.fullmatch(r"[0-9a-f]{64}", begun.state)  # WeChat takes letters and digits only, at most 128
    with pytest.raises(InvalidState):
        await states.take(GOOGLE, state=begun.state, cookie=begun.cookie, now=rest.clock())


async def test_of_two_who_take_one_at_once_one_gets_it(rest: Rest, states: SocialStates) -> None:
    begun = await states.begin(GOOGLE, now=rest.clock())
    outcomes = await asyncio.gather(
        *(states.take(GOOGLE, state=begun.state, cookie=begun.cookie, now=rest.clock()) for _ in range(5)), return_exceptions=True
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["InvalidState"] * 4 + ["Returned"]


async def test_no_state_comes_back_to_another_browser_or_provider_or_too_late(rest: Rest, states: SocialStates) -> None:
    begun, others = await states.begin(GOOGLE, now=rest.clock()), await states.begin(GOOGLE, now=rest.clock())
    for state, cookie in (
        (begun.state, None),
        (begun.state, ""),
        (begun.state, others.cookie),
        (others.state, begun.cookie),
        ("", begun.cookie),
        ("0" * 64, begun.cookie),
        (begun.state + "0", begun.cookie),
        (begun.state, begun.cookie + "é"),
        ("\ud800", begun.cookie),
        ("x" * 100_000, "x" * 100_000),
    ):
        with pytest.raises(InvalidState):
            await states.take(GOOGLE, state=state, cookie=cookie, now=rest.clock())
    with pytest.raises(InvalidState):
        await states.take(WECHAT, state=begun.state, cookie=begun.cookie, now=rest.clock())
    with pytest.raises(InvalidState):
        await states.take(GOOGLE, state=begun.state, cookie=begun.cookie, now=rest.clock() + LIFETIME)
    assert await states.take(GOOGLE, state=begun.state, cookie=begun.cookie, now=rest.clock())


async def test_what_began_to_link_signs_nobody_in_and_the_other_way_round(rest: Rest, states: SocialStates) -> None:
    mine, theirs = await asking(rest), await asking(rest)
    elsewhere = replace(mine, session_id=uuid4())
    for began, comes_back in ((mine, None), (None, mine), (mine, theirs), (mine, elsewhere)):
        begun = await states.begin(GOOGLE, now=rest.clock(), linking=began)
        with pytest.raises(InvalidState):
            await states.take(GOOGLE, state=begun.state, cookie=begun.cookie, now=rest.clock(), linking=comes_back)
    begun = await states.begin(GOOGLE, now=rest.clock(), linking=mine)
    assert await states.take(GOOGLE, state=begun.state, cookie=begun.cookie, now=rest.clock(), linking=mine)


async def test_the_table_alone_finishes_nothing(rest: Rest, states: SocialStates) -> None:
    begun = await states.begin(GOOGLE, now=rest.clock())
    async with rest.services.database.acquire() as connection:
        kept = str(await connection.fetch("SELECT * FROM social_states"))
    for secret in (begun.state, begun.cookie, begun.nonce, begun.code_verifier):
        assert secret not in kept
        assert secret not in repr(begun)


async def test_states_whose_time_is_over_are_deleted_a_few_at_a_time(rest: Rest, states: SocialStates) -> None:
    async with rest.services.database.acquire() as connection:
        await connection.execute("DELETE FROM social_states")
        for age in range(3):
            await states.begin(GOOGLE, now=rest.clock() - LIFETIME * age)
        now = rest.clock() + LIFETIME * 0.5
        assert await social_states.purge_step(connection, now, 1)
        assert await social_states.purge_step(connection, now, 1)
        assert not await social_states.purge_step(connection, now, 1)
        assert await connection.fetchval("SELECT count(*) FROM social_states") == 1
