"""What a model says, on its way to whoever reads along: gathered while nobody takes it.

The model is never held up for a reader: its answer is paid for, and a provider that cannot go on breaks it off. What waits is
no more than an answer may have.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby

from server.ai.calls import Reasoning, Token

TAKEN = 64 << 10
"""Characters that are taken at once, or one piece that has more: a slow reader shows in time that it reads."""


class ReadingAlong:
    """Between an answer and one reader. Without a reader nothing is kept."""

    def __init__(self) -> None:
        self.is_read = False
        self._pieces: deque[Token | Reasoning] = deque()
        self._came = asyncio.Event()
        self._closed = False
        self._gathered: asyncio.Future[None] | None = None

    def put(self, piece: Token | Reasoning) -> None:
        """Leave a piece for the reader."""
        if self.is_read and piece.text:
            self._pieces.append(piece)
            self._came.set()

    async def take(self, within: float) -> Sequence[Token | Reasoning]:
        """What has come, tokens and reasoning in their order; nothing after so many seconds, or once it is `over`."""
        await self.begun(within)
        taken: list[Token | Reasoning] = []
        length = 0
        while self._pieces and length < TAKEN:
            taken.append(self._pieces.popleft())
            length += len(taken[-1].text)
        if not self._pieces and not self._closed:
            self._came.clear()
        return [kind("".join(piece.text for piece in pieces)) for kind, pieces in groupby(taken, type)]

    async def begun(self, within: float) -> None:
        """Until something has come, the answer is over, or so many seconds have gone."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._came.wait()

    async def gather(self, within: float) -> None:
        """Let more come for so many seconds, or until nothing more will."""
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        self._gathered = loop.create_future()
        timer = loop.call_later(within, self._end_gathering)
        try:
            await self._gathered
        finally:
            timer.cancel()

    def _end_gathering(self) -> None:
        if self._gathered is not None and not self._gathered.done():
            self._gathered.set_result(None)

    def leave(self) -> None:
        """The reader has gone: nothing is kept any more."""
        self.is_read = False
        self._pieces.clear()

    @property
    def over(self) -> bool:
        """Whether nothing is left, and nothing will come."""
        return self._closed and not self._pieces

    def close(self) -> None:
        """Nothing more will come."""
        self._closed = True
        self._came.set()
        self._end_gathering()
