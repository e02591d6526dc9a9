"""Sessions over HTTP: listed, ended one by one, others or all, and shown once more that it is you."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.support.audited import audit_text, entries, events, logged
from tests.support.rest import PASSWORD, Rest, bearer, code_of, fresh_email, grant, rest_api

PASSWORD_CHECKS = 10


@pytest.fixture(scope="module")
async def running(shared_dsn: str) -> AsyncIterator[Rest]:
    async with rest_api(shared_dsn, password_checks=PASSWORD_CHECKS) as rest:
        yield rest


@pytest.fixture
def rest(running: Rest) -> Rest:
    running.revoked.clear()
    return running


async def signed_in(rest: Rest, email: str, name: str = "laptop") -> dict[str, Any]:
    """Another session of this account."""
    body = {"email": email, "password": PASSWORD, "device": {"id": str(uuid4()), "name": name, "platform": "web"}}
    return grant(await rest.post("/api/auth/login", body))


async def listed(rest: Rest, token: str) -> list[dict[str, Any]]:
    answer = await rest.get("/api/auth/sessions", token)
    assert answer.status_code == 200, answer.text
    sessions: list[dict[str, Any]] = answer.json()["sessions"]
    return sessions


async def log_out(rest: Rest, token: str | None = None, **body: object) -> httpx2.Response:
    return await rest.client.post("/api/auth/logout", headers=bearer(token), json=body)


async def alive(rest: Rest, *tokens: dict[str, Any]) -> list[bool]:
    return [await rest.status_of(each["access_token"]) == 200 for each in tokens]


async def test_sessions_are_listed_with_their_devices_and_only_the_users_own(rest: Rest) -> None:
    email, began = fresh_email(), rest.clock()
    first = await rest.register(email)
    await rest.register()
    rest.clock.advance(minutes=1)
    second = await signed_in(rest, email, "笔记本 📱")

    sessions = await listed(rest, second["access_token"])

    assert [session["current"] for session in sessions] == [True, False]
    assert sessions[0]["device"]["name"] == "笔记本 📱"
    assert sessions[0]["device"]["platform"] == "web"
    assert sessions[1]["created_at"] == began.isoformat().replace("+00:00", "Z")
    assert {session["method"] for session in sessions} == {"password"}
    assert sessions[0]["last_used_from"] == "127.0.0.1"
    assert first["access_token"] not in str(sessions)
    assert not {"refresh_key", "refresh_counter", "revoke_reason"} & set(sessions[0])


async def test_the_last_use_is_when_tokens_were_refreshed_or_first_used(rest: Rest) -> None:
    tokens = await rest.register()

    async def last() -> str:
        (session,) = await listed(rest, tokens["access_token"])
        return str(session["last_used_at"])

    before = await last()
    rest.clock.advance(minutes=5)
    assert await last() == before, "the generation was used before"
    tokens = grant(await rest.refresh(tokens["refresh_token"]))
    refreshed = await last()
    assert refreshed > before
    rest.clock.advance(minutes=5)
    tokens = grant(await rest.refresh(tokens["refresh_token"]))
    rest.clock.advance(minutes=2)
    await rest.status_of(tokens["access_token"])
    assert await last() == rest.clock().isoformat().replace("+00:00", "Z")


async def test_a_session_of_the_list_is_ended_and_noted(rest: Rest) -> None:
    email = fresh_email()
    first, second = await rest.register(email), await signed_in(rest, email)
    (other,) = [session["id"] for session in await listed(rest, second["access_token"]) if not session["current"]]

    with logged() as log:
        answer = await rest.delete(f"/api/auth/sessions/{other}", second["access_token"])

    assert answer.status_code == 204
    assert await alive(rest, first, second) == [False, True]
    assert code_of(await rest.refresh(first["refresh_token"])) == "session_ended"
    assert [str(each) for each in rest.revoked] == [other]
    noted = (await entries(rest.services.database, first["user"]["id"]))[-1]
    assert (noted.event, noted.target, noted.address) == ("session_ended", other, "127.0.0.1")
    log.assert_without(second["access_token"], first["refresh_token"], besides=answer.text + repr(noted))
    assert [session["current"] for session in await listed(rest, second["access_token"])] == [True]


async def test_a_session_that_is_none_of_the_users_is_not_found_like_one_that_is_not_there(rest: Rest) -> None:
    """IDOR, case 44: another user's, one that is over, one that never was, and what is no id at all."""
    asking, other = await rest.register(), await rest.register()
    (theirs,) = [session["id"] for session in await listed(rest, other["access_token"])]
    email = fresh_email()
    over, mine = await rest.register(email), await signed_in(rest, email)
    await log_out(rest, over["access_token"])

    answers = [
        await rest.delete(f"/api/auth/sessions/{each}", asking["access_token"]) for each in (theirs, uuid4(), "none", f"{{{theirs}}}")
    ]
    (ended,) = [entry.session_id for entry in await entries(rest.services.database, over["user"]["id"], "signed_out")]
    answers.append(await rest.delete(f"/api/auth/sessions/{ended}", mine["access_token"]))

    assert {(answer.status_code, answer.content) for answer in answers} == {(404, answers[0].content)}
    assert await alive(rest, other) == [True]
    assert (await rest.delete(f"/api/auth/sessions/{theirs}")).status_code == 401


# --- logging out


async def test_others_end_and_the_session_at_hand_stays(rest: Rest) -> None:
    email = fresh_email()
    first, second, third = await rest.register(email), await signed_in(rest, email), await signed_in(rest, email)
    stranger = await rest.register()

    for _ in range(2):
        assert (await log_out(rest, second["access_token"], scope="others")).status_code == 204

    assert await alive(rest, first, second, third, stranger) == [False, True, False, True]
    assert len(rest.revoked) == 2
    noted = (await entries(rest.services.database, first["user"]["id"], "sessions_ended"))[0]
    assert noted.details == {"scope": "others", "ended": 2}


async def test_all_end_and_it_may_be_repeated(rest: Rest) -> None:
    email = fresh_email()
    first, second = await rest.register(email), await signed_in(rest, email)
    at_once = await asyncio.gather(*(log_out(rest, second["access_token"], scope="global") for _ in range(4)))
    assert [answer.status_code for answer in (*at_once, await log_out(rest, second["access_token"], scope="global"))] == [204] * 5
    assert await alive(rest, first, second) == [False, False]
    assert [(await rest.refresh(each["refresh_token"])).status_code for each in (first, second)] == [401, 401]
    assert len(await entries(rest.services.database, first["user"]["id"], "signed_out")) == 1


async def test_an_expired_access_token_beside_a_good_refresh_token_logs_out(rest: Rest) -> None:
    tokens = await rest.register()
    rest.clock.advance(hours=1)
    assert code_of(await log_out(rest, tokens["access_token"])) == "token_expired"
    with logged() as log:
        for _ in range(2):
            answer = await log_out(rest, tokens["access_token"], refresh_token=tokens["refresh_token"])
            assert (answer.status_code, answer.content) == (204, b"")
    assert code_of(await rest.refresh(tokens["refresh_token"])) == "session_ended"
    assert await events(rest.services.database, tokens["user"]["id"]) == ["registered", "signed_out"]
    log.assert_without(tokens["refresh_token"], besides=await audit_text(rest.services.database))


async def test_a_refresh_token_alone_logs_out_everywhere(rest: Rest) -> None:
    email = fresh_email()
    first, second = await rest.register(email), await signed_in(rest, email)
    for _ in range(2):
        assert (await log_out(rest, scope="global", refresh_token=second["refresh_token"])).status_code == 204
    assert await alive(rest, first, second) == [False, False]


@pytest.mark.parametrize("scope", ["others", "global"])
async def test_the_tokens_of_a_session_that_was_ended_end_no_others(rest: Rest, scope: str) -> None:
    email = fresh_email()
    stolen, mine = await rest.register(email), await signed_in(rest, email)
    (theirs,) = [session["id"] for session in await listed(rest, mine["access_token"]) if not session["current"]]
    await rest.delete(f"/api/auth/sessions/{theirs}", mine["access_token"])

    assert code_of(await log_out(rest, stolen["access_token"], scope=scope)) == "session_ended"
    assert code_of(await log_out(rest, scope=scope, refresh_token=stolen["refresh_token"])) == "session_ended"
    assert (await log_out(rest, stolen["access_token"])).status_code == 204

    assert await alive(rest, mine) == [True]


async def test_a_copied_refresh_token_that_is_void_ends_its_own_session_only(rest: Rest) -> None:
    email = fresh_email()
    mine, old = await signed_in_twice(rest, email)
    answer = await log_out(rest, scope="global", refresh_token=old)
    assert code_of(answer) == "session_ended"
    assert await alive(rest, mine) == [True]
    assert "refresh_reused" in await events(rest.services.database, mine["user"]["id"])
    assert len(rest.revoked) == 1


async def signed_in_twice(rest: Rest, email: str) -> tuple[dict[str, Any], str]:
    """A session that goes on, and the refresh token that another one has left behind two generations ago."""
    copied, mine = await rest.register(email), await signed_in(rest, email)
    second = grant(await rest.refresh(copied["refresh_token"]))
    grant(await rest.refresh(second["refresh_token"]))
    return mine, str(copied["refresh_token"])


async def test_logging_out_without_a_good_token_is_refused(rest: Rest) -> None:
    tokens = await rest.register()
    assert code_of(await log_out(rest)) == "not_authenticated"
    assert code_of(await log_out(rest, "a.b.c")) == "invalid_token"
    assert code_of(await log_out(rest, "a.b.c", refresh_token="x" * 60)) == "invalid_refresh_token"
    assert code_of(await log_out(rest, tokens["sync_token"])) == "invalid_token"
    assert code_of(await log_out(rest, tokens["access_token"], scope="world")) == "invalid_request"
    assert code_of(await log_out(rest, tokens["access_token"], everything=True)) == "invalid_request"
    assert await alive(rest, tokens) == [True]


async def test_logins_that_race_with_a_logout_everywhere_are_over_or_came_after(rest: Rest) -> None:
    email = fresh_email()
    tokens = await rest.register(email)
    for _ in range(20):
        logins = [signed_in(rest, email) for _ in range(3)]
        *_, answer = await asyncio.gather(*logins, log_out(rest, tokens["access_token"], scope="global"))
        assert isinstance(answer, httpx2.Response)
        assert answer.status_code == 204
        (ended,) = (await entries(rest.services.database, tokens["user"]["id"], "signed_out"))[-1:]
        opened = [entry for entry in await entries(rest.services.database, tokens["user"]["id"], "signed_in") if entry.id < ended.id]
        async with rest.services.database.acquire() as connection:
            live = await connection.fetch("SELECT id FROM sessions WHERE revoked_at IS NULL")
        assert not {row["id"] for row in live} & {entry.session_id for entry in opened}
        tokens = await signed_in(rest, email)


# --- that it is you


async def test_showing_the_password_makes_the_login_recent_again(rest: Rest) -> None:
    tokens = await rest.register()
    rest.clock.advance(seconds=599)
    tokens = grant(await rest.refresh(tokens["refresh_token"]))
    rest.clock.advance(seconds=2)
    assert code_of(await rest.delete("/api/users/me", tokens["access_token"])) == "recent_login_required"

    with logged() as log:
        answer = await rest.post("/api/auth/reauthenticate", {"password": PASSWORD}, tokens["access_token"])

    assert (answer.status_code, answer.content) == (204, b"")
    (session,) = await listed(rest, tokens["access_token"])
    assert session["authenticated_at"] == rest.clock().isoformat().replace("+00:00", "Z")
    noted = (await entries(rest.services.database, tokens["user"]["id"]))[-1]
    assert (noted.event, noted.details) == ("reauthenticated", {"method": "password"})
    log.assert_without(PASSWORD, tokens["access_token"], besides=repr(noted))
    assert (await rest.delete("/api/users/me", tokens["access_token"])).status_code == 204


async def test_a_wrong_password_is_noted_and_changes_nothing(rest: Rest) -> None:
    tokens = await rest.register()
    rest.clock.advance(seconds=601 - 60)
    tokens = grant(await rest.refresh(tokens["refresh_token"]))
    rest.clock.advance(seconds=61)
    with logged() as log:
        answer = await rest.post("/api/auth/reauthenticate", {"password": "hunter2-secret"}, tokens["access_token"])
    assert (answer.status_code, code_of(answer)) == (401, "invalid_credentials")
    log.assert_without("hunter2-secret", besides=answer.text + await audit_text(rest.services.database))
    assert (await events(rest.services.database, tokens["user"]["id"]))[-1] == "reauthentication_failed"
    assert code_of(await rest.delete("/api/users/me", tokens["access_token"])) == "recent_login_required"


async def test_an_account_without_a_password_shows_none(rest: Rest) -> None:
    tokens = await rest.register()
    async with rest.services.database.acquire() as connection:
        await connection.execute("UPDATE users SET password_hash = NULL WHERE id = $1", tokens["user"]["id"])
    answer = await rest.post("/api/auth/reauthenticate", {"password": PASSWORD}, tokens["access_token"])
    assert code_of(answer) == "invalid_credentials"


async def test_whoever_finds_an_open_session_does_not_guess_its_password(rest: Rest) -> None:
    tokens, other = await rest.register(), await rest.register()
    for _ in range(PASSWORD_CHECKS):
        assert (await rest.post("/api/auth/reauthenticate", {"password": "wrong"}, tokens["access_token"])).status_code == 401
    refused = await rest.post("/api/auth/reauthenticate", {"password": PASSWORD}, tokens["access_token"])
    assert (refused.status_code, code_of(refused)) == (429, "too_many_attempts")
    assert int(refused.headers["retry-after"]) > 60
    assert (await rest.post("/api/auth/reauthenticate", {"password": PASSWORD}, other["access_token"])).status_code == 204


async def test_a_password_that_is_changed_while_it_is_checked_shows_nothing(rest: Rest) -> None:
    tokens = await rest.register()
    before = await listed(rest, tokens["access_token"])
    rest.clock.advance(seconds=5)
    check = rest.services.passwords.check

    async def changing(password: str, stored: str | None) -> object:
        checked = await check(password, stored)
        async with rest.services.database.acquire() as connection:
            await connection.execute("UPDATE users SET password_hash = 'another' WHERE id = $1", tokens["user"]["id"])
        return checked

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rest.services.passwords, "check", changing)
        answer = await rest.post("/api/auth/reauthenticate", {"password": PASSWORD}, tokens["access_token"])
    assert code_of(answer) == "invalid_credentials"
    assert await listed(rest, tokens["access_token"]) == before
    assert await events(rest.services.database, tokens["user"]["id"]) == ["registered"]


@pytest.mark.parametrize("path", ["/api/auth/logout", "/api/auth/reauthenticate"])
async def test_bodies_that_make_no_sense_are_refused_and_end_nothing(rest: Rest, path: str) -> None:
    tokens, secret = await rest.register(), "hunter2-secret-value"
    headers = bearer(tokens["access_token"]) | {"Content-Type": "application/json"}
    for body, kind, code in (
        (f'{{"scope": "{secret}", "password": ["{secret}"]}}', "application/json", "invalid_request"),
        (f'{{"{secret}": "{secret}"}}', "application/json", "invalid_request"),
        ('{"refresh_token": 7, "password": null}', "application/json", "invalid_request"),
        (f'{{"password": "{secret * 60}", "refresh_token": "{secret * 60}"}}', "application/json", "invalid_request"),
        (f'{{"password": "{secret}", "password": "a"}}', "application/json", "malformed_json"),
        (f'{{"password": "{secret}"', "application/json", "malformed_json"),
        (f"password={secret}", "application/x-www-form-urlencoded", "unsupported_media_type"),
        ('"' + "x" * (1 << 20) + '"', "application/json", "too_large"),
    ):
        answer = await rest.client.post(path, content=body, headers=headers | {"Content-Type": kind})
        assert code_of(answer) == code, body[:80]
        assert secret not in answer.text
    assert await alive(rest, tokens) == [True]
