"""`promptsync export` beside a real server: what it writes, over what it does not, and what it says of a refusal."""

import asyncio
import json
import os
import stat
import sys
import zipfile
from pathlib import Path
from uuid import uuid4

import pytest

from server.transfer.library_file import LibraryFile
from tests.support.rest import PASSWORD
from tests.support.running import Running, User
from tests.support.server import ROOT

WAIT = 60


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


async def run(server: Running, folder: Path, *options: str, token: str = "", said: str = "") -> tuple[int, str]:
    """The command's exit code, and what it printed."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PROMPTSYNC_")} | {"COLUMNS": "200"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "server.cli", "export", "--url", server.url, *options),
        cwd=folder,
        env=env | {"PYTHONPATH": str(ROOT)} | ({"PROMPTSYNC_TOKEN": token} if token else {}),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(said.encode()), WAIT)
    assert process.returncode is not None
    return process.returncode, out.decode()


@pytest.fixture
async def prompts(server: Running, user: User) -> None:
    async with server.http(user) as client:
        for title in ("周报 🙂", "Weekly"):
            assert (await client.post("/api/prompts", json={"title": title, "optimized_text": "text"})).status_code == 201


async def test_the_file_has_the_library_and_is_only_ours_to_read(server: Running, user: User, prompts: None, tmp_path: Path) -> None:
    code, said = await run(server, tmp_path, token=user.access_token)
    assert code == 0, said
    (path,) = files(tmp_path)
    assert path.name.endswith(".promptsync.json")
    assert f"{path.name}: {path.stat().st_size} bytes" in said
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {prompt.title for prompt in LibraryFile.model_validate_json(path.read_bytes()).prompts} == {"周报 🙂", "Weekly"}


async def test_the_file_is_called_as_the_library_is(server: Running, user: User, tmp_path: Path) -> None:
    async with server.http(user) as client:
        libraries = [(await client.post("/api/libraries", json={"name": name})).json()["id"] for name in ("提示", "../周报 a;b")]
    for library in libraries:
        code, said = await run(server, tmp_path, "--library", library, token=user.access_token)
        assert code == 0, said
    assert [path.name.partition(" 2")[0] for path in files(tmp_path)] == ["周报 a;b", "提示"]


async def test_what_is_there_already_is_written_over_only_by_force(server: Running, user: User, prompts: None, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("precious")
    code, said = await run(server, tmp_path, "--output", "mine.json", token=user.access_token)
    assert (code, (tmp_path / "mine.json").read_text()) == (1, "precious")
    assert "mine.json is there already; --force writes over it" in said
    code, said = await run(server, tmp_path, "--output", "mine.json", "--format", "favorites", "--force", token=user.access_token)
    assert code == 0, said
    assert json.loads((tmp_path / "mine.json").read_text())["version"] == "1.0"
    assert stat.S_IMODE((tmp_path / "mine.json").stat().st_mode) == 0o600
    assert [path.name for path in files(tmp_path)] == ["mine.json"]


async def test_without_a_name_it_looks_before_it_reads(server: Running, user: User, tmp_path: Path) -> None:
    assert (await run(server, tmp_path, "--format", "backup.zip", token=user.access_token))[0] == 0
    (path,) = files(tmp_path)
    assert zipfile.is_zipfile(path)
    code, said = await run(server, tmp_path, "--format", "backup.zip", token=user.access_token)
    assert (code, f"{path.name} is there already" in said) == (1, True)


async def test_it_signs_in_and_out_again_and_takes_a_library_by_its_id(server: Running, user: User, tmp_path: Path) -> None:
    async with server.http() as http:
        email = f"{uuid4().hex}@example.com"
        account = (await http.post("/api/auth/register", json={"email": email, "password": PASSWORD})).json()
        headers = {"Authorization": f"Bearer {account['access_token']}"}
        other = (await http.post("/api/libraries", json={"name": "Other"}, headers=headers)).json()["id"]
    code, said = await run(server, tmp_path, "--email", email, "--library", other, "--output", "o.json", said=f"{PASSWORD}\n")
    assert code == 0, said
    assert json.loads((tmp_path / "o.json").read_text())["name"] == "Other"
    live = "SELECT count(*) FROM sessions WHERE user_id = $1 AND revoked_at IS NULL"
    async with server.services.database.acquire() as connection:
        assert await connection.fetchval(live, account["user"]["id"]) == 1


async def test_a_refusal_is_told_and_nothing_is_written(server: Running, user: User, tmp_path: Path) -> None:
    for options, token, words in (
        ((), "nonsense", "The token is not valid here"),
        ((), user.sync_token, "The token is not valid here"),
        (("--library", str(uuid4())), user.access_token, "There is nothing here"),
        (("--url", "http://127.0.0.1:1"), user.access_token, "does not answer as a promptsync server"),
        (("--url", "file:///etc/passwd"), user.access_token, "an address begins with https:// or http://"),
    ):
        code, said = await run(server, tmp_path, *options, token=token)
        assert (code, words in said) == (1, True), said
    assert files(tmp_path) == []


async def test_an_answer_that_breaks_off_leaves_no_file(server: Running, user: User, tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = (
            b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nX-Left-Out: 0\r\nContent-Disposition: attachment; filename="../../x.json"\r\n\r\n'
        )
        writer.write(head + b"{}")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as broken:
        port = broken.sockets[0].getsockname()[1]
        code, said = await run(server, tmp_path, "--url", f"http://127.0.0.1:{port}", token=user.access_token)
    assert (code, "the answer broke off after 2 of 1000 bytes" in said) == (1, True), said
    assert files(tmp_path) == []
