"""How a server stops: what it is asked, and what each part may take of the ten seconds. And what else signals ask of it."""

import asyncio
import signal
import time
from collections.abc import Callable

STOP_SECONDS = 10.0
"""The promise, counted from the first SIGTERM or SIGINT."""
FLUSH_SECONDS = 2.5
"""What was taken before is stored and acknowledged within this after the sockets' turn, or its devices send it again."""
FLUSHED_BY_SECONDS = 6.2
"""Seconds after the signal by which that has ended in any case. Connections have one more, those to the database another."""
PROCESSES_BY_SECONDS = 8.5
"""Seconds after the signal by which the processes that serve have ended, or are killed."""
DATABASE_SECONDS = 3.0
"""What the embedded PostgreSQL has to stop in order; past it the next start recovers."""
LEAST_DATABASE_SECONDS = 0.3


class Stop:
    """Whether and since when this server is to stop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._asked_at: float | None = None
        self._asked = asyncio.Event()
        self._again: Callable[[], None] = lambda: None

    @property
    def asked(self) -> bool:
        return self._asked_at is not None

    def ask(self) -> None:
        """Once begins the stop; again means: at once."""
        if self._asked_at is None:
            self._asked_at = self._clock()
            self._asked.set()
        else:
            self._again()

    def when_asked_again(self, hurry: Callable[[], None]) -> None:
        """What to do then."""
        self._again = hurry

    async def wait(self) -> None:
        """Until it is asked for."""
        await self._asked.wait()

    def left(self, by: float) -> float:
        """Seconds until `by` seconds after the signal, not below 0; all of them while there was none."""
        if self._asked_at is None:
            return by
        return max(0.0, self._asked_at + by - self._clock())

    @property
    def database_seconds(self) -> float:
        """What is left for the embedded PostgreSQL, once the processes have ended."""
        return max(LEAST_DATABASE_SECONDS, min(DATABASE_SECONDS, self.left(PROCESSES_BY_SECONDS)))

    def on_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on SIGTERM and SIGINT ask."""
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.ask)


def on_hangup(do: Callable[[], object]) -> None:
    """What SIGHUP does from now on, which would end this process otherwise."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, do)
