"""The load generator's process: one job on stdin, one answer on stdout, both JSON. Started by `python -m benchmarks`."""

import gc
import json
import resource
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from benchmarks import fanout, idle, opening, relay
from benchmarks.job import Job

WORKS: dict[str, Callable[[Job], Awaitable[dict[str, Any]]]] = {
    "relay": relay.run,
    "fanout": fanout.run,
    "fill": opening.fill,
    "open": opening.run,
    "idle": idle.run,
}


async def _perform(job: Job) -> dict[str, Any]:
    return await WORKS[job.work](job)


def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    job = Job(**json.load(sys.stdin))
    gc.disable()  # a collection would show up as latency of the server
    json.dump(uvloop.run(_perform(job)), sys.stdout)


if __name__ == "__main__":
    main()
