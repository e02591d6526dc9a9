"""How often an address may try. Per process: several processes multiply the limits by their number.

An IPv6 subscriber has a whole /64, so that is what counts as one address there.
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from math import ceil
from time import time
from typing import TypeAlias
from uuid import UUID

from limits import RateLimitItem, RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter
from starlette.types import Scope

from server.errors import TooManyAttempts

FAILURE_MINUTES = 15
PASSWORD_CHECKS = 10
"""How often in 15 minutes a signed-in user may show the password, right or wrong: whoever finds an open session does not guess it."""
FORCE_SECONDS = 5
"""How often a user may have libraries brought up to date: it asks every device and folds every tail."""
RESTORES_A_MINUTE = 10
"""How often a user may have a library put back: each folds the tail, keeps a restore point, and reads the library twice."""
MAX_ADDRESSES = 10_000
"""Addresses a limiter remembers; past it the one not seen for longest is forgotten. About 1.5 MB."""
_MAX_FORWARDED = 32

Network: TypeAlias = IPv4Network | IPv6Network


class Limits:
    """Attempts to sign in: by address, and by account and address, so that a stranger cannot lock the owner out. And what is dear."""

    def __init__(self, *, attempts_a_minute: int, failures_an_account: int) -> None:
        # The window begins with the first attempt, so its end can be told; `limits`' moving window walks every address at each hit.
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._attempts = RateLimitItemPerMinute(attempts_a_minute)
        self._failures = RateLimitItemPerMinute(failures_an_account, FAILURE_MINUTES)
        self._password_checks = RateLimitItemPerMinute(PASSWORD_CHECKS, FAILURE_MINUTES)
        self._forces = RateLimitItemPerSecond(1, FORCE_SECONDS)
        self._restores = RateLimitItemPerMinute(RESTORES_A_MINUTE)

    async def attempt(self, address: str) -> None:
        """Count a registration or login from this address.

        Raises:
            TooManyAttempts: it had as many within a minute as it may.
        """
        await self._count(self._attempts, "attempt", bucket_of(address))

    async def login(self, email: str, address: str) -> None:
        """Count a login to this account from this address as failed until `succeeded` says otherwise.

        Counted before the password is checked, so that many at once do not all pass; the same for accounts that do not exist.

        Raises:
            TooManyAttempts: it had as many failures within 15 minutes as it may.
        """
        await self._count(self._failures, "failure", email.lower(), bucket_of(address))

    async def succeeded(self, email: str, address: str) -> None:
        """Forget the failures of this account and address."""
        await self._limiter.clear(self._failures, "failure", email.lower(), bucket_of(address))

    async def password_check(self, user_id: UUID) -> None:
        """Count that the signed-in user shows a password. Raises TooManyAttempts."""
        await self._count(self._password_checks, "password", str(user_id))

    async def force(self, user_id: UUID) -> None:
        """Count that the user has libraries brought up to date.

        Raises:
            TooManyAttempts: that was done within the last FORCE_SECONDS already.
        """
        await self._count(self._forces, "force", str(user_id))

    async def restore(self, user_id: UUID) -> None:
        """Count that the user has a library put back. Raises TooManyAttempts."""
        await self._count(self._restores, "restore", str(user_id))

    async def _count(self, item: RateLimitItem, *names: str) -> None:
        if not await self._limiter.hit(item, *names):
            window = await self._limiter.get_window_stats(item, *names)
            raise TooManyAttempts(int(window.reset_time - time()) + 1)


class Buckets:
    """A token bucket for each address, asked before anything costs something: no await, no database."""

    def __init__(
        self, *, a_minute: float, clock: Callable[[], float], burst: float | None = None, max_addresses: int = MAX_ADDRESSES
    ) -> None:
        """`burst` may come at once; without it, what may come in a minute."""
        self._burst = float(a_minute if burst is None else burst)
        self._a_second = a_minute / 60
        self._clock = clock
        self._max_addresses = max_addresses
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allow(self, address: str) -> bool:
        """Whether this address may do it once more now; counts it if so."""
        left = self._left(address)
        allowed = left >= 1
        self._set(address, left - 1 if allowed else left)
        return allowed

    def take(self, address: str) -> None:
        """Count that this address does it once more.

        Raises:
            TooManyAttempts: it may not now.
        """
        self.check(address)
        self.allow(address)

    def check(self, address: str) -> None:
        """Raise TooManyAttempts unless this address may do it once more now."""
        left = self._left(address)
        if left < 1:
            raise TooManyAttempts(ceil((1 - left) / self._a_second))

    def _left(self, address: str) -> float:
        now = self._clock()
        left, since = self._buckets.get(bucket_of(address), (self._burst, now))
        return min(self._burst, left + max(0.0, now - since) * self._a_second)

    def _set(self, address: str, left: float) -> None:
        bucket = bucket_of(address)
        self._buckets[bucket] = left, self._clock()
        self._buckets.move_to_end(bucket)
        if len(self._buckets) > self._max_addresses:
            self._buckets.popitem(last=False)


class SharedReads:
    """How often an address may read shared prompts, and how often ask for what is none: whoever tries codes is soon refused all."""

    def __init__(self, *, a_minute: int, failures: int, clock: Callable[[], float]) -> None:
        self._reads = Buckets(a_minute=a_minute, clock=clock)
        self._failures = Buckets(a_minute=failures / FAILURE_MINUTES, burst=failures, clock=clock)

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
        self._failures.allow(address)


def bucket_of(address: str) -> str:
    """What is counted for an address: itself, or its /64."""
    parsed = _parsed(address)
    return str(IPv6Network((parsed, 64), strict=False)) if isinstance(parsed, IPv6Address) else address


def trusted_networks(setting: str) -> tuple[Network, ...]:
    """The addresses and networks in a comma-separated setting.

    Raises:
        ValueError: one of them is neither.
    """
    return tuple(ipaddress.ip_network(part.strip(), strict=False) for part in setting.split(",") if part.strip())


def client_address(scope: Scope, trusted: Sequence[Network]) -> str:
    """The address that a request or socket comes from, as far as it can be known.

    X-Forwarded-For is believed only from a trusted proxy, and read from its end: the first hop that is no trusted proxy is the
    client, since everything before it is the client's own claim.
    """
    client = scope.get("client")
    address = str(client[0]) if client else "unknown"
    if not _is_trusted(_parsed(address), trusted):
        return address
    lines = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    for hop in reversed(",".join(lines).split(",")[-_MAX_FORWARDED:]):
        parsed = _parsed(hop.strip())
        if parsed is None:
            break
        address = str(parsed)
        if not _is_trusted(parsed, trusted):
            break
    return address


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, IPv6Address) else parsed


def _is_trusted(address: IPv4Address | IPv6Address | None, trusted: Sequence[Network]) -> bool:
    return address is not None and any(address in network for network in trusted)
