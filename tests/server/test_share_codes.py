"""The codes of share links: random, kept and logged nowhere, and not to be found by trying."""

import asyncio
import re
from typing import Any
from uuid import UUID

import httpx2
import pytest
import structlog

from storage import shares
from storage.errors import Unavailable
from tests.support.prompts import made
from tests.support.rest import code_of
from tests.support.running import Running, User, running_server
from tests.support.sharing import shared


async def test_a_row_reveals_no_code_and_nothing_that_it_opens(server: Running, user: User, client: httpx2.AsyncClient) -> None:
    prompt = await made(client, optimized_text="t")
    share = await shared(client, prompt["id"], {"note": "a remark", "version": prompt["version_id"]})
    async with server.services.database.acquire() as connection:
        row = dict(await connection.fetchrow("SELECT * FROM shares WHERE id = $1", UUID(share["id"])) or {})
    everything = b"\n".join(value if isinstance(value, bytes) else str(value).encode() for value in row.values())
    for secret in (share["code"], share["code"].upper(), prompt["id"], prompt["version_id"], "a remark"):
        assert secret.encode() not in everything
    assert UUID(prompt["id"]).bytes not in everything
    assert str(row["library_id"]) == str(user.library_id)


async def test_codes_are_random_and_told_to_no_log(client: httpx2.AsyncClient, nobody: httpx2.AsyncClient) -> None:
    prompt = await made(client)
    with structlog.testing.capture_logs() as logged:
        codes = {(await shared(client, prompt["id"]))["code"] for _ in range(20)}
        for code in codes:
            await nobody.get(f"/api/prompt-source/{code}")
            await nobody.get(f"/api/prompt-source/{code}x")
            await nobody.options(f"/api/prompt-source/{code}", headers={"Origin": "https://x", "Access-Control-Request-Method": "GET"})
    assert len(codes) == 20
    assert all(re.fullmatch(r"[0-9a-hj-km-np-tv-z]{32}", code) for code in codes)
    assert not [code for code in codes if code in str(logged)]
    assert {line["route"] for line in logged if line["event"] == "request"} == {
        "/api/prompts/{prompt_id}/share", "/api/prompt-source/{code}", "unmatched",
    }  # fmt: skip
    code = codes.pop()
    for other in (code.upper(), code[:-1], f"{code} ", f"{code[:-1]}u", f"%00{code}", "x" * 300):
        assert (await nobody.get(f"/api/prompt-source/{other}")).status_code == 404


async def unavailable(*_: object, **__: object) -> None:
    raise Unavailable


async def test_who_tries_codes_is_refused_and_nobody_else_is(database_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: dict[str, Any] = {"shared_failures_an_address": 3, "shared_reads_a_minute": 12, "trusted_proxies": "127.0.0.1"}
    async with running_server(database_dsn, **limits) as server:
        user = await server.user()
        async with server.http(user) as client, server.http() as nobody:
            share = await shared(client, (await made(client))["id"])

            async def get(code: str, address: str) -> httpx2.Response:
                return await nobody.get(f"/api/prompt-source/{code}", headers={"X-Forwarded-For": address})

            answers = [await get("0" * 32, "192.0.2.1") for _ in range(8)]
            assert [answer.status_code for answer in answers] == [404] * 3 + [429] * 5
            await asyncio.gather(*(get("0" * 32, "192.0.2.6") for _ in range(8)))
            assert (await get("0" * 32, "192.0.2.6")).status_code == 429
            refused = await get(share["code"], "192.0.2.1")
            assert (refused.status_code, code_of(refused)) == (429, "too_many_attempts")
            assert 0 < int(refused.headers["retry-after"]) <= 300
            assert (await get(share["code"], "192.0.2.2")).status_code == 200
            # trouble of ours is nobody's failure
            with monkeypatch.context() as away:
                away.setattr(shares, "find", unavailable)
                assert {(await get(share["code"], "192.0.2.4")).status_code for _ in range(5)} == {503}
            assert (await get(share["code"], "192.0.2.4")).status_code == 200
            # reading what is there is no failure, however often at once, but has a limit as well
            answers = await asyncio.gather(*(get(share["code"], "192.0.2.5") for _ in range(12)))
            assert {answer.status_code for answer in answers} == {200}
            answers = [await get(share["code"], "192.0.2.3") for _ in range(13)]
            assert [answer.status_code for answer in answers] == [200] * 12 + [429]
            assert 0 < int(answers[-1].headers["retry-after"]) <= 5
