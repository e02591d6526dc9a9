"""The writer: group commit of everything that arrived meanwhile, over all libraries, with one library's trouble its own.

One batch is in flight at a time on the small lane; what arrives waits for the next one, so idle latency is one commit and
under load the batch grows by itself. An update past `LARGE_BYTES` goes alone over a second connection (a 7 MB row in the
batch would make everybody wait), and the later updates of its library are held until it is settled, as they are while another
process holds the library's row lock. Per library there is never more than one transaction of this process in flight, and its
updates are stored in the order they came.
"""

import asyncio
import itertools
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from uuid import UUID

import structlog

from protocol.closes import Close
from server import metrics
from server.batch import Entry, Fate, OutcomeUnknown, Refusal, Share, committed, settle, share_out, store, store_at_once
from server.lane import RECONNECT_SECONDS, Lane
from server.rooms import Committed, Room, Rooms
from storage.backends import Backend
from storage.pool import Database, is_connection_failure

log = structlog.get_logger(__name__)

BATCH_ROWS = 2_000
"""Updates in one transaction at most: keeps the time a batch holds its row locks in the tens of milliseconds."""
BATCH_BYTES = 4 << 20
"""Bytes in one transaction at most, for the same reason; a single update may exceed it."""
LARGE_BYTES = 256 << 10
"""An update past this goes alone over the second connection."""
LOCKED_RETRY_SECONDS = 0.005
"""How long a library whose row is locked elsewhere is left alone before it is tried again."""


class Writer:
    """Stores inspected updates and tells their origins what became of each."""

    def __init__(
        self,
        database: Database,
        rooms: Rooms,
        *,
        catch_up: Callable[[Room], Awaitable[Sequence[Committed]]],
        reconnected: Callable[[], Awaitable[None]],
        queue_bytes: int,
    ) -> None:
        self._rooms = rooms
        self._catch_up = catch_up
        self._queue_bytes = queue_bytes
        self._small_lane = Lane("small", database, reconnected)
        self._large_lane = Lane("large", database, reconnected)
        self._small: deque[Entry] = deque()
        self._large: deque[Room] = deque()
        self._held: dict[Room, deque[Entry]] = {}
        self._locked: set[Room] = set()  # those of them whose row another process holds: they are tried again soon
        self._numbers = itertools.count()
        self._counted: Counter[Room] = Counter()  # entries on the small lane, queued or in flight
        self._bytes = self._entries = 0
        self._untold: deque[tuple[Share, Sequence[Committed], Sequence[Committed]]] = deque()
        self._stopping = False
        self._small_ready = asyncio.Event()
        self._large_ready = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def waiting_bytes(self) -> int:
        """Bytes of updates that are not settled yet."""
        return self._bytes

    def submit(self, entry: Entry) -> None:
        """Take an update. Its origin is told what became of it: at once when it cannot be taken, else after the commit."""
        if entry.room.dropped:
            refusal = Refusal.STALE
        elif self._stopping:
            refusal = Refusal.STOPPING
        elif self._bytes and self._bytes + len(entry.update) > self._queue_bytes:
            refusal = Refusal.FULL
        else:
            entry.number = next(self._numbers)
            self._bytes += len(entry.update)
            self._entries += 1
            entry.room.unstored += 1
            self._empty.clear()
            self._route(entry)
            return
        metrics.refused.labels(refusal.value).inc()
        entry.origin.refused(entry, refusal)

    def _route(self, entry: Entry) -> None:
        room = entry.room
        if room in self._held:
            self._held[room].append(entry)
        elif _is_large(entry):
            self._held[room] = deque((entry,))
            if not self._counted[room]:
                self._start_large(room)
        else:
            self._counted[room] += 1
            self._small.append(entry)
            self._small_ready.set()

    def _start_large(self, room: Room) -> None:
        self._large.append(room)
        self._large_ready.set()

    def _release(self, room: Room) -> None:
        """Route what was held for a library again, in order."""
        self._locked.discard(room)
        for entry in self._held.pop(room, ()):
            self._route(entry)

    async def run(self) -> None:
        """Store until cancelled."""
        try:
            async with asyncio.TaskGroup() as lanes:
                lanes.create_task(self._run_small())
                lanes.create_task(self._run_large())
        finally:
            self._small_lane.abandon()
            self._large_lane.abandon()

    async def drain(self, seconds: float) -> bool:
        """Take nothing more and wait until all that was taken is settled; False if that took longer."""
        self._stopping = True
        try:
            await asyncio.wait_for(self._empty.wait(), seconds)
        except TimeoutError:
            log.error("writer_not_drained", waiting_bytes=self._bytes)
            return False
        return True

    async def _run_small(self) -> None:
        while True:
            await self._small_ready.wait()
            batch = self._take()
            await self._settle(self._small_lane, batch)
            for room, count in Counter(entry.room for entry in batch).items():
                self._leave_small(room, count)

    def _take(self) -> list[Entry]:
        batch: list[Entry] = []
        size = 0
        while self._small and len(batch) < BATCH_ROWS and size < BATCH_BYTES:
            entry = self._small.popleft()
            batch.append(entry)
            size += len(entry.update)
        if not self._small:
            self._small_ready.clear()
        return batch

    def _leave_small(self, room: Room, count: int) -> None:
        """So many of a library's entries are off the small lane; a large one that waited for the last of them may go."""
        self._counted[room] -= count
        if self._counted[room]:
            return
        del self._counted[room]
        if (held := self._held.get(room)) and _is_large(held[0]):
            self._start_large(room)

    async def _run_large(self) -> None:
        while True:
            await self._large_ready.wait()
            room = self._large.popleft()
            if not self._large:
                self._large_ready.clear()
            locked = await self._settle(self._large_lane, [self._held[room].popleft()])
            if not locked:
                self._release(room)

    async def _settle(self, lane: Lane, entries: Sequence[Entry]) -> bool:
        """Store a batch, however often the connection breaks; whether a library was locked elsewhere and is held."""
        pending, any_locked, under_locks = entries, False, False
        while pending := [entry for entry in pending if not self._refused_as_stale(entry)]:
            shares = share_out(pending)
            try:
                fates, firsts = await self._store(lane, shares, under_locks=under_locks)
            except Exception as error:
                if not is_connection_failure(error):
                    return await self._split(lane, pending, error) or any_locked
                log.warning("write_retried", lane=lane.name, error=type(error).__name__, updates=len(pending))
                lane.abandon()
                await asyncio.sleep(RECONNECT_SECONDS[0])
                continue
            locked = [share for share in shares if fates[share.room.library_id] is Fate.LOCKED]
            self._hold(locked)
            any_locked |= bool(locked)
            for share in shares:
                await self._conclude(share, fates, firsts)
            # what does not stand where its room does is looked at under the row locks
            pending = [entry for share in shares if fates[share.room.library_id] is Fate.MOVED for entry in share.entries]
            under_locks = True
        if self._small:
            # The next batch is on its way to the database by the time these are relayed: neither waits for the other.
            asyncio.get_running_loop().call_soon(self._tell)
        else:
            self._tell()
        return any_locked

    def _hold(self, shares: Sequence[Share]) -> None:
        """Keep the shares of locked libraries, and what queued behind them on the small lane, until they are tried again."""
        if not shares:
            return
        held: dict[Room, list[Entry]] = {share.room: list(share.entries) for share in shares}
        rest: deque[Entry] = deque()
        for entry in self._small:  # it came meanwhile and would be stored first
            if entry.room in held:
                held[entry.room].append(entry)
                self._counted[entry.room] -= 1  # not to zero: those in flight are counted until they are concluded
            else:
                rest.append(entry)
        self._small = rest
        for room, entries in held.items():
            self._put_back(room, entries)
            self._locked.add(room)
            asyncio.get_running_loop().call_later(LOCKED_RETRY_SECONDS, self._release, room)

    def _put_back(self, room: Room, entries: Sequence[Entry]) -> None:
        self._held[room] = deque(sorted([*entries, *self._held.get(room, ())], key=lambda entry: entry.number))

    async def _split(self, lane: Lane, entries: list[Entry], error: Exception) -> bool:
        """A batch that the database refused for its content: halve it until what is at fault stands alone."""
        if len(entries) == 1:
            log.error("update_unstorable", library=str(entries[0].room.library_id), error=type(error).__name__, exc_info=error)
            self._refuse(entries[0], Refusal.UNSTORABLE)
            return False
        half = len(entries) // 2
        locked = await self._settle(lane, entries[:half])
        for entry in entries[half:]:
            if entry.room in self._locked:
                self._put_back(entry.room, [entry])
        return await self._settle(lane, [entry for entry in entries[half:] if entry.room not in self._locked]) or locked

    async def _store(self, lane: Lane, shares: list[Share], *, under_locks: bool) -> tuple[dict[UUID, Fate], dict[UUID, int]]:
        """One transaction for what adds something; when its connection breaks, it is asked after until its outcome is known.

        Raises:
            an error for which `is_connection_failure` holds: nothing is stored, try again.
            any other: nothing is stored, and trying the same again is useless.
        """
        fates = {share.room.library_id: Fate.STORED for share in shares}
        writing = [share for share in shares if share.adding]
        if not writing:
            return fates, {}
        connection = await lane.connection()
        began = perf_counter()
        try:
            stored, firsts = await (store if under_locks else store_at_once)(connection, writing)
        except OutcomeUnknown as unknown:
            log.warning("commit_unknown", lane=lane.name, error=type(unknown.__cause__).__name__)
            metrics.commits.labels("unknown").inc()
            broken = lane.abandon()
            return fates | await self._ask(lane, broken, unknown), unknown.firsts
        metrics.commits.labels("stored").inc()
        metrics.commit_seconds.observe(perf_counter() - began)
        metrics.batch_rows.observe(sum(len(share.adding) for share in writing))
        return fates | stored, firsts

    async def _ask(self, lane: Lane, broken: Backend, unknown: OutcomeUnknown) -> dict[UUID, Fate]:
        """What a cut COMMIT came to, asked for as long as it takes to get an answer."""
        while True:
            try:
                return await settle(await lane.connection(), broken, unknown)
            except Exception as error:
                if not is_connection_failure(error):
                    raise
                lane.abandon()
                await asyncio.sleep(RECONNECT_SECONDS[0])

    async def _conclude(self, share: Share, fates: dict[UUID, Fate], firsts: dict[UUID, int]) -> None:
        """Act on what became of one library's share; what is locked elsewhere is held already."""
        room = share.room
        match fates[room.library_id]:
            case Fate.LOCKED | Fate.MOVED:
                pass
            case Fate.GONE:
                self._refuse_all(share, Refusal.GONE)
                self._rooms.drop(room, Close.NOT_FOUND, "the library was deleted")
            case Fate.STALE:
                log.error("room_ahead_of_database", library=str(room.library_id), head=room.head, epoch=room.epoch)
                self._refuse_all(share, Refusal.STALE)
                self._rooms.drop(room, Close.RESTART, "the library was restored: start again")
            case Fate.STORED:
                await self._advance(share, firsts.get(room.library_id))

    async def _advance(self, share: Share, first: int | None) -> None:
        """The share is committed: the room advances; what is to be told of it is told next."""
        room = share.room
        items = committed(share, first) if first is not None else []
        relayed: Sequence[Committed] = items
        if items:
            try:
                if items[0].seq == room.head + 1:
                    room.advance(items, share.learnt if room.head == share.head else None)
                else:
                    self._tell()
                    relayed = await self._catch_up(room)  # another process wrote in between: its updates go out first
            except Exception as error:
                log.error("room_not_advanced", library=str(room.library_id), exc_info=error)
                self._rooms.drop(room, Close.RESTART, "start again")
                relayed = ()
        self._untold.append((share, items, relayed))

    def _tell(self) -> None:
        """Relay what was committed, then tell each origin; in the order of the commits."""
        while self._untold:
            self._tell_of(*self._untold.popleft())

    def _tell_of(self, share: Share, items: Sequence[Committed], relayed: Sequence[Committed]) -> None:
        room = share.room
        if relayed:
            room.relay(relayed)
        metrics.stored.inc(len(items))
        for item, entry in zip(items, share.adding, strict=True):
            self._settled(entry)
            entry.origin.stored(entry, item.seq)
        for entry in share.redundant:
            self._settled(entry)
            entry.origin.redundant(entry, room.head)
        metrics.redundant.inc(len(share.redundant))
        for entry in share.forbidden:
            self._refuse(entry, Refusal.FORBIDDEN)
        for entry in share.overgrown:
            log.error("library_overgrown", library=str(room.library_id), knowledge_bytes=room.knowledge.nbytes)
            self._refuse(entry, Refusal.OVERGROWN)

    def _refused_as_stale(self, entry: Entry) -> bool:
        if entry.room.dropped:
            self._refuse(entry, Refusal.STALE)
        return entry.room.dropped

    def _refuse_all(self, share: Share, refusal: Refusal) -> None:
        for entry in share.entries:
            self._refuse(entry, refusal)

    def _refuse(self, entry: Entry, refusal: Refusal) -> None:
        self._settled(entry)
        metrics.refused.labels(refusal.value).inc()
        entry.origin.refused(entry, refusal)

    def _settled(self, entry: Entry) -> None:
        entry.room.unstored -= 1
        self._bytes -= len(entry.update)
        self._entries -= 1
        if not self._entries:
            self._empty.set()


def _is_large(entry: Entry) -> bool:
    return len(entry.update) > LARGE_BYTES
