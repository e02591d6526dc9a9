"""Where counters are kept, as `limits` asks for it: in PostgreSQL, in this process, or in Redis (`redis_store`)."""

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta

from limits.aio.storage import Storage

from storage import limit_counters
from storage.errors import StorageError, Unavailable
from storage.pool import Database

MOST_LOCAL = 100_000
"""Counters a process keeps by itself; past it the oldest goes. About 20 MB (`limits`' own memory storage keeps any number, and walks
all of them at each hit)."""


class Store(Storage):
    """What counters are kept in."""

    STORAGE_SCHEME = None  # made by us, never from an address

    async def close(self) -> None:
        """Let go of connections of its own, if it has any."""


class PostgresStore(Store):
    """Counters that all processes on this database share. What it fails with is `Unavailable`, as everything else that asks it."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        super().__init__()
        self._database = database
        self._clock = clock

    @property
    def base_exceptions(self) -> type[Exception] | tuple[type[Exception], ...]:
        return StorageError

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count so much more, and how much it is then; the first hit begins a window of `expiry` seconds."""
        async with self._database.acquire() as connection:
            return await limit_counters.hit(connection, key, amount, now=self._clock(), window=timedelta(seconds=expiry))

    async def get(self, key: str) -> int:
        """How much was counted in the window; 0 outside any."""
        return (await self._read(key))[0]

    async def get_expiry(self, key: str) -> float:
        """When the window ends (seconds since 1970); now, outside any."""
        return (await self._read(key))[1].timestamp()

    async def _read(self, key: str) -> tuple[int, datetime]:
        now = self._clock()
        async with self._database.acquire() as connection:
            return await limit_counters.read(connection, key, now=now) or (0, now)

    async def clear(self, key: str) -> None:
        """Forget the counter."""
        async with self._database.acquire() as connection:
            await limit_counters.clear(connection, key)

    async def reset(self) -> int:
        """Forget all counters; how many there were."""
        async with self._database.acquire() as connection:
            return await limit_counters.clear_all(connection)

    async def check(self) -> bool:
        """Whether the database answers."""
        try:
            await self._read("")
        except Unavailable:
            return False
        return True


class LocalStore(Store):
    """Counters of this process, of which it keeps a bounded number."""

    def __init__(self, clock: Callable[[], datetime], *, most: int = MOST_LOCAL) -> None:
        super().__init__()
        self._clock = clock
        self._most = most
        self._held: OrderedDict[str, tuple[int, float]] = OrderedDict()  # by their windows' begins

    @property
    def base_exceptions(self) -> type[Exception] | tuple[type[Exception], ...]:
        return ()  # it does not fail

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count so much more, and how much it is then; the first hit begins a window of `expiry` seconds."""
        now = self._clock().timestamp()
        counted, ends = self._held.get(key, (0, now))
        if ends <= now:
            self._held.pop(key, None)
            counted, ends = 0, now + expiry
        self._held[key] = counted + amount, ends
        if len(self._held) > self._most:
            self._held.popitem(last=False)
        return counted + amount

    async def get(self, key: str) -> int:
        """How much was counted in the window; 0 outside any."""
        counted, ends = self._held.get(key, (0, 0.0))
        return counted if ends > self._clock().timestamp() else 0

    async def get_expiry(self, key: str) -> float:
        """When the window ends (seconds since 1970); now, outside any."""
        now = self._clock().timestamp()
        return max(now, self._held.get(key, (0, now))[1])

    async def clear(self, key: str) -> None:
        """Forget the counter."""
        self._held.pop(key, None)

    async def reset(self) -> int:
        """Forget all counters; how many there were."""
        count = len(self._held)
        self._held.clear()
        return count

    async def check(self) -> bool:
        """It answers."""
        return True
