"""Deleting an account: unreadable from the commit on, whoever races with it, and gone soon after."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx2
import pytest

from auth.model_secret import ModelSecret
from protocol.closes import Close
from server.purge import PURGE_ACCOUNT, purge_account
from storage import administration, deletion, session_list
from storage.cipher import DataKey, library_key_place, update_place, user_key_place
from storage.errors import SealBroken
from storage.job_queue import Job
from tests.support.audited import audit_text, entries, events, logged
from tests.support.core import eventually
from tests.support.database import Databases
from tests.support.rest import PASSWORD, START, Rest, bearer, code_of, fresh_email, grant, rest_api
from tests.support.running import Running, User, closed, undisturbed

KEPT_TABLES = {"audit"}
"""What may name a deleted user for a while: who did what."""


@pytest.fixture(scope="module")
async def running(databases: Databases, template_database: str) -> AsyncIterator[Rest]:
    dsn = databases.create(template_database)
    async with rest_api(dsn) as rest:
        yield rest
    databases.drop(dsn)


@pytest.fixture
def rest(running: Rest) -> Rest:
    running.revoked.clear()
    running.deleted.clear()
    return running


async def delete(rest: Rest, tokens: dict[str, Any]) -> httpx2.Response:
    return await rest.delete("/api/users/me", tokens["access_token"])


async def value(rest: Rest, statement: str, *arguments: object) -> Any:
    async with rest.services.database.acquire() as connection:
        return await connection.fetchval(statement, *arguments)


async def purge(rest: Rest, user_id: str) -> None:
    """What the job does."""
    await purge_account(rest.services.database, rest.services.clock)(Job(1, PURGE_ACCOUNT, user_id, 0))


async def test_a_deleted_account_is_served_no_more_and_names_nobody(rest: Rest) -> None:
    email = fresh_email()
    tokens = await rest.register(email, name="Ada Lovelace", device={"id": str(UUID(int=7)), "name": "Ada's laptop", "platform": "web"})
    user_id = tokens["user"]["id"]
    library = (await rest.post("/api/libraries", {"name": "Second"}, tokens["access_token"])).json()["id"]

    with logged() as log:
        answer = await delete(rest, tokens)

    assert (answer.status_code, answer.content) == (204, b"")
    assert code_of(await rest.get("/api/users/me", tokens["access_token"])) == "session_ended"
    assert code_of(await rest.refresh(tokens["refresh_token"])) == "session_ended"
    assert code_of(await rest.post("/api/auth/login", {"email": email, "password": PASSWORD})) == "invalid_credentials"
    assert (await rest.client.post("/api/auth/logout", headers=bearer(tokens["access_token"]))).status_code == 204
    assert len(rest.revoked) == 1
    assert {str(each) for each in rest.deleted} == {library, tokens["library_id"]}
    noted = (await entries(rest.services.database, user_id))[-1]
    assert (noted.event, noted.actor, noted.details) == ("account_deleted", "user", {"libraries": 2})
    row = await value(rest, "SELECT to_json(users)::text FROM users WHERE id = $1", user_id)
    for secret in (email, "Ada", "argon2"):
        assert secret not in row
    assert "Ada" not in await value(rest, "SELECT json_agg(sessions)::text FROM sessions WHERE user_id = $1", user_id)
    log.assert_without(email, "Ada", tokens["access_token"], PASSWORD, besides=await audit_text(rest.services.database))


async def test_no_mail_to_the_address_is_left_however_it_was_written(rest: Rest) -> None:
    email = fresh_email()
    tokens = await rest.register(email)
    await rest.post("/api/auth/password/forgot", {"email": email.upper()})
    assert (await delete(rest, tokens)).status_code == 204
    assert await value(rest, "SELECT count(*) FROM mails WHERE lower(address) = $1", email) == 0


async def test_nothing_is_left_once_the_job_has_run(rest: Rest) -> None:
    tokens, bystander = await rest.register(), await rest.register()
    user_id = UUID(tokens["user"]["id"])
    headers = bearer(tokens["access_token"]) | {"Idempotency-Key": "k"}
    library = UUID((await rest.client.post("/api/libraries", json={"name": "Second"}, headers=headers)).json()["id"])
    shared = UUID(bystander["library_id"])
    other = bystander["user"]["email"]
    async with rest.services.database.acquire() as connection:
        await connection.execute("INSERT INTO members (library_id, user_id, role) VALUES ($1, $2, 'editor')", shared, user_id)
        await connection.execute(
            "INSERT INTO shares (id, library_id, code_hash, prompt_hash, sealed, created_by, created_at)"
            " VALUES (gen_random_uuid(), $1, 'code', 'prompt', 'sealed', $2, now())",
            shared,
            user_id,
        )
        identity = await connection.fetchval(
            "INSERT INTO identities (id, user_id, provider, email, created_at, last_used_at)"
            " VALUES (gen_random_uuid(), $1, 'google', 'ada@example.com', now(), now()) RETURNING id",
            user_id,
        )
        await connection.execute("INSERT INTO identity_keys VALUES ('google', 'issuer', 'subject', $1)", identity)
        await connection.execute(
            "INSERT INTO mails (id, kind, user_id, address, created_at) VALUES (gen_random_uuid(), 'reset', $1, 'ada@example.com', now())",
            user_id,
        )
    kept = await rest.services.vault.put(user_id, "mine", "https://api.example.com", ModelSecret("sk-0123456789abcdef0123"), START)
    assert kept.hint == "0123"

    assert (await delete(rest, tokens)).status_code == 204
    assert await value(rest, "SELECT count(*) FROM mails WHERE address <> $1", other) == 0
    for table in ("identities", "identity_keys", "shares", "idempotency_keys", "model_secrets"):
        assert await value(rest, f"SELECT count(*) FROM {table}") == 0, f"{table} goes at once"  # noqa: S608  # from the list
    assert await value(rest, "SELECT count(*) FROM members WHERE user_id = $1", user_id) == 0
    await purge(rest, str(user_id))
    await purge(rest, str(user_id))

    everything = await _rows_naming(rest, [user_id, library, UUID(tokens["library_id"])])
    assert everything - KEPT_TABLES == set()
    assert await rest.status_of(bystander["access_token"]) == 200
    assert await value(rest, "SELECT count(*) FROM libraries WHERE id = $1 AND deleted_at IS NULL", shared) == 1


async def _rows_naming(rest: Rest, ids: list[UUID]) -> set[str]:
    """The tables in which some row has one of these ids in some column."""
    async with rest.services.database.acquire() as connection:
        tables = await connection.fetch(
            "SELECT c.oid::regclass::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = 'public' AND c.relkind = 'r' AND c.relname NOT LIKE 'jobs\\_%'"
        )
        found = set()
        for table in tables:
            for each in ids:
                statement = f"SELECT count(*) FROM {table['name']} t WHERE t::text LIKE '%' || $1 || '%'"  # noqa: S608  # its own name
                if await connection.fetchval(statement, str(each)):
                    found.add(table["name"])
        return found


async def test_the_job_leaves_an_account_alone_that_is_not_deleted(rest: Rest) -> None:
    tokens = await rest.register()
    await purge(rest, tokens["user"]["id"])
    assert await rest.status_of(tokens["access_token"]) == 200
    assert (await rest.get("/api/libraries", tokens["access_token"])).json()["libraries"]


async def test_the_same_address_can_be_registered_anew_and_starts_empty(rest: Rest) -> None:
    email = fresh_email()
    before = await rest.register(email)
    await delete(rest, before)
    after = await rest.register(email)
    assert after["user"]["id"] != before["user"]["id"]
    assert after["library_id"] != before["library_id"]
    listed = (await rest.get("/api/libraries", after["access_token"])).json()["libraries"]
    assert [each["id"] for each in listed] == [after["library_id"]]
    assert [entry["event"] for entry in (await rest.get("/api/users/me/activity", after["access_token"])).json()["entries"]] == [
        "registered"
    ]
    await purge(rest, before["user"]["id"])
    assert await rest.status_of(after["access_token"]) == 200


async def test_of_deletions_that_race_one_deletes_and_the_others_are_signed_out(rest: Rest) -> None:
    for _ in range(10):
        tokens = await rest.register()
        answers = await asyncio.gather(*(delete(rest, tokens) for _ in range(4)))
        assert sorted(answer.status_code for answer in answers) == [204, 401, 401, 401]
        assert (await events(rest.services.database, tokens["user"]["id"])).count("account_deleted") == 1


async def test_who_is_signed_out_meanwhile_does_not_delete(rest: Rest) -> None:
    tokens = await rest.register()
    async with rest.services.database.transaction() as connection:
        await administration.lock(connection, UUID(tokens["user"]["id"]))
        deleting = asyncio.create_task(delete(rest, tokens))

        async def waits() -> bool:
            return bool(await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

        await eventually(waits, "the deletion")
        await session_list.revoke_all(connection, UUID(tokens["user"]["id"]), now=rest.clock(), reason="logout_everywhere")
    assert code_of(await deleting) == "session_ended"
    assert await value(rest, "SELECT deleted_at IS NULL FROM users WHERE id = $1", tokens["user"]["id"])


async def test_refreshes_and_logins_that_race_with_a_deletion_leave_no_live_token(rest: Rest) -> None:
    """Case 20, the half with the deletion."""
    for _ in range(60):
        email = fresh_email()
        tokens = await rest.register(email)
        answers = await asyncio.gather(
            rest.refresh(tokens["refresh_token"]),
            rest.post("/api/auth/login", {"email": email, "password": PASSWORD}),
            delete(rest, tokens),
            rest.refresh(tokens["refresh_token"]),
            rest.post("/api/auth/login", {"email": email, "password": PASSWORD}),
        )
        assert answers[2].status_code == 204
        for answer in (*answers[:2], *answers[3:]):
            if answer.status_code == 200:
                assert await rest.status_of(answer.json()["access_token"]) == 401
                assert (await rest.refresh(answer.json()["refresh_token"])).status_code == 401
        assert await value(rest, "SELECT count(*) FROM sessions WHERE user_id = $1 AND revoked_at IS NULL", tokens["user"]["id"]) == 0


async def test_a_refresh_that_waited_for_a_deletion_is_told_that_the_session_is_over(rest: Rest) -> None:
    tokens = await rest.register()
    database = rest.services.database
    async with database.transaction() as connection:
        await deletion.destroy(connection, UUID(tokens["user"]["id"]), now=rest.clock(), reason="deleted")
        refreshing = asyncio.create_task(rest.refresh(tokens["refresh_token"]))
        async with asyncio.timeout(10):
            while not await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                pass
    assert code_of(await refreshing) == "session_ended"


async def test_libraries_that_are_made_meanwhile_do_not_outlive_the_account(rest: Rest) -> None:
    for number in range(20):
        tokens = await rest.register()
        keys: list[dict[str, str]] = [{}, {"Idempotency-Key": "k"}]
        makings = [
            rest.client.post("/api/libraries", json={"name": "n"}, headers=bearer(tokens["access_token"]) | keys[each % 2])
            for each in range(4)
        ]
        answers = await asyncio.gather(*makings[:2], delete(rest, tokens), *makings[2:])
        assert {answer.status_code for answer in answers} <= {201, 204, 401, 404, 409}, number
        await purge(rest, tokens["user"]["id"])
        assert await value(rest, "SELECT count(*) FROM users WHERE id = $1", tokens["user"]["id"]) == 0
        assert await value(rest, "SELECT count(*) FROM libraries WHERE owner_id = $1", tokens["user"]["id"]) == 0


# --- on a server that runs


async def test_sockets_close_shared_members_are_out_and_the_job_removes_all(server: Running) -> None:
    owner, guest = await server.user(), await server.user()
    library_id = await server.library(owner)
    await server.add_member(library_id, guest, "editor")
    sockets = [await server.socket(owner, library_id), await server.socket(owner)]
    visitor, own = await server.socket(guest, library_id), await server.device(guest).connect()

    async with server.http(owner) as client:
        assert (await client.delete("/api/users/me")).status_code == 204

    for socket in sockets:
        assert (await closed(socket, within=2))[0] in (Close.UNAUTHENTICATED, Close.NOT_FOUND)
    assert (await closed(visitor, within=2))[0] == Close.NOT_FOUND
    await undisturbed(own)
    assert (await closed(await server.socket(owner)))[0] == Close.UNAUTHENTICATED
    assert (await closed(await server.socket(guest, library_id)))[0] == Close.NOT_FOUND

    async def gone() -> bool:
        async with server.services.database.acquire() as connection:
            return not await connection.fetchval("SELECT count(*) FROM users WHERE id = $1", owner.id)

    await eventually(gone, "the job")
    await own.disconnect()


async def test_a_link_that_is_made_meanwhile_waits_for_the_deletion_and_not_the_other_way_round(server: Running, user: User) -> None:
    database = server.services.database
    async with server.http(user) as client:
        prompt = (await client.post("/api/prompts", json={"title": "Weekly report"})).json()["id"]
        async with database.transaction() as connection:
            await administration.lock(connection, user.id, whole=True)
            making = asyncio.create_task(client.post(f"/api/prompts/{prompt}/share", json={}))

            async def waits() -> bool:
                return bool(await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

            await eventually(waits, "the link's transaction")
            await deletion.destroy(connection, user.id, now=server.services.clock(), reason="deleted")
        answer = await making
    assert (answer.status_code, code_of(answer)) == (401, "session_ended")


async def test_what_was_copied_before_does_not_open_with_what_is_in_the_database(server: Running, user: User) -> None:
    """Case 71."""
    async with server.device(user) as device:
        await device.push(device.replica.write_prompt("p", "secret text"))
        await device.confirmed()
    database, keyring = server.services.database, server.services.keyring
    async with database.acquire() as connection:
        copied = await connection.fetch("SELECT library_id, seq, epoch, sealed FROM updates WHERE library_id = $1", user.library_id)
        session = await connection.fetchrow("SELECT id, refresh_key FROM sessions WHERE id = $1", user.session_id)
        before = await connection.fetchrow("SELECT key_id, wrapped_key FROM libraries WHERE id = $1", user.library_id)
    assert before is not None
    assert session is not None
    key = keyring.unwrap(before["key_id"], before["wrapped_key"], library_key_place(user.library_id))
    for row in copied:
        assert key.open(row["sealed"], update_place(row["library_id"], row["epoch"], row["seq"])), "it opened before"

    async with server.http(user) as client:
        assert (await client.delete("/api/users/me")).status_code == 204

    async with database.acquire() as connection:
        users = await connection.fetch("SELECT id, key_id, wrapped_key FROM users")
        libraries = await connection.fetch("SELECT id, key_id, wrapped_key FROM libraries")
    assert user.id not in {row["id"] for row in users if row["wrapped_key"] is not None}
    assert user.library_id not in {row["id"] for row in libraries if row["wrapped_key"] is not None}
    left: list[DataKey] = [
        *(keyring.unwrap(row["key_id"], row["wrapped_key"], user_key_place(row["id"])) for row in users if row["wrapped_key"]),
        *(keyring.unwrap(row["key_id"], row["wrapped_key"], library_key_place(row["id"])) for row in libraries if row["wrapped_key"]),
        *(each.key for each in keyring.keys),
    ]
    assert len(left) > 2
    for row in copied:
        for each in left:
            with pytest.raises(SealBroken):
                each.open(row["sealed"], update_place(row["library_id"], row["epoch"], row["seq"]))


async def test_who_has_not_shown_a_password_lately_does_not_delete(rest: Rest) -> None:
    email = fresh_email()
    tokens = await rest.register(email)
    rest.clock.advance(seconds=599)
    tokens = grant(await rest.refresh(tokens["refresh_token"]))
    rest.clock.advance(seconds=2)
    answer = await delete(rest, tokens)
    assert (answer.status_code, code_of(answer)) == (403, "recent_login_required")
    assert (await delete(rest, grant(await rest.post("/api/auth/login", {"email": email, "password": PASSWORD})))).status_code == 204
    assert (await rest.delete("/api/users/me")).status_code == 401
