"""Devices in Node: each a process of its own, told what to do by JSON lines."""

import fcntl
import json
import os
import selectors
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.born import SEEDED
from tests.support.server import Account, Server

HERE = Path(__file__).resolve().parent
ANSWER_SECONDS = 30.0
"""How long a command may take beyond the waiting it was asked for."""


class DeviceFailed(AssertionError):
    """A device answered with an error, or not at all."""


def install() -> None:
    """Install the pinned packages once; what is there and fits the lock file is kept.

    Raises DeviceFailed with what npm printed.
    """
    stamp = HERE / "node_modules" / ".lock-installed"
    path = HERE / "package-lock.json"
    with path.open("rb") as lock_file:
        fcntl.flock(lock_file, fcntl.LOCK_EX)  # other test processes may be here too, and npm begins by removing what is there
        lock = lock_file.read()
        if stamp.exists() and stamp.read_bytes() == lock:
            return
        npm = subprocess.run(
            ["npm", "ci", "--prefer-offline", "--ignore-scripts"], cwd=HERE, capture_output=True, text=True, timeout=240, check=False
        )
        if npm.returncode != 0:
            raise DeviceFailed(f"npm ci failed:\n{npm.stdout}\n{npm.stderr}")
        stamp.write_bytes(lock)


PROGRAMS = {
    "2": ("device.mjs", "2"),
    "3": ("device.mjs", "3"),
    "promptsync": ("promptsync_device.mjs",),
    "layout": ("layout_device.mjs",),
}


class NodeDevice:
    """One device. `provider` is the major version of its stock y-websocket provider, "2" or "3"; "promptsync" speaks promptsync.v1, and
    "layout" no protocol."""

    def __init__(self, provider: str) -> None:
        self.provider = provider
        self.client = 0
        self._asked = 0
        self._answers: dict[int, dict[str, Any]] = {}
        self._rest = b""
        self._process = subprocess.Popen(
            ["node", *PROGRAMS[provider]], cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, start_new_session=True
        )
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)

    # -- commands -----------------------------------------------------------------------------------------------

    def ask(self, command: str, **arguments: Any) -> int:
        """Send a command and return at once with its number, for `answer`."""
        assert self._process.stdin is not None
        self._asked += 1
        self._process.stdin.write(json.dumps({"id": self._asked, "do": command, **arguments}).encode() + b"\n")
        return self._asked

    def answer(self, number: int, *, within: float = ANSWER_SECONDS) -> Any:
        """The value of the command `number`.

        Raises DeviceFailed when the device reports an error or does not answer `within` seconds.
        """
        deadline = time.monotonic() + within
        while number not in self._answers:
            self._read(deadline)
        answer = self._answers.pop(number)
        if "error" in answer:
            raise DeviceFailed(f"device {self.client} ({self.provider}): {answer['error']}")
        return answer["value"]

    def do(self, command: str, **arguments: Any) -> Any:
        """Run one command to its end and return its value."""
        return self.answer(self.ask(command, **arguments), within=ANSWER_SECONDS + arguments.get("within", 0) / 1000)

    def _read(self, deadline: float) -> None:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise DeviceFailed(f"device {self.client} ({self.provider}) did not answer")
        data = self._process.stdout.read(1 << 20)
        if not data:
            raise DeviceFailed(f"device {self.client} ({self.provider}) has ended")
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            self._answers[message["id"]] = message

    # -- in domain words ----------------------------------------------------------------------------------------

    def open(self, server: Server, library: str, token: str, *, awareness: bool = True, connect: bool = True) -> Self:
        """Set the provider up, and connect it unless told not to."""
        opened = self.do("open", url=server.sync_url, library=library, token=token, awareness=awareness, connect=connect)
        self.client = opened["client"]
        return self

    def connect(self) -> None:
        self.do("connect")

    def disconnect(self) -> None:
        self.do("disconnect")

    def edit(self, *steps: list[Any]) -> int:
        """Make edits, each an update of its own; the device's own clock after them."""
        return int(self.do("edit", steps=steps))

    def transact(self, *steps: list[Any]) -> int:
        """Make edits in one transaction; the device's own clock after them."""
        return int(self.do("transact", steps=steps))

    def wait(self, until: str, value: Any = True, *, within: float = 15.0) -> None:
        """Wait for a condition of device.mjs; raise DeviceFailed with the device's last state after `within` seconds."""
        self.do("wait", until=until, value=value, within=within * 1000)

    def content(self) -> dict[str, Any]:
        """All types as plain values, with state vector and deletions: equal exactly when the documents are."""
        value = self.do("content")
        assert isinstance(value, dict)
        return value

    def stop(self) -> None:
        """End the process; with no goodbye on the wire if `leave` was not asked before."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(10)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def leave(self) -> None:
        """Say goodbye on the wire and end."""
        self.ask("leave")
        self._process.wait(10)
        self.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def seeded(clocks: Mapping[int, int]) -> dict[str, int]:
    """The state vector of these clients' clocks and the seed, as a device's content has it."""
    return {str(client): clock for client, clock in {**SEEDED, **clocks}.items()}


def wait_until_equal(*devices: NodeDevice, within: float = 20.0) -> dict[str, Any]:
    """Wait until all `devices` hold everything that each of them holds, check that they are equal, and return the content.

    First for the state vectors, which only grow; then for the deletions, which vectors do not tell.
    """
    contents = [device.content() for device in devices]
    vector: dict[str, int] = {}
    for content in contents:
        for client, clock in content["vector"].items():
            vector[client] = max(vector.get(client, 0), clock)
    for device in devices:
        device.wait("vector", vector, within=within)
    deadline = time.monotonic() + within
    while True:
        contents = [device.content() for device in devices]
        if all(content == contents[0] for content in contents):
            break
        if time.monotonic() > deadline:
            raise AssertionError(f"the documents did not become equal: {contents}")
        # nothing to wait for but the next message: ask the device that has most to gain
        devices[-1].do("turn")
    assert not contents[0]["pending"], "something was received whose predecessors are missing"
    return contents[0]


NewDevice = Callable[[str], NodeDevice]
"""Makes a device of the provider that is named."""


def open_two(new: NewDevice, server: Server, account: Account, library: str, pair: tuple[str, str]) -> tuple[NodeDevice, NodeDevice]:
    """A device of each of the two providers on one library, both in sync."""
    a, b = (new(provider).open(server, library, account.sync_token) for provider in pair)
    a.wait("synced")
    b.wait("synced")
    return a, b


def come_and_go(a: NodeDevice, b: NodeDevice) -> list[str]:
    """Edits on both in ten turns, in each of which one of them is away; the words that they have put into the text."""
    for turn in range(10):
        leaver = (a, b)[turn % 2]
        leaver.disconnect()
        a.edit(["text append", f"a{turn} "], ["map set", f"a{turn}", turn], ["map delete", f"b{turn - 1}"])
        b.edit(["text append", f"b{turn} "], ["map set", f"b{turn}", turn], ["map delete", f"a{turn - 1}"])
        leaver.connect()
    return [f"{name}{turn} " for name in "ab" for turn in range(10)]
