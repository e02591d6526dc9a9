"""Rooms: what this process knows of the libraries that are open, and who is in them.

A room holds ranges and a short tail of bytes, never a document. It advances only when a transaction has committed, in seq
order, and what it relays is what was stored.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import NamedTuple, Protocol
from uuid import UUID

import structlog

from crdt.knowledge import Knowledge, Scratch
from crdt.presence import Entry, Presence
from crdt.ranges import Ranges
from crdt.updates import Inspected, delete_set_update, encode_state_vector, merge
from protocol.closes import Close
from server.broadcast import Shown, Updates
from storage.cipher import DataKey

log = structlog.get_logger(__name__)

TAIL_BYTES = 64 << 10
"""Recent updates a room keeps, so that a device that was away for a moment is answered without reading anything."""
ITEM_BYTES = 400
"""What a recent update takes of memory besides its own bytes (measured)."""
CONTENDED_WRITES = 8
"""How often a library is written under its row lock once another process was found to write it too; counted anew whenever that has."""
ROOM_BYTES = 2_000
"""What an empty room is counted as in the cache, besides its ranges and its tail."""


class Member(Protocol):
    """A device in a room."""

    user_id: UUID
    session_id: UUID

    def __hash__(self) -> int: ...

    def relay(self, updates: Updates) -> None:
        """Write what was committed."""

    def show(self, shown: Shown) -> None:
        """Write who is here."""

    def close(self, code: Close, reason: str) -> None:
        """End this device's part in the room."""


class Committed(NamedTuple):
    """A stored update. (A tuple: thousands a second are made.)"""

    seq: int
    update: bytes
    inspected: Inspected


def _say_nothing(room: "Room", user_id: UUID, entries: Sequence[Entry], claimed: bool) -> None:  # called by place
    """There is no other process."""


class Neighbourhood(Protocol):
    """Who tells the other processes about the rooms of this one."""

    def occupied(self, room: "Room") -> None:
        """The first device has come."""

    def vacated(self, room: "Room") -> None:
        """The last one has gone, or the room is dropped."""

    def overtaken(self, room: "Room") -> None:
        """Somebody else has written the library, and it was the database that told."""


class Room:
    """One open library."""

    def __init__(
        self,
        library_id: UUID,
        key: DataKey,
        epoch: int,
        head: int,
        knowledge: Knowledge,
        *,
        snapshot_seq: int = 0,
        snapshot_bytes: int = 0,
        quarantined: Knowledge | None = None,
        server_client_id: int = 0,
    ) -> None:
        self.library_id = library_id
        self.key = key
        self.epoch = epoch
        self.server_client_id = server_client_id
        """The Yjs client that edits made on the server write as."""
        self.head = head
        self.relayed = head
        """The seq up to which everything has been written to the members."""
        self.knowledge = knowledge
        self.members: dict[Member, None] = {}
        self.presence = Presence()
        self.dropped = False
        self.unstored = 0  # entries of this library that the writer has not settled yet
        self.say: Callable[[Room, UUID, Sequence[Entry], bool], None] = _say_nothing
        """Tells the other processes who is present here: the room, the user, the entries, and whether their id was just claimed."""
        self.shared_until = 0.0
        """Until then (by the clock of `Presence`) others are told what is stored here: they have the library open too, or may have."""
        self.contended = 0  # so many more writes of this library go under its row lock: other processes write it too
        self._tail: deque[Committed] = deque()
        self._tail_bytes = 0
        self._deletions: tuple[int, bytes] | None = None
        self._vector: tuple[int, bytes] | None = None
        self.snapshot_seq = snapshot_seq
        self.snapshot_bytes = snapshot_bytes
        self.tail_updates = head - snapshot_seq
        """Updates after the snapshot, and their bytes: what compaction goes by."""
        self.tail_bytes = 0
        self.quarantined = quarantined or Knowledge()
        """What the updates hold that break Yrs: it is not asked for again, and makes no other update redundant."""

    def advance(self, committed: Sequence[Committed], learnt: Scratch | None = None) -> None:
        """Know what was committed, in seq order from `head` + 1 on. It is to be given to `relay` next, in the same order.

        `learnt` is a scratch of this room's knowledge that has learnt exactly these updates, to be taken over as it is.
        """
        if [item.seq for item in committed] != list(range(self.head + 1, self.head + 1 + len(committed))):
            raise ValueError(f"seqs {[item.seq for item in committed]} after head {self.head}")
        self.head += len(committed)
        self.tail_updates += len(committed)
        for item in committed:
            self._remember(item)
        if learnt is not None:
            learnt.commit()
        else:
            for item in committed:
                self.knowledge.learn(item.inspected)

    def relay(self, committed: Sequence[Committed]) -> int:
        """Write what was committed to every member, its sender included; how many deliveries that makes."""
        self.relayed = committed[-1].seq
        updates = Updates(committed)
        for member in tuple(self.members):
            try:
                member.relay(updates)
            except Exception as error:  # a mistake of ours in one must not keep the others from hearing, or the writer from storing
                log.error("member_failed", library=str(self.library_id), error=type(error).__name__, exc_info=error)
                with suppress(Exception):
                    member.close(Close.TRY_LATER, "something went wrong here")
        return len(committed) * len(self.members)

    def _remember(self, item: Committed) -> None:
        self.tail_bytes += len(item.update)
        self._tail.append(item)
        self._tail_bytes += len(item.update) + ITEM_BYTES
        while self._tail_bytes > TAIL_BYTES:
            self._tail_bytes -= len(self._tail.popleft().update) + ITEM_BYTES

    def state_vector(self) -> bytes:
        """What to ask a device with: the contiguous prefix, so that whatever lies in a gap is asked for. Made once per head."""
        if self._vector is None or self._vector[0] != self.head:
            knowledge = self.knowledge
            if self.quarantined:
                knowledge = knowledge.copy()
                knowledge.union(self.quarantined)
            self._vector = (self.head, encode_state_vector(knowledge.state_vector()))
        return self._vector[1]

    def compacted(self, seq: int, nbytes: int) -> None:
        """A snapshot of so many bytes now holds everything up to `seq`."""
        if seq > self.snapshot_seq:
            self.tail_bytes = self.tail_bytes * (self.head - seq) // max(1, self.tail_updates)  # about; what came meanwhile is little
            self.tail_updates = self.head - seq
            self.snapshot_seq, self.snapshot_bytes = seq, nbytes

    def deletions(self) -> bytes:
        """An update of no structs and everything deleted here, made once per head."""
        if self._deletions is None or self._deletions[0] != self.head:
            self._deletions = (self.head, delete_set_update(self.knowledge.deleted))
        return self._deletions[1]

    def recent(self, lacking: Ranges) -> bytes | None:
        """The recent updates merged with every deletion, if they hold all that a device lacks; else None."""
        if not lacking:
            return self.deletions()
        needed: list[bytes] = []
        left = lacking
        for item in reversed(self._tail):
            remaining = left.minus(_ranges(item.inspected.held))
            if remaining != left:
                needed.append(item.update)
                left = remaining
            if not left:
                return merge([*reversed(needed), self.deletions()])
        return None

    def tail_after(self, seq: int) -> list[bytes] | None:
        """The updates after `seq`, none of them missing, if so many are kept; else None."""
        if seq < self.head - len(self._tail):
            return None
        return [item.update for item in islice(self._tail, len(self._tail) - (self.head - seq), None)]

    def hear(self, member: Member, entries: Sequence[Entry], now: float) -> None:
        """Take presence from a member and relay what it may say to everyone who was told who is here, itself included."""
        received = self.presence.receive(member, member.user_id, entries, now)
        if received.claimed:
            self.greet(member)
        self._relay_presence(received.relay)
        if received.claimed or received.relay:
            # what was taken away is in the relay alone; a claim may come at the clock that is known already, and tells of the move
            self.say(self, member.user_id, self.presence.spoken(member) or received.relay, received.claimed)

    def overhear(self, user_id: UUID, entries: Sequence[Entry], now: float, *, claimed: bool) -> None:
        """Take presence from another process and relay it."""
        self._relay_presence(self.presence.overhear(user_id, entries, now, claimed=claimed))

    def greet(self, member: Member) -> None:
        """Tell a member who is here; from now on it hears of changes."""
        if entries := self.presence.greeting(member, member.user_id):
            member.show(Shown(entries))

    def expire_presence(self, now: float) -> None:
        """Take away the presence that nobody has renewed."""
        self._relay_presence(self.presence.expire(now))

    def forget(self, member: Member) -> None:
        """A member is gone, and its presence with it."""
        self.members.pop(member, None)
        gone = self.presence.leave(member)
        self._relay_presence(gone)
        if gone:
            self.say(self, member.user_id, gone, False)

    def announce(self, owner: Hashable, user_id: UUID, entry: Entry, now: float) -> Sequence[Entry]:
        """Say what no member says, and tell the members; what the other processes are to be told. The first entry claims its client id."""
        said = self.presence.receive(owner, user_id, [entry], now).relay
        self._relay_presence(said)
        return said

    def retract(self, owner: Hashable) -> Sequence[Entry]:
        """Take back what was announced; what the other processes are to be told."""
        gone = self.presence.leave(owner)
        self._relay_presence(gone)
        return gone

    def _relay_presence(self, entries: Sequence[Entry]) -> None:
        if entries:
            shown = Shown(entries)
            for member in tuple(self.members):
                if self.presence.greeted(member):
                    member.show(shown)

    @property
    def nbytes(self) -> int:
        """About what this room takes of memory, in bytes."""
        return ROOM_BYTES + self.knowledge.nbytes + self._tail_bytes

    def close_members(self, code: Close, reason: str) -> None:
        """Close every member's connection."""
        for member in tuple(self.members):
            member.close(code, reason)


def _ranges(triples: Sequence[int]) -> Ranges:
    ranges = Ranges()
    for place in range(0, len(triples), 3):
        ranges.add(triples[place], triples[place + 1], triples[place + 2])
    return ranges


class Loader(Protocol):
    """Reads a library's room from the database."""

    async def __call__(self, library_id: UUID) -> Room: ...


class Rooms:
    """The rooms of this process: opened once however many ask, and kept within a bound while nobody is in them."""

    def __init__(self, load: Loader, cache_bytes: int) -> None:
        self.neighbourhood: Neighbourhood | None = None
        self._load = load
        self._cache_bytes = cache_bytes
        self._rooms: dict[UUID, Room] = {}
        self._loading: dict[UUID, asyncio.Task[Room]] = {}
        self._idle: OrderedDict[Room, int] = OrderedDict()  # least recently left first, with the bytes each was counted as
        self._idle_bytes = 0

    def __iter__(self) -> Iterator[Room]:
        return iter(tuple(self._rooms.values()))

    def __len__(self) -> int:
        return len(self._rooms)

    def get(self, library_id: UUID) -> Room | None:
        """The room, if it is open here."""
        return self._rooms.get(library_id)

    async def open(self, library_id: UUID) -> Room:
        """The library's room, loaded if need be; single-flight. Join it before the next await, or it may be dropped meanwhile.

        Raises:
            whatever loading raises, to everyone who waited for it; nothing is kept then.
        """
        while True:
            if (room := self._rooms.get(library_id)) is not None:
                return room
            task = self._loading.get(library_id)
            if task is None:
                task = asyncio.create_task(self._load_into(library_id))
                self._loading[library_id] = task
            await asyncio.shield(task)

    async def _load_into(self, library_id: UUID) -> Room:
        try:
            room = await self._load(library_id)
            self._rooms[library_id] = room
            self._rest(room)
            return room
        finally:
            del self._loading[library_id]

    def join(self, room: Room, member: Member) -> None:
        """Let a device take part: from here on it gets whatever is committed."""
        self._wake(room)
        room.members[member] = None
        if len(room.members) == 1 and self.neighbourhood is not None:
            self.neighbourhood.occupied(room)

    def leave(self, room: Room, member: Member) -> None:
        """A device is gone. The room stays cached while there is space."""
        room.forget(member)
        if not room.members and not room.dropped:
            self._vacate(room)
            self._rest(room)

    def _vacate(self, room: Room) -> None:
        if self.neighbourhood is not None:
            self.neighbourhood.vacated(room)

    def used(self, room: Room) -> None:
        """A room has grown; one without members counts anew, as the last to be forgotten."""
        if not room.members and not room.dropped:
            self._rest(room)

    def drop(self, room: Room, code: Close, reason: str) -> None:
        """Forget a room that can no longer be believed, closing whoever is in it."""
        self._forget(room)
        room.close_members(code, reason)

    def _forget(self, room: Room) -> None:
        if room.members and not room.dropped:
            self._vacate(room)
        room.dropped = True
        self._wake(room)
        if self._rooms.get(room.library_id) is room:
            del self._rooms[room.library_id]

    def _wake(self, room: Room) -> None:
        self._idle_bytes -= self._idle.pop(room, 0)

    def _rest(self, room: Room) -> None:
        """Count a room without members against the cache, and forget the longest idle ones past the bound."""
        self._wake(room)
        self._idle[room] = room.nbytes
        self._idle_bytes += self._idle[room]
        for oldest in tuple(self._idle)[:16] if self._idle_bytes > self._cache_bytes else ():
            if self._idle_bytes <= self._cache_bytes:
                return
            if oldest is not room and not oldest.unstored:
                self._forget(oldest)
