"""`promptsync demo`: two devices, one library, a server that is killed. It needs nothing but Python, and checks what it tells.

The laptop speaks promptsync.v1, the phone the y-websocket dialect.
"""

import asyncio
import json
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from crdt import operations
from protocol.client_events import Failed, LibraryEvent, Saved
from server.config import environment_for
from server.database import read_facts
from server.demo_devices import DemoFailed, Laptop, Phone, new_prompt, now, prompt_named, prompts_of
from storage import embedded

START_SECONDS = 60.0
TYPED_BEFORE_THE_KILL = 200
"""Edits that must be acknowledged before the server is killed; the typing goes on meanwhile."""


class OwnServer:
    """A server process for the demo alone, on a data folder that goes with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self._port = "0"
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
        env = environment_for(data_dir=str(self.folder), port=self._port, host="127.0.0.1")
        with self._log().open("ab") as log:
            return subprocess.Popen([sys.executable, "-m", "server.cli", "serve"], env=env, stdout=log, stderr=log)

    def _log(self) -> Path:
        return self.folder / "server.log"

    def _is_ready(self) -> bool:
        facts = read_facts(self.folder)
        if self._process is None or facts.get("pid") != self._process.pid:
            return False
        self.url = str(facts["url"])
        self._port = self.url.rpartition(":")[2]  # the same after a restart
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
    laptop = Laptop("laptop", account["sync_token"], account["library_id"], server.folder / "laptop")
    phone = Phone("phone", account["sync_token"], account["library_id"])
    await laptop.connect(server.url)
    await phone.connect(server.url)
    try:
        await _edit_on_both(server, laptop, phone, say)
        shown = await _kill_amid_edits(server, laptop, phone, say)
        await _count_what_is_left(server, account, laptop, phone, shown, say)
    finally:
        await laptop.end()
        await phone.disconnect()


async def _edit_on_both(server: OwnServer, laptop: Laptop, phone: Phone, say: "_Narrator") -> None:
    say("online: the laptop writes a prompt, and the phone sees it once it is committed")
    await laptop.edit(new_prompt(laptop.copy, "greeting", "You are a helpful assistant."))
    await laptop.edit(new_prompt(laptop.copy, "draft", "To be thrown away."))
    await phone.until(lambda: len(phone.copy.titles()) == 2, "the phone has both prompts")
    _show(say, phone)

    say("offline on both sides: each goes on editing its own copy")
    await laptop.disconnect()
    await phone.disconnect()
    greeting, draft = prompt_named(phone.copy, "greeting"), prompt_named(phone.copy, "draft")
    await laptop.edit(operations.edit_original(laptop.copy.library, greeting, "You are a patient and helpful assistant."))
    await laptop.edit(new_prompt(laptop.copy, "翻译", "把下面的文字翻译成英文 🌏"))
    await phone.edit(operations.edit_original(phone.copy.library, greeting, "You are a helpful assistant. Answer briefly."))
    await phone.edit(operations.delete_prompt(phone.copy.library, draft, now()))
    _show(say, laptop)
    _show(say, phone)
    say.detail(f"laptop: {laptop.unsaved} edits unsaved, kept on its disk")

    say("both reconnect: edits and deletions of both sides meet")
    await laptop.connect(server.url)
    await phone.connect(server.url)
    expected = {"greeting": "You are a patient and helpful assistant. Answer briefly.", "翻译": "把下面的文字翻译成英文 🌏"}
    await laptop.until(lambda: prompts_of(laptop.copy) == expected and not laptop.unsaved, "both agree and everything is saved")
    await phone.until(lambda: prompts_of(phone.copy) == expected, "both agree")
    _show(say, phone)
    say.detail(f"laptop: {laptop.unsaved} edits unsaved")


async def _kill_amid_edits(server: OwnServer, laptop: Laptop, phone: Phone, say: "_Narrator") -> set[str]:
    """Kill the server while the laptop types; what was acknowledged or had reached the phone by then."""
    say("the laptop types without pause, and the server is killed with SIGKILL in the middle of it")
    keys: dict[bytes, str] = {}
    acknowledged: set[str] = set()
    stop = asyncio.Event()

    def note(event: LibraryEvent | Failed) -> None:
        if isinstance(event, Saved) and event.update in keys:
            acknowledged.add(keys[event.update])

    async def type_on() -> None:
        while not stop.is_set():
            key = f"note {len(keys)}"
            update = new_prompt(laptop.copy, key, f"typed as number {len(keys)}")
            keys[update] = key
            await laptop.edit(update)

    laptop.library.listen(note)
    typing = asyncio.create_task(type_on())
    await laptop.until(lambda: len(acknowledged) >= TYPED_BEFORE_THE_KILL, "edits are acknowledged")
    server.kill()
    stop.set()
    await typing
    await laptop.disconnect()
    await phone.disconnect()
    seen = set(phone.copy.titles().values()) & set(keys.values())
    if len(keys) != len(acknowledged) + laptop.unsaved:
        raise DemoFailed(f"typed {len(keys)}, acknowledged {len(acknowledged)}, unsaved {laptop.unsaved}")
    told = f"typed {len(keys)}, acknowledged {len(acknowledged)}, unsaved {laptop.unsaved}, seen on the phone {len(seen)}"
    say.detail(f"{told}; the server is dead")
    return acknowledged | seen


async def _count_what_is_left(
    server: OwnServer, account: dict[str, Any], laptop: Laptop, phone: Phone, shown: set[str], say: "_Narrator"
) -> None:
    say("it starts again on what the kill left behind, and a brand-new device opens the library")
    await server.start()
    fresh = Laptop("new device", account["sync_token"], account["library_id"], server.folder / "new device")
    await fresh.connect(server.url)
    try:
        lost = shown - set(fresh.copy.titles().values())
        say.detail(f"of {len(shown)} edits that were acknowledged or seen, lost: {len(lost)}")
        if lost:
            raise DemoFailed(f"lost: {sorted(lost)[:10]}")

        say("the laptop and the phone reconnect: what was typed and not yet acknowledged arrives now")
        await laptop.connect(server.url)
        await phone.connect(server.url)
        wanted = laptop.copy.prompts()
        await laptop.until(lambda: not laptop.unsaved, "everything is saved")
        await phone.until(lambda: phone.copy.prompts() == wanted, "all agree")
        await fresh.until(lambda: fresh.copy.prompts() == wanted, "all agree")
        say.detail(f"laptop: {laptop.unsaved} edits unsaved")
    finally:
        await fresh.end()
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


def _show(say: _Narrator, device: Laptop | Phone) -> None:
    for key, text in sorted(prompts_of(device.copy).items()):
        say.detail(f"{device.name:>6}  {key}: {text}")


def _request(url: str, body: dict[str, str] | None = None) -> dict[str, Any]:
    request = urllib.request.Request(  # noqa: S310  # our own server on loopback
        url, None if body is None else json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return dict(json.load(answer))
