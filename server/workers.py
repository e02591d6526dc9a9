"""Worker processes for large updates: reading, merging and diffing them holds the interpreter for too long elsewhere."""

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple, TypeVar

from crdt.fold import fold
from crdt.updates import Inspected, Limits, diff, inspect, merge
from server.errors import WorkerDied

INLINE_INSPECT_BYTES = 64 << 10
"""Past this an update is inspected in a worker: 64 KiB of tiny structs take about 6 ms."""
INLINE_MERGE_BYTES = 256 << 10
"""Past this bytes are merged and diffed in a worker: 256 KiB take about 2 ms."""
FOLD_NICENESS = 10
"""For workers that fold: nobody waits for them, and others have work on the same processors."""
FOLD_SECONDS = 120.0
"""How long a fold may take before its process is ended: 75 MB take about 20 s. Past it: as if the process had died."""

Result = TypeVar("Result")


class Folded(NamedTuple):
    """What a fold yields: the update, its knowledge in the packed form, and whether its garbage was collected."""

    content: bytes
    knowledge: bytes
    collected: bool


class Workers:
    """A few processes, started when first needed, replaced when they die; they end with their parent.

    `niceness` is added to theirs: work that nobody waits for leaves the processors to what somebody does wait for.
    """

    def __init__(self, count: int, *, niceness: int = 0) -> None:
        self._count = count
        self._niceness = niceness
        self._pool: ProcessPoolExecutor | None = None
        self._suspects: ProcessPoolExecutor | None = None
        self._alone = asyncio.Lock()
        self._suspected = 0
        self._closings = 0

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
        """`crdt.updates.merge`, in a worker when there is much to merge; a single update as it is."""
        if len(updates) == 1:
            return updates[0]
        if sum(map(len, updates)) <= INLINE_MERGE_BYTES:
            return merge(updates)
        return await self._run(merge, updates)

    async def diff(self, update: bytes, state_vector: bytes) -> bytes:
        """`crdt.updates.diff`, in a worker when the update is large."""
        if len(update) <= INLINE_MERGE_BYTES:
            return diff(update, state_vector)
        return await self._run(diff, update, state_vector)

    async def fold(self, snapshot: bytes | None, updates: Sequence[bytes], *, again: bool = True) -> Folded:
        """`crdt.fold.fold`, always in a worker: a document may break its process.

        Raises:
            FoldBroken: as `fold` does.
            WorkerDied: the process broke, twice unless it is not to be tried `again`, or took longer than FOLD_SECONDS.
        """
        try:
            async with asyncio.timeout(FOLD_SECONDS):
                return await self._run(_fold, snapshot, updates, again=again)
        except TimeoutError:
            self.close()  # nothing else ends what is being worked on
            raise WorkerDied from None

    async def run(self, function: Callable[..., Result], *arguments: object) -> Result:
        """What a function of a module returns, called in a worker.

        Raises:
            what it raises.
            WorkerDied: see there.
        """
        return await self._run(function, *arguments)

    async def _run(self, function: Callable[..., Result], *arguments: object, again: bool = True) -> Result:
        pool, closings = self._pool or self._start(self._count), self._closings
        self._pool = pool
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)
        except BrokenProcessPool:
            if self._pool is pool:
                self._pool = None
        if not again or closings != self._closings:  # or it was ended on purpose
            raise WorkerDied
        self._suspected += 1
        try:
            async with self._alone:
                return await self._run_alone(function, *arguments)
        finally:
            self._suspected -= 1
            if not self._suspected and self._suspects is not None:
                _end(self._suspects)
                self._suspects = None

    async def _run_alone(self, function: Callable[..., Result], *arguments: object) -> Result:
        """What was in flight when a worker died goes one after the other, in a process apart: only what kills it is refused."""
        pool = self._suspects = self._suspects or self._start(1)
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)
        except BrokenProcessPool:
            self._suspects = None
            raise WorkerDied from None
        except asyncio.CancelledError:
            self._suspects = None
            _end(pool)  # it may still be at work on this, and die of it while the next one is tried
            raise

    def _start(self, count: int) -> ProcessPoolExecutor:
        # spawn: a fork would copy this process with its sockets and keys
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(self._niceness,))

    def close(self) -> None:
        """End the processes without waiting for what they do. They start again when needed."""
        self._closings += 1
        for pool in (self._pool, self._suspects):
            if pool is not None:
                _end(pool)
        self._pool = self._suspects = None


def _end(pool: ProcessPoolExecutor) -> None:
    processes = list((pool._processes or {}).values())  # no public name for them before Python 3.14
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()


def _fold(snapshot: bytes | None, updates: Sequence[bytes]) -> Folded:
    folded = fold(snapshot, updates)
    return Folded(folded.content, folded.knowledge.pack(), folded.collected)


def _inspect(update: bytes, limits: Limits) -> Inspected:
    return inspect(update, limits=limits)


def _begin(niceness: int) -> None:
    """Ctrl-C is the parent's business; and whatever ends the parent, SIGKILL too, ends this process."""
    os.nice(niceness)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)
