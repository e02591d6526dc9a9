"""The updates of one library that the server has not acknowledged yet."""

import heapq
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Entry(NamedTuple):
    """An update under its local number; numbers rise in the order in which updates are made."""

    number: int
    update: bytes


class Outbox:
    """Hands out entries in order and keeps each until it is settled.

    An entry waits, is parked, or is sent under a ref that no other ever had.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._updates: dict[int, bytes] = {}  # in order
        self._waiting: list[int] = []  # a heap
        self._sent: dict[int, int] = {}  # number by ref
        self._ref = 0
        self.last = -1
        """The highest number there was."""
        self.in_flight_bytes = 0
        for number, update in entries:
            self.add(number, update)

    def __len__(self) -> int:
        return len(self._updates)

    def __iter__(self) -> Iterator[Entry]:
        return (Entry(number, update) for number, update in self._updates.items())

    @property
    def in_flight(self) -> int:
        """How many entries are sent and not answered."""
        return len(self._sent)

    def add(self, number: int, update: bytes) -> None:
        """A new entry at the end. Raises ValueError where its number is not the highest."""
        if number <= self.last:
            raise ValueError(f"entry {number} after {self.last}")
        self.last = number
        self._updates[number] = update
        heapq.heappush(self._waiting, number)

    def next_size(self) -> int | None:
        """The bytes of what `send` would hand out; None where nothing waits."""
        return len(self._updates[self._waiting[0]]) if self._waiting else None

    def waits_up_to(self, number: int) -> bool:
        """Whether an entry up to this number waits to be sent."""
        return bool(self._waiting) and self._waiting[0] <= number

    def send(self) -> tuple[int, bytes]:
        """Take the first entry that waits: its ref and its update. Raises IndexError where none does."""
        number = heapq.heappop(self._waiting)
        self._ref += 1
        self._sent[self._ref] = number
        self.in_flight_bytes += len(self._updates[number])
        return self._ref, self._updates[number]

    def settle(self, ref: int) -> Entry:
        """The entry that was sent under `ref` leaves the queue. Raises KeyError where there is none."""
        number = self._answered(ref)
        return Entry(number, self._updates.pop(number))

    def put_back(self, ref: int) -> int:
        """The entry that was sent under `ref` waits again: its number. Raises KeyError where there is none."""
        number = self._answered(ref)
        heapq.heappush(self._waiting, number)
        return number

    def park(self, ref: int) -> int:
        """The entry that was sent under `ref` is not sent again before `restart`: its number. Raises KeyError where there is none."""
        return self._answered(ref)

    def restart(self) -> None:
        """The channel is gone: everything waits."""
        self._sent.clear()
        self.in_flight_bytes = 0
        self._waiting = list(self._updates)  # in order, so a heap

    def _answered(self, ref: int) -> int:
        number = self._sent.pop(ref)
        self.in_flight_bytes -= len(self._updates[number])
        return number
