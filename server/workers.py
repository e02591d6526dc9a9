"""Worker processes for large updates: reading, merging and diffing them holds the interpreter for too long elsewhere."""

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from crdt.updates import Inspected, Limits, diff, inspect, merge
from server.errors import WorkerDied

INLINE_INSPECT_BYTES = 64 << 10
"""Past this an update is inspected in a worker: 64 KiB of tiny structs take about 6 ms."""
INLINE_MERGE_BYTES = 256 << 10
"""Past this bytes are merged and diffed in a worker: 256 KiB take about 2 ms."""

Result = TypeVar("Result")


class Workers:
    """A few processes, started when first needed, replaced when they die; they end with their parent."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool: ProcessPoolExecutor | None = None

    async def inspect(self, update: bytes, limits: Limits) -> Inspected:
        """`crdt.updates.inspect`, in a worker when the update is large.

        Raises:
            InvalidUpdate: as `inspect` does.
            WorkerDied: see there.
        """
        if len(update) <= INLINE_INSPECT_BYTES:
            return inspect(update, limits=limits)
        return await self._run(_inspect, update, limits)

    async def merge(self, updates: Sequence[bytes]) -> bytes:
        """`crdt.updates.merge`, in a worker when there is much to merge."""
        if sum(map(len, updates)) <= INLINE_MERGE_BYTES:
            return merge(updates)
        return await self._run(merge, updates)

    async def diff(self, update: bytes, state_vector: bytes) -> bytes:
        """`crdt.updates.diff`, in a worker when the update is large."""
        if len(update) <= INLINE_MERGE_BYTES:
            return diff(update, state_vector)
        return await self._run(diff, update, state_vector)

    async def _run(self, function: Callable[..., Result], *arguments: object) -> Result:
        for _ in range(2):
            pool = self._pool = self._pool or self._start()
            try:
                return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)
            except BrokenProcessPool:
                if self._pool is pool:
                    self._pool = None
        raise WorkerDied

    def _start(self) -> ProcessPoolExecutor:
        # spawn: a fork would copy this process with its sockets and keys
        return ProcessPoolExecutor(self._count, mp_context=multiprocessing.get_context("spawn"), initializer=_begin)

    def close(self) -> None:
        """End the processes without waiting for what they do."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


def _inspect(update: bytes, limits: Limits) -> Inspected:
    return inspect(update, limits=limits)


def _begin() -> None:
    """Ctrl-C is the parent's business; and whatever ends the parent, SIGKILL too, ends this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)
