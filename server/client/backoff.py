"""How long to wait before the next attempt."""

from collections.abc import Callable

LEAST_SECONDS = 0.2
MOST_SECONDS = 30.0
STABLE_SECONDS = 10.0
"""What lasted so long was no failed attempt."""


class Backoff:
    """Full jitter: anything up to a ceiling that doubles with each failed attempt, so that devices do not come back all at once.

    `random` gives numbers from 0 to 1.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._failures = 0
        self._since: float | None = None

    def worked(self, now: float) -> None:
        """An attempt has succeeded, at this time in seconds; whether it lasts is seen at its end."""
        self._since = now

    def delay(self, now: float) -> float:
        """It has ended or failed: the seconds to wait."""
        if self._since is not None and now - self._since >= STABLE_SECONDS:
            self._failures = 0
        self._since = None
        ceiling = min(MOST_SECONDS, LEAST_SECONDS * float(2 ** min(self._failures, 16)))
        self._failures += 1
        return self._random() * ceiling
