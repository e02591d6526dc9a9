"""A deadline that moves with each piece of something: moving it costs nothing, where a timer made and cancelled each time costs as much as
the piece. It has one timer, which is set anew when it goes off too early."""

import asyncio
from collections.abc import Callable

EARLY_SECONDS = 0.001
"""How early a deadline may pass: uvloop's clock counts milliseconds, and what is less than half of one it does not wait for at all."""


class MovingDeadline:
    """Calls `passed` once when the deadline has passed. Whoever keeps one ends with `close`, as a timer may still hold it."""

    def __init__(self, passed: Callable[[], None]) -> None:
        self._passed = passed
        self._loop = asyncio.get_running_loop()
        self._at: float | None = None
        self._timer: asyncio.Handle | None = None  # of uvloop one that is due at once does not know when
        self._goes_off = 0.0

    def move(self, seconds: float) -> None:
        """The deadline is so many seconds from now, whenever it was before."""
        self._at = at = self._loop.time() + seconds
        if self._timer is None:
            self._set(at)
        elif at < self._goes_off:
            self._timer.cancel()
            self._set(at)

    def lift(self) -> None:
        """There is no deadline until it is moved again."""
        self._at = None

    def close(self) -> None:
        """There is none any more."""
        self._at = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, at: float) -> None:
        self._timer, self._goes_off = self._loop.call_at(at, self._look), at

    def _look(self) -> None:
        self._timer = None
        if self._at is None:
            return
        if self._loop.time() < self._at - EARLY_SECONDS:
            self._set(self._at)
            return
        self._at = None
        self._passed()
