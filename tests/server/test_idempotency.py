"""`Idempotency-Key`: a request that creates something is done once, however often and to whichever process it is sent."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from starlette.responses import Response

from server import idempotency as module
from server.claim import Claim
from server.errors import IdempotencyInProgress, TooManyAttempts
from server.idempotency import ABANDONED_AFTER, KEPT_FOR, MAX_ANSWER_BYTES, Asked, Attempt, Idempotency
from server.routes import libraries as library_routes
from storage.cipher import DataKey
from storage.keyring import EncryptionKey, Keyring
from storage.rotation import rewrap
from tests.support.creating import creating_api, names, post, restarted, rows, work
from tests.support.rest import START, Rest, code_of


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


async def own_row(rest: Rest, token: str) -> dict[str, Any]:
    """The one row of the user's."""
    user_id = (await rest.get("/api/users/me", token)).json()["id"]
    (row,) = [row for row in await rows(rest) if str(row["user_id"]) == user_id]
    return row


async def test_a_request_that_comes_again_gets_its_first_answer(rest: Rest, token: str) -> None:
    first = await post(rest, token)
    rest.clock.advance(minutes=9)
    again = await post(restarted(rest), token)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    for name in ("location", "content-type"):
        assert again.headers[name] == first.headers[name]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert await names(rest, token) == ["Prompts"]


async def test_an_etag_is_kept(rest: Rest, token: str) -> None:
    first, again = await post(rest, token, "/things"), await post(rest, token, "/things")
    assert first.headers["etag"] == again.headers["etag"] == '"1"'
    assert len(work.claims) == 1


async def test_without_a_key_each_request_is_a_new_one(rest: Rest, token: str) -> None:
    before = await rows(rest)
    first, second = await post(rest, token, key=None), await post(rest, token, key=None)
    assert first.json()["id"] != second.json()["id"]
    assert await rows(rest) == before


async def test_a_key_with_another_request_is_refused(rest: Rest, token: str) -> None:
    await post(rest, token)
    other = await post(rest, token, name="Other")
    assert (other.status_code, code_of(other)) == (422, "idempotency_key_reused")
    assert await names(rest, token) == ["Prompts"]


async def test_another_user_or_route_has_keys_of_its_own(rest: Rest, token: str) -> None:
    stranger = (await rest.register())["access_token"]
    answers = [await post(rest, token), await post(rest, stranger), await post(rest, token, "/things")]
    assert [answer.status_code for answer in answers] == [201, 201, 201]
    assert len({answer.json()["id"] for answer in answers}) == 3


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\u00e9", "a\tb", "\x7f"])
async def test_a_senseless_key_is_refused(rest: Rest, token: str, key: str) -> None:
    before = await rows(rest)
    headers = [(b"Authorization", f"Bearer {token}".encode()), (b"Idempotency-Key", key.encode("latin-1"))]
    response = await rest.client.post("/api/libraries", json={"name": "n"}, headers=headers)
    assert (response.status_code, code_of(response)) == (422, "invalid_idempotency_key")
    assert await names(rest, token) == []
    assert await rows(rest) == before


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}, {"Idempotency-Key": "caf\u00e9"}, {"Authorization": "Bearer no"}])
async def test_nobody_makes_anything_without_being_known(rest: Rest, headers: dict[str, str]) -> None:
    sent = {name.encode(): value.encode() for name, value in headers.items()}
    response = await rest.client.post("/things", json={"name": "n"}, headers=sent)
    assert response.status_code == 401
    assert work.claims == []


async def test_two_keys_are_refused_and_any_other_is_taken_as_it_is(rest: Rest, token: str) -> None:
    headers = [("Authorization", f"Bearer {token}"), ("Idempotency-Key", "a"), ("Idempotency-Key", "a")]
    assert code_of(await rest.client.post("/api/libraries", json={"name": "n"}, headers=headers)) == "invalid_idempotency_key"
    keys = ["x" * 255, "X" * 255, '"8e03978e-40d5-43e8-bc93-6894a57f9324"', "8e03978e-40d5-43e8-bc93-6894a57f9324", "~ ;,="]
    assert len({(await post(rest, token, key=key)).json()["id"] for key in keys}) == len(keys)


async def test_routes_that_answer_tokens_ignore_the_header(rest: Rest) -> None:
    before = await rows(rest)
    answers = [
        await rest.client.post("/api/auth/register", json={"email": "a@example.com", "password": "correct horse"}, headers=headers)
        for headers in ({"Idempotency-Key": "k"}, {"Idempotency-Key": ""}, {"Idempotency-Key": "k"})
    ]
    assert [answer.status_code for answer in answers] == [201, 409, 409]
    assert await rows(rest) == before


async def test_of_requests_at_once_on_two_processes_one_does_the_work(rest: Rest, token: str) -> None:
    processes = [rest, restarted(rest)]
    answers = await asyncio.gather(*(post(processes[number % 2], token) for number in range(8)))
    made = [answer for answer in answers if answer.status_code == 201]
    assert len([answer for answer in made if "idempotency-replayed" not in answer.headers]) == 1
    assert len({answer.content for answer in made}) == 1
    assert {code_of(answer) for answer in answers if answer not in made} <= {"idempotency_in_progress"}
    assert await names(rest, token) == ["Prompts"]


async def test_while_the_first_is_worked_on_others_are_told_to_wait(rest: Rest, token: str) -> None:
    work.then = lambda claim: work.wait()
    first = asyncio.create_task(post(rest, token, "/things"))
    await work.begun.acquire()
    rest.clock.advance(seconds=ABANDONED_AFTER.total_seconds() - 1)
    for process in (rest, restarted(rest)):
        answer = await post(process, token, "/things")
        assert (answer.status_code, code_of(answer)) == (409, "idempotency_in_progress")
        assert int(answer.headers["retry-after"]) > 0
    rest.clock.advance(minutes=9)
    assert code_of(await post(rest, token, "/things")) == "idempotency_in_progress", "this process knows that it works on it"
    work.go_on.set()
    answered = await first
    assert (await post(rest, token, "/things")).content == answered.content
    assert len(work.claims) == 1


async def test_a_refusal_is_not_kept(rest: Rest, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as full:
        full.setattr(library_routes, "MAX_LIBRARIES", 1)
        assert code_of(await post(rest, token)) == "too_many_libraries"
    assert code_of(await post(rest, token, name="\0")) == "invalid_request"
    assert (await post(rest, token, name="Corrected")).status_code == 201
    assert await names(rest, token) == ["Corrected"]


async def test_refusals_at_once_leave_nothing_behind(rest: Rest, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    processes = [rest, restarted(rest)]
    before = await rows(rest)
    with monkeypatch.context() as full:
        full.setattr(library_routes, "MAX_LIBRARIES", 1)
        answers = await asyncio.gather(*(post(processes[number % 2], token) for number in range(24)))
    assert {code_of(answer) for answer in answers} <= {"too_many_libraries", "idempotency_in_progress"}
    assert await rows(rest) == before
    assert (await post(rest, token)).status_code == 201


async def test_a_claim_made_again_while_the_last_attempt_ends_is_not_taken_over(
    rest: Rest, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    idempotency = rest.services.idempotency
    user_id = UUID((await rest.get("/api/users/me", token)).json()["id"])
    asked = Asked(user_id=user_id, key="k", method="POST", route="/r", path="/r", query=b"", body=b"")
    settle, begun = Idempotency._settle, []

    async def and_then_another(*args: Any) -> None:
        await settle(*args)
        begun.append(await idempotency.begin(asked))

    first = await idempotency.begin(asked)
    assert isinstance(first, Attempt)
    with monkeypatch.context() as between:
        between.setattr(Idempotency, "_settle", and_then_another)
        await idempotency.end(first, Response(status_code=409))
    with pytest.raises(IdempotencyInProgress):
        await idempotency.begin(asked)
    (second,) = begun
    assert isinstance(second, Attempt)
    await idempotency.end(second, Response(status_code=409))
    assert str(user_id) not in {str(row["user_id"]) for row in await rows(rest)}


async def test_a_refusal_after_the_work_took_effect_is_kept(rest: Rest, token: str) -> None:
    def refuse(claim: Claim) -> None:
        claim.done()
        raise TooManyAttempts(7)

    work.then = refuse
    first = await post(rest, token, "/things")
    work.then = lambda claim: None
    again = await post(rest, token, "/things")
    assert (code_of(first), code_of(again)) == ("too_many_attempts", "too_many_attempts")
    assert (again.headers["idempotency-replayed"], len(work.claims)) == ("true", 1)


async def test_an_answer_too_large_to_keep_is_made_again_from_the_same_claim(rest: Rest, token: str) -> None:
    work.then = lambda claim: {"id": str(claim.id_for(0)), "text": "x" * MAX_ANSWER_BYTES}
    first, again = await post(rest, token, "/things"), await post(rest, token, "/things")
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert ("idempotency-replayed" in first.headers, again.headers["idempotency-replayed"]) == (False, "true")
    assert [claim.was_done for claim in work.claims] == [False, True]
    assert (await own_row(rest, token))["sealed"] is None


async def test_the_rows_reveal_nothing_of_the_request(rest: Rest, token: str) -> None:
    answer = await post(rest, token, key="my-own-key", name="a secret name")
    assert (await post(rest, token, key="my-own-key", name="a secret name")).content == answer.content
    row = await own_row(rest, token)
    stored = b"".join(value for value in row.values() if isinstance(value, bytes)) + str(row).encode()
    for part in ("my-own-key", "secret", "libraries", answer.json()["id"]):
        assert part.encode() not in stored
        assert UUID(answer.json()["id"]).bytes not in stored


async def test_an_answer_that_was_moved_to_another_key_does_not_open(rest: Rest, token: str) -> None:
    await post(rest, token, key="a")
    await post(rest, token, key="b")
    async with rest.services.database.acquire() as connection:
        user_id = UUID((await rest.get("/api/users/me", token)).json()["id"])
        await connection.execute(
            "UPDATE idempotency_keys k SET sealed = o.sealed FROM idempotency_keys o"
            " WHERE k.user_id = $1 AND o.user_id = $1 AND o.key_hash <> k.key_hash",
            user_id,
        )
    assert (await post(rest, token, key="a")).status_code == 500


async def test_answers_open_after_the_keys_were_rotated(rest: Rest, token: str) -> None:
    first = await post(rest, token)
    new = EncryptionKey(id="k2", created_at=START, key=DataKey.new(os.urandom(32)))
    async with rest.services.database.acquire() as connection:
        await rewrap(connection, Keyring([new, *rest.services.keyring.keys]))
    try:
        assert (await post(restarted(rest, Keyring([new])), token)).content == first.content
    finally:
        async with rest.services.database.acquire() as connection:
            await rewrap(connection, Keyring([*rest.services.keyring.keys, new]))


async def test_after_a_day_a_key_is_new(rest: Rest) -> None:
    user = await rest.register()
    await post(rest, user["access_token"])
    rest.clock.advance(seconds=KEPT_FOR.total_seconds())
    token = (await rest.refresh(user["refresh_token"])).json()["access_token"]
    assert "idempotency-replayed" not in (await post(rest, token, name="Another")).headers
    assert await names(rest, token) == ["Prompts", "Another"]


async def test_a_user_has_a_bounded_number_of_keys(rest: Rest, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KEYS", 2)
    for key in "abc":
        await post(rest, token, key=key)
        rest.clock.advance(seconds=1)
    assert (await post(rest, token, key="b")).headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in (await post(rest, token, key="a")).headers, "the oldest one was forgotten"
    work.then = lambda claim: work.wait()
    slow = [asyncio.create_task(post(rest, token, "/things", key=key)) for key in "xy"]
    for _ in slow:
        await work.begun.acquire()
    refused = await post(rest, token, key="d")
    assert (refused.status_code, code_of(refused)) == (429, "too_many_idempotency_keys")
    work.then = lambda claim: None
    work.go_on.set()
    assert [answer.status_code for answer in await asyncio.gather(*slow)] == [201, 201]
    assert (await post(rest, token, key="d")).status_code == 201
