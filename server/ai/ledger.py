"""Where calls of models are written down: soon, in batches, beside whatever waits for their answers.

A call ends when its answer does. Its row waits here until the database has taken it, also while that is away, and at a stop for as long as
a stop may wait. What has to be thrown away is counted and logged.
"""

import asyncio
from collections import deque
from itertools import islice

import structlog

from server import metrics
from storage import model_calls
from storage.errors import StorageError
from storage.model_calls import ModelCall
from storage.pool import Database

log = structlog.get_logger(__name__)

MOST_WAITING = 10_000
"""Rows that wait for the database, about 5 MB; past it the oldest is given up, counted and logged."""
BATCH_ROWS = 500
"""Rows of one statement."""
GATHER_SECONDS = 0.1
"""How long a row waits for others, unless somebody waits for it: stored at once, it would hold up the end of its own answer."""
AGAIN_SECONDS = 1.0
"""How long a database that has not taken rows is left alone."""
SETTLE_SECONDS = 1.0
"""How long a question about usage waits for the rows of calls that have just ended; past it they are missing in its answer."""
CLOSE_SECONDS = 1.0
"""How long a stop waits for the last rows; past it they are given up."""


class Ledger:
    """The rows of this process that are not stored yet."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[ModelCall] = deque()
        self._noted = 0
        self._settled = 0  # of those: stored, or given up
        self._progress = asyncio.Event()
        self._gathering: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None

    def note(self, call: ModelCall) -> None:
        """Take a row and see to it that it is stored. Waits for nothing."""
        if len(self._waiting) >= MOST_WAITING:
            self._drop(1)
            _given_up(1, "too_many")
        self._waiting.append(call)
        self._noted += 1
        if self._writing is None and self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._begin)

    async def settled(self, *, within: float = SETTLE_SECONDS) -> bool:
        """Wait for the rows that were taken before; whether none of them waits any more, after so many seconds at most."""
        wanted = self._noted
        self._begin()
        try:
            async with asyncio.timeout(within):
                while self._settled < wanted:
                    await self._progress.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Store what waits, or give it up."""
        if not await self.settled(within=CLOSE_SECONDS):
            _given_up(len(self._waiting), "stopped")
        if (writing := self._writing) is not None:
            writing.cancel()
            await asyncio.wait((writing,))

    def _begin(self) -> None:
        """Store what waits, from now on."""
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        if self._waiting and self._writing is None:
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._waiting:
                batch = list(islice(self._waiting, BATCH_ROWS))
                last = self._settled + len(batch)
                if await self._store(batch):
                    self._drop(last - self._settled)  # fewer where some were given up meanwhile
                else:
                    await asyncio.sleep(AGAIN_SECONDS)
        finally:
            self._writing = None

    def _drop(self, rows: int) -> None:
        """Let go of the oldest rows."""
        for _ in range(rows):
            self._waiting.popleft()
        self._settled += max(0, rows)
        self._progress.set()
        self._progress = asyncio.Event()

    async def _store(self, batch: list[ModelCall]) -> bool:
        """Whether these are settled: a row that the database refuses for what it is will not be taken later either."""
        try:
            async with self._database.acquire() as connection:
                await model_calls.add(connection, batch)
        except StorageError as error:
            log.warning("model_calls_wait", rows=len(self._waiting), reason=type(error).__name__)
            return False
        except Exception as error:
            if len(batch) > 1:
                return all([await self._store([call]) for call in batch])
            log.error("model_call_not_stored", error=type(error).__name__, exc_info=error)
            _given_up(1, "refused")
        return True


def _given_up(rows: int, reason: str) -> None:
    metrics.model_rows_lost.labels(reason).inc(rows)
    log.error("model_calls_lost", rows=rows, reason=reason)
