"""Claims: one row a key, taken over but not doubled, forgotten in the right order, and gone with their user."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from storage import idempotency
from storage.idempotency import Key, Row
from storage.pool import Connection, Database
from tests.support.core import store_user

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
HERE, THERE = UUID(int=1), UUID(int=2)


async def new_key(database: Database, user_id: UUID | None = None) -> Key:
    async with database.acquire() as connection:
        return Key(user_id=user_id or await store_user(connection), hash=uuid4().bytes)


async def claim(
    connection: Connection, key: Key, *, now: datetime = NOW, seed: bytes = b"seed", fingerprint: bytes = b"request"
) -> tuple[Row, int | None]:
    return await idempotency.claim(connection, key, fingerprint=fingerprint, seed=seed, holder=HERE, now=now, expired=now - DAY)


async def found(database: Database, key: Key) -> Row | None:
    """The row as it stands, by trying to claim it and taking that back."""
    try:
        async with database.transaction() as connection:
            row, others = await claim(connection, key)
            raise LookupError
    except LookupError:
        return row if others is None else None


async def test_a_key_is_claimed_once_and_found_after_that(database: Database) -> None:
    key = await new_key(database)
    async with database.transaction() as connection:
        first, others = await claim(connection, key)
    assert others == 0
    assert (first.seed, first.claimed_at, first.attempt, first.holder, first.effect, first.sealed) == (b"seed", NOW, 1, HERE, False, None)
    async with database.transaction() as connection:
        assert await claim(connection, key, now=NOW + MINUTE, seed=b"another", fingerprint=b"another") == (first, None)


async def test_of_claims_at_once_one_is_new_and_the_others_wait_for_it(database: Database) -> None:
    key = await new_key(database)

    async def one(seed: bytes) -> tuple[Row, int | None]:
        async with database.transaction() as connection:
            return await claim(connection, key, seed=seed)

    claims = await asyncio.gather(*(one(bytes([number])) for number in range(4)))
    assert [others for _, others in claims if others is not None] == [0]
    assert len({row.seed for row, _ in claims}) == 1


async def test_a_claim_of_yesterday_is_none(database: Database) -> None:
    key = await new_key(database)
    async with database.transaction() as connection:
        await claim(connection, key)
        await idempotency.keep(connection, key, 1, sealed=b"answer", now=NOW)
        await claim(connection, await new_key(database, key.user_id))
        almost, others = await claim(connection, key, now=NOW + DAY - MINUTE)
        assert (almost.sealed, others) == (b"answer", None)
        again, others = await claim(connection, key, now=NOW + DAY, seed=b"another")
    assert others == 1
    assert (again.seed, again.claimed_at, again.attempt, again.answered_at, again.sealed) == (b"another", NOW + DAY, 1, None, None)
    assert not again.effect


async def test_who_takes_over_goes_on_with_the_same_seed_and_time(database: Database) -> None:
    key = await new_key(database)
    async with database.transaction() as connection:
        first, _ = await claim(connection, key)
        await idempotency.mark(connection, key)
        second = await idempotency.take_over(connection, key, holder=THERE, now=NOW + MINUTE)
    assert (second.seed, second.claimed_at, second.fingerprint) == (first.seed, first.claimed_at, first.fingerprint)
    assert (second.attempt, second.holder, second.held_at, second.effect) == (2, THERE, NOW + MINUTE, True)


async def test_an_attempt_that_was_taken_over_changes_nothing(database: Database) -> None:
    key = await new_key(database)
    async with database.transaction() as connection:
        await claim(connection, key)
        second = await idempotency.take_over(connection, key, holder=THERE, now=NOW)
        await idempotency.keep(connection, key, 1, sealed=b"late", now=NOW)
        await idempotency.set_free(connection, key, 1, done=True)
        assert not await idempotency.withdraw(connection, key, 1)
    assert await found(database, key) == second


@pytest.mark.parametrize("sealed", [b"answer", None])
async def test_an_attempt_ends_with_its_answer(database: Database, sealed: bytes | None) -> None:
    key = await new_key(database)
    async with database.transaction() as connection:
        await claim(connection, key)
        await idempotency.keep(connection, key, 1, sealed=sealed, now=NOW + MINUTE)
    row = await found(database, key)
    assert row is not None
    assert (row.answered_at, row.sealed, row.holder, row.effect) == (NOW + MINUTE, sealed, None, True)


async def test_only_an_attempt_that_did_nothing_and_follows_none_is_withdrawn(database: Database) -> None:
    undone, marked, second = [await new_key(database) for _ in range(3)]
    async with database.transaction() as connection:
        for key in (undone, marked, second):
            await claim(connection, key)
        await idempotency.mark(connection, marked)
        await idempotency.take_over(connection, second, holder=HERE, now=NOW)
        assert await idempotency.withdraw(connection, undone, 1)
        assert not await idempotency.withdraw(connection, marked, 1)
        assert not await idempotency.withdraw(connection, second, 2)
        await idempotency.set_free(connection, second, 2, done=False)
    assert await found(database, undone) is None
    assert await found(database, marked) is not None
    freed = await found(database, second)
    assert freed is not None
    assert (freed.holder, freed.effect, freed.answered_at) == (None, False, None)


async def test_room_is_made_by_the_oldest_answered_then_by_what_nobody_works_on(database: Database) -> None:
    first = await new_key(database)
    keys = [first, *[await new_key(database, first.user_id) for _ in range(4)]]
    old_answer, new_answer, left, worked_on, new = keys
    other = await new_key(database)
    async with database.transaction() as connection:
        for age, key in ((9, left), (4, old_answer), (3, new_answer), (9, other), (0, worked_on), (0, new)):
            await claim(connection, key, now=NOW - age * MINUTE)
        await idempotency.keep(connection, new_answer, 1, sealed=b"x", now=NOW)
        await idempotency.keep(connection, old_answer, 1, sealed=b"x", now=NOW - MINUTE)
        gone = []
        for _ in range(3):
            assert await idempotency.make_room(connection, new, 1, abandoned=NOW - MINUTE)
            rows = await connection.fetch("SELECT key_hash FROM idempotency_keys")
            gone.append({key.hash for key in [*keys, other]} - {row["key_hash"] for row in rows})
        assert gone == [{old_answer.hash}, {old_answer.hash, new_answer.hash}, {old_answer.hash, new_answer.hash, left.hash}]
        assert not await idempotency.make_room(connection, new, 1, abandoned=NOW - MINUTE)


async def test_old_claims_go_in_chunks(database: Database) -> None:
    user_id = (await new_key(database)).user_id
    async with database.transaction() as connection:
        for age in range(5):
            await claim(connection, await new_key(database, user_id), now=NOW - age * MINUTE)
    steps = 0
    more = True
    while more:
        async with database.transaction() as connection:
            more = await idempotency.purge_step(connection, NOW - MINUTE, 2)
        steps += 1
    async with database.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM idempotency_keys") == 1
    assert steps == 3


async def test_claims_go_with_their_user(database: Database) -> None:
    key = await new_key(database)
    async with database.transaction() as connection:
        await claim(connection, key)
        await connection.execute("DELETE FROM users WHERE id = $1", key.user_id)
        assert await connection.fetchval("SELECT count(*) FROM idempotency_keys") == 0


def test_seeds_and_answers_are_not_shown() -> None:
    row = Row(
        fingerprint=b"f",
        seed=b"secret-seed",
        claimed_at=NOW,
        attempt=1,
        holder=None,
        held_at=NOW,
        effect=True,
        answered_at=NOW,
        sealed=b"sealed-answer",
    )
    assert "secret-seed" not in repr(row)
    assert "sealed-answer" not in repr(row)
