"""What a user is told of the account, and what the whole of sign-in leaves in the audit log: no secret."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from server.retention import AUDIT, Retention
from storage.job_queue import Job
from tests.support.audited import audit_text, entries, logged
from tests.support.rest import PASSWORD, Rest, bearer, code_of, fresh_email, grant, rest_api


@pytest.fixture(scope="module")
async def rest(shared_dsn: str) -> AsyncIterator[Rest]:
    async with rest_api(shared_dsn) as rest:
        yield rest


async def activity(rest: Rest, tokens: dict[str, Any], query: str = "") -> dict[str, Any]:
    answer = await rest.get(f"/api/users/me/activity{query}", tokens["access_token"])
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_user_sees_what_happened_newest_first_and_only_to_the_account(rest: Rest) -> None:
    email = fresh_email()
    tokens, other = await rest.register(email), await rest.register()
    rest.clock.advance(minutes=1)
    await rest.post("/api/auth/login", {"email": email, "password": "wrong password"})
    await rest.client.post("/api/auth/login", json={"email": email, "password": PASSWORD}, headers={"User-Agent": "curl/8"})

    seen = await activity(rest, tokens)

    assert [entry["event"] for entry in seen["entries"]] == ["signed_in", "sign_in_failed", "registered"]
    assert seen["next_before"] is None
    newest = seen["entries"][0]
    assert (newest["by"], newest["address"], newest["user_agent"]) == ("user", "127.0.0.1", "curl/8")
    assert newest["at"] == rest.clock().isoformat().replace("+00:00", "Z")
    assert set(newest) == {"id", "at", "event", "by", "session_id", "address", "user_agent"}
    assert [entry["event"] for entry in (await activity(rest, other))["entries"]] == ["registered"]


async def test_it_is_read_in_pages(rest: Rest) -> None:
    email = fresh_email()
    tokens = await rest.register(email)
    for _ in range(6):
        await rest.post("/api/auth/login", {"email": email, "password": "wrong password"})
    whole = (await activity(rest, tokens))["entries"]
    pages, before = list[dict[str, Any]](), ""
    while True:
        page = await activity(rest, tokens, f"?limit=3{before}")
        pages += page["entries"]
        assert len(page["entries"]) <= 3
        if page["next_before"] is None:
            break
        before = f"&before={page['next_before']}"
    assert pages == whole
    assert len(whole) == 7


async def test_another_users_entry_as_a_place_shows_nothing_of_it(rest: Rest) -> None:
    """Case 72: a place of somebody else's only bounds what is one's own."""
    first, second = await rest.register(), await rest.register()
    (theirs,) = (await activity(rest, second))["entries"]
    seen = await activity(rest, first, f"?before={theirs['id']}")
    assert [entry["event"] for entry in seen["entries"]] == ["registered"]
    assert seen["entries"][0]["session_id"] != theirs["session_id"]


@pytest.mark.parametrize(
    "query", ["before=0", "before=-1", f"before={1 << 63}", "before=x", "limit=0", "limit=201", "limit=1e9", "before=1&before=2", "user=x"]
)
async def test_places_and_limits_out_of_bounds_are_refused(rest: Rest, query: str) -> None:
    tokens = await rest.register()
    answer = await rest.get(f"/api/users/me/activity?{query}", tokens["access_token"])
    assert (answer.status_code, code_of(answer)) == (422, "invalid_request")
    assert (await rest.get(f"/api/users/me/activity?before={(1 << 63) - 1}", tokens["access_token"])).status_code == 200


async def test_nothing_is_shown_without_a_token(rest: Rest) -> None:
    assert code_of(await rest.get("/api/users/me/activity")) == "not_authenticated"


async def test_the_address_of_an_administrator_is_not_the_users_business(rest: Rest) -> None:
    tokens, admin = await rest.register(), await rest.register()
    async with rest.services.database.acquire() as connection:
        await connection.execute("UPDATE users SET role = 'admin' WHERE id = $1", admin["user"]["id"])
    path = f"/api/admin/users/{tokens['user']['id']}"
    assert (await rest.put(f"{path}/role", {"role": "admin"}, admin["access_token"])).status_code == 200
    newest = (await activity(rest, tokens))["entries"][0]
    assert (newest["event"], newest["by"]) == ("role_changed", "admin")
    assert (newest["address"], newest["user_agent"], newest["session_id"]) == ("", "", None)
    assert admin["user"]["id"] not in str(newest)


async def test_a_replay_two_generations_old_is_noted_and_ends_all_there_is_of_the_session(rest: Rest) -> None:
    """Case 14."""
    first = await rest.register()
    second = grant(await rest.refresh(first["refresh_token"]))
    third = grant(await rest.refresh(second["refresh_token"]))
    rest.revoked.clear()

    with logged() as log:
        answer = await rest.client.post(
            "/api/auth/refresh", json={"refresh_token": first["refresh_token"]}, headers={"User-Agent": "thief"}
        )

    assert (answer.status_code, code_of(answer)) == (401, "session_ended")
    assert (await rest.refresh(third["refresh_token"])).status_code == 401
    assert await rest.status_of(third["access_token"]) == 401
    assert len(rest.revoked) == 1
    (noted,) = await entries(rest.services.database, first["user"]["id"], "refresh_reused")
    assert (noted.address, noted.user_agent, noted.session_id) == ("127.0.0.1", "thief", rest.revoked[0])
    log.assert_without(*(each[kind] for each in (first, second, third) for kind in ("refresh_token", "access_token")), besides=repr(noted))


async def test_no_secret_is_in_any_line_after_everything_that_signs_in_and_out(rest: Rest) -> None:
    email, device = fresh_email(), {"id": str(uuid4()), "name": "laptop", "platform": "web"}
    secrets = [PASSWORD, "a wrong password", "another wrong one"]
    with logged() as log:
        tokens = await rest.register(email, device=device)
        await rest.post("/api/auth/login", {"email": email, "password": secrets[1]})
        await rest.post("/api/auth/login", {"email": fresh_email(), "password": secrets[1]})
        again = grant(await rest.post("/api/auth/login", {"email": email, "password": PASSWORD, "device": device}))
        other = grant(await rest.post("/api/auth/login", {"email": email, "password": PASSWORD}))
        fresh = grant(await rest.refresh(again["refresh_token"]))
        newer = grant(await rest.refresh(fresh["refresh_token"]))
        await rest.post("/api/auth/reauthenticate", {"password": PASSWORD}, newer["access_token"])
        await rest.post("/api/auth/reauthenticate", {"password": secrets[2]}, newer["access_token"])
        await rest.refresh(again["refresh_token"])
        await rest.client.post("/api/auth/logout", headers=bearer(other["access_token"]), json={"refresh_token": other["refresh_token"]})
        last = grant(await rest.post("/api/auth/login", {"email": email, "password": PASSWORD}))
        await rest.client.post("/api/auth/logout", headers=bearer(last["access_token"]), json={"scope": "others"})
        await rest.delete("/api/users/me", last["access_token"])
    given = [each[kind] for each in (tokens, again, other, fresh, newer, last) for kind in ("access_token", "refresh_token", "sync_token")]
    text = await audit_text(rest.services.database)
    log.assert_without(*secrets, *given, *(token.rpartition(".")[2] for token in given), besides=text)
    assert {entry.event for entry in await entries(rest.services.database, tokens["user"]["id"])} >= {
        *("registered", "signed_in", "sign_in_failed", "refresh_reused", "reauthenticated", "reauthentication_failed"),
        *("signed_out", "sessions_ended", "account_deleted"),
    }


async def test_the_job_deletes_what_was_kept_long_enough(database_dsn: str) -> None:
    async with rest_api(database_dsn, audit_days=90) as rest:
        tokens = await rest.register()
        async with rest.services.database.acquire() as connection:
            await connection.execute(
                "INSERT INTO audit (at, event, user_id) SELECT $1::timestamptz - make_interval(days => days), 'old', $2"
                " FROM unnest(ARRAY[89, 91, 2000]) AS days",
                rest.clock(),
                tokens["user"]["id"],
            )
        retention = Retention(rest.services.database, rest.services.settings, rest.services.clock)
        await retention.audit(Job(1, AUDIT, "", 0))
        assert [entry.event for entry in await entries(rest.services.database, tokens["user"]["id"])] == ["registered", "old"]
