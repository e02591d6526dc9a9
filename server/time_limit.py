"""A time by which a row of waits must have ended, with one timer for all of them: one for each would cost as much as what is waited for."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

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
        self._waiting: asyncio.Task[Any] | None = None

    async def of(self, work: Awaitable[Awaited]) -> Awaited:
        """What this gives; one wait at a time.

        Raises:
            TimeoutError: the time is over, and it would have to be waited for.
            what it raises.
        """
        if self._is_over:
            async with asyncio.timeout(0.0):
                return await work
        # as asyncio.timeout does it, which costs four times as much
        self._waiting = task = asyncio.current_task()
        assert task is not None  # noqa: S101  # this is a coroutine; tells the type checker
        others = task.cancelling()
        try:
            return await work
        except asyncio.CancelledError:
            if self._is_over and task.cancelling() == others + 1:  # nobody else has cancelled it, too
                raise TimeoutError from None
            raise
        finally:
            self._waiting = None
            if self._is_over:
                task.uncancel()

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
        if self._waiting is not None:
            self._waiting.cancel()
