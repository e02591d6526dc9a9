"""A deadline that moves with each piece of something: moving it costs nothing, where a timer made and cancelled each time costs as much as
the piece. It has one timer, which is set anew when it goes off too early."""

import asyncio
from collections.abc import Callable


class MovingDeadline:
    """Calls `passed` once when the deadline has passed. Whoever keeps one ends with `close`, as a timer may still hold it."""

    def __init__(self, passed: Callable[[], None]) -> None:
        self._passed = passed
        self._loop = asyncio.get_running_loop()
        self._at: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def move(self, seconds: float) -> None:
        """The deadline is so many seconds from now, whenever it was before."""
        self._at = at = self._loop.time() + seconds
        if self._timer is None:
            self._timer = self._loop.call_at(at, self._look)
        elif at < self._timer.when():
            self._timer.cancel()
            self._timer = self._loop.call_at(at, self._look)

    def lift(self) -> None:
        """There is no deadline until it is moved again."""
        self._at = None

    def close(self) -> None:
        """There is none any more."""
        self._at = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._at is None:
            return
        if self._loop.time() < self._at:
            self._timer = self._loop.call_at(self._at, self._look)
            return
        self._at = None
        self._passed()
