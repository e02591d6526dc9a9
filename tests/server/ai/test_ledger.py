"""Calls are written down soon, also when the database is away for a while; what is lost is counted."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from server import metrics
from server.ai import ledger as ledgers
from server.ai.ledger import Ledger
from storage import model_calls
from storage.errors import Unavailable
from storage.model_calls import ModelCall
from storage.pool import Connection, Database
from tests.support.core import store_user, until
from tests.support.model_calls import kept_call


class Broken:
    """A database that is away until it is not."""

    def __init__(self, database: Database) -> None:
        self.away = True
        self._database = database

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        if self.away:
            raise Unavailable("away")
        async with self._database.acquire() as connection:
            yield connection


@pytest.fixture
async def user_id(database: Database) -> UUID:
    async with database.transaction() as connection:
        return await store_user(connection)


async def stored(database: Database) -> int:
    async with database.acquire() as connection:
        return int(await connection.fetchval("SELECT count(*) FROM model_calls"))


def lost(reason: str) -> float:
    return float(metrics.registry.get_sample_value("promptsync_model_rows_lost_total", {"reason": reason}) or 0)


async def test_what_was_noted_is_stored_when_it_is_settled(database: Database, user_id: UUID) -> None:
    ledger = Ledger(database)
    for _ in range(2 * ledgers.BATCH_ROWS + 1):
        ledger.note(kept_call(user_id))

    assert await ledger.settled(within=10)
    assert await stored(database) == 2 * ledgers.BATCH_ROWS + 1


async def test_rows_of_a_moment_are_stored_together_though_nobody_waits_for_them(
    database: Database, user_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledgers, "GATHER_SECONDS", 0.02)
    batches: list[int] = []

    async def add(connection: Connection, calls: Sequence[ModelCall]) -> None:
        batches.append(len(calls))
        await store(connection, calls)

    store = model_calls.add
    monkeypatch.setattr(model_calls, "add", add)
    ledger = Ledger(database)
    for _ in range(3):
        ledger.note(kept_call(user_id))
        await asyncio.sleep(0)

    await until(lambda: bool(batches))
    assert batches == [3]
    ledger.note(kept_call(user_id))
    await until(lambda: len(batches) == 2)
    await ledger.close()
    assert await stored(database) == 4


async def test_who_waits_for_a_row_does_not_wait_for_others(database: Database, user_id: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "GATHER_SECONDS", 3600.0)
    ledger = Ledger(database)
    ledger.note(kept_call(user_id))

    assert await ledger.settled(within=10)
    assert await stored(database) == 1


async def test_a_row_that_the_database_refuses_costs_no_other(database: Database, user_id: UUID) -> None:
    ledger, before = Ledger(database), lost("refused")
    for call in (kept_call(user_id), kept_call(user_id, model="a\0b"), kept_call(user_id)):
        ledger.note(call)

    assert await ledger.settled(within=10)
    assert (await stored(database), lost("refused") - before) == (2, 1)


async def test_rows_wait_for_a_database_that_is_away(database: Database, user_id: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "AGAIN_SECONDS", 0.01)
    broken = Broken(database)
    ledger = Ledger(broken)  # type: ignore[arg-type]  # it is used as one
    ledger.note(kept_call(user_id))

    assert not await ledger.settled(within=0.05)
    broken.away = False

    assert await ledger.settled(within=10)
    assert await stored(database) == 1


async def test_past_its_bound_the_oldest_row_is_given_up_and_counted(
    database: Database, user_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledgers, "AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(ledgers, "MOST_WAITING", 3)
    broken, before = Broken(database), lost("too_many")
    ledger = Ledger(broken)  # type: ignore[arg-type]  # it is used as one
    for number in range(5):
        ledger.note(kept_call(user_id, milliseconds=number))
    broken.away = False

    assert await ledger.settled(within=10)
    async with database.acquire() as connection:
        rows = await connection.fetch("SELECT milliseconds FROM model_calls ORDER BY milliseconds")
    assert ([row["milliseconds"] for row in rows], lost("too_many") - before) == ([2, 3, 4], 2)


async def test_a_stop_stores_the_last_rows(database: Database, user_id: UUID) -> None:
    ledger = Ledger(database)
    ledger.note(kept_call(user_id))

    await ledger.close()

    assert await stored(database) == 1


async def test_a_stop_waits_a_bounded_time_and_counts_what_it_gives_up(
    database: Database, user_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledgers, "CLOSE_SECONDS", 0.05)
    before = lost("stopped")
    ledger = Ledger(Broken(database))  # type: ignore[arg-type]  # it is used as one
    ledger.note(kept_call(user_id))

    async with asyncio.timeout(5):
        await ledger.close()

    assert lost("stopped") - before == 1
