"""What waits to be stored: small updates together, large ones one by one, and each library's in the order they came."""

import asyncio
import itertools
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence

from server.batch import Entry
from server.rooms import Room

BATCH_ROWS = 2_000
"""Updates in one transaction at most: keeps the time a batch holds its row locks in the tens of milliseconds."""
BATCH_BYTES = 4 << 20
"""Bytes in one transaction at most, for the same reason; a single update may exceed it."""
LARGE_BYTES = 256 << 10
"""An update past this goes alone over the second connection, and so does one that is made under its library's row lock."""


class Queues:
    """The entries that no transaction has taken yet.

    A library is *held* while its later updates must wait: for a large one, or for whoever has called `hold` and will call `release`.
    """

    def __init__(self) -> None:
        self.small_ready = asyncio.Event()
        self.large_ready = asyncio.Event()
        self._small: deque[Entry] = deque()
        self._large: deque[Room] = deque()
        self._held: dict[Room, deque[Entry]] = {}
        self._waiting: set[Room] = set()  # those of the held ones that `release` frees, not the large lane
        self._numbers = itertools.count()
        self._counted: Counter[Room] = Counter()  # entries on the small lane, queued or in flight

    @property
    def any_small(self) -> bool:
        """Whether a next batch waits."""
        return bool(self._small)

    def add(self, entry: Entry) -> None:
        """Take an entry, behind those of its library that came before."""
        entry.number = next(self._numbers)
        self._route(entry)

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
            self.small_ready.set()

    def _start_large(self, room: Room) -> None:
        self._large.append(room)
        self.large_ready.set()

    def take_small(self) -> list[Entry]:
        """The next batch for the small lane; `leave_small` is owed for it."""
        batch: list[Entry] = []
        size = 0
        while self._small and len(batch) < BATCH_ROWS and size < BATCH_BYTES:
            entry = self._small.popleft()
            batch.append(entry)
            size += len(entry.update)
        if not self._small:
            self.small_ready.clear()
        return batch

    def leave_small(self, batch: Iterable[Entry]) -> None:
        """A batch is off the small lane; a large one that waited for the last of its library may go."""
        for room, count in Counter(entry.room for entry in batch).items():
            self._counted[room] -= count
            if self._counted[room]:
                continue
            del self._counted[room]
            if room not in self._waiting and (held := self._held.get(room)) and _is_large(held[0]):
                self._start_large(room)

    def take_large(self) -> Entry:
        """The next large update; its library stays held until `leave_large`."""
        room = self._large.popleft()
        if not self._large:
            self.large_ready.clear()
        return self._held[room].popleft()

    def leave_large(self, entry: Entry) -> None:
        """A large update is off its lane: what waited for it goes on, unless it is held for something else by now."""
        if entry.room not in self._waiting:
            self.release(entry.room)

    def is_waiting(self, room: Room) -> bool:
        """Whether `hold` was called for the library and `release` not yet."""
        return room in self._waiting

    def hold(self, back: Mapping[Room, Sequence[Entry]]) -> None:
        """Let these libraries wait, with the given entries put back in their places, until `release` is called for each."""
        if not back:
            return
        held = {room: list(entries) for room, entries in back.items()}
        rest: deque[Entry] = deque()
        for entry in self._small:  # it came meanwhile and would be stored first
            if entry.room in held:
                held[entry.room].append(entry)
                self._counted[entry.room] -= 1  # not to zero: those in flight are counted until they leave
            else:
                rest.append(entry)
        self._small = rest
        for room, entries in held.items():
            self._waiting.add(room)
            self.put_back(room, entries)

    def put_back(self, room: Room, entries: Sequence[Entry]) -> None:
        """Put entries of a held library in their places."""
        self._held[room] = deque(sorted([*entries, *self._held.get(room, ())], key=lambda entry: entry.number))

    def release(self, room: Room) -> None:
        """Let a held library's entries go on, in order."""
        self._waiting.discard(room)
        for entry in self._held.pop(room, ()):
            self._route(entry)


def _is_large(entry: Entry) -> bool:
    return len(entry.update) > LARGE_BYTES or entry.build is not None
