"""What the load generator is told to do, and what it answers: plain values, since both cross a pipe as JSON."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.machine import Usage

MOST_SECONDS = 280.0
"""A measurement whose end is told by a file ends with this in any case."""
SETTLE_SECONDS = 20.0
"""How long what is in flight at the end may take to arrive."""


class Door(NamedTuple):
    """How a library is opened. (JSON makes a list of it, which opens it as well.)"""

    path: str
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One measurement of a server that runs. Times in seconds."""

    work: str
    host: str
    port: int
    doors: list[Door]
    server_pid: int | None = None
    postgres_pid: int | None = None
    more_ports: list[int] = field(default_factory=list)
    """Other processes on the same database."""
    split: bool = True
    """Whether the devices of a library take turns among the processes; else whole libraries do."""
    more_pids: list[int] = field(default_factory=list)
    warm_up: float = 1.0
    seconds: float = 5.0
    writers: int = 1
    """Of the devices of a library, how many write."""
    devices: int = 2
    in_flight: int = 4
    """Edits a writer has sent that the other device has not seen."""
    library_bytes: int = 45_000
    up_to_date: bool = False
    """Whether the devices of an opening storm hold everything already."""

    until_file: str = ""
    """Where it is given, measure until there is such a file instead of for `seconds`."""
    stored: bool = True
    """Whether a new device must get everything in the end: our promise, not every peer's."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def address(self) -> tuple[str, int]:
        return (self.host, self.port)

    def address_of(self, library: int, device: int) -> tuple[str, int]:
        """Where a device connects, by its number in its library and that library's number."""
        ports = [self.port, *self.more_ports]
        return (self.host, ports[(device if self.split else library) % len(ports)])

    async def measured(self) -> None:
        """Returns when the measurement is over."""
        if self.until_file:
            await until(Path(self.until_file).exists, what="the end of the measurement", within=MOST_SECONDS)
        else:
            await asyncio.sleep(self.seconds)

    def usage(self) -> Usage:
        return Usage.now([*([self.server_pid] if self.server_pid else []), *self.more_pids], self.postgres_pid)


async def until(condition: Callable[[], bool], *, what: str, within: float = SETTLE_SECONDS) -> None:
    """Look every few milliseconds until `condition` holds: the loop that measures has no room for being told.

    Raises AssertionError naming `what` after `within` seconds.
    """
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not arrive within {within} s")
        await asyncio.sleep(0.005)
