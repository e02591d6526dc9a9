"""What a socket is sent: bounded. A device that does not read is closed, and resyncs when it comes back."""

import time
from collections.abc import Callable, Iterable

from protocol.closes import Close
from server.budget import ByteBudget
from server.wire import Wire

BUDGETED_BYTES = 64 << 10
"""An opening answer past this counts against the budget of bytes in flight."""


class Outbox:
    """Writes frames to one socket, of which at most `bound` bytes may be unread."""

    __slots__ = ("_bound", "_exempt_bytes", "_refuse", "_wire", "last_sent")

    def __init__(self, wire: Wire, *, bound: int, refuse: Callable[[Close, str], None]) -> None:
        """`refuse` closes the socket; it is called from `write`."""
        self.last_sent = time.monotonic()
        self._wire = wire
        self._bound = bound
        self._refuse = refuse
        self._exempt_bytes = 0

    def write(self, frames: bytes) -> None:
        """Write frames that were encoded for the wire."""
        bound, unsent = self._bound, self._wire.unsent
        if unsent > bound:
            if unsent > bound + self._exempt_bytes:
                self._refuse(Close.TRY_LATER, "the device does not read fast enough")
                return
        elif len(frames) > bound or not unsent:
            self._exempt_bytes = len(frames)  # one that is larger than the bound may be on its way
        self._wire.write(frames)
        self.last_sent = time.monotonic()

    @property
    def exempt(self) -> bool:
        """Whether something larger than the bound may be on its way."""
        return self._exempt_bytes > 0

    async def write_opening(self, size: int, frames: Callable[[], Iterable[bytes]], budget: ByteBudget, stall_seconds: float) -> None:
        """Write the frames of an opening answer of `size` bytes, which may be larger than the bound, and wait until it is read.

        They are made when its turn comes: who waits for the budget holds no copy of its own of a cached answer.
        """
        if size <= BUDGETED_BYTES:
            for frame in frames():
                self.write(frame)
            return
        async with budget.taken(size):
            for frame in frames():
                self._exempt_bytes += len(frame)
                self._wire.write(frame)
            self.last_sent = time.monotonic()
            while not await self._wire.drained(stall_seconds):
                if not self._wire.open:
                    return
                self._refuse(Close.TRY_LATER, "the opening answer was not read")
            if self._wire.unsent <= self._bound:  # else another opening was written just now
                self._exempt_bytes = 0
