"""The shelf: libraries read from the database, opened, and made into rooms or into the bytes a device is answered with."""

import asyncio
from collections import OrderedDict
from uuid import UUID

from crdt.knowledge import Knowledge
from crdt.updates import Limits, decode_state_vector
from server import metrics
from server.batch import SLICED_BYTES
from server.rooms import Committed, Room
from server.workers import Workers
from storage import updates
from storage.cipher import DataKey, knowledge_place, library_key_place, snapshot_place, update_place
from storage.keyring import Keyring
from storage.pool import Database

BREATH_ROWS = 500
"""Rows that are opened and inspected before other tasks get their turn: about 5 ms."""
STORED_LIMITS = Limits(size=1 << 30, ranges=1 << 30)
"""What is stored was inspected when it came; only its form is read again."""


class Shelf:
    """Reads libraries. Merged bytes are kept in a byte-bounded cache, made once per head however many ask."""

    def __init__(self, database: Database, keyring: Keyring, workers: Workers, *, cache_bytes: int) -> None:
        self._database = database
        self._keyring = keyring
        self._workers = workers
        self._cache_bytes = cache_bytes
        self._cached: OrderedDict[UUID, tuple[int, int, bytes]] = OrderedDict()  # epoch, head, merged
        self._kept_bytes = 0
        self._making: dict[UUID, asyncio.Task[tuple[int, bytes]]] = {}

    async def room(self, library_id: UUID) -> Room:
        """The library's room, from the knowledge beside its snapshot and the updates after it.

        Raises:
            NotFound: it is deleted, or there is none.
            Unavailable, LogBroken, SealBroken, WrongKeys: it cannot be read; it is never taken for an empty one.
        """
        async with self._database.acquire() as connection:
            loaded = await updates.load(connection, library_id, content=False)
        key = self._keyring.unwrap(loaded.key_id, loaded.wrapped_key, library_key_place(library_id))
        knowledge, head = Knowledge(), 0
        if loaded.snapshot is not None:
            head = loaded.snapshot.seq
            place = knowledge_place(library_id, loaded.snapshot.epoch, head)
            knowledge = Knowledge.unpack(key.open(loaded.snapshot.knowledge, place))
        room = Room(library_id, key, loaded.epoch, head, knowledge)
        committed = await self._open(library_id, key, loaded.tail)
        for start in range(0, len(committed), BREATH_ROWS):
            room.advance(committed[start : start + BREATH_ROWS])
            await asyncio.sleep(0)
        return room

    async def catch_up(self, room: Room) -> list[Committed]:
        """Let the room advance over everything committed since its head, by whichever process; those updates, to be relayed.

        Raises:
            as `room` does; the room has advanced over nothing then.
        """
        async with self._database.acquire() as connection:
            loaded = await updates.since(connection, room.library_id, room.head)
        missed = [item for item in await self._open(room.library_id, room.key, loaded.tail) if item.seq > room.head]
        room.advance(missed)
        return missed

    async def _open(self, library_id: UUID, key: DataKey, tail: list[updates.Sealed]) -> list[Committed]:
        items = []
        for count, row in enumerate(tail, 1):
            update = await _opened(key, row, library_id)
            items.append(Committed(row.seq, update, await self._workers.inspect(update, STORED_LIMITS)))
            if count % BREATH_ROWS == 0:
                await asyncio.sleep(0)
        return items

    async def missing(self, room: Room, state_vector: bytes) -> bytes:
        """One update with everything that a device with this state vector lacks, and every deletion.

        Raises:
            InvalidStateVector: it cannot be read.
            as `room` does.
        """
        answer = self.missing_at_once(room, state_vector)
        if answer is not None:
            return answer
        merged = await self.content(room)
        if not decode_state_vector(state_vector):
            metrics.openings.labels("whole").inc()
            return merged
        metrics.openings.labels("difference").inc()
        return await self._workers.diff(merged, state_vector)

    def missing_at_once(self, room: Room, state_vector: bytes) -> bytes | None:
        """The same where the room alone can tell, else None: a device that is up to date or was away for a moment.

        Raises:
            InvalidStateVector: it cannot be read.
        """
        vector = decode_state_vector(state_vector)
        cached = self._cached.get(room.library_id)
        if not vector and cached is not None and cached[:2] == (room.epoch, room.head):
            self._cached.move_to_end(room.library_id)
            metrics.openings.labels("cached").inc()
            return cached[2]
        answer = room.recent(room.knowledge.lacking(vector))
        if answer is not None:
            metrics.openings.labels("recent").inc()
        return answer

    async def content(self, room: Room) -> bytes:
        """The library's snapshot and tail merged into one update, at the room's head or later.

        Raises:
            as `room` does.
        """
        wanted = room.head
        while True:
            cached = self._cached.get(room.library_id)
            if cached is not None and cached[0] == room.epoch and cached[1] >= wanted:
                self._cached.move_to_end(room.library_id)
                return cached[2]
            task = self._making.get(room.library_id)
            if task is None:
                task = self._making[room.library_id] = asyncio.create_task(self._make(room))
            head, merged = await asyncio.shield(task)
            if head >= wanted:  # one that was begun earlier may lack what was committed before this device came
                return merged

    async def _make(self, room: Room) -> tuple[int, bytes]:
        least = room.head
        try:
            loaded, parts = await self._read(room)
            for count, row in enumerate(loaded.tail, 1):
                parts.append(await _opened(room.key, row, room.library_id))
                if count % BREATH_ROWS == 0:
                    await asyncio.sleep(0)
            if loaded.head < least:
                raise updates.LogBroken(room.library_id, least, loaded.head)  # it was put back to an earlier time
            merged = await self._workers.merge(parts)
            self._keep(room.library_id, loaded.epoch, loaded.head, merged)
            return loaded.head, merged
        finally:
            del self._making[room.library_id]

    async def _read(self, room: Room) -> tuple[updates.Loaded, list[bytes]]:
        """The updates to merge with what is given: the cached answer, if the log still reaches back to it, else the snapshot."""
        cached = self._cached.get(room.library_id)
        if cached is not None and cached[0] == room.epoch and cached[1] < room.head:
            try:
                async with self._database.acquire() as connection:
                    loaded = await updates.since(connection, room.library_id, cached[1])
                if loaded.epoch == room.epoch:  # else the log may have been put back, and written again, below what is cached
                    return loaded, [cached[2]]
            except updates.LogBroken:
                self.forget(room.library_id)  # older than the oldest kept row
        async with self._database.acquire() as connection:
            loaded = await updates.load(connection, room.library_id, content=True)
        return loaded, await self._snapshot(room, loaded)

    async def _snapshot(self, room: Room, loaded: updates.Loaded) -> list[bytes]:
        snapshot = loaded.snapshot
        if snapshot is None or snapshot.content is None:
            return []
        place = snapshot_place(room.library_id, snapshot.epoch, snapshot.seq)
        return [await asyncio.to_thread(room.key.open_in_slices, snapshot.content, place)]

    def _keep(self, library_id: UUID, epoch: int, head: int, merged: bytes) -> None:
        self.forget(library_id)
        self._cached[library_id] = (epoch, head, merged)
        self._kept_bytes += len(merged)
        while self._kept_bytes > self._cache_bytes:
            self.forget(next(iter(self._cached)))

    def forget(self, library_id: UUID) -> None:
        """Keep nothing of this library in the cache."""
        if (entry := self._cached.pop(library_id, None)) is not None:
            self._kept_bytes -= len(entry[2])


async def _opened(key: DataKey, row: updates.Sealed, library_id: UUID) -> bytes:
    """The update in a row, opened in a thread when it is large: opening holds the interpreter (128 MB: 0.2 s)."""
    place = update_place(library_id, row.epoch, row.seq)
    if len(row.sealed) > SLICED_BYTES:
        return await asyncio.to_thread(key.open_in_slices, row.sealed, place)
    return key.open(row.sealed, place)
