"""`promptsync demo`: two devices, one library, a server that is killed. It needs nothing but Python, and checks what it tells."""

import asyncio
import json
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from crdt.replica import Replica
from protocol import ysync
from server.config import environment_for
from server.database import read_facts
from server.errors import ServerError
from storage import embedded

START_SECONDS = 60.0
WAIT_SECONDS = 20.0
TYPED_BEFORE_THE_KILL = 200
"""Edits that must be acknowledged before the server is killed; the typing goes on meanwhile."""


class DemoFailed(ServerError):
    """What the demo tells did not come true."""


class Device:
    """A device with its own copy of the library, on the y-websocket dialect."""

    def __init__(self, name: str, token: str, library: str) -> None:
        self.name = name
        self.replica = Replica()
        self.unconfirmed: set[bytes] = set()
        self.confirmed: set[bytes] = set()
        self.changed = asyncio.Event()
        self._token = token
        self._library = library
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None

    async def connect(self, url: str) -> None:
        """Connect and exchange what is missing on either side; returns once the server has answered."""
        self._socket = await connect(
            f"{url.replace('http', 'ws', 1)}/sync/{self._library}",
            subprotocols=["yjs", f"bearer.{self._token}"],  # type: ignore[list-item]  # NewType of str
            compression=None,
            max_size=None,
        )
        answered = asyncio.Event()
        self._reader = asyncio.create_task(self._read(self._socket, answered))
        await self._socket.send(ysync.encode_step1(self.replica.state_vector()))
        await asyncio.wait_for(answered.wait(), WAIT_SECONDS)

    async def disconnect(self) -> None:
        """Go offline."""
        if self._socket is not None and self._reader is not None:
            await self._socket.close()
            await self._reader
            self._socket = None

    async def edit(self, update: bytes) -> None:
        """Send an edit that the replica has made already; offline it waits in the replica."""
        self.unconfirmed.add(update)
        if self._socket is not None:
            with suppress(ConnectionClosed):
                await self._socket.send(ysync.encode_update(update))

    async def _read(self, socket: ClientConnection, answered: asyncio.Event) -> None:
        with suppress(ConnectionClosed):
            async for frame in socket:
                message = ysync.decode(frame if isinstance(frame, bytes) else frame.encode())
                match message:
                    case ysync.Step1(state_vector):
                        await socket.send(ysync.encode_step2(self.replica.missing(state_vector)))
                    case ysync.Step2(update):
                        self.replica.apply(update)
                        answered.set()
                    case ysync.Update(update):
                        self.replica.apply(update)
                        if update in self.unconfirmed:  # the echo: it is committed
                            self.unconfirmed.discard(update)
                            self.confirmed.add(update)
                self.changed.set()

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until what this device has heard makes the condition true; raises DemoFailed when it does not come true."""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while not condition():
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            raise DemoFailed(f"{self.name}: waited in vain until {what}") from None


class OwnServer:
    """A server process for the demo alone, on a data folder that goes with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it and wait until it commits."""
        process = self._process = self._spawn()
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await asyncio.to_thread(self._is_ready):
                    if process.poll() is not None:
                        raise DemoFailed(f"the server did not start:\n{self._log().read_text()[-2000:]}")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise DemoFailed(f"the server was not ready within {START_SECONDS:.0f} s") from None

    def _spawn(self) -> "subprocess.Popen[bytes]":
        env = environment_for(data_dir=str(self.folder), port="0", host="127.0.0.1")
        with self._log().open("ab") as log:
            return subprocess.Popen([sys.executable, "-m", "server.cli", "serve"], env=env, stdout=log, stderr=log)

    def _log(self) -> Path:
        return self.folder / "server.log"

    def _is_ready(self) -> bool:
        facts = read_facts(self.folder)
        if self._process is None or facts.get("pid") != self._process.pid:
            return False
        self.url = str(facts["url"])
        with suppress(OSError):
            return bool(_request(f"{self.url}/readyz").get("status") == "ok")
        return False

    def kill(self) -> None:
        """SIGKILL: no goodbye, no flush."""
        assert self._process is not None  # noqa: S101
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Stop in order, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()


def run(*, keep: bool) -> None:
    """Tell the story; raises DemoFailed when it does not come true."""
    folder = Path(tempfile.mkdtemp(prefix="promptsync-demo-"))
    server = OwnServer(folder)
    console = Console(highlight=False)
    try:
        asyncio.run(_story(server, console))
    finally:
        server.stop()
        if keep:
            console.print(f"kept: {folder}")
        else:
            embedded.remove(folder)
            shutil.rmtree(folder, ignore_errors=True)


async def _story(server: OwnServer, console: Console) -> None:
    say = _Narrator(console)
    say("starting a server of its own, with a PostgreSQL of its own")
    await server.start()
    account = await asyncio.to_thread(
        _request, f"{server.url}/api/auth/register", {"email": "demo@example.com", "password": secrets.token_urlsafe(16)}
    )
    laptop, phone = (Device(name, account["sync_token"], account["library_id"]) for name in ("laptop", "phone"))
    await laptop.connect(server.url)
    await phone.connect(server.url)

    say("online: the laptop writes a prompt, and the phone sees it once it is committed")
    await laptop.edit(laptop.replica.write_prompt("greeting", "You are a helpful assistant."))
    await laptop.edit(laptop.replica.write_prompt("draft", "To be thrown away."))
    await phone.until(lambda: len(phone.replica.prompts()) == 2, "the phone has both prompts")
    _show(say, phone)

    say("offline on both sides: each goes on editing its own copy")
    await laptop.disconnect()
    await phone.disconnect()
    await laptop.edit(laptop.replica.edit_text("greeting", 10, "patient and "))
    await laptop.edit(laptop.replica.write_prompt("翻译", "把下面的文字翻译成英文 🌏"))
    await phone.edit(phone.replica.edit_text("greeting", len(phone.replica.prompts()["greeting"]), " Answer briefly."))
    await phone.edit(phone.replica.delete_prompt("draft"))
    _show(say, laptop)
    _show(say, phone)

    say("both reconnect: edits and deletions of both sides meet")
    await laptop.connect(server.url)
    await phone.connect(server.url)
    expected = {"greeting": "You are a patient and helpful assistant. Answer briefly.", "翻译": "把下面的文字翻译成英文 🌏"}
    for device in (laptop, phone):
        await device.until(lambda device=device: device.replica.prompts() == expected, "both agree")  # type: ignore[misc]
    _show(say, phone)

    shown = await _kill_amid_edits(server, laptop, phone, say)
    await _count_what_is_left(server, account, laptop, phone, shown, say)


async def _kill_amid_edits(server: OwnServer, laptop: Device, phone: Device, say: "_Narrator") -> set[str]:
    """Kill the server while the laptop types; what was acknowledged or had reached the phone by then."""
    say("the laptop types without pause, and the server is killed with SIGKILL in the middle of it")
    laptop.confirmed.clear()
    keys: dict[bytes, str] = {}
    stop = asyncio.Event()

    async def type_on() -> None:
        while not stop.is_set():
            key = f"note {len(keys)}"
            update = laptop.replica.write_prompt(key, f"typed as number {len(keys)}")
            keys[update] = key
            await laptop.edit(update)
            await asyncio.sleep(0)

    typing = asyncio.create_task(type_on())
    await laptop.until(lambda: len(laptop.confirmed) >= TYPED_BEFORE_THE_KILL, "edits are acknowledged")
    server.kill()
    stop.set()
    await typing
    await laptop.disconnect()
    await phone.disconnect()
    acknowledged = {keys[update] for update in laptop.confirmed}
    seen = set(phone.replica.prompts()) & set(keys.values())
    say.detail(f"typed {len(keys)}, acknowledged {len(acknowledged)}, seen on the phone {len(seen)}; the server is dead")
    return acknowledged | seen


async def _count_what_is_left(
    server: OwnServer, account: dict[str, Any], laptop: Device, phone: Device, shown: set[str], say: "_Narrator"
) -> None:
    say("it starts again on what the kill left behind, and a brand-new device opens the library")
    await server.start()
    fresh = Device("new device", account["sync_token"], account["library_id"])
    await fresh.connect(server.url)
    lost = shown - set(fresh.replica.prompts())
    say.detail(f"of {len(shown)} edits that were acknowledged or seen, lost: {len(lost)}")
    if lost:
        raise DemoFailed(f"lost: {sorted(lost)[:10]}")

    say("the laptop and the phone reconnect: what was typed and not yet acknowledged arrives now")
    await laptop.connect(server.url)
    await phone.connect(server.url)
    wanted = laptop.replica.prompts()
    for device in (phone, fresh):
        await device.until(lambda device=device: device.replica.prompts() == wanted, "all agree")  # type: ignore[misc]
    for device in (laptop, phone, fresh):
        await device.disconnect()
    say(f"converged: {len(wanted)} prompts, equal on laptop, phone and new device. Nothing was lost.")


class _Narrator:
    """Numbers the steps of the story."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._step = 0

    def __call__(self, text: str) -> None:
        self._step += 1
        self._console.print(f"[bold]{self._step}.[/bold] {text}", soft_wrap=True)

    def detail(self, text: str) -> None:
        self._console.print(f"     {text}", markup=False, soft_wrap=True)


def _show(say: _Narrator, device: Device) -> None:
    for key, text in sorted(device.replica.prompts().items()):
        say.detail(f"{device.name:>6}  {key}: {text}")


def _request(url: str, body: dict[str, str] | None = None) -> dict[str, Any]:
    request = urllib.request.Request(  # noqa: S310  # our own server on loopback
        url, None if body is None else json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return dict(json.load(answer))
