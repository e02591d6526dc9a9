"""Counters in Redis or Valkey, by `limits`' own storage; while it does not answer each process counts for itself."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

import structlog
from limits.aio.storage import RedisStorage, Storage
from pydantic import SecretStr
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from server import metrics
from server.limits.stores import Store
from server.redis_bus import check_address

log = structlog.get_logger(__name__)

T = TypeVar("T")

PREFIX = "promptsync:limits"
CONNECTIONS = 8
"""Connections of a process; past it questions wait for one."""
ANSWER_SECONDS = 0.5
"""How long a login waits for Redis; past it the process counts for itself."""
AGAIN_SECONDS = 5.0
"""How long Redis is left alone after that: else each login would wait for it."""

# The library would otherwise make this logger itself and let it print whatever the server pushes.
logging.getLogger("push_response").setLevel(logging.WARNING)


class RedisOrLocal(Store):
    """Redis' counters, and `local` ones while it is away: a limit is neither open then nor does it refuse whom it would not."""

    def __init__(self, url: SecretStr, local: Storage) -> None:
        """Nothing is connected yet.

        Raises:
            BadRedisAddress: `url` is no address.
        """
        super().__init__()
        check_address(url)
        self._pool = BlockingConnectionPool.from_url(
            url.get_secret_value(),
            max_connections=CONNECTIONS,
            timeout=ANSWER_SECONDS,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=ANSWER_SECONDS,
            socket_timeout=ANSWER_SECONDS,
        )
        # the pool knows where; an address here would end up in the text of errors
        self._redis = RedisStorage(
            "async+redis://",
            implementation="redispy",
            key_prefix=PREFIX,
            connection_pool=self._pool,  # type: ignore[arg-type]  # it takes one, as its documentation says
        )
        self._local = local
        self._away_until: float | None = None

    @property
    def base_exceptions(self) -> type[Exception] | tuple[type[Exception], ...]:
        return ()  # what Redis fails with does not come out

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count so much more, and how much it is then; the first hit begins a window of `expiry` seconds."""
        return await self._ask(lambda storage: storage.incr(key, expiry, amount))

    async def get(self, key: str) -> int:
        """How much was counted in the window; 0 outside any."""
        return await self._ask(lambda storage: storage.get(key))

    async def get_expiry(self, key: str) -> float:
        """When the window ends (seconds since 1970); now, outside any."""
        return await self._ask(lambda storage: storage.get_expiry(key))

    async def clear(self, key: str) -> None:
        """Forget the counter, here and there: it may have been counted in both."""
        await self._local.clear(key)
        await self._ask(lambda storage: storage.clear(key))

    async def reset(self) -> int | None:
        """Forget all counters; how many there were, where that is known."""
        await self._local.reset()
        return await self._ask(lambda storage: storage.reset())

    async def check(self) -> bool:
        """Whether Redis answers."""
        return await self._redis.check()

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.disconnect()

    async def _ask(self, question: Callable[[Storage], Awaitable[T]]) -> T:
        if self._away_until is None or monotonic() >= self._away_until:
            try:
                answer = await asyncio.wait_for(_awaited(question(self._redis)), 2 * ANSWER_SECONDS)
            except (RedisError, OSError, TimeoutError) as error:
                self._lost(error)
            else:
                self._found()
                return answer
        metrics.counted_locally.inc()
        return await question(self._local)

    def _lost(self, error: Exception) -> None:
        if self._away_until is None:
            log.warning("limits_counted_locally", reason=type(error).__name__)
        self._away_until = monotonic() + AGAIN_SECONDS

    def _found(self) -> None:
        if self._away_until is not None:
            log.info("limits_counted_in_redis")
        self._away_until = None


async def _awaited(answer: Awaitable[T]) -> T:
    return await answer
