"""Shared prompts in pages of other origins: read by any, and nothing else is."""

import pytest

from tests.support.prompts import made
from tests.support.running import running_server
from tests.support.sharing import shared


@pytest.mark.parametrize("allowed", ["", "https://app.example"])
async def test_pages_of_any_origin_read_shared_prompts_and_nothing_else(database_dsn: str, allowed: str) -> None:
    async with running_server(database_dsn, allowed_origins=allowed) as server:
        user = await server.user()
        async with server.http(user) as client, server.http() as nobody:
            share = await shared(client, (await made(client))["id"])
            path = f"/api/prompt-source/{share['code']}"
            for origin in ("https://anywhere.example", "https://app.example", "null"):
                for asked in (path, "/api/prompt-source/unknown"):
                    answer = await nobody.get(asked, headers={"Origin": origin, "Cookie": "a=b"})
                    assert answer.headers["access-control-allow-origin"] == "*"
                    assert "access-control-allow-credentials" not in answer.headers
                ask = {"Origin": origin, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "accept"}
                preflight = await nobody.options(path, headers=ask)
                assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, "*")
                assert "access-control-allow-credentials" not in preflight.headers
                assert preflight.headers["access-control-allow-methods"] == "GET"
            for wrong in ({"Access-Control-Request-Headers": "authorization"}, {"Access-Control-Request-Method": "DELETE"}):
                ask = {"Origin": "https://x.example", "Access-Control-Request-Method": "GET"} | wrong
                assert (await nobody.options(path, headers=ask)).status_code == 400
            for other in ("/api/shares", "/api/prompts"):
                answer = await client.get(other, headers={"Origin": "https://anywhere.example"})
                assert "access-control-allow-origin" not in answer.headers
            answer = await client.get("/api/shares", headers={"Origin": "https://app.example"})
            assert answer.headers.get("access-control-allow-origin") == (allowed or None)
