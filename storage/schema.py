"""The database's schema: which revision it has, which one this version needs, and the way from one to the other.

Alembic and SQLAlchemy cost 29 MB of memory, so they are imported only when there is something to migrate; looking takes one query.
"""

from pathlib import Path

import asyncpg

from storage.errors import SchemaMismatch, Unavailable

_FOUND = "SELECT version_num FROM alembic_version"
_CONNECT_SECONDS = 10.0


async def migrate(dsn: str, scripts: Path) -> tuple[str | None, str]:
    """Bring the database to the newest revision in the folder `scripts` and return what it had (None: empty) and has.

    Several processes may do this at once. Raises SchemaMismatch when the database is newer than this version, or is at
    a revision it does not know, Unavailable when it cannot be reached.
    """
    before, needed = await revision(dsn), needed_revision(scripts)
    if before == needed:
        return before, needed
    if before is not None and before not in _revisions(scripts):
        raise SchemaMismatch(before, needed)
    await _upgrade(dsn, scripts)
    return before, needed


async def check(dsn: str, scripts: Path) -> None:
    """Raise SchemaMismatch unless the database, older or newer, is at the revision this version needs; Unavailable without one."""
    found, needed = await revision(dsn), needed_revision(scripts)
    if found != needed:
        raise SchemaMismatch(found, needed)


async def revision(dsn: str) -> str | None:
    """The revision the database is at, or None before the first migration. Raises Unavailable."""
    try:
        connection = await asyncpg.connect(dsn, timeout=_CONNECT_SECONDS)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise Unavailable(f"cannot connect to the database: {_said(error)}") from error
    try:
        found: str | None = await connection.fetchval(_FOUND)
    except asyncpg.UndefinedTableError:
        return None
    except asyncpg.PostgresError as error:
        raise Unavailable(f"cannot read the database's revision: {_said(error)}") from error
    else:
        return found
    finally:
        await connection.close()


def _said(error: Exception) -> str:
    """The error's first line, since hints follow; its kind where it has none, as a timeout."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def needed_revision(scripts: Path) -> str:
    """The newest revision in `scripts`: its files are numbered, `0001_<what>.py`."""
    return _revisions(scripts)[-1]


def _revisions(scripts: Path) -> list[str]:
    return sorted(file.name.partition("_")[0] for file in (scripts / "versions").glob("[0-9]*_*.py"))


async def _upgrade(dsn: str, scripts: Path) -> None:
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))

    def upgrade(connection: Connection) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    # asyncpg reads the address itself, so that it means the same here as everywhere
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(dsn, timeout=_CONNECT_SECONDS), poolclass=NullPool
    )
    try:
        async with engine.connect() as connection:
            await connection.run_sync(upgrade)
            await connection.commit()
    finally:
        await engine.dispose()
