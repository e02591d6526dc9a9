"""The follower: rooms take over what other processes have stored in their libraries.

Somebody says that a room is behind (a message on the bus, the poll, a write that found the library elsewhere); the follower reads what
lies after the room's head, for many rooms with one question, and lets each advance and relay in seq order.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from uuid import UUID

import structlog

from crdt.errors import CrdtError
from crdt.updates import inspect
from protocol.closes import Close
from server import metrics
from server.errors import WorkerDied
from server.rooms import CONTENDED_WRITES, Committed, Room, Rooms
from server.shelf import STORED_LIMITS, Shelf
from storage import updates
from storage.cipher import update_place
from storage.errors import StorageError, Unavailable
from storage.pool import Database

log = structlog.get_logger(__name__)

ROOMS_AT_ONCE = 64
"""Rooms that one question covers."""
ROWS_A_ROOM = 128
"""Updates of one library that one question reads; what is left is read by the next one, after the other libraries."""
ROW_BYTES = 8 << 10
"""A row past this is read by a question of its own: with the bounds above, an answer takes 64 MiB at the very most."""
LARGE_AT_ONCE = 4
"""Rooms that read such rows at the same time; other rooms that have to wait, and those without such rows go on."""


class Follower:
    """Lets rooms catch up with the log, many at once, each in seq order."""

    def __init__(self, database: Database, rooms: Rooms, shelf: Shelf, *, tell: Callable[[], None]) -> None:
        """`tell` relays what this process has stored itself and not yet relayed: it comes first."""
        self._database = database
        self._rooms = rooms
        self._shelf = shelf
        self._tell = tell
        self._waiting: dict[Room, list[asyncio.Future[None]]] = {}
        self._apart: dict[Room, list[asyncio.Future[None]]] = {}  # those that read large rows, and wait for nobody else
        self._reads: set[asyncio.Task[None]] = set()
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        self._ready = asyncio.Event()

    def behind(self, room: Room) -> None:
        """The log goes on after the room's head. What cannot be read now is told again by the poll."""
        self._waiting.setdefault(room, [])
        self._ready.set()

    async def catch_up(self, room: Room) -> None:
        """Wait until the room has taken over everything that is stored by now.

        Raises:
            Unavailable: the database cannot be asked.
            RoomDropped: the room could not go on, and is dropped; whoever was in it is told to come back.
        """
        caught_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(room, []).append(caught_up)
        self._ready.set()
        await caught_up

    async def run(self) -> None:
        """Follow until cancelled."""
        try:
            await self._run()
        finally:
            for read in self._reads:
                read.cancel()

    async def _run(self) -> None:
        while True:
            await self._ready.wait()
            taken = {room: self._waiting.pop(room) for room in tuple(self._waiting)[:ROOMS_AT_ONCE]}
            if not self._waiting:
                self._ready.clear()
            try:
                await self._follow(taken)
            except BaseException as error:
                failure = error if isinstance(error, Exception) else Unavailable("stopping")
                if isinstance(error, Unavailable):
                    log.warning("rooms_not_followed", rooms=len(taken), error=str(error))
                elif isinstance(error, Exception):
                    log.error("rooms_not_followed", rooms=len(taken), exc_info=error)
                for futures in taken.values():
                    _fail(futures, failure)
                if not isinstance(error, Exception):
                    raise

    async def _follow(self, taken: dict[Room, list[asyncio.Future[None]]]) -> None:
        heads = {room.library_id: room.head for room in taken if not room.dropped}
        try:
            found = await self._behind(heads)
        except Unavailable:
            raise
        except Exception as error:  # a page that cannot be read: halve them until what is at fault stands alone
            return await self._split(taken, error)
        turns = deque(taken.items())
        while turns:
            room, futures = turns.popleft()
            if room.dropped:
                _fail(futures, RoomDropped())
            elif room in self._apart:
                self._apart[room].extend(futures)
            else:
                self._take_turn(room, futures, heads[room.library_id], found.get(room.library_id, []))
            await asyncio.sleep(0)

    async def _behind(self, heads: dict[UUID, int]) -> dict[UUID, list[updates.Sealed]]:
        if not heads:
            return {}
        async with self._database.acquire() as connection:
            return await updates.behind(connection, heads, rows=ROWS_A_ROOM, largest=ROW_BYTES)

    async def _split(self, taken: dict[Room, list[asyncio.Future[None]]], error: Exception) -> None:
        turns = list(taken.items())
        if len(turns) == 1:
            ((room, futures),) = turns
            self.give_up(room, error)
            return _fail(futures, RoomDropped())
        half = len(turns) // 2
        await self._follow(dict(turns[:half]))
        await self._follow(dict(turns[half:]))

    def _take_turn(self, room: Room, futures: list[asyncio.Future[None]], head: int, rows: Sequence[updates.Sealed]) -> None:
        try:
            if rows and rows[0].seq != head + 1:
                raise updates.LogBroken(room.library_id, head + 1, rows[0].seq)  # below the oldest kept row
            self.take_over(room, rows)
        except Exception as error:
            self.give_up(room, error)
            return _fail(futures, RoomDropped())
        if rows and room.head < rows[-1].seq:
            self._apart[room] = futures
            read = asyncio.create_task(self._take_over_large(room))
            self._reads.add(read)
            read.add_done_callback(self._reads.discard)
        elif len(rows) >= ROWS_A_ROOM:
            self._ask_again(room, futures)
        else:
            _settle(futures)

    async def _take_over_large(self, room: Room) -> None:
        """Read all that is there, then ask again: whoever has come meanwhile waits for what was stored by then."""
        failure: Exception = Unavailable("stopping")
        try:
            async with self._large:
                self._advance(room, await self._shelf.after(room))
        except Unavailable as error:
            failure = error
        except Exception as error:
            self.give_up(room, error)
            failure = RoomDropped()
        else:
            return self._ask_again(room, self._apart.pop(room))
        finally:
            _fail(self._apart.pop(room, ()), failure)

    def _ask_again(self, room: Room, futures: Sequence[asyncio.Future[None]]) -> None:
        self._waiting.setdefault(room, []).extend(futures)
        self._ready.set()

    def take_over(self, room: Room, rows: Sequence[updates.Sealed]) -> None:
        """Let the room advance over the rows that follow its head, and relay them, up to the first one that is to be read alone.

        Raises:
            LogBroken, SealBroken, InvalidUpdate: as for a room that is loaded; it has not advanced then.
        """
        items: list[Committed] = []
        for row in rows:
            if not row.sealed:
                break
            if row.seq > room.head:
                items.append(_opened(room, row))
        self._advance(room, items)

    def _advance(self, room: Room, items: Sequence[Committed]) -> None:
        self._tell()
        fresh = [item for item in items if item.seq > room.head]
        if fresh and not room.dropped:
            room.advance(fresh)
            metrics.deliveries.inc(room.relay(fresh))
            if room.contended:
                room.contended = CONTENDED_WRITES
            metrics.followed.inc(len(fresh))

    def give_up(self, room: Room, error: Exception) -> None:
        """A room that cannot go on is dropped: its devices come back to what the log holds."""
        expected = isinstance(error, (StorageError, CrdtError, WorkerDied))
        log.error("room_not_advanced", library=str(room.library_id), head=room.head, error=str(error), exc_info=None if expected else error)
        self._shelf.forget(room.library_id)
        if not room.dropped:
            self._rooms.drop(room, Close.RESTART, "start again")


class RoomDropped(StorageError):
    """The room could not go on and is dropped."""


def _opened(room: Room, row: updates.Sealed) -> Committed:
    if row.epoch > room.epoch:
        raise updates.LogBroken(room.library_id, room.head, row.seq)  # written after the library was restored
    update = room.key.open(row.sealed, update_place(room.library_id, row.epoch, row.seq))
    return Committed(row.seq, update, inspect(update, limits=STORED_LIMITS))


def _settle(futures: Sequence[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


def _fail(futures: Sequence[asyncio.Future[None]], error: Exception) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)
