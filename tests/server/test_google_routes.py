"""Signing in with an ID token and linking over HTTP, with an issuer that makes any token: what each may get, and what nobody may."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
import structlog

from tests.support.issuer import ANDROID_ID, CLIENT_ID, KEYS, SUBJECT, Issuer, running_issuer, sign
from tests.support.post import Post, token_in
from tests.support.rest import PASSWORD, Rest, code_of, fresh_email, grant, rest_api

SIGN_IN, IDENTITIES, LINK = "/api/auth/social/google", "/api/auth/identities", "/api/auth/identities/google"


@pytest.fixture(scope="module")
async def issuer() -> AsyncIterator[Issuer]:
    async with running_issuer() as issuer:
        yield issuer


@pytest.fixture(scope="module")
async def running(shared_dsn: str, issuer: Issuer) -> AsyncIterator[Rest]:
    async with rest_api(shared_dsn, google_issuer=issuer.url, google_client_ids=(CLIENT_ID, ANDROID_ID)) as rest:
        yield rest


@pytest.fixture
def rest(running: Rest) -> Rest:
    running.revoked.clear()
    running.clock.now = datetime.now(UTC)  # tokens are made by the real clock
    return running


def somebody(issuer: Issuer, email: str | None, subject: str | None = None, **changes: Any) -> str:
    """A token of somebody whom nobody has seen, with this address."""
    return issuer.token(sub=subject or uuid4().hex, email=email, **changes)


def gmail() -> str:
    return f"{uuid4().hex[:20]}@gmail.com"


async def sign_in(rest: Rest, token: str, **body: Any) -> httpx2.Response:
    return await rest.post(SIGN_IN, {"id_token": token, **body})


async def last_audit(rest: Rest) -> tuple[str, str]:
    async with rest.services.database.acquire() as connection:
        row = await connection.fetchrow("SELECT event, details FROM audit ORDER BY id DESC LIMIT 1")
    assert row is not None
    return row["event"], row["details"]


async def refused(rest: Rest, token: str, status: int, code: str, **body: Any) -> str:
    """Signing in is refused so; the reason in the audit log. The token is nowhere."""
    before = await count(rest, "sessions")
    with structlog.testing.capture_logs() as logs:
        answer = await sign_in(rest, token, **body)
    event, details = await last_audit(rest)
    assert (answer.status_code, code_of(answer)) == (status, code)
    assert event == "sign_in_failed"
    assert token not in f"{answer.text}{answer.headers}{logs}{details}"
    assert await count(rest, "sessions") == before
    return details


async def count(rest: Rest, table: str) -> int:
    async with rest.services.database.acquire() as connection:
        return int(await connection.fetchval(f"SELECT count(*) FROM {table}"))  # noqa: S608  # a name of this module's


async def verify(rest: Rest, user: dict[str, Any]) -> None:
    async with rest.services.database.acquire() as connection:
        await connection.execute("UPDATE users SET email_verified_at = now() WHERE id = $1", UUID(user["user"]["id"]))


async def test_a_token_signs_in_and_names_the_device(rest: Rest, issuer: Issuer) -> None:
    device = {"id": str(uuid4()), "name": "Phone", "platform": "android"}
    email = gmail()
    with structlog.testing.capture_logs() as logs:
        token = somebody(issuer, email, aud=CLIENT_ID, azp=ANDROID_ID, nonce="n" * 20)
        answer = await sign_in(rest, token, nonce="n" * 20, device=device)
    body = grant(answer)
    assert (body["user"]["email"], body["user"]["name"], body["user"]["email_verified"]) == (email, "Alice Example", True)
    assert await rest.status_of(body["access_token"]) == 200
    assert token not in f"{answer.text}{logs}"
    async with rest.services.database.acquire() as connection:
        row = await connection.fetchrow("SELECT device_id, device_name, method FROM sessions ORDER BY created_at DESC LIMIT 1")
    assert row is not None
    assert (str(row["device_id"]), row["device_name"], row["method"]) == (device["id"], "Phone", "google")


async def test_who_prepared_an_account_loses_it_to_the_mailboxs_owner(rest: Rest, issuer: Issuer) -> None:
    """Case 33."""
    attacker = await rest.register(email := gmail())
    victim = grant(await sign_in(rest, somebody(issuer, email)))
    assert victim["user"]["id"] == attacker["user"]["id"]
    assert victim["user"]["email_verified"] is True
    assert len(rest.revoked) == 1
    assert await rest.status_of(attacker["access_token"]) == 401
    assert (await rest.refresh(attacker["refresh_token"])).status_code == 401
    assert (await rest.post("/api/auth/login", {"email": email, "password": PASSWORD})).status_code == 401
    assert await rest.status_of(victim["access_token"]) == 200


@pytest.mark.parametrize("hosted", [{"hd": "corp.example.com"}, {}])
async def test_a_mailbox_that_google_owns_is_linked_to_its_verified_account(rest: Rest, issuer: Issuer, hosted: dict[str, str]) -> None:
    email = f"{uuid4().hex[:20]}@corp.example.com" if hosted else gmail()
    mine = await rest.register(email)
    await verify(rest, mine)
    assert grant(await sign_in(rest, somebody(issuer, email, **hosted)))["user"]["id"] == mine["user"]["id"]
    assert await rest.status_of(mine["access_token"]) == 200
    assert rest.revoked == []


@pytest.mark.parametrize("said", [False, "true", "false", "True", 1, [True], {}, None])
async def test_an_address_that_is_not_exactly_verified_counts_for_nothing(rest: Rest, issuer: Issuer, said: object) -> None:
    """Case 34."""
    mine = await rest.register(email := gmail())
    theirs = grant(await sign_in(rest, somebody(issuer, email, email_verified=said, hd="gmail.com")))
    assert theirs["user"]["id"] != mine["user"]["id"]
    assert theirs["user"]["email"] is None
    assert await rest.status_of(mine["access_token"]) == 200


@pytest.mark.parametrize("hd", [None, "", 1, ["example.net"]])
async def test_anothers_mailbox_is_linked_only_by_whoever_is_signed_in(rest: Rest, issuer: Issuer, hd: object) -> None:
    """Case 35."""
    email = f"{uuid4().hex[:20]}@example.net"
    mine = await rest.register(email)
    await verify(rest, mine)
    token = somebody(issuer, email, hd=hd)
    assert "LinkRequired" in await refused(rest, token, 409, "link_required")
    assert (await rest.post(LINK, {"id_token": token}, mine["access_token"])).status_code == 200
    assert grant(await sign_in(rest, token))["user"]["id"] == mine["user"]["id"]


async def test_a_new_account_on_anothers_mailbox_is_mailed_to_verify_it_and_one_on_googles_is_not(rest: Rest, issuer: Issuer) -> None:
    post, email = Post(rest), f"{uuid4().hex[:20]}@example.net"
    await post.deliver()
    token = somebody(issuer, email)
    headers = {"Accept-Language": "zh-CN"}
    mine = grant(await rest.client.post(SIGN_IN, json={"id_token": token}, headers=headers))
    grant(await sign_in(rest, token))  # once more, which mails nothing
    grant(await sign_in(rest, somebody(issuer, gmail())))
    grant(await sign_in(rest, somebody(issuer, None)))

    (sent,) = await post.deliver()

    assert (sent["To"], sent["Subject"], mine["user"]["email_verified"]) == (email, "请确认您的邮箱", False)
    answer = await rest.post("/api/auth/email/verify", {"token": token_in(sent)}, mine["access_token"])
    assert answer.status_code == 204
    assert (await rest.get("/api/users/me", mine["access_token"])).json()["email_verified"] is True


@pytest.mark.parametrize("lookalike", ["@gmail.com.evil.example", "@notgmail.com", "@gmail.co"])
async def test_a_mailbox_that_looks_like_googles_is_not(rest: Rest, issuer: Issuer, lookalike: str) -> None:
    email = f"{uuid4().hex[:20]}{lookalike.replace('.example', '.example.com')}"
    await rest.register(email)
    await refused(rest, somebody(issuer, email), 409, "link_required")


async def test_every_refused_token_is_answered_alike_and_noted_with_its_reason(rest: Rest, issuer: Issuer) -> None:
    now = int(rest.clock().timestamp())
    tokens = {
        "issuer": issuer.token(iss="https://accounts.google.com"),
        "audience": issuer.token(aud="other-app.apps.googleusercontent.com"),
        "authorized party": issuer.token(azp="other-app.apps.googleusercontent.com"),
        "expired": issuer.token(exp=now - 31),
        "not yet valid": issuer.token(iat=now + 60),
        "times": issuer.token(exp=None),
        "nonce": issuer.token(nonce="uncalled-for"),
        "subject": issuer.token(sub=None),
        "header": sign(issuer.claims(), {"alg": "none"}, by="none"),
        "InvalidSignatureError": issuer.token(by="rogue"),
        "unknown key": issuer.token({"kid": "unknown"}),
        "DecodeError": "a.b.c",
    }
    answers = set()
    for reason, token in tokens.items():
        assert f'"reason": "{reason}"' in await refused(rest, token, 401, "social_refused")
        answers.add((await sign_in(rest, token)).content)
    disabled = grant(await sign_in(rest, issuer.token(sub="to-be-disabled", email=None)))
    async with rest.services.database.acquire() as connection:
        await connection.execute("UPDATE users SET disabled_at = now() WHERE id = $1", UUID(disabled["user"]["id"]))
    assert '"reason": "disabled_user"' in await refused(rest, issuer.token(sub="to-be-disabled"), 401, "social_refused")
    answers.add((await sign_in(rest, issuer.token(sub="to-be-disabled"))).content)
    assert len(answers) == 1


async def test_a_nonce_that_was_given_must_be_in_the_token(rest: Rest, issuer: Issuer) -> None:
    assert '"nonce"' in await refused(rest, issuer.token(), 401, "social_refused", nonce="mine")
    assert '"nonce"' in await refused(rest, issuer.token(nonce="theirs"), 401, "social_refused", nonce="mine")


async def test_one_of_our_own_tokens_is_none_of_googles(rest: Rest) -> None:
    mine = await rest.register()
    await refused(rest, mine["access_token"], 401, "social_refused")


async def test_a_google_token_is_none_of_ours(rest: Rest, issuer: Issuer) -> None:
    """Case 6."""
    assert await rest.status_of(issuer.token()) == 401


async def test_without_keys_nobody_signs_in_and_it_is_said_to_be_temporary(database_dsn: str) -> None:
    async with running_issuer() as issuer, rest_api(database_dsn, google_issuer=issuer.url, google_client_ids=(CLIENT_ID,)) as rest:
        rest.clock.now = datetime.now(UTC)
        issuer.answers[KEYS] = b""
        answer = await sign_in(rest, issuer.token())
        assert (answer.status_code, code_of(answer)) == (503, "provider_unavailable")
        assert answer.headers["retry-after"] == "2"
        assert issuer.url not in answer.text


async def test_where_google_is_not_configured_every_route_says_so(database_dsn: str, issuer: Issuer) -> None:
    async with rest_api(database_dsn) as bare:
        mine = await bare.register()
        asked = [
            await sign_in(bare, issuer.token()),
            await bare.get("/api/auth/social/google/start"),
            await bare.post("/api/auth/social/google/start", None),
            await bare.client.post(
                "/api/auth/social/google/finish", json={"state": "s", "code": "c"}, headers={"Sec-Fetch-Site": "same-origin"}
            ),
            await bare.post(LINK, {"id_token": issuer.token()}, mine["access_token"]),
            await bare.post(f"{LINK}/start", None, mine["access_token"]),
        ]
        for answer in asked:
            assert (answer.status_code, code_of(answer)) == (404, "provider_not_configured")
        assert (await bare.get(IDENTITIES, mine["access_token"])).json() == {"identities": []}


# -- identities


async def test_identities_are_linked_listed_and_unlinked(rest: Rest, issuer: Issuer) -> None:
    mine = await rest.register(fresh_email())
    token = somebody(issuer, email := gmail(), subject=(subject := uuid4().hex))
    linked = await rest.post(LINK, {"id_token": token}, mine["access_token"])
    assert linked.status_code == 200, linked.text
    listed = (await rest.get(IDENTITIES, mine["access_token"])).json()["identities"]
    assert listed == [linked.json()]
    assert (listed[0]["provider"], listed[0]["email"], listed[0]["name"]) == ("google", email, "Alice Example")
    assert subject not in str(listed)

    assert (await rest.delete(f"{IDENTITIES}/{listed[0]['id']}", mine["access_token"])).status_code == 204
    assert (await last_audit(rest))[0] == "identity_unlinked"
    again = await rest.delete(f"{IDENTITIES}/{listed[0]['id']}", mine["access_token"])
    assert (again.status_code, code_of(again)) == (404, "not_found")
    assert (await rest.get(IDENTITIES, mine["access_token"])).json() == {"identities": []}


async def test_what_signs_another_in_is_taken_and_the_last_way_in_stays(rest: Rest, issuer: Issuer) -> None:
    """Case 38."""
    token = somebody(issuer, None)
    owner = grant(await sign_in(rest, token))
    other = await rest.register()
    taken = await rest.post(LINK, {"id_token": token}, other["access_token"])
    assert (taken.status_code, code_of(taken)) == (409, "identity_taken")
    (only,) = (await rest.get(IDENTITIES, owner["access_token"])).json()["identities"]
    last = await rest.delete(f"{IDENTITIES}/{only['id']}", owner["access_token"])
    assert (last.status_code, code_of(last)) == (409, "last_way_in")
    theirs = await rest.delete(f"{IDENTITIES}/{only['id']}", other["access_token"])
    assert (theirs.status_code, code_of(theirs)) == (404, "not_found")


async def test_a_bad_token_links_nothing(rest: Rest, issuer: Issuer) -> None:
    mine = await rest.register()
    for token in (issuer.token(by="rogue"), issuer.token(aud="other"), issuer.token(exp=1), "a.b.c"):
        answer = await rest.post(LINK, {"id_token": token}, mine["access_token"])
        assert (answer.status_code, code_of(answer)) == (401, "social_refused")
    assert (await rest.get(IDENTITIES, mine["access_token"])).json() == {"identities": []}


async def test_linking_and_unlinking_take_a_recent_login(rest: Rest, issuer: Issuer) -> None:
    mine = await rest.register()
    linked = (await rest.post(LINK, {"id_token": somebody(issuer, None)}, mine["access_token"])).json()
    rest.clock.advance(seconds=601)
    fresh = grant(await rest.refresh(mine["refresh_token"]))["access_token"]
    for answer in (
        await rest.post(LINK, {"id_token": somebody(issuer, None)}, fresh),
        await rest.post(f"{LINK}/start", None, fresh),
        await rest.post(f"{LINK}/finish", {"state": "s", "code": "c"}, fresh),
        await rest.delete(f"{IDENTITIES}/{linked['id']}", fresh),
    ):
        assert (answer.status_code, code_of(answer)) == (403, "recent_login_required")
    assert (await rest.get(IDENTITIES, fresh)).json()["identities"] == [linked]


async def test_a_new_token_of_ones_own_identity_shows_once_more_who_asks(rest: Rest, issuer: Issuer) -> None:
    subject = uuid4().hex
    mine = grant(await sign_in(rest, somebody(issuer, None, subject)))
    await sign_in(rest, issuer.token(sub="somebody-else", email=None))
    rest.clock.advance(seconds=601)
    fresh = grant(await rest.refresh(mine["refresh_token"]))["access_token"]
    now = int(rest.clock().timestamp())

    async def show(**said: Any) -> httpx2.Response:
        token = issuer.token(**{"sub": subject, "email": None, "iat": now, "exp": now + 3600} | said)
        return await rest.post("/api/auth/reauthenticate", {"google": {"id_token": token}}, fresh)

    for wrong in ({"sub": "somebody-else"}, {"sub": "nobody"}, {"iat": now - 331}, {"aud": "other"}):
        answer = await show(**wrong)
        assert (answer.status_code, code_of(answer)) == (401, "social_refused")
        assert await last_audit(rest) == ("reauthentication_failed", '{"method": "google"}')
    for body in ({}, {"password": PASSWORD, "google": {"id_token": issuer.token()}}, {"google": None}):
        assert (await rest.post("/api/auth/reauthenticate", body, fresh)).status_code == 422
    assert (await rest.post(f"{LINK}/start", None, fresh)).status_code == 403
    assert (await show()).status_code == 204
    assert await last_audit(rest) == ("reauthenticated", '{"method": "google"}')
    assert code_of(await rest.post(f"{LINK}/start", None, fresh)) == "provider_not_configured"  # no secret here, and no 403


async def test_the_subject_is_googles_and_the_issuer_is_part_of_who_it_is(rest: Rest, issuer: Issuer) -> None:
    grant(await sign_in(rest, issuer.token()))
    async with rest.services.database.acquire() as connection:
        keys = await connection.fetch("SELECT namespace FROM identity_keys WHERE subject = $1", SUBJECT)
    assert [row["namespace"] for row in keys] == [issuer.url]
