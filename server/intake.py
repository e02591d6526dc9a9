"""What a socket has sent and is not settled yet: in order, and bounded.

A message may have to wait for the one before it (a room that opens, a large update in a worker). What waits, and what was handed to the
writer and is not stored yet, is bounded in bytes: past the bound the socket is not read from until half of it is settled.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from server.wire import Wire

T = TypeVar("T")

MESSAGE_BYTES = 100
"""What a message that waits takes of memory besides its own bytes; an empty one takes some, too."""
SLICE_BYTES = 64 << 10
"""Messages that waited are handled in slices of this, and others get their turn in between: the worst take about 10 ms."""


class Intake:
    """Counts what one socket has sent and is not settled, and stops reading from it past `bound` bytes."""

    __slots__ = ("_bound", "_wire", "paused", "waiting")

    def __init__(self, wire: Wire, bound: int) -> None:
        self.waiting = 0
        self.paused = False
        self._wire = wire
        self._bound = bound

    def add(self, nbytes: int) -> None:
        """So many bytes wait."""
        self.waiting += nbytes
        if not self.paused and self.waiting > self._bound:
            self.paused = True
            self._wire.pause()

    def allow(self, bound: int) -> None:
        """From now on so many bytes may wait."""
        self._bound = bound
        self.remove(0)

    def remove(self, nbytes: int) -> None:
        """So many are settled."""
        self.waiting -= nbytes
        if self.paused and self.waiting <= self._bound // 2:
            self.paused = False
            self._wire.resume()


class Backlog(Generic[T]):
    """Messages in the order they came: those that come while one is worked on wait."""

    __slots__ = ("_handle", "_intake", "_waiting", "busy")

    def __init__(self, intake: Intake, handle: Callable[[T], None], *, busy: bool = False) -> None:
        """`handle` takes one message; where that has to wait for something it sets `busy`, and calls `go_on` in the end."""
        self.busy = busy
        self._intake = intake
        self._handle = handle
        self._waiting: deque[tuple[T, int]] | None = None

    def __len__(self) -> int:
        return len(self._waiting or ())

    def take(self, message: T, nbytes: int) -> None:
        """Handle a message of so many bytes, now or when it is its turn."""
        if not self.busy:
            self._handle(message)
            return
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append((message, nbytes + MESSAGE_BYTES))
        self._intake.add(nbytes + MESSAGE_BYTES)

    def go_on(self) -> None:
        """What was worked on is done: handle what waits, until something has to wait again."""
        self.busy, handled = False, 0
        while self._waiting and not self.busy:
            if handled > SLICE_BYTES:
                self.busy = True  # what comes meanwhile waits behind the rest
                asyncio.get_running_loop().call_soon(self.go_on)
                return
            message, nbytes = self._waiting.popleft()
            self._intake.remove(nbytes)
            handled += nbytes
            self._handle(message)
        if not self._waiting:
            self._waiting = None

    def drop(self) -> None:
        """Nothing of it is wanted any more."""
        if self._waiting is not None:
            self._intake.remove(sum(nbytes for _, nbytes in self._waiting))
            self._waiting = None
