"""The rows of calls of models: each once, added up where they lie, gone with their time or their account."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from storage import model_calls
from storage.model_calls import ModelCall, Sum
from storage.pool import Database
from tests.support.core import store_user
from tests.support.model_calls import AT, kept_call

DAY = timedelta(days=1)


@pytest.fixture
async def user_id(database: Database) -> UUID:
    async with database.transaction() as connection:
        return await store_user(connection)


async def add(database: Database, *calls: ModelCall) -> None:
    async with database.transaction() as connection:
        await model_calls.add(connection, calls)


async def sums(database: Database, user_id: UUID, since: datetime = AT - DAY, until: datetime = AT + DAY, **asked: Any) -> list[Sum]:
    async with database.acquire() as connection:
        return await model_calls.sums(connection, user_id, since, until, **{"by_day": False, "by_model": False, "limit": 100, **asked})


async def test_a_call_that_comes_twice_is_kept_once(database: Database, user_id: UUID) -> None:
    call = kept_call(user_id)

    await add(database, call, kept_call(user_id))
    await add(database, call)

    assert [each.calls for each in await sums(database, user_id)] == [2]


async def test_a_call_of_somebody_who_is_gone_is_left_out_and_the_others_are_kept(database: Database, user_id: UUID) -> None:
    await add(database, kept_call(uuid4()), kept_call(user_id))

    assert [each.calls for each in await sums(database, user_id)] == [1]


async def test_the_sums_are_exact(database: Database, user_id: UUID) -> None:
    nothing: dict[str, Any] = {"input_tokens": None, "output_tokens": None, "cost": None, "currency": None}
    await add(
        database,
        kept_call(user_id, cost=Decimal("0.1")),
        kept_call(user_id, cost=Decimal("0.2")),
        kept_call(user_id, outcome="cancelled", estimated=True, cost=Decimal("0.000000001")),
        kept_call(user_id, outcome="invalid_key", **nothing),
        kept_call(user_id, currency="CNY", cost=Decimal(7)),
    )

    found = {each.currency: each for each in await sums(database, user_id)}

    assert {currency: each.cost for currency, each in found.items()} == {"USD": Decimal("0.300000001"), "CNY": Decimal(7), None: None}
    assert (found["USD"].calls, found["USD"].failed, found["USD"].cancelled, found["USD"].estimated) == (3, 0, 1, 1)
    assert (found["USD"].input_tokens, found["USD"].output_tokens, found["USD"].milliseconds) == (30, 60, 4500)
    assert (found[None].calls, found[None].failed, found[None].input_tokens) == (1, 1, 0)


async def test_days_begin_at_midnight_utc_and_the_latest_comes_first(database: Database, user_id: UUID) -> None:
    midnight = datetime(2026, 11, 22, tzinfo=UTC)
    await add(database, *(kept_call(user_id, at=midnight + timedelta(seconds=seconds)) for seconds in (-1, 0, 86_399, 86_400)))

    found = await sums(database, user_id, midnight - DAY, midnight + 2 * DAY, by_day=True)

    assert [(each.day, each.calls) for each in found] == [(date(2026, 11, 23), 1), (date(2026, 11, 22), 2), (date(2026, 11, 21), 1)]
    assert [each.calls for each in await sums(database, user_id, midnight, midnight + DAY)] == [2]


async def test_models_are_told_apart_by_provider_and_by_whose_account_they_are_on(database: Database, user_id: UUID) -> None:
    await add(database, kept_call(user_id), kept_call(user_id, shared=True), kept_call(user_id, provider="openrouter"), kept_call(user_id))

    found = await sums(database, user_id, by_model=True)

    assert [(each.provider, each.shared, each.calls) for each in found] == [
        ("deepseek", False, 2),
        ("deepseek", True, 1),
        ("openrouter", False, 1),
    ]


async def test_nobody_is_told_of_anothers_calls(database: Database, user_id: UUID) -> None:
    async with database.transaction() as connection:
        other = await store_user(connection)
    await add(database, kept_call(other, shared=True))

    assert await sums(database, user_id) == []
    async with database.acquire() as connection:
        assert await model_calls.shared_tokens(connection, user_id, AT - DAY) == 0


async def test_the_tokens_of_shared_models_alone_are_counted(database: Database, user_id: UUID) -> None:
    await add(
        database,
        kept_call(user_id, shared=True),
        kept_call(user_id, shared=True, output_tokens=None),
        kept_call(user_id, shared=True, at=AT - DAY),
        kept_call(user_id),
    )

    async with database.acquire() as connection:
        assert await model_calls.shared_tokens(connection, user_id, AT) == 40


async def test_old_calls_go_a_chunk_at_a_time(database: Database, user_id: UUID) -> None:
    await add(database, kept_call(user_id), *(kept_call(user_id, at=AT - DAY) for _ in range(3)))

    async with database.acquire() as connection:
        assert [await model_calls.purge_step(connection, AT, 2) for _ in range(2)] == [True, False]

    assert [each.calls for each in await sums(database, user_id, AT - 2 * DAY)] == [1]


async def test_the_calls_of_an_account_go_only_once_it_is_deleted(database: Database, user_id: UUID) -> None:
    await add(database, kept_call(user_id))

    async with database.acquire() as connection:
        assert not await model_calls.purge_user_step(connection, user_id, 1)
        await connection.execute("UPDATE users SET deleted_at = now() WHERE id = $1", user_id)
        assert await model_calls.purge_user_step(connection, user_id, 1)
        assert not await model_calls.purge_user_step(connection, user_id, 1)

    assert await sums(database, user_id) == []
