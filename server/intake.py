"""What a socket has sent and is not settled yet: in order, and bounded.

A message may have to wait for the one before it (a room that opens, a large update in a worker). What waits, and what was handed to the
writer and is not stored yet, is bounded in bytes: past the bound the socket is not read from until half of it is settled.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar

from server.limits.refusals import note
from server.wire import Wire

T = TypeVar("T")

MESSAGE_BYTES = 100
"""What a message that waits takes of memory besides its own bytes; an empty one takes some, too."""
BURST_SECONDS = 10
"""What a socket may send in so long may come at once: a device that was offline brings all it has."""
REST_SECONDS = 0.1
"""How much longer than it must a socket that sent too fast is left alone, so that it is not stopped again by its next message."""
SLICE_BYTES = 64 << 10
"""Messages that waited are handled in slices of this, and others get their turn in between: the worst take about 10 ms."""


class Allowance:
    """How much a socket may send a second, in bytes; a message costs its own and its share of a second, so that as many as are allowed
    use it up, whatever their size. BURST_SECONDS of it may come at once."""

    __slots__ = ("bytes_a_second", "message_bytes", "most")

    def __init__(self, bytes_a_second: int, messages_a_second: int) -> None:
        self.bytes_a_second = bytes_a_second
        self.message_bytes = bytes_a_second // messages_a_second
        self.most = BURST_SECONDS * bytes_a_second


class Intake:
    """Counts what one socket has sent, and stops reading from it past `bound` bytes that are not settled, or past its allowance.

    What is not read waits with the sender, so nothing is lost; and what was read before is taken, so an allowance may be overdrawn by
    one message and by what one read brings.
    """

    __slots__ = ("_allowance", "_bound", "_left", "_refilled", "_slowed", "_wire", "paused", "resting", "waiting")

    def __init__(self, wire: Wire, bound: int, allowance: Allowance) -> None:
        self.waiting = 0
        self.paused = False
        """Whether too much is not settled."""
        self.resting = False
        """Whether it has sent too fast."""
        self._wire = wire
        self._bound = bound
        self._allowance = allowance
        self._left = allowance.most
        self._refilled = monotonic()
        self._slowed = False

    def add(self, nbytes: int) -> None:
        """So many bytes wait."""
        self.waiting += nbytes
        if not self.paused and self.waiting > self._bound:
            self.paused = True
            if not self.resting:
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
            if not self.resting:
                self._wire.resume()

    def spend(self, nbytes: int) -> None:
        """A message of so many bytes has come."""
        self._left -= nbytes + self._allowance.message_bytes
        if self._left < 0 and not self.resting:
            self._refill()

    def _refill(self) -> None:
        """Add what time has brought, since only now it is needed; where it is not enough, rest until it is."""
        now, allowance = monotonic(), self._allowance
        self._left = min(allowance.most, self._left + int((now - self._refilled) * allowance.bytes_a_second))
        self._refilled = now
        if self._left < 0:
            self._rest()
            asyncio.get_running_loop().call_later(REST_SECONDS - self._left / allowance.bytes_a_second, self._refill)
        elif self.resting:
            self.resting = False
            if not self.paused:
                self._wire.resume()

    def _rest(self) -> None:
        if self.resting:
            return
        self.resting = True
        if not self._slowed:  # told once of each socket
            self._slowed = True
            note("socket")
        if not self.paused:
            self._wire.pause()


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
