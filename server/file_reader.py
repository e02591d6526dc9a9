"""Reading files that are to be imported, in a process of its own: a file may take seconds to read, and all that its content can do."""

import asyncio
import pickle
from uuid import UUID

from server.budget import ByteBudget
from server.errors import TookTooLong
from server.transfer.reading import read, sliced
from server.workers import Workers

READ_SECONDS = 60.0
"""How long a file may take to be read before the process is ended (64 MiB take 3 s): 413."""
IDLE_SECONDS = 60.0
"""After so long without work the process is ended: it takes 60 MB, and files come seldom."""
AT_ONCE = 2
"""Files of the largest size that may be in memory at once in a serving process, by the bytes that have come. Others wait; one that is on
its way already is refused: 503."""


class FileReader:
    """Reads one file after the other. What it returns goes to a document process as it is: nobody here looks into it."""

    def __init__(self, *, largest: int) -> None:
        self.budget = ByteBudget(AT_ONCE * largest)
        """Of the bytes of files that are here."""
        self._workers = Workers(1)
        self._turn = asyncio.Lock()
        self._ending: asyncio.TimerHandle | None = None

    async def read(self, data: bytes, library_id: UUID, now: int) -> list[bytes]:
        """The file for this library, as pickled `Reading`s: slices that are brought in one after the other.

        Raises:
            what `reading.read` raises.
            WorkerDied: it takes more memory or time than there is.
        """
        async with self._turn:
            if self._ending is not None:
                self._ending.cancel()
            try:
                async with asyncio.timeout(READ_SECONDS):
                    return await self._workers.run(_read, data, library_id, now)
            except TimeoutError:
                self._workers.close()
                raise TookTooLong from None
            finally:
                self._ending = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._workers.close)

    def close(self) -> None:
        """End the process."""
        if self._ending is not None:
            self._ending.cancel()
        self._workers.close()


def _read(data: bytes, library_id: UUID, now: int) -> list[bytes]:
    return [pickle.dumps(each, pickle.HIGHEST_PROTOCOL) for each in sliced(read(data, library_id, now))]
