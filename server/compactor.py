"""Compaction: what lies after a library's snapshot is folded into a new one, in the background.

One library at a time in this process, and one process at a time for a library. Nobody waits for it: the log is read in one moment, folded
in a process apart, and written beside what is there. The new snapshot is used only when it has been read back, opened and found equal;
until then, whatever ends the work leaves the library as it was. Folded updates stay in the log until retention trims them.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

import structlog

from crdt.fold import FoldBroken
from server import metrics
from server.batch import SLICED_BYTES
from server.errors import WorkerDied
from server.rooms import Room
from server.shelf import BREATH_ROWS, opened
from server.suspects import culprits
from server.workers import Folded, Workers
from storage import compaction, quarantine, snapshots
from storage.cipher import DataKey, knowledge_place, library_key_place, snapshot_place
from storage.compaction import Portion, Standing
from storage.errors import NotFound, SealBroken, StorageError, Unavailable
from storage.keyring import Keyring
from storage.pool import Database, Dedicated, is_connection_failure
from storage.updates import Sealed, SealedSnapshot

log = structlog.get_logger(__name__)

FOLD_ROWS = 20_000
"""Updates folded into one snapshot at most; a longer tail goes in several steps, so that memory does not grow with it."""
FOLD_BYTES = 2 << 20
"""Their bytes at most, for the same reason, or the snapshot's if it has more: it is in memory anyway, and each step writes it anew. A
single update may exceed it."""
MOST_BYTES = 256 << 20
"""A library whose snapshot is past this is not compacted any more: folding takes several times as much, here and in the worker."""
MOST_ROUNDS = 4
"""How often what breaks Yrs is looked for in one compaction; the rest is left to the next."""
COMMAND_SECONDS = 120.0
"""A statement that takes longer counts as a broken connection: a snapshot of 256 MiB has some way to go."""
REST_SECONDS, REST_FACTOR = 1.0, 10
"""A library rests for so many times as long as its compaction took, and a second at least: under constant writing one library takes a
tenth of one processor, however large it is."""
PAUSE_FACTOR, PAUSE_SECONDS = 9, 60.0
"""After a compaction all libraries wait for so many times as long as it took, and at most so long: compaction takes a tenth of one
processor at most, however many are written at once. Their tails grow meanwhile, and a longer tail costs less for each update."""
BUSY_SECONDS, RETRY_SECONDS = 5.0, 30.0
"""When to look again at a library that another process compacts; when to try again after the database did not answer."""
FAILED_SECONDS = 600.0
"""When to try a library again that could not be compacted for its content."""
IDLE_SECONDS = 60.0
"""After so long without work the worker process and the connection are given up."""


class Kind(StrEnum):
    """What became of a compaction."""

    COMPACTED = "compacted"
    NOTHING = "nothing"
    """There was nothing to fold, or too little."""
    BUSY = "busy"
    """Another process is at it."""
    MOVED = "moved"
    """It was deleted or put into another epoch meanwhile."""
    TOO_LARGE = "too_large"
    BROKEN = "broken"
    """Yrs breaks on it, and no single update is to blame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a compaction did: how many updates it folded, which seqs it put into quarantine, and where the snapshot is now."""

    kind: Kind
    updates: int = 0
    quarantined: tuple[int, ...] = ()
    snapshot_seq: int = 0
    snapshot_bytes: int = 0


class _Moved(Exception):
    """The library is not what was read any more."""


class _Unfoldable(Exception):
    """Yrs breaks on the library, and no update is to blame."""


class SnapshotDamaged(StorageError):
    """A snapshot that was just written does not read back as it was."""


class Compactor:
    """Compacts libraries. `workers` should be its own, so that no opening waits behind a fold; they are ended with `run`."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        workers: Workers,
        *,
        compact_updates: int,
        compact_bytes: int,
        on_compacted: Callable[[UUID, int, int], None] = lambda library_id, seq, nbytes: None,
        on_quarantined: Callable[[UUID], None] = lambda library_id: None,
    ) -> None:
        """`on_compacted` is told of the newest snapshot's seq and bytes; `on_quarantined` of a library that has to be opened anew."""
        self._database = database
        self._keyring = keyring
        self._workers = workers
        self._compact_updates = compact_updates
        self._compact_bytes = compact_bytes
        self._on_compacted = on_compacted
        self._on_quarantined = on_quarantined
        self._connection: Dedicated | None = None
        self._one = asyncio.Lock()
        self._queue: dict[UUID, None] = {}
        self._broken: set[UUID] = set()
        self._resting: dict[UUID, bool] = {}  # and whether it was wanted meanwhile
        self._current: UUID | None = None
        self._wanted_meanwhile = False
        self._ready = asyncio.Event()
        self._urgent = asyncio.Event()

    def wanted(self, room: Room) -> None:
        """The room has advanced: its library is compacted some time if enough lies after its snapshot. Never blocks."""
        if self._is_due(room.tail_updates, room.tail_bytes, room.snapshot_bytes):
            self._want(room.library_id)

    def broken(self, library_id: UUID) -> None:
        """The library's updates cannot be merged: whatever there is of them, look at once for the one that is to blame. Never blocks."""
        self._broken.add(library_id)
        self._want(library_id)

    def _is_due(self, updates: int, nbytes: int, snapshot_bytes: int) -> bool:
        return updates >= self._compact_updates or nbytes >= max(self._compact_bytes, snapshot_bytes // 3)

    def _want(self, library_id: UUID) -> None:
        if library_id == self._current:
            self._wanted_meanwhile = True
        elif library_id in self._resting:
            self._resting[library_id] = True
        else:
            self._queue[library_id] = None
            self._ready.set()
            if library_id in self._broken:
                self._urgent.set()

    async def run(self) -> None:
        """Compact what is wanted, one library after the other with a pause in between, until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._work_to_come()
                library_id, began = self._take(), loop.time()
                seconds, again = await self._attempt(library_id)
                self._current = None
                self._resting[library_id] = again or self._wanted_meanwhile
                loop.call_later(seconds, self._rested, library_id)
                await self._pause(min(PAUSE_FACTOR * (loop.time() - began), PAUSE_SECONDS))
        finally:
            self.close()

    def _take(self) -> UUID:
        """The next library: one that cannot be opened before those that are only due."""
        library_id = next((each for each in self._queue if each in self._broken), None) or next(iter(self._queue))
        del self._queue[library_id]
        self._current, self._wanted_meanwhile = library_id, False
        return library_id

    async def _pause(self, seconds: float) -> None:
        """Wait so long, or until a library is found that cannot be opened."""
        self._urgent.clear()
        if self._broken.isdisjoint(self._queue):
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):  # Python 3.11's `wait_for` may lose a cancellation
                    await self._urgent.wait()

    def close(self) -> None:
        """Give up the connection, and with it the library that is being compacted, and the worker process."""
        self._disconnect()
        self._workers.close()

    async def _work_to_come(self) -> None:
        while not self._queue:
            self._ready.clear()
            try:
                async with asyncio.timeout(IDLE_SECONDS if self._connection is not None else None):
                    await self._ready.wait()
            except TimeoutError:
                self.close()

    def _rested(self, library_id: UUID) -> None:
        if self._resting.pop(library_id):
            self._want(library_id)

    async def _attempt(self, library_id: UUID) -> tuple[float, bool]:
        """Compact a library; how long it is left alone then, and whether it is looked at again in any case."""
        began = asyncio.get_running_loop().time()
        try:
            outcome = await self.compact(library_id, if_due=library_id not in self._broken)
        except StorageError as error:
            log.warning("compaction_postponed", library=str(library_id), error=type(error).__name__)
            return RETRY_SECONDS, True
        except Exception as error:
            log.error("compaction_failed", library=str(library_id), error=type(error).__name__, exc_info=error)
            return FAILED_SECONDS, True
        if outcome.kind is Kind.BUSY:
            return BUSY_SECONDS, True
        self._broken.discard(library_id)
        if outcome.kind in (Kind.TOO_LARGE, Kind.BROKEN):
            log.error("library_not_compacted", library=str(library_id), reason=outcome.kind.value, snapshot_bytes=outcome.snapshot_bytes)
            return FAILED_SECONDS, True
        return max(REST_SECONDS, REST_FACTOR * (asyncio.get_running_loop().time() - began)), False

    async def compact(
        self,
        library_id: UUID,
        *,
        if_due: bool = False,
        up_to: int | None = None,
        folded: Callable[[int, int], None] = lambda updates, nbytes: None,
    ) -> Outcome:
        """Fold all that lies after the library's snapshot, or no more than `up_to` a seq; with `if_due` only if that is enough for it.

        `folded` is told after each step how many updates it took, and their bytes as stored.

        Raises:
            Unavailable, LogBroken, SealBroken, WrongKeys, SnapshotDamaged: nothing is lost by it.
        """
        async with self._one:
            try:
                connection = await self._connected()
                with metrics.compaction_seconds.time():
                    outcome = await self._under_lock(connection, library_id, if_due, up_to, folded)
            except BaseException as error:
                self._disconnect()  # and so let go of the lock, whatever the connection was at
                if isinstance(error, Exception):
                    metrics.compactions.labels("failed").inc()
                if is_connection_failure(error):
                    raise Unavailable(type(error).__name__) from error
                raise
        metrics.compactions.labels(outcome.kind.value).inc()
        if outcome.snapshot_seq:
            self._on_compacted(library_id, outcome.snapshot_seq, outcome.snapshot_bytes)
        return outcome

    async def _connected(self) -> Dedicated:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._database.connect(
                "compactor", command_seconds=COMMAND_SECONDS, idle_in_transaction_session_timeout="10s", lock_timeout="10s"
            )
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _under_lock(
        self, connection: Dedicated, library_id: UUID, if_due: bool, up_to: int | None, folded: Callable[[int, int], None]
    ) -> Outcome:
        # Everything goes over the connection that holds the lock: with it the lock is lost, and the right to write.
        if not await compaction.try_lock(connection, library_id):
            return Outcome(kind=Kind.BUSY)
        try:
            standing = await compaction.standing(connection, library_id)
        except NotFound:
            outcome = Outcome(kind=Kind.MOVED)
        else:
            outcome = await self._compact(connection, library_id, standing, if_due, up_to, folded)
        await compaction.unlock(connection, library_id)
        return outcome

    async def _compact(
        self,
        connection: Dedicated,
        library_id: UUID,
        standing: Standing,
        if_due: bool,
        up_to: int | None,
        folded: Callable[[int, int], None],
    ) -> Outcome:
        updates, apart = 0, dict[int, str]()
        seq, nbytes = standing.snapshot_seq, standing.snapshot_bytes

        def outcome(kind: Kind) -> Outcome:
            return Outcome(kind=kind, updates=updates, quarantined=tuple(sorted(apart)), snapshot_seq=seq, snapshot_bytes=nbytes)

        if not standing.updates or (if_due and not self._is_due(standing.updates, standing.bytes, nbytes)):
            return outcome(Kind.NOTHING)
        rounds = 0
        end = standing.head if up_to is None else min(up_to, standing.head)
        try:
            while seq < end:  # what comes meanwhile is for the next time, or this one would not end
                if nbytes > MOST_BYTES:
                    return outcome(Kind.TOO_LARGE)
                part = await compaction.portion(connection, library_id, rows=min(FOLD_ROWS, end - seq), nbytes=max(FOLD_BYTES, nbytes))
                key = self._keyring.unwrap(part.key_id, part.wrapped_key, library_key_place(library_id))
                made, found = await self._fold(library_id, key, part)
                if made is not None:
                    await self._write(connection, library_id, key, part, made)
                    updates, seq, nbytes = updates + len(part.tail), part.tail[-1].seq, len(made.content)
                    folded(len(part.tail), sum(len(row.sealed) for row in part.tail))
                elif (rounds := rounds + 1) > MOST_ROUNDS:
                    return outcome(Kind.BROKEN)
                else:
                    await self._quarantine(connection, library_id, part, found)
                    apart |= found
        except _Unfoldable:
            return outcome(Kind.BROKEN)
        except (_Moved, NotFound):
            return outcome(Kind.MOVED)
        return outcome(Kind.COMPACTED)

    async def _fold(self, library_id: UUID, key: DataKey, part: Portion) -> tuple[Folded | None, dict[int, str]]:
        """The fold; or None, and the seqs of what breaks it with what each does."""
        snapshot = None
        if part.snapshot is not None and part.snapshot.content is not None:
            place = snapshot_place(library_id, part.snapshot.epoch, part.snapshot.seq)
            snapshot = await asyncio.to_thread(key.open_in_slices, part.snapshot.content, place)
        rows: list[Sealed] = [row for row in part.tail if row.seq not in part.quarantined]
        updates = []
        for count, row in enumerate(rows, 1):
            updates.append(await opened(key, row, library_id))
            if count % BREATH_ROWS == 0:
                await asyncio.sleep(0)
        try:
            return await self._workers.fold(snapshot, updates), {}
        except (FoldBroken, WorkerDied) as error:
            log.warning("fold_broken", library=str(library_id), updates=len(updates), error=type(error).__name__)
        found = await culprits(self._workers, snapshot, updates)
        if found:
            return None, {rows[index].seq: reason for index, reason in found.items()}
        try:
            return await self._workers.fold(snapshot, updates), {}  # a worker that was killed by chance, say
        except (FoldBroken, WorkerDied) as error:
            raise _Unfoldable from error

    async def _quarantine(self, connection: Dedicated, library_id: UUID, part: Portion, reasons: dict[int, str]) -> None:
        transaction = connection.transaction()
        await transaction.start()
        if not await quarantine.record(connection, library_id, part.epoch, reasons):
            await transaction.rollback()
            raise _Moved
        await transaction.commit()
        for seq, reason in reasons.items():
            log.error("update_quarantined", library=str(library_id), seq=seq, reason=reason)
        metrics.quarantined.inc(len(reasons))
        self._on_quarantined(library_id)

    async def _write(self, connection: Dedicated, library_id: UUID, key: DataKey, part: Portion, made: Folded) -> None:
        """Write the snapshot, read it back, compare, and only then let it be used."""
        seq, epoch = part.tail[-1].seq, part.epoch
        places = knowledge_place(library_id, epoch, seq), snapshot_place(library_id, epoch, seq)
        sealed = SealedSnapshot(
            seq, epoch, await _sealed(key, made.knowledge, places[0]), await _sealed(key, made.content, places[1]), len(made.content)
        )
        transaction = connection.transaction()
        await transaction.start()
        if not await snapshots.insert(connection, library_id, sealed):
            await transaction.rollback()
            raise _Moved
        await transaction.commit()
        del sealed
        written = await snapshots.written(connection, library_id, seq, epoch)
        if written is None:
            raise _Moved
        if not await asyncio.to_thread(_is_equal, key, written, places, made):
            raise SnapshotDamaged(f"the snapshot of library {library_id} at {seq} does not read back as it was written")
        if not await snapshots.verify(connection, library_id, seq, epoch):
            raise _Moved
        await snapshots.supersede(connection, library_id, seq)
        await compaction.touch(connection, library_id, seq)


async def _sealed(key: DataKey, plain: bytes, place: bytes) -> bytes:
    if len(plain) > SLICED_BYTES:
        return await asyncio.to_thread(key.seal_in_slices, plain, place)
    return key.seal(plain, place)


def _is_equal(key: DataKey, written: SealedSnapshot, places: tuple[bytes, bytes], made: Folded) -> bool:
    assert written.content is not None  # noqa: S101  # it was asked for; tells the type checker
    try:
        knowledge, content = key.open_in_slices(written.knowledge, places[0]), key.open_in_slices(written.content, places[1])
    except SealBroken:
        return False
    return knowledge == made.knowledge and content == made.content
