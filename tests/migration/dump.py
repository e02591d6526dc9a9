"""The schema as text. `python -m tests.migration.dump` writes the file the schema test compares with."""

import asyncio
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from storage.cluster_account import find_binaries
from tests.support.database import Databases, database_named, private_cluster

COMMITTED = Path(__file__).with_name("schema.sql")


async def dump(dsn: str) -> str:
    """What pg_dump says of the schema, without the versions of the programs."""
    address = urlsplit(dsn)
    options = ["--schema-only", "--no-owner", "--no-privileges", "--restrict-key=x"]
    where = ["-h", parse_qs(address.query)["host"][0], "-p", "5432", "-U", address.username or "", address.path.removeprefix("/")]
    process = await asyncio.create_subprocess_exec(find_binaries() / "pg_dump", *options, *where, stdout=-1)
    output, _ = await process.communicate()
    assert process.returncode == 0
    return "".join(line for line in output.decode().splitlines(keepends=True) if not line.startswith("-- Dumped "))


if __name__ == "__main__":
    with private_cluster() as cluster:
        databases = Databases(cluster)
        COMMITTED.write_text(databases.run(dump(database_named(cluster, databases.make_template()))))
        databases.close()
