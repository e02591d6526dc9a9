"""`promptsync watch` beside a real server: what it prints, where its token comes from, and how it ends."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from crdt import operations as ops
from crdt.library_copy import LibraryCopy
from crdt.operations import NewPrompt
from server.client import connect
from tests.support.born import BORN
from tests.support.rest import PASSWORD
from tests.support.running import Running, User
from tests.support.server import ROOT

WAIT = 30
AT = 1_764_108_000_000


class Watching:
    """A watch that runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def shows(self, text: str) -> str:
        """The next line with this text."""
        assert self.process.stdout is not None
        while True:
            line = (await asyncio.wait_for(self.process.stdout.readline(), WAIT)).decode()
            if not line:
                raise AssertionError(f"it ended before {text!r}: {self.lines}")
            self.lines.append(line)
            if text in line:
                return line

    async def ends(self, number: signal.Signals | None = None) -> tuple[int, str]:
        """Wait for its end, after this signal: its exit code, and what else it printed."""
        if number is not None:
            self.process.send_signal(number)
        out, _ = await asyncio.wait_for(self.process.communicate(), WAIT)
        assert self.process.returncode is not None
        return self.process.returncode, out.decode()


@asynccontextmanager
async def watching(server: Running, library: object, *options: str, said: str = "", token: str = "") -> AsyncIterator[Watching]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PROMPTSYNC_")} | {"COLUMNS": "200"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "server.cli", "watch", str(library), "--url", server.url, *options),
        cwd=ROOT,
        env=env | ({"PROMPTSYNC_TOKEN": token} if token else {}),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        assert process.stdin is not None
        process.stdin.write(said.encode())
        process.stdin.close()
        yield Watching(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def prompt(prompt_id: str, title: str) -> NewPrompt:
    return NewPrompt(id=prompt_id, title=title, original="hello", created_at=AT, device="desk", order="a0")


async def test_it_tells_what_changes_who_is_here_and_ends_quietly(server: Running, user: User) -> None:
    desk, editor = LibraryCopy(), await server.user()
    await server.add_member(user.library_id, editor, "editor")
    async with connect(server.url, editor.sync_token) as client, asyncio.timeout(2 * WAIT):
        library = await client.open(user.library_id, desk)
        await library.push(ops.create_prompt(desk.library, prompt("g", "greeting")))
        await library.saved()
        async with watching(server, user.library_id, token=user.sync_token) as watch:
            await watch.shows("connected")
            assert "synced as owner" in (line := await watch.shows(f"seq {BORN + 1}"))
            assert "1 prompts" in line
            await library.push(ops.edit_original(desk.library, "g", "oh, hello"))
            assert "wrote greeting" in await watch.shows(f"seq {BORN + 2}")
            await library.push(ops.delete_prompt(desk.library, "g", AT))
            assert "deleted greeting" in await watch.shows(f"seq {BORN + 3}")
            await library.push(ops.create_prompt(desk.library, prompt("r", "\x1b[31mred\n[bold]")))
            assert "wrote \ufffd[31mred\ufffd[bold]" in await watch.shows(f"seq {BORN + 4}")
            library.say({"name": "desk"})
            await watch.shows("1 here")
            library.say(None)
            await watch.shows("0 here")
            assert await watch.ends(signal.SIGINT) == (0, "")


async def test_a_file_gives_the_token(server: Running, user: User, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{user.sync_token}\n")
    async with watching(server, user.library_id, "--token-file", str(tmp_path / "token"), token="nonsense") as watch:
        await watch.shows("synced")


async def test_it_signs_in_and_out_again(server: Running) -> None:
    async with server.http() as http:
        email = f"{uuid4().hex}@example.com"
        account = (await http.post("/api/auth/register", json={"email": email, "password": PASSWORD})).json()
    before = await sessions(server, account["user"]["id"])
    async with watching(server, account["library_id"], "--email", email, said=f"{PASSWORD}\n") as watch:
        await watch.shows("synced")
        assert await sessions(server, account["user"]["id"]) == before + 1
        code, _ = await watch.ends(signal.SIGINT)
        assert code == 0
    assert await sessions(server, account["user"]["id"]) == before


async def sessions(server: Running, user_id: str) -> int:
    async with server.services.database.acquire() as connection:
        count = await connection.fetchval("SELECT count(*) FROM sessions WHERE user_id = $1 AND revoked_at IS NULL", UUID(user_id))
    return int(count)


async def test_a_wrong_password_is_said(server: Running, user: User) -> None:
    async with watching(server, user.library_id, "--email", "nobody@example.com", said="wrong\n") as watch:
        code, printed = await watch.ends()
    assert (code, "Wrong address or password" in printed) == (1, True), printed


async def test_a_library_that_one_may_not_see_is_said_and_ends_it(server: Running, user: User) -> None:
    async with watching(server, uuid4(), token=user.sync_token) as watch:
        code, printed = await watch.ends()
    assert code == 1
    assert "4404" in printed
    assert "look at the id" in printed


async def test_a_bad_token_is_said_and_not_repeated(server: Running, user: User) -> None:
    async with watching(server, user.library_id, said="secret-nonsense\n") as watch:
        code, printed = await watch.ends()
    assert code == 1
    assert "4401" in printed
    assert "secret-nonsense" not in printed


async def test_an_address_that_is_none_is_said(server: Running, user: User) -> None:
    async with watching(server, user.library_id, "--url", "localhost:8000", token="t") as watch:
        code, printed = await watch.ends()
    assert code == 1
    assert "https://host" in printed


@pytest.mark.parametrize("option", ["--token"])
async def test_a_token_is_never_an_argument(server: Running, user: User, option: str) -> None:
    async with watching(server, user.library_id, option, "t") as watch:
        code, _ = await watch.ends()
    assert code == 2
