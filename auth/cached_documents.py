"""A document of a provider's that is fetched now and then: kept as long as it says, fetched once however many ask, used while stale."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

from auth.errors import ProviderUnavailable
from auth.outbound import Answer

MIN_SECONDS, MAX_SECONDS = 300.0, 86_400.0
"""A document is good for as long as its Cache-Control says, but no shorter and no longer than this."""
STALE_SECONDS = 86_400.0
"""Where a new one cannot be had, the last one is still used until it is so old. Past it: 503."""
NEWER_SECONDS = 30.0
"""Whoever thinks that there is a newer one (a token names a key that is unknown) has it looked for at most so often."""
FAILED_SECONDS = 5.0
"""After a failure nobody is asked for so long, so that a provider that is down does not hold every sign-in up."""
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age\s*=\s*\"?(\d{1,9})", re.IGNORECASE)

Value = TypeVar("Value")


class CachedDocument(Generic[Value]):
    """One document, read by `read` (which raises ProviderUnavailable for what it cannot use). `clock` gives seconds that only grow."""

    def __init__(
        self, fetch: Callable[[], Awaitable[Answer]], read: Callable[[Mapping[str, object]], Value], *, clock: Callable[[], float]
    ) -> None:
        self._fetch = fetch
        self._read = read
        self._clock = clock
        self._value: Value | None = None
        self._tried_at = self._fetched_at = self._fresh_until = self._again_at = float("-inf")
        self._loading: asyncio.Task[None] | None = None

    async def get(self) -> Value:
        """The document, fetched anew if its time is over.

        Raises:
            ProviderUnavailable: there is none that may still be used.
        """
        if self._clock() >= self._fresh_until:
            await self._load(not_before=self._again_at)
        return self._usable()

    async def newer(self) -> Value:
        """The document, fetched anew unless that was tried less than 30 seconds ago.

        Raises:
            ProviderUnavailable: there is none that may still be used.
        """
        await self._load(not_before=self._tried_at + NEWER_SECONDS)
        return self._usable()

    def _usable(self) -> Value:
        if self._value is None or self._clock() >= self._fetched_at + STALE_SECONDS:
            raise ProviderUnavailable("no document")
        return self._value

    async def _load(self, *, not_before: float) -> None:
        if self._loading is None:
            if self._clock() < not_before:
                return
            self._loading = asyncio.create_task(self._fetched())
        # Not cancelled with whoever happened to ask first: others wait for it.
        await asyncio.shield(self._loading)

    async def _fetched(self) -> None:
        self._tried_at = self._clock()
        try:
            answer = await self._fetch()
            self._value = self._read(answer.content)
        except ProviderUnavailable:
            self._again_at = self._clock() + FAILED_SECONDS
        else:
            self._fetched_at = self._clock()
            self._fresh_until = self._fetched_at + _good_for(answer.headers)
        finally:
            self._loading = None


def _good_for(headers: Mapping[str, str]) -> float:
    """Seconds that the answer may be kept (RFC 9111, 5.2.2), within the bounds."""
    control = headers.get("cache-control", "")
    found = _MAX_AGE.search(control)
    if found is None or "no-store" in control.lower() or "no-cache" in control.lower():
        return MIN_SECONDS
    age = headers.get("age", "").strip()
    spent = int(age) if age.isdecimal() and len(age) < 10 else 0
    return min(max(float(int(found[1]) - spent), MIN_SECONDS), MAX_SECONDS)
