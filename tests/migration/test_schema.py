"""The migrations and the schema they make."""

import asyncio
import sys
from pathlib import Path

import asyncpg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from storage.errors import SchemaMismatch, Unavailable
from storage.schema import check, migrate, needed_revision, revision
from tests.migration.dump import COMMITTED, dump
from tests.support.database import SCRIPTS


async def test_the_migrations_make_the_committed_schema(database_dsn: str) -> None:
    assert await dump(database_dsn) == COMMITTED.read_text(), f"if this is meant: python -m tests.migration.dump, and commit {COMMITTED}"


def test_the_needed_revision_is_alembics_head() -> None:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    assert needed_revision(SCRIPTS) == ScriptDirectory.from_config(config).get_current_head()


async def test_an_empty_database_is_migrated_once(empty_database: str) -> None:
    head = needed_revision(SCRIPTS)
    assert await migrate(empty_database, SCRIPTS) == (None, head)
    assert await migrate(empty_database, SCRIPTS) == (head, head)
    await check(empty_database, SCRIPTS)


async def test_four_processes_migrate_an_empty_database_at_once(empty_database: str) -> None:
    program = "import asyncio, sys, pathlib, storage.schema as s; print(asyncio.run(s.migrate(sys.argv[1], pathlib.Path(sys.argv[2])))[1])"
    command = [sys.executable, "-c", program, empty_database, str(SCRIPTS)]
    processes = [await asyncio.create_subprocess_exec(*command, stdout=-1, stderr=-1) for _ in range(4)]
    printed = await asyncio.gather(*(process.communicate() for process in processes))
    assert [(output.decode().strip(), errors.decode()) for output, errors in printed] == [(needed_revision(SCRIPTS), "")] * 4
    await check(empty_database, SCRIPTS)


async def test_an_empty_database_is_refused_with_what_is_needed(empty_database: str) -> None:
    with pytest.raises(SchemaMismatch) as refusal:
        await check(empty_database, SCRIPTS)
    assert (refusal.value.found, refusal.value.needed) == (None, needed_revision(SCRIPTS))


async def test_a_newer_schema_is_refused_and_left_alone(database_dsn: str) -> None:
    connection = await asyncpg.connect(database_dsn)
    await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    await connection.close()
    for look in (check, migrate):
        with pytest.raises(SchemaMismatch) as refusal:
            await look(database_dsn, SCRIPTS)
        assert refusal.value.found == "9999"
    assert await revision(database_dsn) == "9999"


async def test_a_migration_that_fails_leaves_nothing_behind(empty_database: str, tmp_path: Path) -> None:
    versions = tmp_path / "versions"
    versions.mkdir()
    (tmp_path / "env.py").write_text((SCRIPTS / "env.py").read_text())
    for file in (SCRIPTS / "versions").glob("0001_*"):
        (versions / file.name).write_text(file.read_text())
    text = (SCRIPTS / "versions" / "0001_foundation.py").read_text()
    (versions / "0002_broken.py").write_text(text.replace('revision = "0001"', 'revision = "0002"').replace("= None", '= "0001"', 1))
    (versions / "0002_broken.sql").write_text("CREATE TABLE half (); SELECT 1 / 0;")
    with pytest.raises(Exception, match="division by zero"):
        await migrate(empty_database, tmp_path)
    assert await revision(empty_database) is None
    connection = await asyncpg.connect(empty_database)
    assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    await connection.close()


async def test_a_database_that_is_away_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await check("postgresql://promptsync@/promptsync?host=/nonexistent", SCRIPTS)


async def test_looking_at_the_schema_does_not_load_alembic(database_dsn: str) -> None:
    program = (
        "import asyncio, sys, pathlib, storage.schema as s; asyncio.run(s.migrate(sys.argv[1], pathlib.Path(sys.argv[2])));"
        "print('alembic' in sys.modules, 'sqlalchemy' in sys.modules)"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, database_dsn, str(SCRIPTS), stdout=-1)
    output, _ = await process.communicate()
    assert output.decode().split() == ["False", "False"]
