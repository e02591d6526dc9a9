"""Compaction under test: a compactor of a core, and what it left in the database."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from crdt.knowledge import Knowledge
from crdt.updates import EMPTY_STATE_VECTOR, inspect
from server.compactor import Compactor
from server.workers import Workers
from storage import snapshots
from tests.support.core import Core, core


@contextmanager
def compactor_of(running: Core, workers: Workers, **options: Any) -> Iterator[Compactor]:
    bounds = {"compact_updates": 10, "compact_bytes": 1 << 20}
    compactor = Compactor(running.database, running.keyring, workers, **bounds | options)
    yield compactor
    compactor._disconnect()


def known(*made: bytes) -> Knowledge:
    knowledge = Knowledge()
    for update in made:
        knowledge.learn(inspect(update))
    return knowledge


async def holding(running: Core, *made: bytes) -> UUID:
    """A library that holds these updates."""
    room = await running.room()
    await running.push(room, *made)
    return room.library_id


async def whole(running: Core, library_id: UUID) -> Knowledge:
    """What a process that knows nothing yet answers a device that has nothing."""
    async with core(running.dsn, keyring=running.keyring, start=False) as fresh:
        room = await fresh.room(library_id)
        content = known(await fresh.shelf.missing(room, EMPTY_STATE_VECTOR))
        assert content.covers(room.knowledge)  # it may be of a later moment
    return content


async def trim(running: Core, library_id: UUID) -> None:
    """Delete what the newest verified snapshot holds from the log, as retention does in time."""
    await running.execute(
        "DELETE FROM updates WHERE library_id = $1"
        " AND seq <= (SELECT max(seq) FROM snapshots WHERE library_id = $1 AND verified_at IS NOT NULL)",
        library_id,
    )


async def kept(running: Core, library_id: UUID) -> list[tuple[int, bool]]:
    """The seqs of the library's snapshots, and whether each is verified."""
    async with running.database.acquire() as connection:
        return [(found.seq, found.verified_at is not None) for found in await snapshots.of_library(connection, library_id)]


class Held:
    """Workers whose fold waits until it is let go."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()

    async def fold(self, snapshot: bytes | None, updates: Sequence[bytes], *, again: bool = True) -> object:
        self.reached.set()
        await self.go_on.wait()
        return await self._workers.fold(snapshot, updates, again=again)

    def close(self) -> None:
        pass


@contextmanager
def held_compactor(running: Core, workers: Workers, **options: Any) -> Iterator[tuple[Compactor, Held]]:
    held = Held(workers)
    with compactor_of(running, held, **options) as compactor:  # type: ignore[arg-type]  # has what is used
        yield compactor, held
