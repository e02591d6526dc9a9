"""What a model says, on its way to whoever reads along: gathered while nobody takes it, up to a bound."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from server.ai.calls import Reasoning, Token

UNREAD = 64 << 10
"""Characters that may wait for the reader. Past it the model is listened to no faster than is read."""


class ReadingAlong:
    """Between an answer and one reader. Without a reader nothing is kept."""

    def __init__(self) -> None:
        self.is_read = False
        self._pieces: list[Token | Reasoning] = []
        self._length = 0
        self._came = asyncio.Event()
        self._taken = asyncio.Event()
        self._closed = asyncio.Event()

    async def put(self, piece: Token | Reasoning) -> None:
        """Leave a piece for the reader; waits while too much is unread."""
        if not self.is_read or not piece.text:
            return
        while self._length >= UNREAD:
            self._taken.clear()
            await self._taken.wait()
        last = self._pieces[-1] if self._pieces else None
        if last is not None and type(last) is type(piece):
            self._pieces[-1] = last._replace(text=last.text + piece.text)
        else:
            self._pieces.append(piece)
        self._length += len(piece.text)
        self._came.set()

    async def take(self, within: float) -> Sequence[Token | Reasoning]:
        """All that has come, tokens and reasoning in their order; nothing after so many seconds, or once it is `over`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._came.wait()
        taken, self._pieces, self._length = self._pieces, [], 0
        if not self._closed.is_set():
            self._came.clear()
        self._taken.set()
        return taken

    async def begun(self, within: float) -> None:
        """Until something has come, the answer is over, or so many seconds have gone."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._came.wait()

    async def gather(self, within: float) -> None:
        """Let more come for so many seconds, or until nothing more will."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._closed.wait()

    @property
    def over(self) -> bool:
        """Whether nothing is left, and nothing will come."""
        return self._closed.is_set() and not self._pieces

    def close(self) -> None:
        """Nothing more will come."""
        self._closed.set()
        self._came.set()
