import asyncio
import re
import secrets
from pathlib import Path

import asyncpg
import pytest
import typer
from typer.testing import CliRunner

from server import cli, user_cli
from server.config import load_settings
from server.terminal import explained
from server.times import utc_now
from storage.cluster import claim
from storage.errors import DataFolderBusy, SchemaMismatch
from storage.keyfile import KeyFile, Origin


def test_an_account_is_made_and_listed_without_showing_its_password(external: str) -> None:
    run = CliRunner()
    typed = "correct horse battery\n" * 2
    added = run.invoke(user_cli.app, ["add", "a@example.com", "--name", "A"], input=typed)
    assert added.exit_code == 0, added.output
    assert "correct horse" not in added.output
    listed = run.invoke(user_cli.app, ["list"], env={"COLUMNS": "200"})
    assert "a@example.com" in listed.output


@pytest.mark.parametrize("weak", ["short", "Password123", "ada.lovelace"])
def test_an_account_made_by_the_terminal_keeps_the_rules_for_passwords(external: str, weak: str) -> None:
    added = CliRunner().invoke(user_cli.app, ["add", "ada.lovelace@example.com"], input=f"{weak}\n" * 2)
    assert added.exit_code == 1
    assert "the password breaks a rule" in added.output
    assert weak not in added.output.replace("ada.lovelace@example.com", "")


def test_a_generated_password_is_shown_once(external: str) -> None:
    added = CliRunner().invoke(user_cli.app, ["add", "b@example.com", "--generate"])
    assert re.search(r"Password \(shown only now\): \S{20}", added.output), added.output


def test_an_account_made_before_the_first_start_leaves_a_database_that_servers_take(external: str) -> None:
    assert CliRunner().invoke(user_cli.app, ["add", "a@example.com", "--generate"]).exit_code == 0

    async def claimed() -> tuple[str, ...]:
        connection = await asyncpg.connect(external)
        try:
            return (await claim(connection, KeyFile.load(load_settings().key_path).keyring, new_client_id=lambda: 1)).registered
        finally:
            await connection.close()

    assert asyncio.run(claimed()) == ()


def test_no_account_is_sealed_with_the_keys_of_another_database(external: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = CliRunner()
    run.invoke(user_cli.app, ["add", "a@example.com", "--generate"])
    other = tmp_path / "other" / "keys.json"
    KeyFile.create(other, Origin.OPERATOR, utc_now(), secrets.token_bytes)
    monkeypatch.setenv("PROMPTSYNC_KEYS_FILE", str(other))
    refused = run.invoke(user_cli.app, ["add", "b@example.com", "--generate"])
    assert refused.exit_code == 1
    assert "another database" in refused.output
    assert "b@example.com" not in run.invoke(user_cli.app, ["list"], env={"COLUMNS": "200"}).output


@pytest.mark.parametrize(("email", "says"), [("nonsense", "not a mail address"), ("a@example.com", "exists")])
def test_what_cannot_be_added_is_said_in_a_sentence(external: str, email: str, says: str) -> None:
    CliRunner().invoke(user_cli.app, ["add", "a@example.com", "--generate"])
    result = CliRunner().invoke(user_cli.app, ["add", email, "--generate"])
    assert result.exit_code == 1
    assert says in result.output


def test_an_old_schema_is_refused_and_names_the_command_that_mends_it(
    empty_database: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMPTSYNC_DATABASE_URL", empty_database)
    run = CliRunner()
    refused = run.invoke(cli.app, ["serve", "--port", "0"])
    assert refused.exit_code == 1
    assert "promptsync migrate" in refused.output
    assert "Migrated from nothing" in run.invoke(cli.app, ["migrate"]).output
    assert "already" in run.invoke(cli.app, ["migrate"]).output


def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTSYNC_PORT", "not a port")
    result = CliRunner().invoke(cli.app, ["serve"])
    assert result.exit_code == 2
    assert "PROMPTSYNC_PORT" in result.output


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (DataFolderBusy("in use by another server, process 7"), "process 7"),
        (SchemaMismatch("0001", "0002"), "run `promptsync migrate`"),
        (SchemaMismatch("0003", "0002"), "newer version"),
    ],
)
def test_an_expected_failure_is_one_sentence(error: Exception, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as exit_, explained():
        raise error
    assert exit_.value.exit_code == 1
    assert says in capsys.readouterr().err
