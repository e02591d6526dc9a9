"""The rows of share links: sealed in their place, found by their code's hash, and gone with their library."""

import os
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from storage import libraries, retention, rotation, shares
from storage.cipher import DataKey
from storage.errors import SealBroken, Unavailable
from storage.keyring import EncryptionKey, Keyring
from storage.libraries import Role
from storage.pool import Connection, Database
from storage.shares import NewShare, Opening, Share
from tests.support.core import store_user

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
OLD = EncryptionKey(id="k1", created_at=NOW, key=DataKey.new(os.urandom(32)))
KEYRING = Keyring([OLD])


async def library(database: Database) -> tuple[UUID, UUID]:
    """A library and its owner."""
    async with database.transaction() as connection:
        owner = await store_user(connection)
        new = libraries.new(library_id=uuid4(), owner_id=owner, name="", first_update=b"1", keyring=KEYRING, random=os.urandom, now=NOW)
        return (await libraries.create(connection, new)).id, owner


async def share(database: Database, library_id: UUID, owner: UUID, code: str, **fields: Any) -> Share:
    made: dict[str, Any] = {"prompt_id": "p", "version_id": None, "note": "", "created_at": NOW, "expires_at": None}
    async with database.transaction() as connection:
        locked = await shares.lock(connection, KEYRING, library_id, owner)
        assert locked is not None
        new = NewShare(id=uuid4(), library_id=library_id, code=code, created_by=owner, **made | fields)
        return await shares.create(connection, locked[0], new)


async def codes(database: Database, library_id: UUID, keyring: Keyring = KEYRING) -> list[str]:
    """The codes of those that have not been revoked."""
    async with database.acquire() as connection:
        found = await shares.of_library(connection, keyring, library_id)
    return sorted(each.code for each in found if each.revoked_at is None)


async def opens(database: Database, code: str, *, now: datetime = NOW, keyring: Keyring = KEYRING) -> UUID | None:
    async with database.acquire() as connection:
        found = await shares.find(connection, keyring, code, now=now)
    return found[0].id if found is not None else None


async def test_a_link_is_found_by_its_code_as_it_was_made(database: Database) -> None:
    library_id, owner = await library(database)
    made = await share(database, library_id, owner, "code", prompt_id="提示", version_id="v", note="备注", expires_at=NOW + HOUR)
    await share(database, library_id, owner, "other")
    async with database.acquire() as connection:
        found = await shares.find(connection, KEYRING, "code", now=NOW)
        assert found is not None
        assert (found[0], found[1].id, found[1].owner_id, found[1].role, found[1].head) == (made, library_id, owner, Role.VIEWER, 1)
        assert await shares.find(connection, KEYRING, "Code", now=NOW) is None
    assert await opens(database, "code", now=NOW + HOUR) is None


async def test_no_code_is_given_out_twice(database: Database) -> None:
    library_id, owner = await library(database)
    await share(database, library_id, owner, "code")
    with pytest.raises(Exception, match="shares_code_hash"):
        await share(database, library_id, owner, "code")


async def test_what_is_sealed_opens_in_its_row_alone(database: Database) -> None:
    library_id, owner = await library(database)
    one, other = [await share(database, library_id, owner, code) for code in ("one", "other")]
    async with database.acquire() as connection:
        await connection.execute("UPDATE shares SET sealed = (SELECT sealed FROM shares WHERE id = $1) WHERE id = $2", one.id, other.id)
    assert await opens(database, "one") == one.id
    with pytest.raises(SealBroken):
        await opens(database, "other")


async def test_the_links_to_some_prompts_end_and_no_others(database: Database) -> None:
    (library_id, owner), (elsewhere, other_owner) = await library(database), await library(database)
    for prompt_id in ("p", "q", "r"):
        await share(database, library_id, owner, f"{prompt_id} here", prompt_id=prompt_id)
    await share(database, elsewhere, other_owner, "p there", prompt_id="p")
    async with database.acquire() as connection:
        await shares.end_of_prompts(connection, KEYRING, library_id, ["p", "r", "none"], now=NOW)
        await shares.end_of_prompts(connection, KEYRING, uuid4(), ["p"], now=NOW)
    assert (await codes(database, library_id), await codes(database, elsewhere)) == (["q here"], ["p there"])


async def test_new_encryption_keys_touch_no_link(database: Database) -> None:
    library_id, owner = await library(database)
    made = await share(database, library_id, owner, "code")
    renewed = Keyring([EncryptionKey(id="k2", created_at=NOW, key=DataKey.new(os.urandom(32))), OLD])
    async with database.acquire() as connection:
        before = await connection.fetch("SELECT * FROM shares")
        await connection.execute("UPDATE users SET key_id = 'k2'")  # they are bare, without a wrapped key
        assert (await rotation.rewrap(connection, renewed))[0] == 1
        assert await connection.fetch("SELECT * FROM shares") == before
    assert await opens(database, "code", keyring=renewed) == made.id


async def test_links_go_with_their_library_and_outlive_their_makers(database: Database) -> None:
    (library_id, owner), (elsewhere, other_owner) = await library(database), await library(database)
    async with database.acquire() as connection:
        guest = await store_user(connection)
        await connection.execute("INSERT INTO members (library_id, user_id, role) VALUES ($1, $2, 'editor')", elsewhere, guest)
    await share(database, library_id, owner, "doomed")
    kept = await share(database, elsewhere, guest, "kept")
    async with database.transaction() as connection:
        await libraries.mark_deleted(connection, library_id, now=NOW)
        await connection.execute("DELETE FROM users WHERE id = $1", guest)
    assert await opens(database, "doomed") is None
    more = True
    while more:
        async with database.transaction() as connection:
            more = await retention.purge_step(connection, library_id, 10)
    async with database.acquire() as connection:
        assert [(row["id"], row["created_by"]) for row in await connection.fetch("SELECT id, created_by FROM shares")] == [(kept.id, None)]
        assert await shares.lock(connection, KEYRING, library_id, owner) is None
        assert await shares.lock(connection, KEYRING, elsewhere, owner) is None
        assert (await shares.lock(connection, KEYRING, elsewhere, other_owner) or (None, None))[1] is Role.OWNER


async def test_those_that_ended_last_are_kept(database: Database) -> None:
    library_id, owner = await library(database)
    revoked = [await share(database, library_id, owner, f"revoked {number}") for number in range(3)]
    for number in range(2):
        await share(database, library_id, owner, f"expired {number}", expires_at=NOW - (number + 1) * HOUR)
    await share(database, library_id, owner, "live", expires_at=NOW + HOUR)
    async with database.acquire() as connection:
        for number, each in enumerate(revoked):
            assert await shares.revoke(connection, library_id, each.id, now=NOW - number * 3 * HOUR)
        assert await shares.revoke(connection, library_id, revoked[0].id, now=NOW + HOUR)  # it ended at the first time
        assert not await shares.revoke(connection, uuid4(), revoked[0].id, now=NOW)
        assert await shares.count_live(connection, library_id, now=NOW) == 1
        await shares.forget_ended(connection, library_id, now=NOW, but=3)
        left = await shares.of_library(connection, KEYRING, library_id)
    assert {each.code for each in left} == {"live", "revoked 0", "expired 0", "expired 1"}
    assert {each.revoked_at for each in left if each.code == "revoked 0"} == {NOW}


async def test_readings_are_added_up_and_those_of_gone_links_left_out(database: Database) -> None:
    library_id, owner = await library(database)
    one, other = [await share(database, library_id, owner, code) for code in ("one", "other")]
    async with database.acquire() as connection:
        for times, at in ((3, NOW + HOUR), (4, NOW)):
            noted = [Opening(share_id=each, times=times, last_at=at) for each in (one.id, uuid4())]
            await shares.add_openings(connection, noted)
        found = {each.id: each for each in await shares.of_library(connection, KEYRING, library_id)}
    assert (found[one.id].opened, found[one.id].last_opened_at) == (7, NOW + HOUR)
    assert (found[other.id].opened, found[other.id].last_opened_at) == (0, None)


async def test_who_counts_links_waits_for_who_makes_one(database: Database) -> None:
    library_id, owner = await library(database)

    async def locked_by(connection: Connection) -> bool:
        await connection.execute("SET LOCAL lock_timeout = '50ms'")
        return await shares.lock(connection, KEYRING, library_id, owner) is not None

    async with database.transaction() as one:
        assert await locked_by(one)
        with pytest.raises(Unavailable):
            async with database.transaction() as other:
                await locked_by(other)
