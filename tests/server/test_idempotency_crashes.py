"""A process that dies, or cannot note its answer, between the work and the answer: the request that comes again makes nothing twice."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from uuid import UUID

import pytest

from server.claim import Claim
from server.idempotency import ABANDONED_AFTER
from server.routes import libraries as library_routes
from storage import idempotency, retention
from storage.errors import Unavailable
from tests.support.creating import creating_api, libraries, names, post, restarted, work
from tests.support.rest import Rest, code_of


@pytest.fixture(scope="module")
async def rest(shared_dsn: str) -> AsyncIterator[Rest]:
    async with creating_api(shared_dsn) as running:
        yield running


@pytest.fixture(autouse=True)
def _fresh() -> None:
    work.reset()


@pytest.fixture
async def token(rest: Rest) -> str:
    return str((await rest.register())["access_token"])


async def killed_before_its_answer(rest: Rest, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request whose library is committed, and whose process ends before it can answer."""

    def die(library: object) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as dying:
        dying.setattr(library_routes.LibraryView, "of", die)
        with pytest.raises(asyncio.CancelledError):
            await post(rest, token)
    assert await names(rest, token) == ["Prompts"]


async def test_a_kill_between_work_and_answer_makes_nothing_twice(rest: Rest, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await killed_before_its_answer(rest, token, monkeypatch)
    made_at = rest.clock()
    rest.clock.advance(seconds=ABANDONED_AFTER.total_seconds() - 1)
    other = restarted(rest)
    assert code_of(await post(other, token)) == "idempotency_in_progress", "it may live, for all that the other process knows"
    rest.clock.advance(seconds=1)
    again = await post(other, token)
    assert again.status_code == 201
    assert datetime.fromisoformat(again.json()["created_at"]) == made_at
    assert (await rest.get(again.headers["location"], token)).json() == again.json()
    assert (await post(rest, token)).content == again.content
    assert await names(rest, token) == ["Prompts"]


async def test_a_process_that_lives_goes_on_at_once_with_what_it_has_left(rest: Rest, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await killed_before_its_answer(rest, token, monkeypatch)
    assert (await post(rest, token)).status_code == 201
    assert await names(rest, token) == ["Prompts"]


async def test_what_was_deleted_before_the_retry_is_not_made_again(rest: Rest, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await killed_before_its_answer(rest, token, monkeypatch)
    library_id = (await libraries(rest, token))[0]["id"]
    await rest.delete(f"/api/libraries/{library_id}", token)
    more = True
    while more:
        async with rest.services.database.transaction() as connection:
            more = await retention.purge_step(connection, UUID(library_id), 100)
    for _ in range(2):
        again = await post(rest, token)
        assert (again.status_code, code_of(again)) == (404, "not_found")
    assert await names(rest, token) == []


async def test_an_attempt_taken_over_too_soon_makes_the_same_thing(rest: Rest, token: str) -> None:
    work.then = lambda claim: work.wait() if len(work.claims) == 1 else None
    slow = asyncio.create_task(post(rest, token, "/things"))
    await work.begun.acquire()
    rest.clock.advance(seconds=ABANDONED_AFTER.total_seconds())
    quick = await post(restarted(rest), token, "/things")
    work.go_on.set()
    assert (await slow).content == quick.content
    assert (await post(rest, token, "/things")).headers["idempotency-replayed"] == "true"


async def test_an_answer_that_cannot_be_kept_is_given_all_the_same(rest: Rest, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object, **__: object) -> None:
        raise Unavailable

    with monkeypatch.context() as failing:
        failing.setattr(idempotency, "keep", away)
        first = await post(rest, token)
    again = await post(rest, token)
    assert (first.status_code, again.content) == (201, first.content)
    assert await names(rest, token) == ["Prompts"]


async def test_after_a_fault_of_ours_the_work_is_tried_again_with_the_same_claim(rest: Rest, token: str) -> None:
    def fail(claim: Claim) -> None:
        raise RuntimeError

    work.then = fail
    assert (await post(rest, token, "/things")).status_code == 500
    work.then = lambda claim: None
    rest.clock.advance(seconds=1)
    other = restarted(rest)
    assert code_of(await post(other, token, "/things", name="Other")) == "idempotency_key_reused"
    again = await post(other, token, "/things")
    assert (again.status_code, "idempotency-replayed" in again.headers) == (201, False)
    first, second = work.claims
    assert (first.id_for(0), first.now) == (second.id_for(0), second.now)
