import asyncio
import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from typer.testing import CliRunner

from server import user_cli
from server.epoch_cli import app


@pytest.fixture
def database(external: str) -> str:
    """A database with two libraries, external as the settings have it."""
    for email in ("a@example.com", "b@example.com"):
        assert CliRunner().invoke(user_cli.app, ["add", email, "--generate"]).exit_code == 0
    return external


def places(dsn: str) -> list[tuple[int, int]]:
    async def ask() -> list[tuple[int, int]]:
        connection = await asyncpg.connect(dsn)
        try:
            return [tuple(row) for row in await connection.fetch("SELECT epoch, server_client_id FROM libraries ORDER BY id")]
        finally:
            await connection.close()

    return asyncio.run(ask())


def test_every_library_gets_a_new_epoch_and_a_new_server_client(database: str) -> None:
    before = places(database)
    done = CliRunner().invoke(app, ["raise", "--yes"])
    assert done.exit_code == 0, done.output
    assert "2 libraries are" in done.output
    after = places(database)
    assert [epoch for epoch, _ in after] == [epoch + 1 for epoch, _ in before]
    assert all(old != new for (_, old), (_, new) in zip(before, after, strict=True))


def test_it_asks_first_and_a_no_changes_nothing(database: str) -> None:
    before = places(database)
    refused = CliRunner().invoke(app, ["raise"], input="n\n")
    assert refused.exit_code == 1
    assert "nothing was changed" in refused.output
    assert places(database) == before
    assert CliRunner().invoke(app, ["raise"], input="").exit_code == 1  # nobody there to answer
    assert places(database) == before
    assert CliRunner().invoke(app, ["raise"], input="y\n").exit_code == 0
    assert places(database) != before


def test_an_old_schema_is_refused(empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTSYNC_DATABASE_URL", empty_database)
    refused = CliRunner().invoke(app, ["raise", "--yes"])
    assert refused.exit_code == 1
    assert "promptsync migrate" in refused.output


def test_the_command_line_has_it_and_its_help_says_when_it_is_needed() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "server.cli", "epoch", "raise", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": "200"},
    )
    assert "copying the database's files back" in shown.stdout
