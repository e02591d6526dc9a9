"""One write transaction: what of a batch adds anything, its place in each library's log, and what became of it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, TypeAlias
from uuid import UUID

import structlog

from crdt.knowledge import Scratch
from crdt.updates import Inspected
from server.rooms import Committed, Room
from storage import updates
from storage.backends import Backend, end
from storage.cipher import update_place
from storage.pool import Connection, is_connection_failure

log = structlog.get_logger(__name__)

SLICED_BYTES = 256 << 10
"""Past this an update is sealed slice by slice in a thread: sealing holds the interpreter (7 MB: 10 ms)."""
KNOWLEDGE_BYTES = 128 << 20
"""What a room may take of memory for what it knows (clients and ranges); past it the library takes nothing new. Room for half a
million clients, or eight million ranges; a library of many years has thousands."""


MISSED_ROWS = 128
"""Rows that a room takes over under its library's row lock, in about a millisecond; further behind, it catches up without it first."""
MISSED_BYTES = 8 << 10
"""A row past this is not taken over under the lock."""

TakeOver: TypeAlias = "Callable[[Room, Sequence[updates.Sealed]], None]"
"""Lets a room advance over rows that follow its head, as far as they go, and relay them."""


ENTRY_BYTES = 450
"""What an update that waits takes of memory besides its own bytes (measured)."""


class Refusal(Enum):
    """Why an update was not stored; `server/errors.py` has the answer to each."""

    GONE = "library_gone"
    FORBIDDEN = "forbidden"
    OVERGROWN = "library_overgrown"
    UNSTORABLE = "unstorable"
    TROUBLE = "database_trouble"
    STALE = "room_stale"
    OUTDATED = "outdated"
    FULL = "writer_full"
    STOPPING = "stopping"


class Origin(Protocol):
    """Whoever sent an update and is told what became of it."""

    def stored(self, entry: "Entry", seq: int) -> None:
        """It is committed as `seq`, and the room has relayed it."""

    def redundant(self, entry: "Entry", head: int) -> None:
        """Everything in it was committed before; `head` is the room's committed head."""

    def refused(self, entry: "Entry", refusal: Refusal) -> None:
        """It is not stored."""


@dataclass(frozen=True, slots=True)
class Basis:
    """What an edit made on the server was built on. It is stored only where that still holds when the library's row is locked."""

    client_id: int
    clock: int | None
    """The first clock that it writes as this client; None where it only deletes."""
    head: int | None = None
    """The library's head, for an edit that was decided on all there was; None: what others have stored since does not matter."""

    def holds(self, scratch: Scratch, head: int) -> bool:
        """Whether a library at this head, of which so much is known, is still what the edit was built on."""
        return self.head in (None, head) and self.clock in (None, scratch.end(self.client_id))


@dataclass(slots=True, eq=False)
class Entry:
    """An inspected update on its way into a library."""

    room: Room
    update: bytes = field(repr=False)
    inspected: Inspected = field(repr=False)
    session_id: UUID | None
    may_write: bool
    origin: Origin
    number: int = 0
    """Its place in the order in which the writer took its updates."""
    basis: Basis | None = None
    """Of an edit made on the server."""
    build: "Callable[[Entry], Awaitable[None]] | None" = field(default=None, repr=False)
    """Makes the update and its basis once the library's row is locked and its room has everything; never raises, and soon returns."""
    nbytes: int = field(init=False)
    """What it takes of memory while it waits."""

    def __post_init__(self) -> None:
        self.nbytes = len(self.update) + ENTRY_BYTES


@dataclass(slots=True)
class Share:
    """One library's share of a batch, decided in order on scratch ranges."""

    room: Room
    entries: list[Entry] = field(default_factory=list)
    adding: list[Entry] = field(default_factory=list)
    redundant: list[Entry] = field(default_factory=list)
    forbidden: list[Entry] = field(default_factory=list)
    overgrown: list[Entry] = field(default_factory=list)
    outdated: list[Entry] = field(default_factory=list)
    learnt: Scratch | None = None  # the room's knowledge at `head`, with what the adding entries bring
    head: int = 0


class Fate(Enum):
    """What became of a library's share."""

    STORED = "stored"
    MOVED = "moved"
    """Not where its room is, or locked: nothing is stored, and only `store` can tell more."""
    UNSTORED = "unstored"
    """Its COMMIT was cut and did not take effect."""
    LOCKED = "locked"
    GONE = "gone"
    STALE = "stale"


class OutcomeUnknown(Exception):
    """The connection broke during a COMMIT. Once its backend is gone, the first row of each library tells what took effect."""

    def __init__(self, rows: Sequence[updates.Row], fates: dict[UUID, Fate], firsts: dict[UUID, int], shares: Sequence["Share"]) -> None:
        super().__init__("the outcome of a COMMIT is unknown")
        self.witnesses = [row for row in rows if row.seq == firsts[row.library_id]]
        self.fates = fates
        self.firsts = firsts
        self.shares = list(shares)


def share_out(entries: Sequence[Entry]) -> list[Share]:
    """The batch by library: what adds something, what does not, and what its session may not write.

    An update that leans on an earlier entry of the batch is redundant only if that one is stored: it shares its fate.
    """
    shares: dict[Room, Share] = {}
    for entry in entries:
        if (share := shares.get(entry.room)) is None:
            share = shares[entry.room] = Share(entry.room)
        share.entries.append(entry)
    for room, share in shares.items():
        scratch = share.learnt = room.knowledge.scratch()
        share.head = room.head
        is_overgrown = room.knowledge.nbytes > KNOWLEDGE_BYTES
        for entry in share.entries:
            if entry.basis is not None and not entry.basis.holds(scratch, share.head + len(share.adding)):
                # before anything else: what another server has written at the same clocks makes this one seem redundant
                share.outdated.append(entry)
            elif not scratch.adds(entry.inspected):
                share.redundant.append(entry)
            elif not entry.may_write:
                share.forbidden.append(entry)
            elif is_overgrown:
                share.overgrown.append(entry)
            else:
                scratch.learn(entry.inspected)
                share.adding.append(entry)
    return list(shares.values())


async def store_at_once(connection: Connection, shares: Sequence[Share]) -> tuple[dict[UUID, Fate], dict[UUID, int]]:
    """Store the adding entries of each share whose library stands where its room does: one statement, one round trip.

    Returns each library's fate, STORED or MOVED, and the seq of its first entry. Of a MOVED one nothing is stored: `store` finds out
    whether it is locked, gone, or was written by another process meanwhile.

    Raises:
        OutcomeUnknown: the connection broke.
        whatever else the database raises: nothing is stored then.
    """
    rows = [row for share in shares for row in await _sealed(share, share.head + 1)]
    firsts = {share.room.library_id: share.head + 1 for share in shares}
    places = {share.room.library_id: updates.Place(share.head, share.room.epoch) for share in shares}
    try:
        stored = await updates.append_at_once(connection, rows, places)
    except BaseException as error:
        if is_connection_failure(error):
            raise OutcomeUnknown(rows, dict.fromkeys(firsts, Fate.STORED), firsts, shares) from error
        raise
    return {library: Fate.STORED if library in stored else Fate.MOVED for library in firsts}, firsts


async def store(
    connection: Connection, entries: Sequence[Entry], take_over: TakeOver
) -> tuple[list[Share], dict[UUID, Fate], dict[UUID, int]]:
    """Store what adds something under the row locks; the batch by library, each one's fate and the seq of its first entry.

    For libraries that other processes write at the same time: their rooms first take over what those have stored, while nobody can
    write, so what is decided then is decided on all there is. A room that is too far behind for that is MOVED.

    Raises:
        OutcomeUnknown: the connection broke during COMMIT.
        whatever else the database raises: nothing is stored then.
    """
    transaction = connection.transaction()
    await transaction.start()
    try:
        fates = await _lock(connection, {entry.room.library_id: entry.room for entry in entries}, take_over)
        await _tell_gone_from_locked(connection, fates)
        for entry in entries:
            if entry.build is not None and fates[entry.room.library_id] is Fate.STORED:
                await entry.build(entry)
        shares = share_out(entries)
        writable = [share for share in shares if fates[share.room.library_id] is Fate.STORED and share.adding]
        firsts = {share.room.library_id: share.head + 1 for share in writable}
        rows = [row for share in writable for row in await _sealed(share, share.head + 1)]
        if rows:
            await updates.append(connection, rows)
    except Exception:  # a cancellation waits for nobody: the lane ends its connection, and so the transaction
        if not connection.is_closed():
            await transaction.rollback()
        raise
    try:
        await transaction.commit()
    except BaseException as error:
        if rows and is_connection_failure(error):
            raise OutcomeUnknown(rows, fates, firsts, shares) from error
        raise
    return shares, fates, firsts


async def _lock(connection: Connection, rooms: dict[UUID, Room], take_over: TakeOver) -> dict[UUID, Fate]:
    heads = {library_id: room.head for library_id, room in rooms.items()}
    places, missed = await updates.lock(connection, heads, rows=MISSED_ROWS, largest=MISSED_BYTES)
    late = {id: heads[id] for id, place in places.items() if _last(missed.get(id), heads[id]) < place.head}
    if late:  # committed between the statement's snapshot and its locks: seen by a statement that begins now
        missed |= await updates.behind(connection, late, rows=MISSED_ROWS, largest=MISSED_BYTES)
    fates = {}
    for library_id, room in rooms.items():
        place = places.get(library_id)
        if place is not None and place.epoch == room.epoch and library_id in missed:
            try:
                take_over(room, missed[library_id])
            except Exception as error:  # the follower meets it again, and drops the room: MOVED
                log.warning("rows_not_taken_over", library=str(library_id), error=type(error).__name__)
        fates[library_id] = _fate(room, place)
    return fates


def _last(rows: Sequence[updates.Sealed] | None, head: int) -> int:
    return rows[-1].seq if rows else head


def _fate(room: Room, place: updates.Place | None) -> Fate:
    if place is None:
        return Fate.LOCKED
    # A database put back to an earlier time: this room claims what the database no longer holds.
    if place.epoch != room.epoch or place.head < room.head:
        return Fate.STALE
    return Fate.STORED if place.head == room.head else Fate.MOVED


async def _tell_gone_from_locked(connection: Connection, fates: dict[UUID, Fate]) -> None:
    missing = [library for library, fate in fates.items() if fate is Fate.LOCKED]
    if missing:
        there = await updates.existing(connection, missing)
        fates.update({library: Fate.GONE for library in missing if library not in there})


async def _sealed(share: Share, first: int) -> list[updates.Row]:
    library_id, key, epoch = share.room.library_id, share.room.key, share.room.epoch
    seqs = range(first, first + len(share.adding))
    places = [update_place(library_id, epoch, seq) for seq in seqs]
    plains = [entry.update for entry in share.adding]
    if max(map(len, plains)) > SLICED_BYTES:
        sealed = [await asyncio.to_thread(key.seal_in_slices, plain, place) for plain, place in zip(plains, places, strict=True)]
    else:
        sealed = key.seal_each(plains, places)
    return [updates.Row(library_id, seq, epoch, entry.session_id, row) for seq, entry, row in zip(seqs, share.adding, sealed, strict=True)]


async def settle(connection: Connection, broken: Backend, unknown: OutcomeUnknown) -> dict[UUID, Fate]:
    """What became of each library, asked once nothing can change it any more: UNSTORED where a cut COMMIT did not take effect."""
    await end(connection, broken)
    stored = await updates.stored_of(connection, unknown.witnesses)
    return {
        library: Fate.UNSTORED if fate is Fate.STORED and library in unknown.firsts and library not in stored else fate
        for library, fate in unknown.fates.items()
    }


def committed(share: Share, first: int) -> list[Committed]:
    """The share's entries as the log now has them."""
    return [Committed(seq, entry.update, entry.inspected) for seq, entry in enumerate(share.adding, first)]
