import asyncio

import asyncpg
import pytest

from storage import schema
from storage.errors import Unavailable


async def test_a_server_that_does_not_answer_is_said_to_have_timed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_CONNECT_SECONDS", 0.2)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unavailable, match=r"cannot connect to the database: \S"):
            await schema.revision(f"postgresql://u:sekret@127.0.0.1:{port}/x")


async def test_a_revision_that_cannot_be_read_is_told_with_its_reason(database_dsn: str) -> None:
    connection = await asyncpg.connect(database_dsn)
    await connection.execute(
        "ALTER TABLE alembic_version RENAME TO kept; CREATE VIEW alembic_version AS SELECT 1 / (random() * 0)::int AS version_num"
    )
    await connection.close()
    with pytest.raises(Unavailable, match=r"cannot read the database's revision: division by zero"):
        await schema.revision(database_dsn)
