"""Addresses that are verified and changed by mail, over HTTP and against a real database."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from auth.audit import NOBODY
from auth.errors import SessionEnded
from auth.mail import Language
from auth.tokens import Audience
from tests.support.mailed import APP, NEW, Mailed, mailed
from tests.support.post import text_of
from tests.support.rest import Rest, code_of, fresh_email, rest_api


@pytest.fixture(scope="module")
async def running(shared_dsn: str) -> AsyncIterator[Rest]:
    async with rest_api(shared_dsn, app_url=APP) as rest:
        yield rest


@pytest.fixture
async def test(running: Rest) -> AsyncIterator[Mailed]:
    async with mailed(running) as test:
        yield test


async def change(test: Mailed, access_token: str, to: str) -> str:
    """The token that makes `to` the account's address."""
    assert (await test.ask("email", {"email": to}, access_token)).status_code == 202
    return await test.token()


async def me(test: Mailed, access_token: str) -> tuple[str, bool]:
    """The account's address, and whether it is verified."""
    user = (await test.rest.get("/api/users/me", access_token)).json()
    return user["email"], user["email_verified"]


# --- verified


async def test_registering_mails_a_token_that_verifies_the_address(test: Mailed) -> None:
    email = fresh_email()
    user = await test.rest.register(email)
    assert await me(test, user["access_token"]) == (email, False)
    token = await test.token()
    (mail,) = test.post.sent
    assert (mail["To"], mail["Subject"]) == (email, "Please confirm your address")
    assert f"{APP}/#/verify?token={token}\n" in text_of(mail)

    answer = await test.verify(token, user)

    assert (answer.status_code, answer.content) == (204, b"")
    assert await me(test, user["access_token"]) == (email, True)
    assert await test.events(user["user"]["id"]) == ["registered", "email_verified"]
    again = await test.verify(token, user)
    assert (again.status_code, code_of(again)) == (403, "invalid_mail_token")


async def test_the_mail_is_in_the_language_that_was_asked_for(test: Mailed) -> None:
    body = {"email": fresh_email(), "password": NEW}
    assert (await test.ask("register", body, accept_language="zh-CN,zh;q=0.9,en;q=0.8")).status_code == 201
    (mail,) = await test.post.deliver()
    assert mail["Subject"] == "请确认您的邮箱"
    assert "仅能使用一次,10 分钟内有效。" in text_of(mail)


async def test_the_mail_can_be_asked_for_again_until_the_address_is_verified(test: Mailed) -> None:
    email = fresh_email()
    user = await test.register(email)
    tokens = []
    for _ in range(2):
        answer = await test.ask("email/verification", None, user["access_token"])
        assert (answer.status_code, answer.json()) == (202, {})
        tokens.append(await test.token())
    for token in tokens:
        assert (await test.verify(token, user)).status_code == 204
    assert (await test.ask("email/verification", None, user["access_token"])).status_code == 202
    assert await test.subjects() == []
    assert (await test.events(user["user"]["id"])).count("email_verified") == 1


async def test_a_mail_of_before_is_not_sent_once_the_address_is_verified(test: Mailed) -> None:
    user = await test.rest.register(fresh_email())
    await test.ask("email/verification", None, user["access_token"])
    await test.execute("UPDATE users SET email_verified_at = now() WHERE id = $1", UUID(user["user"]["id"]))
    assert await test.subjects() == []


async def test_an_account_without_an_address_has_nothing_to_verify(test: Mailed) -> None:
    user = await test.register(fresh_email())
    await test.execute("UPDATE users SET email = NULL, email_key = NULL WHERE id = $1", UUID(user["user"]["id"]))
    answer = await test.ask("email/verification", None, user["access_token"])
    assert (answer.status_code, code_of(answer)) == (409, "no_address")
    new = fresh_email()
    token = await change(test, user["access_token"], new)
    assert [str(mail["To"]) for mail in test.post.sent] == [user["user"]["email"], new], "nobody else is to be told"
    assert (await test.ask("email/confirm", {"token": token}, user["access_token"])).status_code == 204
    assert await me(test, user["access_token"]) == (new, True)


async def test_of_verifications_that_race_with_one_token_one_wins(test: Mailed) -> None:
    user = await test.rest.register(fresh_email())
    token = await test.token()
    answers = await asyncio.gather(*(test.verify(token, user) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [204, 403, 403, 403]


# --- changed


async def test_the_new_address_is_the_accounts_once_its_mailbox_was_shown(test: Mailed) -> None:
    old, new = fresh_email(), fresh_email()
    user, other = await test.register(old), await test.session(old)

    assert (await test.ask("email", {"email": new}, user["access_token"])).status_code == 202
    token = await test.token()
    assert [(mail["To"], mail["Subject"]) for mail in test.post.sent[-2:]] == [
        (new, "Please confirm your new address"),
        (old, "Your address is about to change"),
    ]
    assert new not in text_of(test.post.sent[-1])
    assert await me(test, user["access_token"]) == (old, False)
    assert (await test.ask("email/confirm", {"token": token}, user["access_token"])).status_code == 204

    assert await me(test, user["access_token"]) == (new, True)
    assert await test.subjects() == [(old, "Your address was changed")]
    assert code_of(await test.rest.get("/api/users/me", other["access_token"])) == "session_ended"
    assert len(test.rest.revoked) == 1
    assert (await test.login(old)).status_code == 401
    assert (await test.login(new)).status_code == 200
    assert [event for event in await test.events(user["user"]["id"]) if event.startswith("email")] == [
        "email_change_asked",
        "email_changed",
    ]


async def test_a_change_takes_a_recent_login(test: Mailed) -> None:
    user = await test.register(fresh_email())
    test.rest.clock.advance(minutes=11)
    token = (await test.rest.refresh(user["refresh_token"])).json()["access_token"]
    answer = await test.ask("email", {"email": fresh_email()}, token)
    assert (answer.status_code, code_of(answer)) == (403, "recent_login_required")
    assert await test.subjects() == []


async def test_a_token_alone_changes_nothing(test: Mailed) -> None:
    """A mistyped address is somebody's, who gets the token."""
    user, stranger = await test.register(fresh_email()), await test.register(fresh_email())
    token = await change(test, user["access_token"], fresh_email())
    assert (await test.ask("email/confirm", {"token": token})).status_code == 401
    assert code_of(await test.ask("email/confirm", {"token": token}, stranger["access_token"])) == "invalid_mail_token"
    assert code_of(await test.verify(token, user)) == "invalid_mail_token"
    assert code_of(await test.ask("password/reset", {"token": token, "password": NEW})) == "invalid_mail_token"
    assert (await test.ask("email/confirm", {"token": token}, user["access_token"])).status_code == 204


async def test_that_an_address_is_taken_is_told_to_its_mailbox_only(test: Mailed) -> None:
    user, other = await test.register(fresh_email()), await test.register(fresh_email())
    taken, free = other["user"]["email"], fresh_email()
    answers = [await test.ask("email", {"email": email}, user["access_token"]) for email in (taken, free)]
    assert {(answer.status_code, answer.content) for answer in answers} == {(202, b"{}")}
    # the second request takes the first one back; what it would have said is asked for again
    await test.post.deliver()
    await test.ask("email", {"email": taken.upper()}, user["access_token"])
    sent = await test.post.deliver()
    assert (sent[0]["To"].lower(), sent[0]["Subject"]) == (taken, "This address has an account already")
    assert "token" not in text_of(sent[0])


async def test_an_address_that_is_taken_meanwhile_is_not_given_twice(test: Mailed) -> None:
    new = fresh_email()
    user = await test.register(fresh_email())
    token = await change(test, user["access_token"], new)
    await test.register(new)
    answer = await test.ask("email/confirm", {"token": token}, user["access_token"])
    assert (answer.status_code, code_of(answer)) == (403, "invalid_mail_token")
    assert (await me(test, user["access_token"]))[0] == user["user"]["email"]


async def test_accounts_that_race_for_an_address_do_not_both_get_it(test: Mailed) -> None:
    new = fresh_email()
    users = [await test.register(fresh_email()) for _ in range(3)]
    tokens = [await change(test, user["access_token"], new) for user in users]
    answers = await asyncio.gather(
        *(test.ask("email/confirm", {"token": token}, user["access_token"]) for user, token in zip(users, tokens, strict=True))
    )
    assert sorted(answer.status_code for answer in answers) == [204, 403, 403]


async def test_only_the_address_that_was_asked_for_last_can_be_confirmed(test: Mailed) -> None:
    user, last = await test.register(fresh_email()), fresh_email()
    first = await change(test, user["access_token"], fresh_email())
    second = await change(test, user["access_token"], last)
    assert (await test.ask("email/confirm", {"token": first}, user["access_token"])).status_code == 403
    assert (await test.ask("email/confirm", {"token": second}, user["access_token"])).status_code == 204
    assert (await me(test, user["access_token"]))[0] == last


async def test_tokens_in_the_mailbox_of_before_are_none_after_a_change(test: Mailed) -> None:
    old = fresh_email()
    user = await test.rest.register(old)
    verification = await test.token()
    await test.ask("password/forgot", {"email": old})
    reset = await test.token()
    await test.ask("password/forgot", {"email": old})  # asked for, and not sent yet
    await _confirmed(test, user["access_token"])
    assert (await test.verify(verification, user)).status_code == 403
    assert (await test.ask("password/reset", {"token": reset, "password": NEW})).status_code == 403
    assert await test.subjects() == [(old, "Your address is about to change"), (old, "Your address was changed")]


async def _confirmed(test: Mailed, access_token: str) -> None:
    """A change, of which only its own mail has been sent."""
    new = fresh_email()
    await test.ask("email", {"email": new}, access_token)
    ((mail_id,),) = await test.rows("SELECT id FROM mails WHERE address = $1", new)
    (mail,) = await test.post.run(mail_id)
    token = text_of(mail).partition("token=")[2].partition("\n")[0]
    test.secrets.append(token)
    assert (await test.ask("email/confirm", {"token": token}, access_token)).status_code == 204
    await test.execute("DELETE FROM jobs_pgqueuer WHERE convert_from(payload, 'UTF8') = $1", str(mail_id))


async def test_ones_own_address_can_be_written_another_way(test: Mailed) -> None:
    email = fresh_email()
    user = await test.register(email)
    token = await change(test, user["access_token"], email.upper())
    assert (await test.ask("email/confirm", {"token": token}, user["access_token"])).status_code == 204
    assert await me(test, user["access_token"]) == (email.upper().partition("@")[0] + "@example.com", True)


async def test_a_session_that_ends_meanwhile_asks_for_no_other_address(test: Mailed) -> None:
    user = await test.register(fresh_email())
    services, now = test.rest.services, test.rest.clock()
    asking = await services.sessions.authenticate(user["access_token"], {Audience.ACCESS}, now=now)
    await services.endings.log_out(user["access_token"], now=now)
    with pytest.raises(SessionEnded):
        await services.mailboxes.ask_change(asking, fresh_email(), language=Language.ENGLISH, caller=NOBODY, now=now)
    assert await test.subjects() == []


async def test_a_session_that_has_ended_confirms_nothing(test: Mailed) -> None:
    user = await test.register(fresh_email())
    token = await change(test, user["access_token"], fresh_email())
    answers = await asyncio.gather(
        test.rest.client.post("/api/auth/logout", headers={"Authorization": f"Bearer {user['access_token']}"}),
        test.ask("email/confirm", {"token": token}, user["access_token"]),
    )
    assert answers[0].status_code == 204
    assert answers[1].status_code in (204, 401)
