"""What a model says, on its way to whoever reads along: gathered while nobody takes it.

The model is never held up for a reader: its answer is paid for, and a provider that cannot go on breaks it off. What waits is
no more than an answer may have.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import groupby

from server.ai.calls import Reasoning, Token
from server.moving_deadline import MovingDeadline

TAKEN = 64 << 10
"""Characters that are taken at once, or one piece that has more: a slow reader shows in time that it reads."""
GATHER_SECONDS = 0.004
"""After something was taken the next waits so long: what comes meanwhile is taken at once. The first token of a burst waits for nothing."""


class ReadingAlong:
    """Between an answer and one reader. Without a reader nothing is kept."""

    def __init__(self) -> None:
        self.is_read = False
        self._pieces: deque[Token | Reasoning] = deque()
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._patience = MovingDeadline(self._wake)
        self._gathered_at = 0.0
        self._gathering: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None

    def put(self, piece: Token | Reasoning) -> None:
        """Leave a piece for the reader."""
        if not self.is_read or not piece.text:
            return
        self._pieces.append(piece)
        if self._waiter is None or self._waiter.done() or self._gathering is not None:
            return
        if self._loop.time() >= self._gathered_at:
            self._wake()
        else:
            self._gathering = self._loop.call_at(self._gathered_at, self._wake)

    async def take(self, within: float) -> Sequence[Token | Reasoning]:
        """What has come, tokens and reasoning in their order; nothing after so many seconds, or once it is `over`."""
        if self._pieces and not self._closed:
            await self._come(max(0.0, self._gathered_at - self._loop.time()))
        else:
            await self.begun(within)
        taken: list[Token | Reasoning] = []
        length = 0
        while self._pieces and length < TAKEN:
            taken.append(self._pieces.popleft())
            length += len(taken[-1].text)
        self._gathered_at = self._loop.time() + GATHER_SECONDS
        return [kind("".join(piece.text for piece in pieces)) for kind, pieces in groupby(taken, type)]

    async def begun(self, within: float) -> None:
        """Until something has come, the answer is over, or so many seconds have gone."""
        if not self._pieces and not self._closed:
            await self._come(within)

    async def _come(self, within: float) -> None:
        self._waiter = self._loop.create_future()
        self._patience.move(within)
        try:
            await self._waiter
        finally:
            self._waiter = None
            self._patience.lift()

    def _wake(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def leave(self) -> None:
        """The reader has gone: nothing is kept any more."""
        self.is_read = False
        self._pieces.clear()
        self._patience.close()

    @property
    def over(self) -> bool:
        """Whether nothing is left, and nothing will come."""
        return self._closed and not self._pieces

    def close(self) -> None:
        """Nothing more will come."""
        self._closed = True
        self._wake()
