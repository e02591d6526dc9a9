"""Waiting for something to change."""

import asyncio
from collections.abc import Callable


class Bell:
    """Wakes everyone who waits each time it rings; they look for themselves whether it concerns them."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def ring(self) -> None:
        """Something has changed."""
        self._next.set()
        self._next = asyncio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds, which is asked now and at each ring."""
        while not condition():
            await self._next.wait()
