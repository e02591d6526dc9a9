"""The parent of several serving processes: starts them, starts again what ends, and ends with all of them.

It has bound the port, brought the database up and looked at the key file. Each process inherits a listening socket, which stays open here:
connections wait in it while a process that ended is started again. The processes are programs of their own (a fork would copy keys, sockets
and the data folder's lock), told what they need by standard input: the database's address must not be seen in a list of processes. They say
"ready" by standard output.
"""

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog
from prometheus_client.multiprocess import mark_process_dead

from server import metrics
from server.config import Settings, environment_for
from server.database import Beside
from server.errors import ServerError
from server.siblings import Switchboard
from server.stopping import PROCESSES_BY_SECONDS, Stop, on_hangup

log = structlog.get_logger(__name__)

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
"""Before a process that ended is started again: doubled each time, and short again after one has lived for `STEADY_SECONDS`."""
STEADY_SECONDS = 10.0
_ROOT = Path(__file__).resolve().parents[1]


class ProcessFailed(ServerError):
    """A process did not come up when the server was started."""


class Supervisor:
    """A process for each listening socket."""

    def __init__(
        self, settings: Settings, dsn: str, listeners: Sequence[socket.socket], changed: Callable[[], None] = lambda: None
    ) -> None:
        """`changed` is called when another process stands in one's place."""
        self._settings = settings
        self._dsn = dsn
        self._listeners = dict(enumerate(listeners, 1))
        self._switchboard = Switchboard(len(listeners))
        self._changed = changed
        self._processes: dict[int, Process] = {}
        self._ready = {number: asyncio.Event() for number in self._listeners}
        self._stopping = False
        self._metrics = Path(tempfile.gettempdir())

    @property
    def pids(self) -> list[int]:
        """The process ids of those that run."""
        return [process.pid for process in self._processes.values()]

    async def run(self, stop: Stop, *, ready: Callable[[], None], beside: tuple[Beside, ...] = ()) -> None:
        """Keep the processes running until `stop` is asked, then end them; `ready` is called once all serve.

        Raises:
            ProcessFailed: one ended before all had begun to serve.
        """
        stop.on_signals(asyncio.get_running_loop())
        stop.when_asked_again(lambda: self._tell(signal.SIGTERM))
        on_hangup(lambda: self._tell(signal.SIGHUP))
        self._metrics = _metrics_folder()
        try:
            async with asyncio.TaskGroup() as group:
                works = [group.create_task(_await(work)) for work in beside]
                keepers = [group.create_task(self._keep(number)) for number in self._ready]
                asked = group.create_task(stop.wait())
                starting = group.create_task(self._all_ready())
                await asyncio.wait({starting, asked}, return_when=asyncio.FIRST_COMPLETED)
                if not stop.asked:
                    ready()
                await asked
                await self._end_in_order(stop, keepers)
                for work in (*works, starting):
                    work.cancel()
        except* ProcessFailed as errors:
            raise ProcessFailed(str(_innermost(errors))) from None
        finally:
            self._tell(signal.SIGKILL)
            self._switchboard.close()
            shutil.rmtree(self._metrics, ignore_errors=True)

    async def _all_ready(self) -> None:
        for event in self._ready.values():
            await event.wait()

    async def _end_in_order(self, stop: Stop, keepers: list[asyncio.Task[None]]) -> None:
        self._stopping = True
        log.info("stopping", processes=len(self._processes))
        self._tell(signal.SIGTERM)
        for listener in self._listeners.values():
            listener.close()  # the processes close theirs: nobody must wait where nobody will come
        _, late = await asyncio.wait(keepers, timeout=stop.left(PROCESSES_BY_SECONDS))
        if late:
            log.error("processes_killed", processes=len(late))
            self._tell(signal.SIGKILL)
            for keeper in late:
                keeper.cancel()

    def _tell(self, number: signal.Signals) -> None:
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                process.send_signal(number)

    async def _keep(self, number: int) -> None:
        """Have process `number` running until the server stops."""
        pause = FIRST_PAUSE_SECONDS
        while not self._stopping:
            began = time.monotonic()
            status: int | str
            try:
                status = await self._run_one(number)
            except OSError as error:  # no room for another process at the moment: the others serve on meanwhile
                status = error.strerror or type(error).__name__
            if self._stopping:
                return
            log.error("process_ended", process=number, status=status)
            if not all(event.is_set() for event in self._ready.values()):
                raise ProcessFailed(f"process {number} of {len(self._ready)} ended with {status} as it started; what it said is above")
            if time.monotonic() - began > STEADY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _run_one(self, number: int) -> int:
        """Start it and wait for its end; its exit status (negative: the signal that ended it)."""
        process = await self._spawn(number)
        self._processes[number] = process
        self._changed()
        try:
            if self._stopping:
                process.terminate()
            assert process.stdout is not None  # noqa: S101  # it was asked for
            while line := await process.stdout.readline():
                if line == b"ready\n":
                    self._ready[number].set()
            return await process.wait()
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            del self._processes[number]
            mark_process_dead(process.pid, path=str(self._metrics))  # type: ignore[no-untyped-call]  # the library's own

    async def _spawn(self, number: int) -> Process:
        environment, descriptor = environment_for(), self._listeners[number].fileno()
        path = [str(_ROOT), *filter(None, [environment.get("PYTHONPATH")])]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # the folder we were started in is no place to import from
            "-m",
            "server.child",
            str(number),
            stdin=PIPE,
            stdout=PIPE,
            pass_fds=[descriptor, *self._switchboard.descriptors(number)],
            env=environment | {"PYTHONPATH": os.pathsep.join(path), metrics.SHARED: str(self._metrics)},
            start_new_session=True,  # Ctrl-C in the terminal reaches us alone
        )
        assert process.stdin is not None  # noqa: S101  # it was asked for
        with suppress(ConnectionError):  # it has ended already, which its status tells
            process.stdin.write(json.dumps(self._orders(number, descriptor)).encode())
            await process.stdin.drain()
        process.stdin.close()
        return process

    def _orders(self, number: int, descriptor: int) -> dict[str, Any]:
        secrets = {**self._settings.secrets, "database_url": self._dsn}
        return {
            "parent": os.getpid(),
            "listener": descriptor,
            "siblings": self._switchboard.orders(number),
            "metrics": str(self._metrics),
            "settings": self._settings.model_dump(mode="json") | secrets,
        }


def _metrics_folder() -> Path:
    """A new folder for this server's numbers; those that killed servers left are removed."""
    prefix = "promptsync-metrics-"
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*-*"):
        pid = left.name.removeprefix(prefix).partition("-")[0]
        if not Path(f"/proc/{pid}").exists():
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-"))


async def _await(work: Beside) -> None:
    await work()


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
