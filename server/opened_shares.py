"""How often shared prompts are read: counted in memory, and noted in the database every few seconds.

Anybody may read a shared prompt as often as the limits allow; what is written does not go by that, but by time.
"""

import asyncio
from contextlib import suppress
from datetime import datetime
from uuid import UUID

import structlog

from storage import shares
from storage.errors import StorageError
from storage.pool import Database
from storage.shares import Opening

log = structlog.get_logger(__name__)

NOTE_SECONDS = 2.0
"""How often what was counted is noted: by one statement, however often anything was read. A process that is killed loses as much."""
MAX_COUNTED = 10_000
"""Links of which readings are counted between two notes, about 3 MB; of further ones they are not."""
LAST_NOTE_SECONDS = 0.5
"""What the last note may take when the process stops; past it what it would have noted is lost."""


class OpenedShares:
    """What this process has counted and not noted yet."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counted: dict[UUID, Opening] = {}

    def count(self, share_id: UUID, now: datetime) -> None:
        """Count that a link was read."""
        self._add(Opening(share_id=share_id, times=1, last_at=now))

    async def run(self) -> None:
        """Note what was counted, again and again until cancelled; then once more."""
        try:
            while True:
                await asyncio.sleep(NOTE_SECONDS)
                await self.note()
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_NOTE_SECONDS):
                    await self.note()

    async def note(self) -> None:
        """Note what was counted; where that fails it is kept, and noted the next time."""
        counted, self._counted = self._counted, {}
        if not counted:
            return
        try:
            async with self._database.acquire() as connection:
                await shares.add_openings(connection, counted.values())
        except BaseException as error:
            for opening in counted.values():
                self._add(opening)
            if not isinstance(error, Exception):
                raise
            log.warning("openings_not_noted", error=type(error).__name__, exc_info=None if isinstance(error, StorageError) else error)

    def _add(self, opening: Opening) -> None:
        before = self._counted.get(opening.share_id)
        if before is not None:
            opening = Opening(share_id=opening.share_id, times=before.times + opening.times, last_at=max(before.last_at, opening.last_at))
        elif len(self._counted) >= MAX_COUNTED:
            return
        self._counted[opening.share_id] = opening
