"""The shelf: libraries read from the database, opened, and made into rooms or into the bytes a device is answered with."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from uuid import UUID

from crdt.errors import InvalidUpdate
from crdt.knowledge import Knowledge
from crdt.updates import EMPTY_STATE_VECTOR, EMPTY_UPDATE, Inspected, Limits, decode_state_vector, inspect
from server import metrics
from server.batch import SLICED_BYTES
from server.errors import WorkerDied
from server.rooms import Committed, Room
from server.workers import Workers
from storage import quarantine, updates
from storage.cipher import DataKey, knowledge_place, library_key_place, snapshot_place, update_place
from storage.keyring import Keyring
from storage.pool import Database

BREATH_ROWS = 500
"""Rows that are opened and inspected before other tasks get their turn: about 5 ms."""
STORED_LIMITS = Limits(size=1 << 30, ranges=1 << 30)
"""What is stored was inspected when it came; only its form is read again."""
NOTHING = inspect(EMPTY_UPDATE)
APART_BYTES = 16 << 20
"""Quarantined updates kept in memory for openings, over all libraries; those of a library that has more are read for each opening."""

CURSOR_UPDATES, CURSOR_BYTES = 2_000, 4 << 20
"""How far behind a device may be that is answered by its cursor. Past it the snapshot, which is merged already, costs less than the log."""


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
        self._apart: OrderedDict[UUID, tuple[int, list[Committed]]] = OrderedDict()  # epoch, what is quarantined
        self._apart_bytes = 0
        self._setting_apart = asyncio.Lock()
        self.on_broken: Callable[[UUID], None] = lambda library_id: None
        """Told of a library whose updates cannot be merged: one of them is to be quarantined. Must not block."""

    async def room(self, library_id: UUID) -> Room:
        """The library's room, from the knowledge beside its snapshot and the updates after it.

        Raises:
            NotFound: it is deleted, or there is none.
            Unavailable, LogBroken, SealBroken, WrongKeys: it cannot be read; it is never taken for an empty one.
        """
        async with self._database.acquire() as connection:
            loaded = await updates.load(connection, library_id, content=False)
            apart = await quarantine.of_library(connection, library_id) if loaded.quarantined else []
        key = self._keyring.unwrap(loaded.key_id, loaded.wrapped_key, library_key_place(library_id))
        knowledge, head, nbytes, set_apart = Knowledge(), 0, 0, Knowledge()
        for item in await self._set_apart(library_id, key, loaded.epoch, apart):
            set_apart.learn(item.inspected)
        if loaded.snapshot is not None:
            head, nbytes = loaded.snapshot.seq, loaded.snapshot.nbytes
            place = knowledge_place(library_id, loaded.snapshot.epoch, head)
            knowledge = Knowledge.unpack(key.open(loaded.snapshot.knowledge, place))
        room = Room(
            library_id,
            key,
            loaded.epoch,
            head,
            knowledge,
            snapshot_seq=head,
            snapshot_bytes=nbytes,
            quarantined=set_apart,
            server_client_id=loaded.server_client_id,
        )
        committed = await self._open(library_id, key, loaded)
        for start in range(0, len(committed), BREATH_ROWS):
            room.advance(committed[start : start + BREATH_ROWS])
            await asyncio.sleep(0)
        return room

    async def after(self, room: Room) -> list[Committed]:
        """Everything committed after the room's head, by whichever process, for the room to advance over.

        Raises:
            as `room` does, LogBroken also where the head lies below the oldest kept row.
        """
        async with self._database.acquire() as connection:
            loaded = await updates.since(connection, room.library_id, room.head)
        if loaded.epoch != room.epoch:  # restored: what is read now need not follow what the room holds
            raise updates.LogBroken(room.library_id, room.head, loaded.head)
        return await self._open(room.library_id, room.key, loaded)

    async def _open(self, library_id: UUID, key: DataKey, loaded: updates.Loaded) -> list[Committed]:
        items = []
        for count, row in enumerate(loaded.tail, 1):
            if row.seq in loaded.quarantined:  # its place is taken, but nothing is known by it
                items.append(Committed(row.seq, EMPTY_UPDATE, NOTHING))
                continue
            update = await opened(key, row, library_id)
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

    async def after_cursor(self, room: Room, epoch: int | None, cursor: int | None, *, without: int | None = None) -> bytes | None:
        """One update with what was committed after the cursor, up to where the room's head is now or later, if the log tells it; else None.

        None means that the device's state vector has to tell: no or another epoch, no cursor, one past the head or too far behind it, or a
        library with something in quarantine. Deletions before the cursor are not repeated: a device has them if it has all up to there.
        The update committed as `without` is left out: it is the device's own.

        Raises:
            as `room` does.
        """
        if cursor is None or epoch != room.epoch or not room.head - CURSOR_UPDATES <= cursor <= room.head or room.quarantined:
            return None
        try:
            found = await self.updates_after(room, cursor, without=without)
            if found is None:
                return None
            answer = await self._workers.merge(found)
        except (InvalidUpdate, WorkerDied):
            self.on_broken(room.library_id)
            return None
        metrics.openings.labels("cursor").inc()
        return answer

    async def updates_after(self, room: Room, seq: int, *, without: int | None = None) -> list[bytes] | None:
        """What was committed after `seq`, which is at most CURSOR_UPDATES ago, up to where the room's head is now or later.

        None where the log does not tell it any more, or there is too much of it. The update committed as `without` is left out.

        Raises:
            as `room` does.
        """
        recent = room.tail_after(seq)
        if recent is None:
            return await self._logged_after(room, seq, without)
        if without is not None and seq < without <= room.head:
            del recent[without - seq - 1]
        return recent

    async def _logged_after(self, room: Room, cursor: int, without: int | None) -> list[bytes] | None:
        """The updates after the cursor from the database, none of them missing, if they are still there and not too many; else None."""
        head = room.head
        async with self._database.acquire() as connection:
            if await updates.weight(connection, room.library_id, cursor) > CURSOR_BYTES:
                return None
            try:
                loaded = await updates.since(connection, room.library_id, cursor)
            except updates.LogBroken:  # the oldest kept row comes later
                return None
        if loaded.epoch != room.epoch or loaded.head < head or loaded.quarantined:
            return None
        made = []
        for count, row in enumerate(loaded.tail, 1):
            if row.seq != without:
                made.append(await opened(room.key, row, room.library_id))
            if count % BREATH_ROWS == 0:
                await asyncio.sleep(0)
        return made

    async def content(self, room: Room) -> bytes:
        """The library's snapshot and tail merged into one update, at the room's head or later.

        Raises:
            as `room` does.
        """
        return (await self.content_at(room))[1]

    async def content_at(self, room: Room) -> tuple[int, bytes]:
        """The same, and the head that it is at."""
        wanted = room.head
        while True:
            cached = self._cached.get(room.library_id)
            if cached is not None and cached[0] == room.epoch and cached[1] >= wanted:
                self._cached.move_to_end(room.library_id)
                return cached[1:]
            task = self._making.get(room.library_id)
            if task is None:
                task = self._making[room.library_id] = asyncio.create_task(self._make(room))
            head, merged = await asyncio.shield(task)
            if head >= wanted:  # one that was begun earlier may lack what was committed before this device came
                return head, merged

    async def _make(self, room: Room) -> tuple[int, bytes]:
        least = room.head
        try:
            loaded, parts = await self._read(room)
            for count, row in enumerate(loaded.tail, 1):
                if row.seq in loaded.quarantined:
                    continue
                parts.append(await opened(room.key, row, room.library_id))
                if count % BREATH_ROWS == 0:
                    await asyncio.sleep(0)
            if loaded.head < least:
                raise updates.LogBroken(room.library_id, least, loaded.head)  # it was put back to an earlier time
            try:
                merged = await self._workers.merge(parts)
            except (InvalidUpdate, WorkerDied):
                self.on_broken(room.library_id)
                raise
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

    async def quarantined(self, room: Room, state_vector: bytes = EMPTY_STATE_VECTOR) -> list[bytes]:
        """What Yrs breaks on, in the order of the log: to be sent after the step 2, each in a frame of its own.

        Without what a device with this state vector has for certain. At once where `room.quarantined` is empty.

        Raises:
            InvalidStateVector: it cannot be read.
            as `room` does.
        """
        if not room.quarantined:
            return []
        vector = decode_state_vector(state_vector)
        async with self._setting_apart:  # one reads, the others find it read
            epoch, items = self._apart.get(room.library_id, (0, []))
            if epoch != room.epoch:
                async with self._database.acquire() as connection:
                    rows = await quarantine.of_library(connection, room.library_id)
                items = await self._set_apart(room.library_id, room.key, room.epoch, rows)
        return [item.update for item in items if item.inspected.deleted or _is_above(item.inspected, vector)]

    async def _set_apart(self, library_id: UUID, key: DataKey, epoch: int, rows: Sequence[quarantine.Quarantined]) -> list[Committed]:
        """Open what is quarantined, and keep it for the library's epoch."""
        items = []
        for row in rows:
            update = await opened(key, updates.Sealed(row.seq, row.epoch, row.sealed), library_id)
            items.append(Committed(row.seq, update, await self._workers.inspect(update, STORED_LIMITS)))
        self._apart_bytes -= _size(self._apart.pop(library_id, (0, []))[1])
        if items:
            self._apart[library_id] = (epoch, items)
            self._apart_bytes += _size(items)
        while self._apart_bytes > APART_BYTES:
            self._apart_bytes -= _size(self._apart.popitem(last=False)[1][1])
        return items

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


def _size(items: list[Committed]) -> int:
    return sum(len(item.update) for item in items)


def _is_above(inspected: Inspected, vector: dict[int, int]) -> bool:
    held = inspected.held
    return any(held[place + 2] > vector.get(held[place], 0) for place in range(0, len(held), 3))


async def opened(key: DataKey, row: updates.Sealed, library_id: UUID) -> bytes:
    """The update in a row, opened in a thread when it is large: opening holds the interpreter (128 MB: 0.2 s)."""
    place = update_place(library_id, row.epoch, row.seq)
    if len(row.sealed) > SLICED_BYTES:
        return await asyncio.to_thread(key.open_in_slices, row.sealed, place)
    return key.open(row.sealed, place)
