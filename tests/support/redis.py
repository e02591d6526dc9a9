"""A Redis of a test's own: on a Unix socket in a temporary folder, killed, started again and removed."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

PROGRAM = "redis-server"
START_SECONDS = 10.0


def need_redis() -> None:
    """Without Redis a test that needs it skips, and says so; in CI it fails, for there nothing may be left out."""
    if shutil.which(PROGRAM) is not None:
        return
    if os.environ.get("CI"):
        pytest.fail(f"{PROGRAM} must be installed in CI", pytrace=False)
    pytest.skip(f"needs {PROGRAM}")


class RedisServer:
    """A Redis that keeps nothing."""

    def __init__(self, *, password: str | None = None) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="promptsync-redis-"))
        self._socket = self._folder / "redis.sock"
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address, without the password."""
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int | None:
        """Its process, while it runs."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = ["--port", "0", "--unixsocket", str(self._socket), "--dir", str(self._folder), "--save", "", "--appendonly", "no"]
        options += ["--requirepass", self._password] if self._password is not None else []
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen([PROGRAM, *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise AssertionError(f"Redis did not start:\n{(self._folder / 'redis.log').read_text()}")
            time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as asking, suppress(OSError):
            asking.connect(str(self._socket))
            asking.sendall(b"PING\r\n")
            return bool(asking.recv(64))  # an error answers too: a password is wanted
        return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()
        shutil.rmtree(self._folder)
