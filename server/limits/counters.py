"""Counting within windows of time, over whatever storage: who is counted stands there only as a keyed hash."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from math import ceil
from typing import Self

from server.limits.refusals import refusal
from server.limits.stores import Store

_PERSON = b"limit counters 1"
_HASH_BYTES = 16
MOST_REFUSED = 10_000
"""Counters of which a process remembers that they are full; past it the oldest is asked for again."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How much of one thing there may be within a window that begins with the first of it; past it: 429 until the window ends.

    Around the end of a window there may be twice as much within its length, and never more than `amount` a window on average.
    """

    limit: str
    amount: int
    seconds: int

    @classmethod
    def a_minute(cls, limit: str, number: float, *, burst: float | None = None) -> Self:
        """`number` a minute on average, of which `burst` may come at once: as many as that within the time that they stand for."""
        burst = number if burst is None else burst
        return cls(limit, ceil(burst), max(1, ceil(burst * 60 / number)))


class Counters:
    """Counters by name and by what is counted."""

    def __init__(self, store: Store, *, secret: bytes, clock: Callable[[], datetime]) -> None:
        """`secret` keys the hashes: the same for all processes that count together."""
        self._store = store
        self._key = blake2b(key=secret[:64], person=_PERSON).digest()
        self._clock = clock
        self._full: dict[str, float] = {}  # rates that are full, and until when: a flood of the refused asks nothing

    async def close(self) -> None:
        """Let go of the store's connections."""
        await self._store.close()

    async def hit(self, rate: Rate, *names: str, cost: int = 1) -> None:
        """Count so much more.

        Raises:
            TooManyAttempts: that is more than the rate allows.
        """
        key = self._key_of(rate.limit, names)
        if 0 < (left := self._full.get(key, 0.0) - self._now()) <= rate.seconds:
            raise refusal(rate.limit, left)
        if await self._store.incr(key, rate.seconds, cost) > rate.amount:
            left = min(rate.seconds, await self._left(key))
            self._remember(key, left)
            raise refusal(rate.limit, left)

    async def add(self, name: str, seconds: int, *names: str) -> int:
        """Count one more in a window of so many seconds, and how many there are then."""
        return await self._store.incr(self._key_of(name, names), seconds)

    async def number(self, name: str, *names: str) -> int:
        """How many there are in the window."""
        return await self._store.get(self._key_of(name, names))

    async def left(self, name: str, *names: str) -> float:
        """Seconds until the window ends."""
        return await self._left(self._key_of(name, names))

    async def clear(self, name: str, *names: str) -> None:
        """Begin anew."""
        await self._store.clear(self._key_of(name, names))

    async def _left(self, key: str) -> float:
        return max(0.0, await self._store.get_expiry(key) - self._now())

    def _remember(self, key: str, seconds: float) -> None:
        self._full.pop(key, None)
        self._full[key] = self._now() + seconds
        if len(self._full) > MOST_REFUSED:
            del self._full[next(iter(self._full))]

    def _now(self) -> float:
        return self._clock().timestamp()

    def _key_of(self, name: str, names: tuple[str, ...]) -> str:
        hashed = blake2b(key=self._key, digest_size=_HASH_BYTES)
        for part in (name, *names):
            encoded = part.encode()
            hashed.update(len(encoded).to_bytes(4, "big") + encoded)
        return f"{name}:{hashed.hexdigest()}"


class Failures:
    """Failures at one thing: the first ones are free, and after each further one there is a wait twice as long as the one before.

    Each attempt counts as failed until `forget`, so that of many at once no more pass than of as many one after the other.
    """

    def __init__(self, counters: Counters, limit: str, *, free: int, longest_seconds: int, forget_seconds: int) -> None:
        self._counters = counters
        self._limit = limit
        self._free = free
        self._longest_seconds = longest_seconds
        self._forget_seconds = forget_seconds

    async def attempt(self, *names: str) -> None:
        """Count an attempt.

        Raises:
            TooManyAttempts: the wait after the last one that was let through is not over.
        """
        tries, waits, gate = self._counted
        if await self._counters.add(tries, self._forget_seconds, *names) < self._free:
            return
        waited = await self._counters.number(waits, *names)
        seconds = min(self._longest_seconds, 1 << min(waited, 30))
        if await self._counters.add(gate, seconds, *names) > 1:
            raise refusal(self._limit, await self._counters.left(gate, *names))
        await self._counters.add(waits, self._forget_seconds, *names)

    async def forget(self, *names: str) -> None:
        """Forget all failures: the last attempt was none."""
        for name in self._counted:
            await self._counters.clear(name, *names)

    @property
    def _counted(self) -> tuple[str, str, str]:
        """The attempts, the waits so far, and the one that is on: whoever begins it is let through."""
        return f"{self._limit}.tries", f"{self._limit}.waits", f"{self._limit}.gate"
