"""A budget of bytes: those who come when it is spent wait in line."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ByteBudget:
    """At most `size` bytes are taken at a time; one larger than all of it is let in alone."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken = 0
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def taken(self, count: int) -> AsyncIterator[None]:
        """Hold `count` bytes of the budget, waiting for them first if need be."""
        count = min(count, self._size)
        await self._take(count)
        try:
            yield
        finally:
            self._give_back(count)

    async def _take(self, count: int) -> None:
        if not self._line and self._taken + count <= self._size:
            self._taken += count
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append((count, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back(count)  # it was our turn already
            raise

    def _give_back(self, count: int) -> None:
        self._taken -= count
        while self._line and (self._line[0][1].done() or self._taken + self._line[0][0] <= self._size):
            next_count, turn = self._line.popleft()
            if not turn.done():
                self._taken += next_count
                turn.set_result(None)
