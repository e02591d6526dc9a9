"""A process that owns an embedded cluster, to be killed, run as another user, and asked what it sees.

`python -m tests.support.cluster_owner FOLDER UID BINARIES PYTHON` takes one JSON command a line and answers each with one JSON line.
Root's Python and virtual environment may be unreadable to the user it turns into, so it loads everything before it does, and is
told which binaries and which Python that user can run.
"""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import asyncpg

import storage.cluster_account
from storage.embedded import Embedded
from storage.errors import StorageError
from tests.support.database import SCRIPTS


class OwnerFailed(AssertionError):
    """The owner's cluster said no; the text is the exception's."""


class ClusterOwner:
    """The process, seen from the test. Its cluster starts with `start` and ends, at the latest, with the process."""

    def __init__(self, folder: Path, uid: int, binaries: Path, python: Path) -> None:
        command = [sys.executable, "-m", "tests.support.cluster_owner", str(folder), str(uid), str(binaries), str(python)]
        self.process = subprocess.Popen(command, cwd=SCRIPTS.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, command: str, argument: str = "") -> None:
        """Send a command without waiting for the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([command, argument]) + "\n")
        self.process.stdin.flush()

    def ask(self, command: str, argument: str = "") -> Any:
        """Send a command and return the answer; raises OwnerFailed with the text of the cluster's exception."""
        self.tell(command, argument)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {"failure": "the owner is gone"}
        if "failure" in answer:
            raise OwnerFailed(answer["failure"])
        return answer["value"]

    def start(self) -> int:
        """Start the cluster and return the postmaster's process id."""
        pid = self.ask("start")
        assert isinstance(pid, int)
        return pid

    def kill(self) -> None:
        """SIGKILL the owner alone."""
        self.process.kill()
        self.process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.stdin is not None and not self.process.stdin.closed:
            self.process.communicate()  # the end of its input is its signal to stop


async def _query(dsn: str, statement: str) -> Any:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def _obey(cluster: Embedded, command: str, argument: str) -> Any:
    match command:
        case "start":
            cluster.start()
            return cluster.pid
        case "stop":
            return cluster.stop()
        case "address":
            return cluster.start()
        case "data":
            return str(cluster.data)
        case "query":
            return asyncio.run(_query(cluster.start(), argument))
        case "remove":
            from storage.embedded import remove

            return remove(Path(argument))
        case _:
            raise ValueError(command)


def _become(uid: int) -> None:
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)


def main(folder: str, uid: str, binaries: str, python: str) -> None:
    """Serve commands from standard input until it ends."""
    asyncio.run(asyncio.sleep(0))  # loads what asyncio imports late
    sys.executable = python
    setattr(storage.cluster_account, "find_binaries", lambda: Path(binaries))  # noqa: B010  # a module's name, replaced on purpose
    if int(uid) != os.geteuid():
        _become(int(uid))
    cluster = Embedded(Path(folder), durable=False)
    for line in sys.stdin:
        try:
            answer = {"value": _obey(cluster, *json.loads(line))}
        except (StorageError, asyncpg.PostgresError) as error:
            answer = {"failure": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
    cluster.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
