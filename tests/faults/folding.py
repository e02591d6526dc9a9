"""Compaction under load over two processes: it races those who write, those who open, and those who were asleep. Each case is one round."""

import asyncio
import time
from collections.abc import Sequence
from uuid import UUID

from protocol.closes import Close
from tests.faults.judge import Verdict, not_shown
from tests.faults.together import Case, Round
from tests.faults.writers import Library, bystander, load
from tests.support.many import Fleet

FOLDS = 2

_SNAPSHOTS = "SELECT count(*) FROM snapshots WHERE library_id = $1 AND verified_at IS NOT NULL"
_COMPACTING = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory'"
_TRIM = """
    DELETE FROM updates WHERE library_id = $1
    AND seq <= (SELECT max(seq) FROM snapshots WHERE library_id = $1 AND verified_at IS NOT NULL)
"""
_OLDEST = "SELECT coalesce(min(seq), 0) FROM updates WHERE library_id = $1"


async def compact(fleet: Fleet, libraries: Sequence[Library]) -> None:
    """Fold the libraries from outside, as an operator does."""
    await fleet.command("compact", *(library.id for library in libraries))


async def trim(fleet: Fleet, library: Library) -> int:
    """Delete what is folded at once, as retention does later; the oldest row that is kept."""
    await fleet.postgres.execute(_TRIM, UUID(library.id))
    return int((await fleet.postgres.fetch(_OLDEST, UUID(library.id)))[0][0])


async def _open_anew(it: Round) -> set[bytes]:
    """Open as a new device again and again until cancelled; what one was not given of what others had been told before."""
    missing: set[bytes] = set()
    try:
        while True:
            library, node = it.random.choice(it.libraries), it.random.choice(it.fleet.nodes)
            missing |= await not_shown(library, library.told, node)
    except asyncio.CancelledError:
        return missing


async def _break_off(it: Round) -> None:
    """Cut off a device; it comes back by itself, with a vector from amid the log."""
    library = it.random.choice(it.libraries)
    await it.random.choice(library.devices).wire.disconnect()


async def compaction_races(fleet: Fleet, seed: int) -> Verdict:
    """Folding and trimming while devices write, come back and open anew, at both processes."""
    it = await Round.begin(fleet, seed)
    async with bystander(it.here, it.there) as beside:
        async with load(it.libraries, it.random, coming_back=True):
            opening = asyncio.create_task(_open_anew(it))
            for _ in range(FOLDS):
                await it.some_edits(least=80)
                await asyncio.gather(compact(fleet, it.libraries), _break_off(it))
                await it.some_edits()
                await asyncio.gather(*(trim(fleet, library) for library in it.libraries), _break_off(it))
            opening.cancel()
            missing = await opening
        began = time.monotonic()
        assert not missing, f"{len(missing)} updates were not given to a device that opened amid compaction"
        for library in it.libraries:
            rows = await fleet.postgres.fetch(_SNAPSHOTS, UUID(library.id))
            assert rows[0][0] > 0, "nothing was compacted: this was no test"
        return await it.close_with(beside, began)


async def _fall_asleep(fleet: Fleet, it: Round) -> None:
    """Pause the process at a moment when it is not compacting: nobody else may fold a library that it holds."""
    while True:
        it.here.pause()
        for _ in range(20):  # the other one ends what it has begun
            if not await fleet.postgres.fetch(_COMPACTING):
                return
            await asyncio.sleep(0.05)
        it.here.resume()
        await asyncio.sleep(0.1)


async def asleep_below_the_log(fleet: Fleet, seed: int) -> Verdict:
    """A process sleeps while what it has not seen is written, folded and trimmed; it wakes below the oldest row that is kept."""
    it = await Round.begin(fleet, seed)
    async with bystander(it.there, it.there) as beside:
        async with load(it.libraries, it.random):
            await it.some_edits()
            await _fall_asleep(fleet, it)
            try:
                before = [len(library.told) for library in it.libraries]
                await it.some_edits(at=it.there, least=100)
                await compact(fleet, it.libraries)
                for library in it.libraries:
                    await trim(fleet, library)
            finally:
                it.here.resume()
            began = time.monotonic()
            asleep = it.devices_at(it.here)
            for device in asleep:
                await device.wire.offline(within=30)
        assert all(len(library.told) > count for library, count in zip(it.libraries, before, strict=True))
        assert {device.wire.close_code for device in asleep} == {Close.RESTART}
        return await it.close_with(beside, began)


FOLDING: dict[str, Case] = {
    "compaction races": compaction_races,
    "asleep below the log": asleep_below_the_log,
}
