"""Servers for tests, forked from a process that has everything imported: a start takes 1.5 s of the processor less, and there are hundreds.

What is forked runs `promptsync serve` as a process of its own does: a session, environment, folder and log of its own, killed and stopped
like any other. That the command starts by itself is shown by the tests of the README and of the demo.
"""

import atexit
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

MAX_BYTES = 1 << 20
"""Of an order: an environment is a few kilobytes."""


class Forked:
    """A server that was forked: of `subprocess.Popen` what tests use."""

    def __init__(self, forge: "Forge", pid: int, args: Sequence[str]) -> None:
        self.pid = pid
        self.args = args
        self.returncode: int | None = None
        self._forge = forge
        self._asking = threading.Lock()  # a process that has ended is told of once

    def poll(self) -> int | None:
        """Its exit code, once it has ended."""
        with self._asking:
            if self.returncode is None:
                self.returncode = self._forge.ask(self.pid)
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, waited for. Raises subprocess.TimeoutExpired."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # another thread has just heard of its end
                pidfd = os.pidfd_open(self.pid)
                try:
                    ending = select.poll()
                    ending.register(pidfd, select.POLLIN)
                    ending.poll(None if timeout is None else timeout * 1000)
                finally:
                    os.close(pidfd)
        code = self.poll()
        if code is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        return code

    def send_signal(self, number: int) -> None:
        """Signal it, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Forge:
    """The process that servers are forked from, one for each process of tests."""

    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()  # tests stop and start servers from threads, too
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.forge", str(theirs.fileno())],
                cwd=Path(__file__).resolve().parents[2],
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        atexit.register(self.close)

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, log: int) -> Forked:
        """A server, started with these arguments of `promptsync`."""
        order = {"arguments": list(arguments), "environment": dict(environment), "folder": str(folder)}
        with self._one_at_a_time:
            socket.send_fds(self._socket, [json.dumps(order).encode()], [log])
            pid = self._answer()
        assert pid is not None
        return Forked(self, pid, ["promptsync", *arguments])

    def ask(self, pid: int) -> int | None:
        """The exit code of a server, negative for a signal; None while it runs."""
        with self._one_at_a_time:
            self._socket.send(json.dumps(pid).encode())
            return self._answer()

    def _answer(self) -> int | None:
        answer = self._socket.recv(MAX_BYTES)
        if not answer:
            raise ChildProcessError("the process that servers are forked from has ended")
        number: int | None = json.loads(answer)
        return number

    def close(self) -> None:
        """End it. Servers that still run are left to whoever has started them."""
        self._socket.close()
        self._process.wait(10)


_forge: list[Forge] = []


def forge() -> Forge:
    """The one of this process, started at the first question."""
    if not _forge:
        _forge.append(Forge())
    return _forge[0]


def _take_orders(given: socket.socket) -> dict[str, Any]:
    """Fork servers and tell how they ended, until the other end closes. Returns in a server that is to be."""
    while True:
        data, logs, _, _ = socket.recv_fds(given, MAX_BYTES, 1)
        if not data:
            sys.exit(0)
        order = json.loads(data)
        if isinstance(order, int):
            pid, status = os.waitpid(order, os.WNOHANG)
            given.send(json.dumps(os.waitstatus_to_exitcode(status) if pid else None).encode())
            continue
        pid = os.fork()
        if pid == 0:
            given.close()
            os.setsid()
            for number in (1, 2):
                os.dup2(logs[0], number)
            os.close(logs[0])
            started: dict[str, Any] = order
            return started
        os.close(logs[0])
        given.send(json.dumps(pid).encode())


def _main() -> None:
    import gc

    from server import cli, heap

    heap.begin()
    import uvloop  # noqa: F401

    import server.process
    import server.run
    import server.terminal  # noqa: F401

    gc.collect()
    gc.freeze()
    start = _take_orders(socket.socket(fileno=int(sys.argv[1])))
    os.chdir(start["folder"])
    os.environ.clear()
    os.environ.update(start["environment"])
    random.seed()
    sys.argv = ["promptsync", *start["arguments"]]
    cli.main()


if __name__ == "__main__":
    _main()
