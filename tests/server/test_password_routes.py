"""Passwords that are reset by mail and changed by who is signed in, over HTTP and against a real database."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from auth.administration import OPERATOR
from tests.support.mailed import APP, NEW, Mailed, mailed
from tests.support.post import text_of, token_in
from tests.support.rest import PASSWORD, Rest, code_of, fresh_email, rest_api

OTHER = "third time lucky horse"
NO_ADDRESSES = [
    "a@example.com,b@example.org",
    "a@example.com%0aBcc: b@example.org",
    "a@example.com\r\nBcc: b@example.org",
    '"a b"@example.com',
    "a@[127.0.0.1]",
    "a@x\0.com",
    "a@example.com ",
    "<a@example.com>",
    "é@example.com",
    "a" * 400 + "@example.com",
]


@pytest.fixture(scope="module")
async def running(shared_dsn: str) -> AsyncIterator[Rest]:
    async with rest_api(shared_dsn, app_url=APP) as rest:
        yield rest


@pytest.fixture
async def test(running: Rest) -> AsyncIterator[Mailed]:
    async with mailed(running) as test:
        yield test


async def forget(test: Mailed, email: str) -> str:
    """The token of a reset."""
    assert (await test.ask("password/forgot", {"email": email})).status_code == 202
    return await test.token()


async def reset(test: Mailed, token: str, password: str = NEW) -> int:
    return (await test.ask("password/reset", {"token": token, "password": password})).status_code


# --- forgotten


async def test_a_reset_gives_a_new_password_and_ends_every_session(test: Mailed) -> None:
    email = fresh_email()
    user, device = await test.register(email), await test.session(email)
    token = await forget(test, email.upper())
    (mail,) = test.post.sent[-1:]
    assert mail["To"] == email
    assert f"{APP}/#/reset?token={token}\n" in text_of(mail)
    assert "within 10 minutes" in text_of(mail)

    answer = await test.ask("password/reset", {"token": token, "password": NEW})

    assert (answer.status_code, answer.content) == (204, b"")
    for each in (user, device):
        assert code_of(await test.rest.get("/api/users/me", each["access_token"])) == "session_ended"
        assert code_of(await test.rest.refresh(each["refresh_token"])) == "session_ended"
    assert len(test.rest.revoked) == 2
    assert code_of(await test.login(email)) == "invalid_credentials"
    fresh = await test.session(email, NEW)
    assert fresh["user"]["email_verified"]
    assert await test.subjects() == [(email, "Your password was changed")]
    assert (await test.events(user["user"]["id"]))[1:] == [
        *("signed_in", "password_reset_asked", "email_verified", "password_reset"),
        *("sign_in_failed", "signed_in"),
    ]


async def test_who_has_an_account_is_not_told_by_the_answer(test: Mailed) -> None:
    known, disabled, social = fresh_email(), fresh_email(), f"{fresh_email().partition('@')[0]}@gmail.com"
    await test.register(known)
    await test.register(disabled)
    await test.social(social)
    await test.execute("UPDATE users SET disabled_at = now() WHERE email_key = $1", disabled)

    answers = [await test.ask("password/forgot", {"email": email}) for email in (fresh_email(), known, disabled, social)]

    assert {(answer.status_code, answer.content) for answer in answers} == {(202, b"{}")}
    names = [sorted(set(answer.headers) - {"x-request-id"}) for answer in answers]
    assert names == names[:1] * 4
    assert await test.subjects() == [(known, "Choose a new password"), (social, "Choose a new password")]
    test.secrets += [str(token_in(message)) for message in test.post.sent]
    assert await test.rows("SELECT count(*) FROM audit WHERE event = 'password_reset_asked' AND user_id IS NULL") == [(1,)]


async def test_an_account_without_a_password_gets_its_first_one_by_mail(test: Mailed) -> None:
    email = f"{fresh_email().partition('@')[0]}@gmail.com"
    user_id = await test.social(email)
    assert await reset(test, await forget(test, email)) == 204
    await test.session(email, NEW)
    assert await test.rows("SELECT count(*) FROM identities WHERE user_id = $1", user_id) == [(1,)], "its mailbox was shown already"


async def test_whoever_made_an_account_of_anothers_address_has_nothing_of_it_left(test: Mailed) -> None:
    """Pre-hijacking: a password, another provider's account, a session, a link and a change of address all wait for the owner."""
    email = fresh_email()
    attacker = await test.register(email)
    user_id = UUID(attacker["user"]["id"])
    await test.execute("INSERT INTO identities VALUES (gen_random_uuid(), $1, 'google', NULL, 'x', now(), now())", user_id)
    await test.execute("UPDATE users SET role = 'admin' WHERE id = $1", user_id)
    await test.ask("email", {"email": fresh_email()}, attacker["access_token"])
    waiting = await test.token()

    assert await reset(test, await forget(test, email)) == 204

    owner = await test.session(email, NEW)
    assert owner["user"]["role"] == "user"
    assert await test.rest.status_of(attacker["access_token"]) == 401
    assert (await test.login(email)).status_code == 401
    assert await test.rows("SELECT count(*) FROM identities WHERE user_id = $1", user_id) == [(0,)]
    ((noted,),) = await test.rows("SELECT details FROM audit WHERE user_id = $1 AND event = 'account_reclaimed'", user_id)
    assert json.loads(noted) == {"method": "mail", "identities": 1, "shares": 0, "demoted": True}
    assert code_of(await test.ask("email/confirm", {"token": waiting}, owner["access_token"])) == "invalid_mail_token"


@pytest.mark.parametrize("password", ["short", "Password123", "x" * 257])
async def test_a_weak_password_leaves_the_token_good(test: Mailed, password: str) -> None:
    email = fresh_email()
    await test.register(email)
    token = await forget(test, email)
    answer = await test.ask("password/reset", {"token": token, "password": password})
    assert (answer.status_code, code_of(answer)) in ((422, "weak_password"), (422, "invalid_request"))
    assert password not in answer.text
    assert await reset(test, token) == 204


async def test_a_token_works_once_and_for_ten_minutes(test: Mailed) -> None:
    email = fresh_email()
    await test.register(email)
    token = await forget(test, email)
    test.rest.clock.advance(minutes=9, seconds=59)
    assert await reset(test, token) == 204
    assert code_of(await test.ask("password/reset", {"token": token, "password": OTHER})) == "invalid_mail_token"
    late = await forget(test, email)
    test.rest.clock.advance(minutes=10)
    assert await reset(test, late, OTHER) == 403
    await test.session(email, NEW)


async def test_what_is_no_token_of_a_reset_is_refused_alike(test: Mailed) -> None:
    email = fresh_email()
    user = await test.rest.register(email)
    verification = await test.token()
    tokens = [verification, "x" * 43, verification[:-1] + ("A" if verification[-1] != "A" else "B"), verification.swapcase()]
    answers = [await test.ask("password/reset", {"token": token, "password": NEW}) for token in tokens]
    assert {(answer.status_code, answer.content) for answer in answers} == {(403, answers[0].content)}
    for wrong in ("", "x", verification[:-1], verification + "=", verification + "\n", f" {verification}", "\u00e9" * 43, None, 1):
        assert (await test.rest.client.post("/api/auth/password/reset", json={"token": wrong, "password": NEW})).status_code == 422
    assert (await test.verify(verification, user)).status_code == 204


async def test_a_new_password_ends_the_tokens_that_were_mailed_before(test: Mailed) -> None:
    email = fresh_email()
    user = await test.register(email)
    first, second = await forget(test, email), await forget(test, email)
    await test.ask("email", {"email": fresh_email()}, user["access_token"])
    change = await test.token()
    assert (await test.ask("password", {"new_password": OTHER}, user["access_token"])).status_code == 204
    assert [await reset(test, token) for token in (first, second)] == [403, 403]
    assert (await test.ask("email/confirm", {"token": change}, user["access_token"])).status_code == 403
    await test.session(email, OTHER)


async def test_a_password_that_an_operator_gives_ends_the_tokens_that_were_mailed_before(test: Mailed) -> None:
    email = fresh_email()
    user = await test.register(email)
    token = await forget(test, email)
    await test.rest.services.administration.replace_password(UUID(user["user"]["id"]), OTHER, OPERATOR, now=test.rest.clock())
    assert await reset(test, token) == 403
    await test.session(email, OTHER)


async def test_of_resets_that_race_one_wins(test: Mailed) -> None:
    email = fresh_email()
    await test.register(email)
    for same in (True, False):
        first = await forget(test, email)
        tokens = [first] * 4 if same else [first, *[await forget(test, email) for _ in range(2)]]
        passwords = [f"{NEW} {number}" for number in range(len(tokens))]
        results = await asyncio.gather(*(reset(test, *each) for each in zip(tokens, passwords, strict=True)))
        assert sorted(results) == [204] + [403] * (len(tokens) - 1)
        await test.session(email, passwords[results.index(204)])
        test.rest.clock.advance(hours=1)


async def test_logins_that_race_with_a_reset_leave_no_session_of_the_old_password(test: Mailed) -> None:
    for _ in range(8):
        email = fresh_email()
        await test.register(email)
        token = await forget(test, email)
        answers = await asyncio.gather(test.login(email), reset(test, token), test.login(email))
        assert answers[1] == 204
        for answer in (answers[0], answers[2]):
            if answer.status_code == 200:
                assert await test.rest.status_of(answer.json()["access_token"]) == 401
        test.rest.clock.advance(hours=1)


async def test_a_disabled_account_is_not_reset(test: Mailed) -> None:
    email = fresh_email()
    await test.register(email)
    token = await forget(test, email)
    await test.execute("UPDATE users SET disabled_at = now() WHERE email_key = $1", email)
    assert await reset(test, token) == 403


async def test_only_so_many_mails_may_be_asked_for_whether_there_is_an_account_or_not(database_dsn: str) -> None:
    async with rest_api(database_dsn, mails_a_mailbox=3, mails_an_address=12) as rest:
        known = (await rest.register())["user"]["email"]  # which asks for a mail of another kind, too
        for email, allowed in ((fresh_email(), 3), (known, 3), (fresh_email(), 1)):
            answers = [await rest.post("/api/auth/password/forgot", {"email": email}) for _ in range(allowed + 2)]
            assert [answer.status_code for answer in answers] == [202] * allowed + [429] * 2
            assert {code_of(answer) for answer in answers[allowed:]} == {"too_many_attempts"}
            assert all(int(answer.headers["retry-after"]) > 0 for answer in answers[allowed:])


async def test_whoever_goes_on_registering_anothers_address_does_not_keep_its_owner_from_a_reset(database_dsn: str) -> None:
    async with rest_api(database_dsn, mails_a_mailbox=2, registration="verified") as rest:
        email = fresh_email()
        statuses = [(await rest.post("/api/auth/register", {"email": email, "password": NEW})).status_code for _ in range(3)]
        assert statuses == [202, 202, 429]
        assert (await rest.post("/api/auth/password/forgot", {"email": email})).status_code == 202


async def test_changes_do_not_fill_the_mailbox_of_whoever_the_address_is(database_dsn: str) -> None:
    async with rest_api(database_dsn, password_checks=2) as rest:
        token = (await rest.register())["access_token"]
        answers = [await rest.post("/api/auth/password", {"new_password": NEW}, token) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [204, 204, 429]
        async with rest.services.database.acquire() as connection:
            assert await connection.fetchval("SELECT count(*) FROM mails WHERE kind = 'password_changed'") == 2


async def test_past_the_limit_one_may_register_and_is_mailed_nothing(database_dsn: str) -> None:
    async with rest_api(database_dsn, mails_an_address=1) as rest:
        await rest.register()
        await rest.register()
        async with rest.services.database.acquire() as connection:
            assert await connection.fetchval("SELECT count(*) FROM mails") == 1


@pytest.mark.parametrize("email", NO_ADDRESSES)
async def test_what_is_no_plain_address_is_refused_without_being_repeated(test: Mailed, email: str) -> None:
    user = await test.register(fresh_email())
    for path in ("password/forgot", "email", "register", "login"):
        body: dict[str, Any] = {"email": email} | ({"password": NEW} if path in ("register", "login") else {})
        answer = await test.ask(path, body, user["access_token"])
        assert (answer.status_code, code_of(answer)) == (422, "invalid_request")
        assert email not in answer.text
    assert await test.subjects() == []


async def test_a_password_of_a_megabyte_is_refused_before_it_is_hashed(test: Mailed) -> None:
    user = await test.register(fresh_email())
    huge = "x" * 1_000_000
    bodies: dict[str, dict[str, Any]] = {
        "login": {"email": user["user"]["email"], "password": huge},
        "register": {"email": fresh_email(), "password": huge},
        "register/confirm": {"token": "x" * 43, "password": huge},
        "password/reset": {"token": "x" * 43, "password": huge},
        "password": {"current_password": huge, "new_password": huge},
    }
    for path, body in bodies.items():
        began = time.perf_counter()
        answer = await test.ask(path, body, user["access_token"])
        assert (answer.status_code, code_of(answer)) in ((422, "invalid_request"), (413, "too_large"))
        assert time.perf_counter() - began < 2, "a hundredth of it where nothing else runs"
        assert "xxx" not in answer.text


# --- changed


async def test_a_change_ends_the_other_sessions_and_keeps_this_one(test: Mailed) -> None:
    email = fresh_email()
    user, other = await test.register(email), await test.session(email)

    answer = await test.ask("password", {"current_password": PASSWORD, "new_password": NEW}, user["access_token"])

    assert answer.status_code == 204
    assert await test.rest.status_of(user["access_token"]) == 200
    assert code_of(await test.rest.get("/api/users/me", other["access_token"])) == "session_ended"
    assert len(test.rest.revoked) == 1
    assert (await test.login(email)).status_code == 401
    await test.session(email, NEW)
    assert await test.subjects() == [(email, "Your password was changed")]
    assert "password_changed" in await test.events(user["user"]["id"])


async def test_the_current_password_or_a_recent_login_is_needed(test: Mailed) -> None:
    email = fresh_email()
    user = await test.register(email)
    assert (await test.ask("password", {"new_password": OTHER}, user["access_token"])).status_code == 204
    test.rest.clock.advance(minutes=11)
    token = (await test.rest.refresh(user["refresh_token"])).json()["access_token"]
    assert code_of(await test.ask("password", {"new_password": NEW}, token)) == "recent_login_required"
    wrong = await test.ask("password", {"current_password": PASSWORD, "new_password": NEW}, token)
    assert (wrong.status_code, code_of(wrong)) == (401, "invalid_credentials")
    assert (await test.ask("password", {"current_password": OTHER, "new_password": NEW}, token)).status_code == 204
    assert (await test.events(user["user"]["id"])).count("sign_in_failed") == 1


async def test_a_wrong_current_password_is_not_made_good_by_a_recent_login(test: Mailed) -> None:
    user = await test.register(fresh_email())
    for _ in range(2):
        answer = await test.ask("password", {"current_password": OTHER, "new_password": NEW}, user["access_token"])
        assert code_of(answer) == "invalid_credentials"
    await test.session(user["user"]["email"])


async def test_a_first_password_takes_a_recent_login(test: Mailed) -> None:
    email = f"{fresh_email().partition('@')[0]}@gmail.com"
    await test.social(email, "a first password")
    services = test.rest.services
    async with services.database.acquire() as connection:
        session_id = await connection.fetchval("SELECT s.id FROM sessions s JOIN users u ON u.id = s.user_id WHERE u.email_key = $1", email)
        user_id = await connection.fetchval("SELECT id FROM users WHERE email_key = $1", email)
    now = services.clock()
    token = services.tokens.access(user_id=user_id, session_id=session_id, generation=0, now=now, expires_at=now.replace(year=now.year + 1))
    assert code_of(await test.ask("password", {"current_password": "anything at all", "new_password": NEW}, token)) == "invalid_credentials"
    assert (await test.ask("password", {"new_password": NEW}, token)).status_code == 204
    await test.session(email, NEW)


@pytest.mark.parametrize("kind", ["whole", "part", "common", "short"])
async def test_a_new_password_keeps_the_rules(test: Mailed, kind: str) -> None:
    email = fresh_email()
    user = await test.register(email)
    weak = {"whole": email.upper(), "part": email.partition("@")[0].upper(), "common": "QwertyUiop", "short": "abcdefg"}[kind]
    answer = await test.ask("password", {"new_password": weak}, user["access_token"])
    assert (answer.status_code, code_of(answer)) == (422, "weak_password")
    assert (
        answer.json()["detail"]
        == {
            "whole": "not the address or a part of it",
            "part": "not the address or a part of it",
            "common": "none of the passwords that many people have",
            "short": "at least 8 characters",
        }[kind]
    )
    assert weak not in answer.text
    assert (await test.login(email)).status_code == 200


async def test_changes_that_race_leave_one_password_and_the_session_that_set_it(test: Mailed) -> None:
    email = fresh_email()
    await test.register(email)
    sessions = [await test.session(email) for _ in range(4)]
    passwords = [f"{NEW} {number}" for number in range(4)]
    answers = await asyncio.gather(
        *(
            test.ask("password", {"current_password": PASSWORD, "new_password": password}, each["access_token"])
            for each, password in zip(sessions, passwords, strict=True)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [204, 401, 401, 401]
    winner = [answer.status_code for answer in answers].index(204)
    assert [await test.rest.status_of(each["access_token"]) for each in sessions] == [200 if n == winner else 401 for n in range(4)]
    await test.session(email, passwords[winner])
