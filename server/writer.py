"""The writer: group commit of everything that arrived meanwhile, over all libraries, with one library's trouble its own.

One batch is in flight at a time on the small lane; what arrives waits for the next one, so idle latency is one commit and
under load the batch grows by itself. An update past `LARGE_BYTES` goes alone over a second connection (a 7 MB row in the
batch would make everybody wait), and the later updates of its library are held until it is settled, as they are while another
process holds the library's row lock. Per library there is never more than one transaction of this process in flight, and its
updates are stored in the order they came.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Protocol, TypeVar
from uuid import UUID

import structlog

from protocol.closes import Close
from server import metrics
from server.batch import Entry, Fate, OutcomeUnknown, Refusal, Share, committed, settle, share_out, store, store_at_once
from server.lane import RECONNECT_SECONDS, Lane
from server.queues import Queues
from server.rooms import CONTENDED_WRITES, Committed, Room, Rooms
from storage.backends import Backend
from storage.pool import Database, is_connection_failure, is_content_failure
from storage.updates import LogBroken, Sealed

log = structlog.get_logger(__name__)

T = TypeVar("T")

LOCKED_RETRY_SECONDS = 0.002
"""How long libraries whose rows are locked elsewhere are left alone before they are tried again: about one transaction."""


class Following(Protocol):
    """Lets rooms take over what other processes have stored."""

    def take_over(self, room: Room, rows: Sequence[Sealed]) -> None:
        """See `Follower.take_over`."""

    async def catch_up(self, room: Room) -> None:
        """See `Follower.catch_up`."""

    def give_up(self, room: Room, error: Exception) -> None:
        """See `Follower.give_up`."""


class Writer:
    """Stores inspected updates and tells their origins what became of each."""

    def __init__(
        self,
        database: Database,
        rooms: Rooms,
        *,
        follower: Following,
        connected: Callable[[], Awaitable[None]],
        stored: Callable[[Room], None],
        queue_bytes: int,
    ) -> None:
        """`stored` hears of each room that has advanced over updates of this process, after its devices have."""
        self._rooms = rooms
        self._follower = follower
        self._stored = stored
        self._queue_bytes = queue_bytes
        self._small_lane = Lane("small", database, connected)
        self._large_lane = Lane("large", database, connected)
        self._queues = Queues()
        self._waits: set[asyncio.Task[None]] = set()  # libraries that catch up with other processes
        self._bytes = self._entries = 0
        self._untold: deque[tuple[Share, Sequence[Committed], Sequence[Committed]]] = deque()
        self._stopping = False
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def waiting_bytes(self) -> int:
        """Bytes of updates that are not settled yet."""
        return self._bytes

    @property
    def failing(self) -> bool:
        """Whether something was tried and could not be stored: the database is away, full or read-only."""
        return bool(self._small_lane.failing_since or self._large_lane.failing_since)

    def submit(self, entry: Entry) -> None:
        """Take an update. Its origin is told what became of it: at once when it cannot be taken, else after the commit."""
        if entry.room.dropped:
            refusal = Refusal.STALE
        elif self._stopping:
            refusal = Refusal.STOPPING
        elif self._bytes and self._bytes + entry.nbytes > self._queue_bytes:
            refusal = Refusal.FULL
        else:
            self._bytes += entry.nbytes
            self._entries += 1
            entry.room.unstored += 1
            self._empty.clear()
            self._queues.add(entry)
            return
        metrics.refused.labels(refusal.value).inc()
        entry.origin.refused(entry, refusal)

    async def run(self) -> None:
        """Store until cancelled."""
        try:
            async with asyncio.TaskGroup() as lanes:
                lanes.create_task(self._run_small())
                lanes.create_task(self._run_large())
        finally:
            for wait in self._waits:
                wait.cancel()
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
            await self._queues.small_ready.wait()
            batch = self._queues.take_small()
            await self._settle(self._small_lane, batch)
            self._queues.leave_small(batch)

    async def _run_large(self) -> None:
        while True:
            await self._queues.large_ready.wait()
            entry = self._queues.take_large()
            await self._settle(self._large_lane, [entry])
            self._queues.leave_large(entry)

    async def _settle(self, lane: Lane, entries: Sequence[Entry]) -> None:
        """Store a batch, however often the connection breaks. What cannot be settled now is held, and comes again."""
        contended = [entry for entry in entries if entry.room.contended or entry.build]
        rest = [entry for entry in entries if not (entry.room.contended or entry.build)] if contended else entries
        if rest:
            await self._settle_group(lane, rest, under_locks=False)
        if contended:
            await self._settle_group(lane, contended, under_locks=True)
        if self._queues.any_small:
            # The next batch is on its way to the database by the time these are relayed: neither waits for the other.
            asyncio.get_running_loop().call_soon(self.tell)
        else:
            self.tell()

    async def _settle_group(self, lane: Lane, entries: Sequence[Entry], *, under_locks: bool) -> None:
        pending, began = entries, time.time()
        while pending := [entry for entry in pending if not self._refused_as_stale(entry)]:
            try:
                shares, fates, firsts = await self._store(lane, pending, under_locks=under_locks)
            except Exception as error:
                if not is_connection_failure(error):
                    return await self._split(lane, pending, error, under_locks=under_locks)
                log.warning("write_retried", lane=lane.name, error=type(error).__name__, updates=len(pending))
                lane.fails(began)
                lane.abandon()
                await asyncio.sleep(RECONNECT_SECONDS[0])
                continue
            if Fate.UNSTORED not in fates.values():
                lane.works()
            return self._conclude(shares, fates, firsts, under_locks=under_locks)
        lane.works()

    async def _split(self, lane: Lane, entries: Sequence[Entry], error: Exception, *, under_locks: bool) -> None:
        """A batch that the database refused, though it is there: halve it until what is at fault stands alone."""
        if len(entries) == 1:
            log.error("update_unstorable", library=str(entries[0].room.library_id), error=type(error).__name__, exc_info=error)
            self._refuse(entries[0], Refusal.UNSTORABLE if is_content_failure(error) else Refusal.TROUBLE)
            return
        half = len(entries) // 2
        await self._settle_group(lane, entries[:half], under_locks=under_locks)
        rest = []
        for entry in entries[half:]:
            if self._queues.is_waiting(entry.room):
                self._queues.put_back(entry.room, [entry])
            else:
                rest.append(entry)
        await self._settle_group(lane, rest, under_locks=under_locks)

    async def _store(
        self, lane: Lane, entries: Sequence[Entry], *, under_locks: bool
    ) -> tuple[list[Share], dict[UUID, Fate], dict[UUID, int]]:
        """One transaction for what adds something; when its connection breaks, it is asked after until its outcome is known.

        Raises:
            an error for which `is_connection_failure` holds: nothing is stored, try again.
            any other: nothing is stored, and trying the same again is useless.
        """
        shares: list[Share] = []
        fates: dict[UUID, Fate] = {}
        adding: list[Share] = []
        if not under_locks:
            shares = share_out(entries)
            # Whose session may not write is told so for good: only once the room is known to have all that another process has shown it.
            fates = {share.room.library_id: Fate.MOVED if share.forbidden else Fate.STORED for share in shares}
            adding = [share for share in shares if share.adding and not share.forbidden]
            if not adding:
                return shares, fates, {}
        connection = await lane.connection()
        began = perf_counter()
        try:
            if under_locks:
                shares, stored, firsts = await store(connection, entries, self._follower.take_over)
            else:
                stored, firsts = await store_at_once(connection, adding)
        except OutcomeUnknown as unknown:
            log.warning("commit_unknown", lane=lane.name, error=type(unknown.__cause__).__name__)
            metrics.commits.labels("unknown").inc()
            lane.fails(time.time() - (perf_counter() - began))
            broken = lane.abandon()
            return (unknown.shares if under_locks else shares), fates | await self._ask(lane, broken, unknown), unknown.firsts
        metrics.commits.labels("stored").inc()
        metrics.commit_seconds.observe(perf_counter() - began)
        metrics.batch_rows.observe(sum(len(share.adding) for share in shares))
        return shares, fates | stored, firsts

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

    def _conclude(self, shares: Sequence[Share], fates: dict[UUID, Fate], firsts: dict[UUID, int], *, under_locks: bool) -> None:
        """Act on what became of each library's share."""
        again: dict[Room, Sequence[Entry]] = {}
        unstored: dict[Room, Sequence[Entry]] = {}
        locked: dict[Room, Sequence[Entry]] = {}
        behind: dict[Room, Sequence[Entry]] = {}
        heads: dict[Room, int] = {}
        for share in shares:
            room = share.room
            match fates[room.library_id]:
                case Fate.STORED:
                    self._advance(share, firsts.get(room.library_id), under_locks=under_locks)
                case Fate.MOVED:
                    room.contended = CONTENDED_WRITES
                    (behind if under_locks else again)[room] = share.entries
                    heads[room] = share.head
                case Fate.UNSTORED:
                    unstored[room] = share.entries
                case Fate.LOCKED:
                    locked[room] = share.entries
                case Fate.GONE:
                    self._refuse_all(share, Refusal.GONE)
                    self._rooms.drop(room, Close.NOT_FOUND, "the library was deleted")
                case Fate.STALE:
                    log.error("room_ahead_of_database", library=str(room.library_id), head=room.head, epoch=room.epoch)
                    self._refuse_all(share, Refusal.STALE)
                    self._rooms.drop(room, Close.RESTART, "the library was restored: start again")
        self._queues.hold(again | unstored | locked | behind)
        loop = asyncio.get_running_loop()
        if again:
            loop.call_soon(self._release_all, tuple(again))
        if unstored:  # by a connection that was cut, or a database that is full and cuts nothing: not at once
            loop.call_later(RECONNECT_SECONDS[0], self._release_all, tuple(unstored))
        if locked:
            loop.call_later(LOCKED_RETRY_SECONDS, self._release_all, tuple(locked))
        for room in behind:
            wait = loop.create_task(self._follow(room, heads[room]))
            self._waits.add(wait)
            wait.add_done_callback(self._waits.discard)

    def _release_all(self, rooms: Sequence[Room]) -> None:
        for room in rooms:
            self._queues.release(room)

    async def _follow(self, room: Room, head: int) -> None:
        """Only this library waits until its room has taken over what other processes have stored after `head`."""
        try:
            await self._follower.catch_up(room)
            if room.head == head:
                self._follower.give_up(room, LogBroken(room.library_id, head + 1, head))
        except Exception as error:  # the row's lock tells next how things stand
            log.warning("room_not_followed", library=str(room.library_id), error=type(error).__name__)
            await asyncio.sleep(RECONNECT_SECONDS[0])
        finally:
            self._queues.release(room)

    def _advance(self, share: Share, first: int | None, *, under_locks: bool) -> None:
        """The share is committed: the room advances; what is to be told of it is told next."""
        room = share.room
        items = committed(share, first) if first is not None else []
        fresh = [item for item in items if item.seq > room.head]  # the follower may have read them already
        if fresh:
            room.advance(fresh, share.learnt if room.head == share.head else None)
        if under_locks and room.contended:
            room.contended -= 1
        self._untold.append((share, items, fresh))

    def tell(self) -> None:
        """Relay what was committed, then tell each origin; in the order of the commits."""
        deliveries = stored = redundant = 0  # counted once a batch: several processes share their counters through a file, 2 us each time
        while self._untold:
            share, items, relayed = self._untold.popleft()
            deliveries += self._tell_of(share, items, relayed)
            stored += len(items)
            redundant += len(share.redundant)
        if stored:
            metrics.stored.inc(stored)
            metrics.deliveries.inc(deliveries)
        if redundant:
            metrics.redundant.inc(redundant)

    def _tell_of(self, share: Share, items: Sequence[Committed], relayed: Sequence[Committed]) -> int:
        room = share.room
        deliveries = room.relay(relayed) if relayed else 0
        if items:
            self._stored(room)
        for item, entry in zip(items, share.adding, strict=True):
            self._settled(entry)
            self._tell_origin(entry, entry.origin.stored, item.seq)
        for entry in share.redundant:
            self._settled(entry)
            self._tell_origin(entry, entry.origin.redundant, room.head)
        for entry in share.forbidden:
            self._refuse(entry, Refusal.FORBIDDEN)
        for entry in share.outdated:
            self._refuse(entry, Refusal.OUTDATED)
        for entry in share.overgrown:
            log.error("library_overgrown", library=str(room.library_id), knowledge_bytes=room.knowledge.nbytes)
            self._refuse(entry, Refusal.OVERGROWN)
        return deliveries

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
        self._tell_origin(entry, entry.origin.refused, refusal)

    def _tell_origin(self, entry: Entry, tell: Callable[[Entry, T], None], what: T) -> None:
        try:
            tell(entry, what)
        except Exception as error:  # a mistake of ours in one origin must not end the writer
            log.error("origin_failed", library=str(entry.room.library_id), error=type(error).__name__, exc_info=error)

    def _settled(self, entry: Entry) -> None:
        entry.room.unstored -= 1
        self._bytes -= entry.nbytes
        self._entries -= 1
        if not self._entries:
            self._empty.set()
