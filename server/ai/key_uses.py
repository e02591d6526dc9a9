"""When users' keys were used last: noted soon, beside the calls, which neither wait for it nor fail with it."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import structlog

from auth.vault import USED_EVERY, Vault
from server.ai.calls import Target

log = structlog.get_logger(__name__)

MOST_KNOWN = 10_000
"""Keys of which a process knows that their use is noted, about 3 MB; past it the longest known is forgotten."""
MOST_WAITING = 1_000
"""Uses that wait for the database; past it a use is not noted, and the next one of that key is."""
CLOSE_SECONDS = 1.0
"""How long a stop waits for the last ones; past it they are given up."""

_Used = tuple[UUID, str, int]
"""A user's configuration, and a hash of what it was called with: another key's use is noted at once."""


class KeyUses:
    """The uses that this process is to note, each key's once in USED_EVERY."""

    def __init__(self, vault: Vault, clock: Callable[[], datetime], ticks: Callable[[], float] = time.monotonic) -> None:
        self._vault = vault
        self._clock = clock
        self._ticks = ticks
        self._known: OrderedDict[_Used, float] = OrderedDict()
        self._waiting: dict[_Used, datetime] = {}
        self._writing: asyncio.Task[None] | None = None

    def note(self, user_id: UUID, target: Target) -> None:
        """See to it that the use of a target's key is noted. Waits for nothing. What is kept for nobody is nobody's use."""
        if target.is_shared or not target.secret:
            return
        used, now = (user_id, target.config_id, hash(target.secret.values)), self._ticks()
        if now < self._known.get(used, now) or len(self._waiting) >= MOST_WAITING:
            return
        self._known[used] = now + USED_EVERY.total_seconds()
        self._known.move_to_end(used)
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        self._waiting[used] = self._clock()
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())

    async def close(self) -> None:
        """Note what waits, or give it up."""
        if (writing := self._writing) is not None:
            await asyncio.wait((writing,), timeout=CLOSE_SECONDS)
            writing.cancel()
            await asyncio.wait((writing,))

    async def _write(self) -> None:
        try:
            while self._waiting:
                used = next(iter(self._waiting))
                user_id, config_id, _ = used
                try:
                    await self._vault.used(user_id, config_id, self._waiting.pop(used))
                except Exception as error:  # a date to look at is worth no more than a line
                    self._known.pop(used, None)
                    log.warning("key_use_not_noted", error=type(error).__name__)
        finally:
            self._writing = None
