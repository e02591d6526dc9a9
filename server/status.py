"""How a user's libraries stand, and bringing them up to date on demand: what is read from everywhere, put together."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

import structlog

from server.census import OTHERS_SECONDS, Census, Counted
from server.compactor import Compactor, Kind
from server.errors import is_expected
from server.rooms import Room
from server.sockets import Hall
from storage import overview, sessions
from storage.cipher import DataKey
from storage.errors import NotFound, StorageError, Unavailable
from storage.overview import Overview
from storage.sessions import DeviceNames

log = structlog.get_logger(__name__)

ROOMS_AT_ONCE = 4
"""Libraries of one request that are opened at the same time: the rest of the connections to the database is for the others."""
FORCE_SECONDS = 10.0
"""How long a client waits at most for devices and compactions together."""
DEVICES_SECONDS = 5.0
"""How long of that for devices: compaction gets what is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a library stands: `state_vector` is what the server holds, `gaps` the clients of which something in between is missing."""

    epoch: int
    head: int
    state_vector: bytes
    gaps: int
    key: DataKey = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A library, its devices, and the names of those of the asking user. `standing` is None where it cannot be read at the moment."""

    overview: Overview
    standing: Standing | None
    counted: Counted
    names: Mapping[UUID, DeviceNames]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """What was not done in time, or could not be: of a library's devices so many, or its compaction."""

    library_id: UUID
    what: Literal["devices", "compaction"]
    reason: str
    devices: int = 0


class Overseer:
    """Says how libraries stand, and has them brought up to date."""

    def __init__(self, hall: Hall, census: Census, compactor: Compactor) -> None:
        self._hall = hall
        self._census = census
        self._compactor = compactor
        self._compactions: dict[UUID, asyncio.Task[str | None]] = {}
        self._turn = asyncio.Lock()  # one of them at the compactor: a thousand would keep it from everybody else's libraries

    def close(self) -> None:
        """Give up the compactions that were asked for here; nothing is lost by it."""
        for task in self._compactions.values():
            task.cancel()

    async def status(self, user_id: UUID, library_id: UUID | None = None) -> list[Status]:
        """The user's libraries, oldest first; only the one that is named, if one is.

        Raises:
            NotFound: the one that is named is none of the user's.
            Unavailable: the database cannot be asked.
        """
        found = await self._overviews(user_id, library_id)
        standings = await self._standings(found)
        counted = await self._census.take(_keys(standings), exchange=False, within=OTHERS_SECONDS)
        return await self._statuses(user_id, found, standings, counted)

    async def force(self, user_id: UUID, library_id: UUID | None = None) -> tuple[list[Status], list[Unfinished]]:
        """How the libraries stand once devices have exchanged what is missing and tails are folded, and what of that is not finished.

        Waits at most FORCE_SECONDS for these two, and lets go on what was not finished.

        Raises:
            as `status` does.
        """
        loop = asyncio.get_running_loop()
        found = await self._overviews(user_id, library_id)
        keys = _keys(await self._standings(found))
        deadline = loop.time() + FORCE_SECONDS
        counted = await self._census.take(keys, exchange=True, within=min(DEVICES_SECONDS, FORCE_SECONDS))
        unfinished = _silent(counted)
        found = await self._overviews(user_id, library_id)
        unfinished += await self._compacted([each.library.id for each in found if each.tail_updates], deadline)
        found = await self._overviews(user_id, library_id)
        return await self._statuses(user_id, found, await self._standings(found), counted), unfinished

    async def _overviews(self, user_id: UUID, library_id: UUID | None) -> list[Overview]:
        async with self._hall.database.acquire() as connection:
            found = await overview.of_user(connection, user_id, library_id)
        if library_id is not None and not found:
            raise NotFound
        return found

    async def _standings(self, found: Sequence[Overview]) -> dict[UUID, Standing | None]:
        """Where each stands, without keeping their rooms; those that are deleted meanwhile are absent."""
        turns = asyncio.Semaphore(ROOMS_AT_ONCE)
        standings: dict[UUID, Standing | None] = {}

        async def read(each: Overview) -> None:
            async with turns:
                with suppress(NotFound):
                    standings[each.library.id] = await self._standing(each)

        tasks = [asyncio.create_task(read(each)) for each in found]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return standings

    async def _standing(self, each: Overview) -> Standing | None:
        try:
            room = await self._hall.room_of(each.library)
        except (NotFound, Unavailable):
            raise
        except Exception as error:  # one that is damaged is no reason to say nothing of the others
            log.error("library_not_read", library=str(each.library.id), error=type(error).__name__)
            return None
        return Standing(epoch=room.epoch, head=room.head, state_vector=room.state_vector(), gaps=_gaps(room), key=room.key)

    async def _statuses(
        self,
        user_id: UUID,
        found: Sequence[Overview],
        standings: Mapping[UUID, Standing | None],
        counted: Mapping[UUID, Counted],
    ) -> list[Status]:
        own = {device.session_id for each in counted.values() for device in each.devices if device.user_id == user_id}
        async with self._hall.database.acquire() as connection:
            names = await sessions.devices(connection, user_id, own)
        return [
            Status(
                overview=each,
                standing=standings[each.library.id],
                counted=counted.get(each.library.id, Counted()),
                names=names,
            )
            for each in found
            if each.library.id in standings
        ]

    async def _compacted(self, library_ids: Sequence[UUID], deadline: float) -> list[Unfinished]:
        """Fold these until the deadline; what is not done then goes on by itself."""
        tasks = {library_id: self._compaction(library_id) for library_id in library_ids}
        if tasks:
            await asyncio.wait(tasks.values(), timeout=max(0.0, deadline - asyncio.get_running_loop().time()))
        unfinished = []
        for library_id, task in tasks.items():
            reason = "running" if not task.done() else "failed" if task.cancelled() else task.result()
            if reason is not None:
                unfinished.append(Unfinished(library_id=library_id, what="compaction", reason=reason))
        return unfinished

    def _compaction(self, library_id: UUID) -> asyncio.Task[str | None]:
        task = self._compactions.get(library_id)
        if task is None:
            task = self._compactions[library_id] = asyncio.create_task(self._compact(library_id))
            task.add_done_callback(lambda _: self._compactions.pop(library_id))
        return task

    async def _compact(self, library_id: UUID) -> str | None:
        """Why the library was not compacted, or None."""
        try:
            async with self._turn:
                outcome = await self._compactor.compact(library_id)
        except Exception as error:
            expected = isinstance(error, StorageError) or is_expected(error)
            log.error("compaction_failed", library=str(library_id), error=type(error).__name__, exc_info=None if expected else error)
            return "failed"
        return None if outcome.kind in (Kind.COMPACTED, Kind.NOTHING) else outcome.kind.value


def _keys(standings: Mapping[UUID, Standing | None]) -> dict[UUID, DataKey]:
    return {library_id: standing.key for library_id, standing in standings.items() if standing is not None}


def _silent(counted: Mapping[UUID, Counted]) -> list[Unfinished]:
    """Those of the libraries of which devices have not brought all in time."""
    late = {library_id: sum(not device.finished for device in each.devices) for library_id, each in counted.items()}
    return [
        Unfinished(library_id=library_id, what="devices", reason="silent", devices=number) for library_id, number in late.items() if number
    ]


def _gaps(room: Room) -> int:
    held = room.knowledge.held
    if room.quarantined:
        held = held.copy()
        held.union(room.quarantined.held)
    return held.gapped
