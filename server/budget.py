"""A budget of bytes: those who come when it is spent wait in line."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Growing:
    """What somebody holds of a budget, more and more of it."""

    def __init__(self, budget: "ByteBudget") -> None:
        self._budget = budget
        self.held = 0

    async def add(self, count: int) -> bool:
        """Hold so many more; False where there are not so many. Who holds something does not wait: no two wait for each other."""
        count = min(count, self._budget.size - self.held)  # one larger than all of it holds all of it
        if self.held:
            if not self._budget.take_now(count):
                return False
        else:
            await self._budget.take(count)
        self.held += count
        return True


class ByteBudget:
    """At most `size` bytes are taken at a time; one larger than all of it is let in alone."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._taken = 0
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def taken(self, count: int) -> AsyncIterator[None]:
        """Hold `count` bytes of the budget, waiting for them first if need be."""
        count = min(count, self.size)
        await self.take(count)
        try:
            yield
        finally:
            self.give_back(count)

    @asynccontextmanager
    async def growing(self) -> AsyncIterator[Growing]:
        """Hold what is added inside, bit by bit."""
        growing = Growing(self)
        try:
            yield growing
        finally:
            self.give_back(growing.held)

    def take_now(self, count: int) -> bool:
        """Take so many past all who wait, if they are there; whether they were. They are to be given back."""
        fits = self._taken + count <= self.size
        if fits:
            self._taken += count
        return fits

    async def take(self, count: int) -> None:
        """Take so many when it is one's turn. They are to be given back."""
        if not self._line and self._taken + count <= self.size:
            self._taken += count
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append((count, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(count)  # it was our turn already
            raise

    def give_back(self, count: int) -> None:
        """Give back what was taken, to those who wait."""
        self._taken -= count
        while self._line and (self._line[0][1].done() or self._taken + self._line[0][0] <= self.size):
            next_count, turn = self._line.popleft()
            if not turn.done():
                self._taken += next_count
                turn.set_result(None)
