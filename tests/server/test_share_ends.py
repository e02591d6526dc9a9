"""What ends a share link: its time, whoever revokes it, and the end of what it shows."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import httpx2

from crdt.operations import purge_prompt
from server.times import utc_now
from storage import session_list, shares, users
from tests.support.core import eventually
from tests.support.library_replica import newcomer, store
from tests.support.prompts import made
from tests.support.rest import code_of
from tests.support.running import Running, User
from tests.support.sharing import listed, opens_nothing, read, shared

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@contextmanager
def later(server: Running, **by: float) -> Iterator[None]:
    """The server's clock goes so much ahead."""
    object.__setattr__(server.services, "clock", lambda: utc_now() + timedelta(**by))
    yield
    object.__setattr__(server.services, "clock", utc_now)


async def test_a_session_that_ends_meanwhile_leaves_no_link(server: Running, user: User, client: httpx2.AsyncClient) -> None:
    prompt = await made(client)
    database = server.services.database
    async with database.transaction() as connection:
        assert await users.lock(connection, user.id)
        asking = asyncio.ensure_future(client.post(f"/api/prompts/{prompt['id']}/share", json={}))

        async def waits() -> bool:
            async with database.acquire() as other:
                return asking.done() or bool(await other.fetchval(WAITING))

        await eventually(waits, "a link that waits for the account")
        assert not asking.done()
        await shares.end_all_of(connection, user.id, now=utc_now())
        await session_list.revoke_all(connection, user.id, now=utc_now(), reason="reclaimed")
    assert code_of(await asking) == "session_ended"
    async with database.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM shares WHERE library_id = $1", user.library_id) == 0


async def test_a_link_ends_when_its_time_is_over(server: Running, client: httpx2.AsyncClient, nobody: httpx2.AsyncClient) -> None:
    prompt = await made(client)
    week = await shared(client, prompt["id"], {"expires_in_days": 7})
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
    moment = await shared(client, prompt["id"], {"expires_at": at.isoformat()})
    assert datetime.fromisoformat(moment["expires_at"]) == at
    forever = (await shared(client, prompt["id"]))["code"]
    await read(nobody, moment["code"])
    with later(server, days=3):
        await opens_nothing(nobody, moment["code"])
        await read(nobody, week["code"])
    with later(server, days=7, seconds=1):
        await opens_nothing(nobody, week["code"])
        await read(nobody, forever)
    for wrong in (
        {"expires_at": "2020-01-01T00:00:00Z"}, {"expires_at": "9999-12-31T23:59:59-14:00"}, {"expires_in_days": 0},
        {"expires_in_days": 3651}, {"expires_in_days": 1.5}, {"expires_in_days": 1, "expires_at": at.isoformat()},
    ):  # fmt: skip
        answer = await client.post(f"/api/prompts/{prompt['id']}/share", json=wrong)
        assert (answer.status_code, code_of(answer)) == (422, "invalid_request"), wrong


async def test_a_revoked_link_stays_revoked(client: httpx2.AsyncClient, nobody: httpx2.AsyncClient) -> None:
    prompt = await made(client)
    share, other = [await shared(client, prompt["id"]) for _ in "ab"]
    assert [(await client.delete(f"/api/shares/{share['id']}")).status_code for _ in "ab"] == [204, 204]
    await opens_nothing(nobody, share["code"])
    await read(nobody, other["code"])
    found = {each["id"]: each for each in await listed(client)}
    assert [(found[each["id"]]["revoked"], found[each["id"]]["live"]) for each in (share, other)] == [(True, False), (False, True)]
    assert (await client.delete(f"/api/shares/{uuid4()}")).status_code == 404


async def test_what_is_in_the_bin_is_not_read_until_it_is_taken_out(client: httpx2.AsyncClient, nobody: httpx2.AsyncClient) -> None:
    prompt = await made(client)
    path, code = f"/api/prompts/{prompt['id']}", (await shared(client, prompt["id"]))["code"]
    await client.delete(path)
    await opens_nothing(nobody, code)
    answer = await client.post(f"{path}/share", json={})
    assert (answer.status_code, code_of(answer)) == (409, "in_bin")
    (share,) = await listed(client)
    assert (share["live"], share["revoked"], share["prompt_title"]) == (False, False, "Weekly report")
    await client.post(f"{path}/restore")
    await read(nobody, code)


async def test_links_to_what_is_destroyed_end_for_ever(user: User, client: httpx2.AsyncClient, nobody: httpx2.AsyncClient) -> None:
    ids = [str(uuid4()) for _ in range(3)]
    for prompt_id in ids:
        await made(client, id=prompt_id)
    codes = [(await shared(client, prompt_id))["code"] for prompt_id in ids]
    assert (await client.delete(f"/api/prompts/{ids[0]}?purge=true")).status_code == 204
    batch = {"operations": [{"op": "delete", "id": ids[1], "purge": True}, {"op": "delete", "id": "nothing", "purge": True}]}
    assert (await client.post("/api/prompts/batch", json=batch)).status_code == 200
    device = await newcomer(client, user.library_id)
    await store(client, user.library_id, purge_prompt(device.library, ids[2]))  # nobody told of the link: what it names is not there
    for code in codes:
        await opens_nothing(nobody, code)
    assert [(share["prompt_title"], share["live"]) for share in await listed(client)] == [(None, False)] * 3
    for prompt_id in ids[:2]:
        await made(client, id=prompt_id)
    for code in codes[:2]:
        await opens_nothing(nobody, code)


async def test_a_library_that_is_put_back_brings_no_ended_link_back(
    server: Running, user: User, client: httpx2.AsyncClient, nobody: httpx2.AsyncClient
) -> None:
    prompt = await made(client)
    share = await shared(client, prompt["id"])
    point = (await server.app.compactor.compact(user.library_id)).snapshot_seq
    await client.delete(f"/api/prompts/{prompt['id']}?purge=true")
    assert (await client.post(f"/api/libraries/{user.library_id}/restore", json={"point": point})).is_success
    assert (await client.get(f"/api/prompts/{prompt['id']}")).status_code == 200
    await opens_nothing(nobody, share["code"])
    again = await shared(client, prompt["id"])
    assert [(each["id"], each["live"], each["prompt_title"]) for each in await listed(client)] == [
        (again["id"], True, "Weekly report"),
        (share["id"], False, "Weekly report"),
    ]


async def test_a_deleted_library_shares_nothing(
    server: Running, user: User, client: httpx2.AsyncClient, nobody: httpx2.AsyncClient
) -> None:
    library_id = await server.library(user)
    prompt = (await client.post(f"/api/prompts?library={library_id}", json={"title": "t"})).json()
    share = await shared(client, prompt["id"], path=f"?library={library_id}")
    await read(nobody, share["code"])
    await client.delete(f"/api/libraries/{library_id}")
    await opens_nothing(nobody, share["code"])

    async def is_gone() -> bool:
        return await count_rows(server, library_id) == 0

    await eventually(is_gone, "the rows go with their library")


async def count_rows(server: Running, library_id: UUID) -> int:
    async with server.services.database.acquire() as connection:
        return int(await connection.fetchval("SELECT count(*) FROM shares WHERE library_id = $1", library_id))
