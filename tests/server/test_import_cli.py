"""`promptsync import` beside a real server: what it prints, and how it ends."""

import asyncio
import os
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.rest import PASSWORD
from tests.support.running import Running, User
from tests.support.samples import CANARY, app_file, backup, json_bytes, own_file
from tests.support.server import ROOT


async def imported(server: Running, file: Path, *options: str, token: str = "", said: str = "") -> tuple[int, str]:
    """The exit code, and what it printed."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PROMPTSYNC_")} | {"COLUMNS": "200"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "server.cli", "import", str(file), "--url", server.url, *options),
        cwd=ROOT,
        env=env | ({"PROMPTSYNC_TOKEN": token} if token else {}),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(said.encode()), 60)
    assert process.returncode is not None
    assert CANARY not in out.decode()
    return process.returncode, out.decode()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "backup.zip"
    path.write_bytes(backup())
    return path


async def test_it_prints_what_became_of_each_section(server: Running, user: User, file: Path) -> None:
    code, out = await imported(server, file, token=user.access_token)
    assert code == 0, out
    lines = [line.split() for line in out.splitlines()]
    assert ["created", "merged", "unchanged", "skipped"] in lines
    assert ["prompts", "2", "0", "0", "0"] in lines
    assert ["preferences", "2", "0", "0", "2"] in lines
    assert "note  preferences variableManager.storage: nothing in it" in out
    assert "models/deepseek/connectionConfig/apiKey (api_key)" in out
    assert "images that were left out: 1" in out
    async with server.http(user) as client:
        assert (await client.get("/api/prompts")).json()["total"] == 2
    code, out = await imported(server, file, token=user.access_token)
    assert (code, ["prompts", "0", "0", "2", "0"] in [line.split() for line in out.splitlines()]) == (0, True)


async def test_a_dry_run_into_a_library_that_is_named(server: Running, user: User, file: Path, tmp_path: Path) -> None:
    library = await server.library(user)
    token = tmp_path / "token"
    token.write_text(user.access_token + "\n")
    options = ("--library", str(library), "--token-file", str(token))
    code, out = await imported(server, file, *options, "--dry-run")
    assert code == 0
    assert "a dry run: nothing is stored" in out
    async with server.http(user) as client:
        assert (await client.get(f"/api/prompts?library={library}")).json()["total"] == 0
        assert (await imported(server, file, *options))[0] == 0
        assert (await client.get(f"/api/prompts?library={library}")).json()["total"] == 2


async def test_it_signs_in_and_out_again(server: Running, file: Path) -> None:
    email = f"{uuid4().hex}@example.com"
    async with server.http() as client:
        await client.post("/api/auth/register", json={"email": email, "password": PASSWORD})
    code, out = await imported(server, file, "--email", email, said=f"{PASSWORD}\n")
    assert code == 0, out
    assert PASSWORD not in out


async def test_what_was_skipped_for_an_error_is_told_and_the_exit_code_says_so(server: Running, user: User, tmp_path: Path) -> None:
    path = tmp_path / "library.json"
    path.write_bytes(json_bytes(own_file(templates=[{"id": "t\x1b[31m"}, {"id": "t1", "name": "n"}])))
    code, out = await imported(server, path, token=user.access_token)
    assert code == 1
    assert "error  templates t\N{REPLACEMENT CHARACTER}[31m, name: invalid" in out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"prompts": []}', "[unknown_file]"),
        (json_bytes(app_file())[:-9], "(json) [malformed_file]"),
        ("{}".encode("utf-16"), "(UTF-16 or UTF-32) [unsupported_encoding]"),
    ],
)
async def test_a_file_that_is_refused_ends_with_one_sentence(
    server: Running, user: User, tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    code, out = await imported(server, path, token=user.access_token)
    assert (code, out.count("\n")) == (1, 1), out
    assert out.startswith("promptsync: file: ")
    assert said in out


async def test_what_goes_wrong_on_the_way_ends_with_one_sentence(server: Running, user: User, file: Path) -> None:
    code, out = await imported(server, file, token="nonsense")
    assert (code, "[invalid_token]" in out) == (1, True)
    code, out = await imported(server, file, "--url", "http://127.0.0.1:9", token=user.access_token)
    assert (code, out.startswith("promptsync: http://127.0.0.1:9 does not answer: ")) == (1, True), out
    code, out = await imported(server, file, "--url", "ftp://x", token=user.access_token)
    assert (code, "begins with https://" in out) == (1, True)
    code, out = await imported(server, file.with_name("none"), token=user.access_token)
    assert code == 2
