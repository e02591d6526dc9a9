"""`/healthz`, `/readyz` and `/metrics`: is the process alive, and does the database commit."""

from urllib.parse import urlsplit

import asyncpg

from tests.support.core import eventually
from tests.support.cutting_proxy import cutting_proxy
from tests.support.running import running_server


async def test_ready_means_that_the_database_commits(database_dsn: str) -> None:
    async with cutting_proxy(database_dsn) as proxy, running_server(proxy.dsn) as server, server.http() as client:
        assert (await client.get("/readyz")).status_code == 200
        proxy.refusing = True
        proxy.cut_all()
        away = await client.get("/readyz")
        assert (away.status_code, away.json()["status"]) == (503, "unavailable")
        assert int(away.headers["retry-after"]) > 0
        assert (await client.get("/healthz")).status_code == 200
        proxy.refusing = False

        async def ready() -> bool:
            return (await client.get("/readyz")).status_code == 200

        await eventually(ready, "readiness")


async def test_a_database_that_stalls_is_not_ready(database_dsn: str) -> None:
    async with running_server(database_dsn) as server, server.http() as client:
        assert (await client.get("/readyz")).status_code == 200
        connection = await asyncpg.connect(database_dsn)
        try:
            async with connection.transaction():
                await connection.execute("LOCK TABLE cluster")
                assert (await client.get("/readyz")).status_code == 503
        finally:
            await connection.close()
        assert (await client.get("/readyz")).status_code == 200


async def test_a_database_that_only_reads_is_not_ready(database_dsn: str) -> None:
    async with running_server(database_dsn) as server, server.http() as client:
        name = urlsplit(database_dsn).path.removeprefix("/")
        await server.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')

        async def away() -> bool:
            return (await client.get("/readyz")).status_code == 503

        await server.services.database._pool.expire_connections()
        await eventually(away, "a database that only reads")


async def test_metrics_are_in_prometheus_form(database_dsn: str) -> None:
    async with running_server(database_dsn) as server, server.http() as client:
        user = await server.user()
        async with server.device(user) as device:
            await device.push(device.replica.write_prompt("p", "text"))
            await device.confirmed()
            text = (await client.get("/metrics")).text
        assert "promptsync_sockets 1.0" in text
        assert str(user.library_id) not in text
