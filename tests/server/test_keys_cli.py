import asyncio
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
from typer.testing import CliRunner, Result

from server import keys_cli
from server.config import load_settings
from server.database import write_facts
from server.keys_cli import app
from storage.cluster import claim
from storage.keyfile import KeyFile, Origin
from tests.support.sealed_rows import NOW, keys_in_use, open_everything, store_user

USERS = 3
PASSWORD = "hidden-in-the-address"

Command = Callable[..., Result]


@pytest.fixture
def path(data_dir: Path) -> Path:
    return data_dir / "keys.json"


@pytest.fixture
def keys(path: Path) -> Command:
    """Runs `promptsync keys ...` on a data folder of its own, and checks that no key is shown."""

    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(app, list(arguments))
        if path.exists():
            secret = [line.split('"')[3] for line in path.read_text().splitlines() if '"key"' in line or '"seed"' in line]
            assert len(secret) >= 2
            assert not [text for text in secret if text in result.output or text[:10] in result.output]
        return result

    return run


@pytest.fixture
def filled(path: Path, database_dsn: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a database with data under the key file, which is external as the settings have it."""
    monkeypatch.setenv("PROMPTSYNC_DATABASE_URL", database_dsn)
    keyring = KeyFile.create(path, Origin.OPERATOR, NOW, secrets.token_bytes).keyring

    async def fill() -> None:
        connection = await asyncpg.connect(database_dsn)
        await claim(connection, keyring, new_client_id=lambda: 1)
        for _ in range(USERS):
            await store_user(connection, keyring)
        await connection.close()

    asyncio.run(fill())
    return database_dsn


async def opened_under(dsn: str, path: Path) -> tuple[int, set[str]]:
    connection = await asyncpg.connect(dsn)
    try:
        return await open_everything(connection, KeyFile.load(path).keyring), await keys_in_use(connection)
    finally:
        await connection.close()


def test_create_makes_operator_keys_for_production(keys: Command, path: Path) -> None:
    result = keys("create")
    assert result.exit_code == 0
    assert KeyFile.load(path).origin is Origin.OPERATOR
    assert str(path) in result.output
    assert "keys backup" in result.output


def test_create_never_overwrites(keys: Command, path: Path) -> None:
    keys("create")
    before = path.read_bytes()
    result = keys("create")
    assert result.exit_code == 1
    assert "already is a file" in result.output
    assert path.read_bytes() == before


def test_show_tells_ids_uses_and_fingerprints_and_no_key(keys: Command, path: Path) -> None:
    keys("create")
    KeyFile.load(path).with_new_encryption_key(NOW, secrets.token_bytes).save()
    result = keys("show")
    file = KeyFile.load(path)
    for key in file.keyring.keys:
        assert key.id in result.output
        assert key.fingerprint.hex()[:16] in result.output
    assert file.signing[0].id in result.output
    assert result.output.count("opens only") == 1


@pytest.mark.parametrize("command", [("show",), ("backup", "copy.json"), ("rotate",)])
def test_a_missing_key_file_is_said_in_one_sentence(keys: Command, path: Path, command: tuple[str, ...]) -> None:
    result = keys(*command)
    assert result.exit_code == 1
    assert result.output == f"promptsync: there is no key file {path}\n"
    assert not path.parent.exists()


def test_a_wrong_setting_is_named(keys: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTSYNC_DATABASE_POOL", "many")
    result = keys("show")
    assert result.exit_code == 2
    assert "PROMPTSYNC_DATABASE_POOL" in result.output


def test_a_key_file_open_to_others_is_refused_with_the_remedy(keys: Command, path: Path) -> None:
    keys("create")
    path.chmod(0o644)
    result = keys("show")
    assert result.exit_code == 1
    assert f"chmod 600 {path}" in result.output


def test_backup_copies_the_file_for_its_owner_only(keys: Command, path: Path, tmp_path: Path) -> None:
    keys("create")
    result = keys("backup", str(tmp_path / "safe" / "copy.json"))
    copy = tmp_path / "safe" / "copy.json"
    assert result.exit_code == 0
    assert copy.read_bytes() == path.read_bytes()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert "lost key file means lost data" in result.output
    assert "pg_dump" in result.output


def test_backup_into_a_folder_keeps_the_name(keys: Command, tmp_path: Path) -> None:
    keys("create")
    assert keys("backup", str(tmp_path)).exit_code == 0
    assert (tmp_path / "keys.json").exists()


def test_backup_never_overwrites(keys: Command, tmp_path: Path) -> None:
    keys("create")
    (tmp_path / "copy.json").write_text("precious")
    result = keys("backup", str(tmp_path / "copy.json"))
    assert result.exit_code == 1
    assert (tmp_path / "copy.json").read_text() == "precious"


def test_backup_never_prints_the_database_password(keys: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTSYNC_DATABASE_URL", f"postgresql://a:{PASSWORD}@db.example.com/promptsync")
    keys("create")
    result = keys("backup", str(tmp_path / "copy.json"))
    assert PASSWORD not in result.output
    assert '"$PROMPTSYNC_DATABASE_URL"' in result.output


def test_rotate_wraps_everything_with_a_new_key_and_says_what_to_keep(keys: Command, path: Path, filled: str) -> None:
    (old,) = KeyFile.load(path).keyring.ids
    result = keys("rotate")
    assert result.exit_code == 0, result.output
    new = KeyFile.load(path).keyring.active_id
    assert new != old
    assert asyncio.run(opened_under(filled, path)) == (USERS, {new})
    assert f"Rotated: {new}" in result.output
    assert f"{2 * USERS} data keys" in result.output
    assert f"with {old} any more. Keep it" in result.output
    assert "keys backup" in result.output


def test_rotate_finishes_what_was_begun(keys: Command, path: Path, filled: str) -> None:
    begun = KeyFile.load(path).with_new_encryption_key(NOW, secrets.token_bytes)
    begun.save()
    result = keys("rotate")
    assert result.exit_code == 0, result.output
    assert "Finished the rotation that was begun before" in result.output
    assert KeyFile.load(path).keyring.ids == begun.keyring.ids


def test_rotate_refuses_the_key_file_of_another_database(keys: Command, path: Path, filled: str) -> None:
    path.unlink()
    keys("create")
    result = keys("rotate")
    assert result.exit_code == 1
    assert "belongs to another database" in result.output


def test_rotate_names_a_data_key_that_does_not_open(keys: Command, filled: str) -> None:
    async def spoil() -> str:
        connection = await asyncpg.connect(filled)
        id = await connection.fetchval("UPDATE users SET wrapped_key = '\\x01' WHERE id = (SELECT id FROM users LIMIT 1) RETURNING id")
        await connection.close()
        return str(id)

    id = asyncio.run(spoil())
    result = keys("rotate")
    assert result.exit_code == 1
    assert id in result.output


def test_rotate_on_a_database_without_our_schema_says_migrate(
    keys: Command, path: Path, empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys("create")
    monkeypatch.setenv("PROMPTSYNC_DATABASE_URL", empty_database)
    result = keys("rotate")
    assert result.exit_code == 1
    assert "promptsync migrate" in result.output
    assert len(KeyFile.load(path).keyring.ids) == 1


@pytest.mark.parametrize("command", ["create", "show", "backup", "rotate"])
def test_every_command_teaches(keys: Command, command: str) -> None:
    result = keys(command, "--help")
    assert result.exit_code == 0
    assert len(result.output.split()) > 40


def test_the_dump_command_of_an_embedded_server_names_its_socket(path: Path, tmp_path: Path) -> None:
    assert "start the server" in keys_cli.dump_command(load_settings())
    write_facts(tmp_path / "data", database="postgresql://promptsync@/promptsync?host=/run/x&port=5432")
    assert keys_cli.dump_command(load_settings()).endswith("'postgresql://promptsync@/promptsync?host=/run/x&port=5432'")
