"""`/healthz`, `/readyz` and `/metrics`: is the process alive, and does the database commit."""

import asyncio
from urllib.parse import urlsplit

import asyncpg
import httpx2

from server.routes.health import FRESH_SECONDS, Readiness
from storage.errors import Unavailable
from tests.support.core import eventually, until
from tests.support.cutting_proxy import cutting_proxy
from tests.support.rest import code_of
from tests.support.running import running_server


async def comes_to(client: httpx2.AsyncClient, status: int) -> httpx2.Response:
    """Ask `/readyz` until it answers so."""
    last: list[httpx2.Response] = []

    async def so() -> bool:
        last[:] = [await client.get("/readyz")]
        return last[0].status_code == status

    await eventually(so, f"readiness of {status}")
    return last[0]


async def test_ready_means_that_the_database_commits(database_dsn: str) -> None:
    async with cutting_proxy(database_dsn) as proxy, running_server(proxy.dsn) as server, server.http() as client:
        assert (await client.get("/readyz")).status_code == 200
        proxy.refusing = True
        proxy.cut_all()
        away = await comes_to(client, 503)
        assert away.json()["status"] == "unavailable"
        assert int(away.headers["retry-after"]) > 0
        assert (await client.get("/healthz")).status_code == 200
        proxy.refusing = False
        await comes_to(client, 200)


async def test_a_database_that_stalls_is_not_ready(database_dsn: str) -> None:
    async with running_server(database_dsn) as server, server.http() as client:
        assert (await client.get("/readyz")).status_code == 200
        connection = await asyncpg.connect(database_dsn)
        try:
            async with connection.transaction():
                await connection.execute("LOCK TABLE cluster")
                await comes_to(client, 503)
        finally:
            await connection.close()
        await comes_to(client, 200)


async def test_a_server_that_goes_down_is_not_ready_though_its_database_commits(database_dsn: str) -> None:
    async with running_server(database_dsn) as server, server.http() as client:
        assert (await client.get("/readyz")).status_code == 200
        server.app.hall.draining = True
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (503, "draining")
        assert (await client.get("/healthz")).status_code == 200


class Proof:
    """A database that is asked whether it commits, and answers when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = asyncio.Event()
        self.answers.set()
        self.failing = False

    async def __call__(self) -> None:
        self.asked += 1
        await self.answers.wait()
        if self.failing:
            raise Unavailable


async def test_however_many_ask_the_database_is_asked_once_in_a_while() -> None:
    now, prove = [0.0], Proof()
    readiness = Readiness(prove, lambda: now[0])
    prove.answers.clear()
    waiting = [asyncio.create_task(readiness.holds()) for _ in range(50)]
    await until(lambda: prove.asked == 1)
    waiting.pop().cancel()
    prove.answers.set()

    assert await asyncio.gather(*waiting) == [True] * 49
    now[0] = FRESH_SECONDS - 0.01
    prove.failing = True
    assert await readiness.holds()
    assert prove.asked == 1
    now[0] = FRESH_SECONDS
    assert not await readiness.holds()
    assert not await readiness.holds()
    assert prove.asked == 2


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


async def test_metrics_are_for_who_has_their_token(database_dsn: str) -> None:
    token = "m" * 24
    async with running_server(database_dsn, metrics_token=token) as server:
        user = await server.user()
        async with server.http() as client:
            assert (await client.get("/metrics", headers={"Authorization": f"Bearer {token}"})).status_code == 200
            for wrong, code in ((None, "not_authenticated"), (token[:-1], "invalid_token"), (user.access_token, "invalid_token")):
                answer = await client.get("/metrics", headers={"Authorization": f"Bearer {wrong}"} if wrong else {})
                assert (answer.status_code, code_of(answer)) == (401, code)
                assert "promptsync_" not in answer.text


async def test_metrics_tell_nothing_of_anybody(database_dsn: str) -> None:
    async with running_server(database_dsn) as server:
        user = await server.user()
        async with server.http(user) as client:
            prompt = (await client.post("/api/prompts", json={"title": "secret plan"})).json()["id"]
            await client.get(f"/api/prompts/{prompt}?x=secret-query")
            text = (await client.get("/metrics")).text
    assert not [
        secret for secret in (str(user.id), str(user.library_id), str(user.session_id), prompt, "secret", "127.0.0.1") if secret in text
    ]
