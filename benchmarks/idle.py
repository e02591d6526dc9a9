"""Idle connections: what one costs in the server's memory, each on a library of its own."""

import asyncio
from typing import Any

from benchmarks.job import Door, Job
from benchmarks.machine import resident_bytes
from benchmarks.sockets import Socket, open_socket

AT_ONCE = 50
WARM_UP = 50
"""Connections made and kept before the first look, so that code and pools are loaded."""
REST_SECONDS = 2.0


async def run(job: Job) -> dict[str, Any]:
    """Hold a connection to each library and return the growth of the server's resident memory in bytes."""
    assert job.server_pid is not None
    warm = await _connect(job, job.doors[:WARM_UP])
    await asyncio.sleep(REST_SECONDS)
    before = resident_bytes(job.server_pid)
    measured = job.doors[WARM_UP:]
    sockets = [socket for first in range(0, len(measured), AT_ONCE) for socket in await _connect(job, measured[first : first + AT_ONCE])]
    await asyncio.sleep(REST_SECONDS)
    grown = resident_bytes(job.server_pid) - before
    usage = job.usage()
    await asyncio.sleep(job.seconds)
    used = job.usage()
    for socket in warm + sockets:
        if socket.failure is not None:
            raise socket.failure
        socket.leave()
    return {"connections": len(sockets), "bytes": grown, "server_cpu": used.server - usage.server, "seconds": job.seconds}


async def _connect(job: Job, doors: list[Door]) -> list[Socket]:
    sockets = [Socket() for _ in doors]
    await asyncio.gather(*(open_socket(socket, job.address, *door) for socket, door in zip(sockets, doors, strict=True)))
    return sockets
