"""One write transaction: what of a batch adds anything, its place in each library's log, and what became of it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol
from uuid import UUID

from crdt.knowledge import Scratch
from crdt.updates import Inspected
from server.rooms import Committed, Room
from storage import updates
from storage.backends import Backend, end
from storage.cipher import update_place
from storage.pool import Connection, is_connection_failure

SLICED_BYTES = 256 << 10
"""Past this an update is sealed slice by slice in a thread: sealing holds the interpreter (7 MB: 10 ms)."""
KNOWLEDGE_BYTES = 128 << 20
"""What a room may take of memory for what it knows (clients and ranges); past it the library takes nothing new. Room for half a
million clients, or eight million ranges; a library of many years has thousands."""


class Refusal(Enum):
    """Why an update was not stored; `server/errors.py` has the answer to each."""

    GONE = "library_gone"
    FORBIDDEN = "forbidden"
    OVERGROWN = "library_overgrown"
    UNSTORABLE = "unstorable"
    TROUBLE = "database_trouble"
    STALE = "room_stale"
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


@dataclass(slots=True)
class Share:
    """One library's share of a batch, decided in order on scratch ranges."""

    room: Room
    entries: list[Entry] = field(default_factory=list)
    adding: list[Entry] = field(default_factory=list)
    redundant: list[Entry] = field(default_factory=list)
    forbidden: list[Entry] = field(default_factory=list)
    overgrown: list[Entry] = field(default_factory=list)
    learnt: Scratch | None = None  # the room's knowledge at `head`, with what the adding entries bring
    head: int = 0


class Fate(Enum):
    """What became of a library's share."""

    STORED = "stored"
    MOVED = "moved"
    """Not where its room is, or locked: nothing is stored, and only `store` can tell more."""
    LOCKED = "locked"
    GONE = "gone"
    STALE = "stale"


class OutcomeUnknown(Exception):
    """The connection broke during a COMMIT. Once its backend is gone, the first row of each library tells what took effect."""

    def __init__(self, rows: Sequence[updates.Row], fates: dict[UUID, Fate], firsts: dict[UUID, int]) -> None:
        super().__init__("the outcome of a COMMIT is unknown")
        self.witnesses = [row for row in rows if row.seq == firsts[row.library_id]]
        self.fates = fates
        self.firsts = firsts


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
            if not scratch.adds(entry.inspected):
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
            raise OutcomeUnknown(rows, dict.fromkeys(firsts, Fate.STORED), firsts) from error
        raise
    return {library: Fate.STORED if library in stored else Fate.MOVED for library in firsts}, firsts


async def store(connection: Connection, shares: Sequence[Share]) -> tuple[dict[UUID, Fate], dict[UUID, int]]:
    """Store the adding entries of each share under the row locks; each library's fate and the seq of its first entry.

    Raises:
        OutcomeUnknown: the connection broke during COMMIT.
        whatever else the database raises: nothing is stored then.
    """
    transaction = connection.transaction()
    await transaction.start()
    try:
        locked = await updates.lock(connection, [share.room.library_id for share in shares])
        fates = {share.room.library_id: _fate(share.room, locked) for share in shares}
        await _tell_gone_from_locked(connection, fates)
        writable = [share for share in shares if fates[share.room.library_id] is Fate.STORED]
        firsts = {share.room.library_id: locked[share.room.library_id].head + 1 for share in writable}
        rows = [row for share in writable for row in await _sealed(share, firsts[share.room.library_id])]
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
            raise OutcomeUnknown(rows, fates, firsts) from error
        raise
    return fates, firsts


def _fate(room: Room, locked: dict[UUID, updates.Place]) -> Fate:
    place = locked.get(room.library_id)
    if place is None:
        return Fate.LOCKED
    # A database put back to an earlier time: this room claims what the database no longer holds.
    if place.epoch != room.epoch or place.head < room.head:
        return Fate.STALE
    return Fate.STORED


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
    """What became of each library, asked once nothing can change it any more: MOVED where a cut COMMIT did not take effect."""
    await end(connection, broken)
    stored = await updates.stored_of(connection, unknown.witnesses)
    return {library: Fate.MOVED if fate is Fate.STORED and library not in stored else fate for library, fate in unknown.fates.items()}


def committed(share: Share, first: int) -> list[Committed]:
    """The share's entries as the log now has them."""
    return [Committed(seq, entry.update, entry.inspected) for seq, entry in enumerate(share.adding, first)]
