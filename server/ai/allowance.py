"""What calls of models a user may begin: so many a minute, so many at a time, and of the operator's so many tokens a day."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from uuid import UUID

from server import metrics
from server.ai.ledger import Ledger
from server.config import Settings
from server.limits import Limits
from server.limits.refusals import refusal
from storage import model_calls
from storage.pool import Database

ROOM_SECONDS = 2
"""What somebody is asked to wait who has as many calls running as one may: how long they still take, nobody knows."""


class Allowance:
    """The limits of `docs/limits.md` that are about models."""

    def __init__(self, settings: Settings, limits: Limits, database: Database, ledger: Ledger, clock: Callable[[], datetime]) -> None:
        self._most_at_once = settings.model_calls_at_once
        self._tokens_a_day = settings.shared_model_tokens_a_day
        self._limits = limits
        self._database = database
        self._ledger = ledger
        self._clock = clock
        self._running: Counter[UUID] = Counter()

    async def count(self, user_id: UUID) -> None:
        """Count that the user asks for a call.

        Raises:
            TooManyAttempts: that is one too many, or as many run already as may, and then it is not counted.
            Unavailable: the counters cannot be asked.
        """
        self._require_room(user_id)
        await self._limits.model_call(user_id)

    @asynccontextmanager
    async def call(self, user_id: UUID, *, shared: bool) -> AsyncIterator[None]:
        """Let one call, which has been counted, run within the block.

        What a user's running calls will take of the day's tokens is not known before they end: those that begin within the limit go on
        past it, at most `model_calls_at_once` of them a process.

        Raises:
            TooManyAttempts: that would be one too many.
            Unavailable: the database cannot be asked.
        """
        self._require_room(user_id)
        self._running[user_id] += 1
        try:
            if shared and self._tokens_a_day is not None:
                await self._check_tokens(user_id, self._tokens_a_day)
            with metrics.model_calls_running.track_inprogress():
                yield
        finally:
            self._running[user_id] -= 1
            if not self._running[user_id]:
                del self._running[user_id]

    def _require_room(self, user_id: UUID) -> None:
        if self._running[user_id] >= self._most_at_once:
            raise refusal("model_calls_at_once", ROOM_SECONDS)

    async def _check_tokens(self, user_id: UUID, most: int) -> None:
        now = self._clock()
        today = now.replace(hour=0, minute=0, second=0, microsecond=0)
        await self._ledger.settled()
        async with self._database.acquire() as connection:
            used = await model_calls.shared_tokens(connection, user_id, today)
        if used >= most:
            raise refusal("shared_model_tokens", (today + timedelta(days=1) - now).total_seconds())
