"""Registrations that become accounts by mail, over HTTP and against a real database."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest

from tests.support.mailed import APP, NEW, Mailed, mailed
from tests.support.post import text_of, token_in
from tests.support.rest import PASSWORD, Rest, code_of, fresh_email, grant, rest_api


@pytest.fixture(scope="module")
async def running(shared_dsn: str) -> AsyncIterator[Rest]:
    async with rest_api(shared_dsn, app_url=APP, registration="verified") as rest:
        yield rest


@pytest.fixture
async def test(running: Rest) -> AsyncIterator[Mailed]:
    async with mailed(running) as test:
        yield test


async def register(test: Mailed, email: str, password: str = PASSWORD, **body: object) -> httpx2.Response:
    return await test.ask("register", {"email": email, "password": password, **body})


async def confirm(test: Mailed, token: str, password: str = PASSWORD, **body: object) -> httpx2.Response:
    return await test.rest.post("/api/auth/register/confirm", {"token": token, "password": password, **body})


async def asked(test: Mailed, email: str, password: str = PASSWORD, **body: object) -> str:
    """The token that makes an account."""
    assert (await register(test, email, password, **body)).status_code == 202
    return await test.token()


async def test_a_registration_becomes_an_account_by_its_token_and_its_password(test: Mailed) -> None:
    email = fresh_email()
    answer = await register(test, email, name="Ada")
    assert (answer.status_code, answer.json(), answer.headers["cache-control"]) == (202, {}, "no-store")
    assert (await test.login(email)).status_code == 401
    token = await test.token()
    (mail,) = test.post.sent
    assert (mail["To"], mail["Subject"]) == (email, "Complete your registration")
    assert f"{APP}/#/register?token={token}\n" in text_of(mail)

    made = grant(await confirm(test, token))

    assert (made["user"]["email"], made["user"]["name"], made["user"]["email_verified"]) == (email, "Ada", True)
    assert await test.rest.status_of(made["access_token"]) == 200
    assert (await test.login(email)).status_code == 200
    assert await test.events(made["user"]["id"]) == ["registered", "email_verified", "signed_in"]
    assert await test.rows("SELECT count(*) FROM registrations") == [(0,)]
    assert code_of(await confirm(test, token)) == "invalid_mail_token"


async def test_an_address_that_has_an_account_is_answered_alike_and_mailed_otherwise(test: Mailed) -> None:
    email = fresh_email()
    await confirm(test, await asked(test, email))
    before = await test.rows("SELECT password_hash FROM users WHERE email_key = $1", email)

    answers = [await register(test, known, NEW) for known in (email, fresh_email())]

    assert {(answer.status_code, answer.content) for answer in answers} == {(202, b"{}")}
    sent = await test.post.deliver()
    assert [mail["Subject"] for mail in sent] == ["You have an account already", "Complete your registration"]
    assert token_in(sent[0]) is None
    test.secrets.append(str(token_in(sent[1])))
    assert await test.rows("SELECT password_hash FROM users WHERE email_key = $1", email) == before


async def test_who_has_only_the_mail_gets_no_account_with_anothers_password(test: Mailed) -> None:
    email = fresh_email()
    token = await asked(test, email)
    answer = await confirm(test, token, NEW)
    assert (answer.status_code, code_of(answer)) == (401, "invalid_credentials")
    assert await test.rows("SELECT count(*) FROM users WHERE email_key = $1", email) == [(0,)]
    assert (await confirm(test, token)).status_code == 201


@pytest.mark.parametrize("first", [0, 1])
async def test_of_two_registrations_of_an_address_the_first_that_is_confirmed_counts(test: Mailed, first: int) -> None:
    email = fresh_email()
    tokens, passwords = [await asked(test, email), await asked(test, email, NEW)], [PASSWORD, NEW]
    assert (await confirm(test, tokens[first], passwords[first])).status_code == 201
    late = await confirm(test, tokens[1 - first], passwords[1 - first])
    unknown = await confirm(test, "x" * 43)
    assert (late.status_code, late.content) == (unknown.status_code, unknown.content) == (403, unknown.content)
    assert (await test.login(email, passwords[first])).status_code == 200
    assert (await test.login(email, passwords[1 - first])).status_code == 401


async def test_confirmations_that_race_make_one_account(test: Mailed) -> None:
    for same in (True, False):
        email = fresh_email()
        first = await asked(test, email)
        tokens = [first] * 3 if same else [first, await asked(test, email), await asked(test, email)]
        answers = await asyncio.gather(*(confirm(test, token) for token in tokens))
        assert sorted(answer.status_code for answer in answers) == [201, 403, 403]
        assert await test.rows("SELECT count(*) FROM users WHERE email_key = $1", email) == [(1,)]


async def test_a_registration_is_over_after_ten_minutes(test: Mailed) -> None:
    email = fresh_email()
    token = await asked(test, email)
    test.rest.clock.advance(minutes=10)
    assert code_of(await confirm(test, token)) == "invalid_mail_token"


async def test_a_registration_keeps_the_rules_for_passwords_before_it_is_known_whose_address_it_is(test: Mailed) -> None:
    email = fresh_email()
    await confirm(test, await asked(test, email))
    for address in (email, fresh_email()):
        for weak in ("short", "password1", address):
            answer = await register(test, address, weak)
            assert (answer.status_code, code_of(answer)) == (422, "weak_password")
    assert await test.subjects() == []


async def test_a_device_keeps_its_id(test: Mailed) -> None:
    token = await asked(test, fresh_email())
    device = {"id": "00000000-0000-4000-8000-000000000001", "name": "Laptop", "platform": "web"}
    made = grant(await confirm(test, token, device=device))
    assert await test.rows("SELECT device_name FROM sessions WHERE user_id::text = $1", made["user"]["id"]) == [("Laptop",)]


async def test_without_the_address_of_the_app_the_bare_token_is_mailed(database_dsn: str) -> None:
    async with rest_api(database_dsn, registration="verified") as rest, mailed(rest) as test:
        token = await asked(test, fresh_email())
        assert f"Your token, for POST /api/auth/register/confirm:\n\n{token}\n" in text_of(test.post.sent[0])
        assert (await confirm(test, token)).status_code == 201
