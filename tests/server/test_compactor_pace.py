"""How compaction is paced over all libraries, and what ends the pause before its time."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from server import compactor as compacting
from server.compactor import Compactor, Kind, Outcome
from tests.support.core import until


class NoWorkers:
    def close(self) -> None:
        pass


class Paced:
    """A compactor each of whose compactions takes so many seconds, and when each began."""

    def __init__(self, seconds: float) -> None:
        self.compactor = Compactor(None, None, NoWorkers(), compact_updates=1, compact_bytes=1)  # type: ignore[arg-type]  # it asks for none
        self.begun: list[tuple[UUID, float]] = []
        self._seconds = seconds
        self.compactor.compact = self._compact  # type: ignore[method-assign]
        self.task = asyncio.create_task(self.compactor.run())

    async def _compact(self, library_id: UUID, **_: Any) -> Outcome:
        self.begun.append((library_id, asyncio.get_running_loop().time()))
        await asyncio.sleep(self._seconds)
        return Outcome(kind=Kind.BROKEN if library_id in self.compactor._broken else Kind.COMPACTED)

    def want(self, *library_ids: UUID) -> None:
        for library_id in library_ids:
            self.compactor._want(library_id)

    async def end(self) -> None:
        self.task.cancel()
        done, _ = await asyncio.wait({self.task}, timeout=5)
        assert done, "it did not end when it was cancelled"


async def test_one_library_after_the_other_with_a_pause_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compacting, "PAUSE_FACTOR", 3)
    paced = Paced(0.1)
    paced.want(uuid4(), uuid4(), uuid4())
    await until(lambda: len(paced.begun) == 3, "three compactions")
    await paced.end()
    times = [at for _, at in paced.begun]
    assert times[1] - times[0] >= 0.4
    assert times[2] - times[1] >= 0.4


async def test_the_pause_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compacting, "PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(compacting, "PAUSE_FACTOR", 1_000_000)
    paced = Paced(0.1)
    paced.want(uuid4(), uuid4())
    await until(lambda: len(paced.begun) == 2, "the second one")
    await paced.end()


async def test_a_library_that_cannot_be_opened_waits_for_no_pause_and_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compacting, "PAUSE_FACTOR", 1_000)
    paced, broken = Paced(0.05), uuid4()
    paced.want(uuid4(), uuid4())
    await until(lambda: bool(paced.begun), "the first")
    paced.compactor.broken(broken)
    await until(lambda: len(paced.begun) == 2, "the broken one")
    await paced.end()
    assert paced.begun[1][0] == broken


async def test_openings_of_a_broken_library_that_rests_do_not_end_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compacting, "PAUSE_FACTOR", 1_000)
    paced, broken = Paced(0.01), uuid4()
    paced.compactor.broken(broken)
    await until(lambda: broken in paced.compactor._resting, "its rest")
    paced.want(*(uuid4() for _ in range(8)))
    for _ in range(50):  # a device tries to open it again and again
        paced.compactor.broken(broken)
        await asyncio.sleep(0.01)
    await paced.end()
    assert len(paced.begun) == 1


async def test_a_broken_library_is_looked_at_as_soon_as_it_has_rested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compacting, "PAUSE_FACTOR", 1_000)
    paced, broken = Paced(0.05), uuid4()
    paced.want(uuid4())
    await until(lambda: bool(paced.begun), "the other one")
    paced.compactor._resting[broken] = False
    paced.compactor.broken(broken)
    paced.compactor._rested(broken)
    await until(lambda: len(paced.begun) == 2, "the broken one")
    await paced.end()


@pytest.mark.parametrize("ticks", range(5))
async def test_it_ends_though_a_library_is_found_broken_in_the_same_moment(monkeypatch: pytest.MonkeyPatch, ticks: int) -> None:
    monkeypatch.setattr(compacting, "PAUSE_FACTOR", 1_000)
    paced = Paced(0.0)
    paced.want(uuid4())
    await until(lambda: bool(paced.compactor._resting), "the pause")
    paced.compactor.broken(uuid4())
    for _ in range(ticks):
        await asyncio.sleep(0)
    await paced.end()
