"""Counters in Redis, and what is counted while it is away."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from time import monotonic
from typing import Any

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from server import metrics
from server.errors import TooManyAttempts
from server.limits import redis_store
from server.limits.counters import Counters, Failures, Rate
from server.limits.redis_store import RedisOrLocal
from server.limits.stores import LocalStore
from server.redis_bus import BadRedisAddress
from server.times import utc_now
from tests.support.redis import RedisServer, need_redis
from tests.support.rest import PASSWORD, fresh_email
from tests.support.running import running_server

RATE = Rate("some", 3, 60)
PASSWORD_OF_REDIS = "pass-of-redis"


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    need_redis()
    with RedisServer() as redis:
        yield redis


@pytest.fixture
async def store(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RedisOrLocal]:
    monkeypatch.setattr(redis_store, "AGAIN_SECONDS", 0.0)
    store = RedisOrLocal(SecretStr(redis.url), LocalStore(utc_now))
    yield store
    await store.close()


def counters(store: RedisOrLocal) -> Counters:
    return Counters(store, secret=b"secret", clock=utc_now)


async def passed(counting: Counters, times: int, *names: str) -> int:
    found = await asyncio.gather(*(counting.hit(RATE, *names) for _ in range(times)), return_exceptions=True)
    assert all(isinstance(each, TooManyAttempts | None) for each in found), found
    return found.count(None)


async def test_processes_count_together_and_windows_end(redis: RedisServer, store: RedisOrLocal) -> None:
    other = RedisOrLocal(SecretStr(redis.url), LocalStore(utc_now))
    assert [await each.incr("k", 60) for each in (store, other, store)] == [1, 2, 3]
    assert 59 <= await store.get_expiry("k") - utc_now().timestamp() <= 61
    await other.clear("k")
    assert await store.get("k") == 0
    await store.incr("short", 1)
    async with asyncio.timeout(10):
        while await store.get("short"):  # noqa: ASYNC110  # Redis' own clock ends it
            await asyncio.sleep(0.05)
    assert await passed(counters(store), 50, "a") == 3
    assert await passed(counters(other), 50, "a") == 0
    await other.close()


async def test_waits_grow_there_as_well(store: RedisOrLocal) -> None:
    failures = Failures(counters(store), "failing", free=2, longest_seconds=900, forget_seconds=3600)

    async def wait() -> int:
        try:
            await failures.attempt("a")
        except TooManyAttempts as error:
            return error.retry_after
        return 0

    assert sorted(await asyncio.gather(*(wait() for _ in range(20)))) == [0] * 2 + [1] * 18
    async with asyncio.timeout(10):
        while await wait():  # noqa: ASYNC110  # Redis' own clock ends it
            await asyncio.sleep(0.02)
    assert await wait() == 2


async def test_while_it_is_away_each_process_counts_for_itself(redis: RedisServer, store: RedisOrLocal) -> None:
    counting = counters(store)
    assert await passed(counting, 1, "a") == 1
    before = metrics.counted_locally._value.get()
    with capture_logs() as lines:
        redis.kill()
        assert await passed(counting, 50, "a") == 3, "neither open nor shut"
        failures = Failures(counting, "failing", free=2, longest_seconds=900, forget_seconds=3600)
        await failures.attempt("a")
        await failures.attempt("a")
        with pytest.raises(TooManyAttempts):
            await failures.attempt("a")
        await failures.forget("a")
        await failures.attempt("a")
    assert [line["event"] for line in lines if line["event"] != "limited"] == ["limits_counted_locally"]
    assert metrics.counted_locally._value.get() > before + 4
    redis.start()
    with capture_logs() as lines:
        await store.incr("k", 60)
        await store.incr("k", 60)
    assert [line["event"] for line in lines] == ["limits_counted_in_redis"]
    assert await store.get("k") == 2


async def test_one_that_hangs_is_waited_for_once(redis: RedisServer, store: RedisOrLocal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_store, "ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(redis_store, "AGAIN_SECONDS", 3600.0)
    assert redis.pid is not None
    await store.incr("k", 60)
    os.kill(redis.pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(5):
            assert [await store.incr("k", 60) for _ in range(1000)] == list(range(1, 1001))
    finally:
        os.kill(redis.pid, signal.SIGCONT)
    monkeypatch.setattr(redis_store, "ANSWER_SECONDS", 5.0)
    monkeypatch.setattr(redis_store, "monotonic", lambda: monotonic() + 7200)
    answers = [await store.incr("other", 60), await store.get("other"), await store.incr("other", 60)]
    assert answers == [1, 1, 2], "no late answer passes for another's"


async def test_signing_in_and_carrying_on_do_not_need_it(redis: RedisServer, database_dsn: str) -> None:
    email = fresh_email()
    few: dict[str, Any] = {"login_attempts_burst": 4, "login_attempts_a_minute": 1}
    async with running_server(database_dsn, redis_url=SecretStr(redis.url), **few) as server, server.http() as client:
        registered = await client.post("/api/auth/register", json={"email": email, "password": PASSWORD})
        token = registered.json()["refresh_token"]
        redis.kill()
        statuses = [(await client.post("/api/auth/login", json={"email": email, "password": PASSWORD})).status_code for _ in range(6)]
        assert statuses == [200] * 4 + [429] * 2
        assert (await client.post("/api/auth/refresh", json={"refresh_token": token})).status_code == 200


@pytest.mark.parametrize("url", ["redis://u:SECRET@h:port", "http://:SECRET@h", "redis://:SECRET/x@h", "SECRET"])
def test_an_address_that_is_none_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(BadRedisAddress) as refused:
        RedisOrLocal(SecretStr(url), LocalStore(utc_now))
    assert "SECRET" not in str(refused.value)


async def test_a_password_that_is_wrong_counts_locally_and_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    need_redis()
    with RedisServer(password=PASSWORD_OF_REDIS) as redis, capture_logs() as lines:
        store = RedisOrLocal(SecretStr(f"{redis.url}?password=WRONG-SECRET"), LocalStore(utc_now))
        assert await passed(counters(store), 5, "a") == 3
        await store.close()
    assert "WRONG-SECRET" not in str(lines)
    assert "WRONG-SECRET" not in repr(store)
