"""Readings of shared prompts are noted by time, and outlive a database that is away."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from server import opened_shares
from server.opened_shares import OpenedShares
from storage import shares
from storage.errors import Unavailable
from storage.pool import Database
from storage.shares import Opening
from tests.support.core import until

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class Noted:
    """What was noted, in place of the rows; it can fail."""

    def __init__(self) -> None:
        self.calls: list[list[Opening]] = []
        self.failing: Exception | None = None

    async def __call__(self, connection: object, openings: Iterable[Opening]) -> None:
        if self.failing is not None:
            raise self.failing
        self.calls.append(list(openings))


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> Noted:
    noted = Noted()
    monkeypatch.setattr(shares, "add_openings", noted)
    return noted


async def test_many_readings_are_one_statement(database: Database, noted: Noted) -> None:
    opened, one, other = OpenedShares(database), uuid4(), uuid4()
    for number in range(1000):
        opened.count(one, NOW + number % 7 * SECOND)
    opened.count(other, NOW)
    await opened.note()
    await opened.note()
    assert noted.calls == [
        [Opening(share_id=one, times=1000, last_at=NOW + 6 * SECOND), Opening(share_id=other, times=1, last_at=NOW)],
    ]


@pytest.mark.parametrize("error", [Unavailable(), RuntimeError()])
async def test_what_cannot_be_noted_is_noted_later(database: Database, noted: Noted, error: Exception) -> None:
    opened, share = OpenedShares(database), uuid4()
    opened.count(share, NOW + SECOND)
    noted.failing = error
    await opened.note()
    opened.count(share, NOW)
    noted.failing = None
    await opened.note()
    assert noted.calls == [[Opening(share_id=share, times=2, last_at=NOW + SECOND)]]


async def test_links_past_the_bound_are_not_counted(database: Database, noted: Noted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened_shares, "MAX_COUNTED", 2)
    opened, ids = OpenedShares(database), [uuid4() for _ in range(3)]
    for share in (*ids, *ids):
        opened.count(share, NOW)
    await opened.note()
    assert [(each.share_id, each.times) for each in noted.calls[0]] == [(ids[0], 2), (ids[1], 2)]


async def test_it_notes_again_and_again(database: Database, noted: Noted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened_shares, "NOTE_SECONDS", 0.01)
    opened = OpenedShares(database)
    running = asyncio.create_task(opened.run())
    for times in (1, 2):
        opened.count(uuid4(), NOW)
        await until(lambda: len(noted.calls) == times, "a note")  # noqa: B023  # awaited at once
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_server_that_stops_notes_what_it_has_counted(database: Database, noted: Noted) -> None:
    opened = OpenedShares(database)
    running = asyncio.create_task(opened.run())
    await asyncio.sleep(0)  # it has begun, and waits
    opened.count(uuid4(), NOW)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(noted.calls) == 1
