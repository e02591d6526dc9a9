"""Token buckets in memory: asked before anything costs something, with no await and no database. Each process counts for itself."""

from collections import OrderedDict
from collections.abc import Callable

from server.errors import TooManyAttempts
from server.limits.addresses import bucket_of
from server.limits.refusals import note, refusal

MAX_BUCKETS = 10_000
"""Addresses (or users) one limit remembers; past it the one not seen for longest is forgotten. About 1.5 MB."""
FAILURE_MINUTES = 15
"""The time in which `shared_failures_an_address` may fail."""


class Buckets:
    """A token bucket for each address, or for each of what `bucket` makes one of."""

    def __init__(
        self,
        limit: str,
        *,
        a_minute: float,
        clock: Callable[[], float],
        burst: float | None = None,
        bucket: Callable[[str], str] = bucket_of,
        most: int = MAX_BUCKETS,
    ) -> None:
        """`limit` is its name; `burst` may come at once, without it what may come in a minute."""
        self._limit = limit
        self._burst = float(a_minute if burst is None else burst)
        self._a_second = a_minute / 60
        self._clock = clock
        self._bucket = bucket
        self._most = most
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allow(self, address: str) -> bool:
        """Whether this address may do it once more now; counts it if so."""
        bucket = self._bucket(address)
        allowed = self._count(bucket)
        if not allowed:
            note(self._limit)
        return allowed

    def take(self, address: str) -> None:
        """Count that this address does it once more.

        Raises:
            TooManyAttempts: it may not now.
        """
        bucket = self._bucket(address)
        if not self._count(bucket):
            raise self._refusal(bucket)

    def check(self, address: str) -> None:
        """Raise TooManyAttempts unless this address may do it once more now."""
        bucket = self._bucket(address)
        if self._left(bucket) < 1:
            raise self._refusal(bucket)

    def count(self, address: str) -> None:
        """Count that this address has done it, whether it might or not."""
        self._count(self._bucket(address))

    def _refusal(self, bucket: str) -> TooManyAttempts:
        return refusal(self._limit, (1 - self._left(bucket)) / self._a_second)

    def _count(self, bucket: str) -> bool:
        left = self._left(bucket)
        allowed = left >= 1
        self._buckets[bucket] = left - 1 if allowed else left, self._clock()
        self._buckets.move_to_end(bucket)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return allowed

    def _left(self, bucket: str) -> float:
        now = self._clock()
        left, since = self._buckets.get(bucket, (self._burst, now))
        return min(self._burst, left + max(0.0, now - since) * self._a_second)


class SharedReads:
    """How often an address may read shared prompts, and how often ask for what is none: whoever tries codes is soon refused all."""

    def __init__(self, *, a_minute: int, failures: int, clock: Callable[[], float]) -> None:
        self._reads = Buckets("shared_reads", a_minute=a_minute, clock=clock)
        self._failures = Buckets("shared_failures", a_minute=failures / FAILURE_MINUTES, burst=failures, clock=clock)

    def attempt(self, address: str) -> None:
        """Count a reading.

        Raises:
            TooManyAttempts: the address has read, or failed, as often as it may.
        """
        self._failures.check(address)
        self._reads.take(address)

    def failed(self, address: str) -> None:
        """A reading was for nothing. Told only then: of many at once as many may fail as may be read, but none that finds something is
        refused for the others beside it."""
        self._failures.count(address)
