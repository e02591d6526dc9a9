"""A time by which a row of waits must have ended, with one timer for all of them: one for each would cost as much as what is waited for."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from server.moving_deadline import MovingDeadline

Awaited = TypeVar("Awaited")


class TimeLimit:
    """Ends whatever waits under it. Whoever keeps one ends with `close`."""

    def __init__(self, at: float) -> None:
        """`at`: by the clock of the loop."""
        self._loop = asyncio.get_running_loop()
        self._at = at
        self._deadline = MovingDeadline(self._end)
        self._deadline.move(at - self._loop.time())
        self._is_over = False
        self._wait: asyncio.Timeout | None = None

    async def of(self, work: Awaitable[Awaited]) -> Awaited:
        """What this gives; one wait at a time.

        Raises:
            TimeoutError: the time is over, and it would have to be waited for.
            what it raises.
        """
        async with asyncio.timeout(0.0 if self._is_over else None) as self._wait:
            try:
                return await work
            finally:
                self._wait = None

    def shorten(self, seconds: float) -> None:
        """It ends in so many seconds, unless it ends before."""
        if self._loop.time() + seconds < self._at:
            self._at = self._loop.time() + seconds
            self._deadline.move(seconds)

    def close(self) -> None:
        """There is none any more."""
        self._deadline.close()

    def _end(self) -> None:
        self._is_over = True
        if self._wait is not None:
            self._wait.reschedule(0.0)
