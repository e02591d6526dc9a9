"""Opening storms: every device reconnects at once, as after a deploy, each to a library of its own.

The devices are either new (they lack everything) or up to date (they need the deletions only, since a state vector does not
tell those). None may come out short: what each got is compared with what was stored.
"""

import asyncio
import time
from typing import Any

from benchmarks.edits import library_of
from benchmarks.job import Door, Job, until
from benchmarks.sockets import Socket, client_frame, open_socket
from crdt.knowledge import Knowledge
from crdt.seed import SEED
from crdt.updates import encode_state_vector, inspect
from protocol import ysync

FILLERS = 50
"""Libraries filled at a time."""


class Filler(Socket):
    """Stores the updates of a library and waits for their echoes."""

    def __init__(self) -> None:
        super().__init__()
        self.echoed = 0

    def message(self, payload: bytes) -> None:
        if payload.startswith(b"\x00\x02"):
            self.echoed += 1
        else:
            super().message(payload)


async def fill(job: Job) -> dict[str, Any]:
    """Store the same content in each library and return its size in bytes."""
    updates = _content(job)
    for first in range(0, len(job.doors), FILLERS):
        await asyncio.gather(*(_fill(job, door, updates) for door in job.doors[first : first + FILLERS]))
    return {"bytes": sum(map(len, updates))}


def _content(job: Job) -> list[bytes]:
    """What is in each library. Ours has the seed already, and a peer gets it too: both are asked for the same."""
    return [SEED, *library_of(job.library_bytes)]


async def _fill(job: Job, door: Door, updates: list[bytes]) -> None:
    socket = Filler()
    await open_socket(socket, job.address, *door)
    socket.transport.write(b"".join(client_frame(ysync.encode_update(update)) for update in updates))
    await until(lambda: socket.echoed >= len(updates) or socket.failure is not None, what="the echoes of a library")
    if socket.failure is not None:
        raise socket.failure
    socket.leave()


async def run(job: Job) -> dict[str, Any]:
    """Open every library once, all at the same time, and return how long it took and CPU seconds."""
    known = Knowledge()
    for update in _content(job):
        known.learn(inspect(update))
    ask = ysync.encode_step1(encode_state_vector(known.state_vector() if job.up_to_date else {}))
    sockets = [Socket(ask_with=ask) for _ in job.doors]

    usage, began = job.usage(), time.perf_counter()
    opening = (open_socket(socket, job.address, *door) for socket, door in zip(sockets, job.doors, strict=True))
    answers = await asyncio.gather(*opening, return_exceptions=True)
    seconds, used = time.perf_counter() - began, job.usage()

    short = sum(1 for answer in answers if isinstance(answer, BaseException) or not _complete(answer, known, up_to_date=job.up_to_date))
    for socket in sockets:
        socket.leave()
    return {
        "clients": len(sockets),
        "short": short,
        "failures": sorted({str(answer) for answer in answers if isinstance(answer, BaseException)})[:5],
        "seconds": seconds,
        "server_cpu": used.server - usage.server,
        "postgres_cpu": used.postgres - usage.postgres,
    }


def _complete(answer: bytes, known: Knowledge, *, up_to_date: bool) -> bool:
    given = Knowledge()
    given.learn(inspect(answer))
    if up_to_date:
        return given.deleted == known.deleted and not given.held
    return given == known
