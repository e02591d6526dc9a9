"""Limits on attempts, and whose address it is."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from starlette.types import Scope

from server.errors import TooManyAttempts
from server.limits import Buckets, Limits, SharedReads, bucket_of, client_address, trusted_networks
from tests.support.rest import PASSWORD, Rest, code_of, fresh_email, rest_api

PROXY = trusted_networks("10.0.0.1, 10.1.0.0/16, ::1")


@dataclass
class WallClock:
    """Stands in for the `time` module that the windows of `limits` are cut by."""

    now: float = 1_800_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def wall(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    clock = WallClock()
    monkeypatch.setattr("limits.aio.storage.memory.time", clock)
    monkeypatch.setattr("server.limits.time", clock.time)
    return clock


def scope(peer: str | None, *forwarded: str) -> Scope:
    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded]
    return {"type": "http", "client": (peer, 1) if peer else None, "headers": headers}


@pytest.fixture
async def limited(database_dsn: str) -> AsyncIterator[Rest]:
    async with rest_api(database_dsn, login_attempts_a_minute=12, login_failures_an_account=3, trusted_proxies="127.0.0.1") as rest:
        yield rest


async def login(rest: Rest, email: str, password: str, address: str) -> tuple[int, str]:
    response = await rest.client.post("/api/auth/login", json={"email": email, "password": password}, headers={"X-Forwarded-For": address})
    if response.is_success:
        return 200, ""
    if response.status_code == 429:
        assert 0 < int(response.headers["retry-after"]) <= 901
    return response.status_code, code_of(response)


async def test_failures_lock_the_guesser_out_and_not_the_owner(limited: Rest) -> None:
    email = fresh_email()
    await limited.register(email)
    for _ in range(3):
        assert await login(limited, email, "wrong password", "192.0.2.1") == (401, "invalid_credentials")
    assert await login(limited, email, "wrong password", "192.0.2.1") == (429, "too_many_attempts")
    assert await login(limited, email, PASSWORD, "192.0.2.1") == (429, "too_many_attempts")
    assert await login(limited, email, PASSWORD, "192.0.2.2") == (200, "")


async def test_accounts_that_do_not_exist_lock_like_those_that_do(limited: Rest) -> None:
    email = fresh_email()
    answers = [await login(limited, email, PASSWORD, "192.0.2.1") for _ in range(4)]
    assert [status for status, _ in answers] == [401, 401, 401, 429]


async def test_a_success_forgets_the_failures(limited: Rest) -> None:
    email = fresh_email()
    await limited.register(email)
    for _ in range(3):
        await login(limited, email, "wrong password", "192.0.2.1")
        assert (await login(limited, email, "wrong password", "192.0.2.1"))[0] == 401
        assert (await login(limited, email, PASSWORD, "192.0.2.1"))[0] == 200


async def test_one_address_that_sprays_over_accounts_is_stopped(limited: Rest) -> None:
    answers = [await login(limited, fresh_email(), PASSWORD, f"2001:db8::{n:x}") for n in range(1, 15)]
    assert [status for status, _ in answers] == [401] * 12 + [429] * 2
    assert (await login(limited, fresh_email(), PASSWORD, "2001:db8:0:1::1"))[0] == 401


async def test_registrations_count_as_attempts(limited: Rest) -> None:
    statuses = [(await limited.post("/api/auth/register", {"email": fresh_email(), "password": PASSWORD})).status_code for _ in range(13)]
    assert statuses == [201] * 12 + [429]


async def test_the_limit_ends_when_the_answer_said_it_would(limited: Rest, wall: WallClock) -> None:
    limits = limited.services.limits
    for _ in range(3):
        await limits.login("a@example.com", "192.0.2.1")
    wall.now += 100
    with pytest.raises(TooManyAttempts) as refused:
        await limits.login("a@example.com", "192.0.2.1")
    assert 799 <= refused.value.retry_after <= 801
    wall.now += refused.value.retry_after
    await limits.login("a@example.com", "192.0.2.1")


async def test_attempts_that_race_do_not_all_pass() -> None:
    limits = Limits(attempts_a_minute=5, failures_an_account=5)
    outcomes = await asyncio.gather(*(limits.login("a@example.com", "192.0.2.1") for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(outcome, TooManyAttempts) for outcome in outcomes) == 15


def test_openings_refill_with_time() -> None:
    now = [100.0]
    openings = Buckets(a_minute=60, clock=lambda: now[0])
    assert [openings.allow("192.0.2.1") for _ in range(61)] == [True] * 60 + [False]
    assert openings.allow("192.0.2.2")
    now[0] += 2
    assert [openings.allow("192.0.2.1") for _ in range(3)] == [True, True, False]
    now[0] -= 50
    assert not openings.allow("192.0.2.1")
    now[0] += 3600
    assert [openings.allow("192.0.2.1") for _ in range(61)] == [True] * 60 + [False]


def test_openings_remember_a_bounded_number_of_addresses() -> None:
    openings = Buckets(a_minute=1, clock=lambda: 0.0, max_addresses=3)
    for last in range(1, 5):
        assert openings.allow(f"192.0.2.{last}")
    assert openings.allow("192.0.2.1")
    assert not openings.allow("192.0.2.4")


def test_a_bucket_says_when_there_is_room_again() -> None:
    now = [100.0]
    bucket = Buckets(a_minute=2, burst=3, clock=lambda: now[0])
    for _ in range(3):
        bucket.take("192.0.2.1")
    with pytest.raises(TooManyAttempts) as refusal:
        bucket.take("192.0.2.1")
    assert refusal.value.retry_after == 30
    now[0] += 29
    with pytest.raises(TooManyAttempts) as refusal:
        bucket.take("192.0.2.1")
    assert refusal.value.retry_after == 1
    now[0] += 1
    bucket.check("192.0.2.1")
    bucket.check("192.0.2.1")
    bucket.take("192.0.2.1")
    with pytest.raises(TooManyAttempts):
        bucket.check("192.0.2.1")


def test_who_reads_what_is_shared_may_fail_less_often_than_read() -> None:
    reads = SharedReads(a_minute=10, failures=2, clock=lambda: 0.0)
    for _ in range(6):
        reads.attempt("192.0.2.1")
    for _ in range(2):
        reads.attempt("192.0.2.1")
        reads.failed("192.0.2.1")
    with pytest.raises(TooManyAttempts):
        reads.attempt("192.0.2.1")
    for _ in range(10):  # all at once: none of them has failed yet
        reads.attempt("192.0.2.2")
    with pytest.raises(TooManyAttempts):
        reads.attempt("192.0.2.2")
    for _ in range(10):
        reads.failed("192.0.2.2")
    with pytest.raises(TooManyAttempts) as refusal:
        reads.attempt("192.0.2.2")
    assert refusal.value.retry_after == 450


def test_addresses_of_one_ipv6_network_count_as_one() -> None:
    assert bucket_of("2001:db8::1") == bucket_of("2001:db8::ffff:1") != bucket_of("2001:db8:0:1::1")
    assert bucket_of("192.0.2.1") != bucket_of("192.0.2.2")
    assert bucket_of("unknown") == "unknown"


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.9", ("198.51.100.1",), "192.0.2.9"),
        ("10.0.0.1", (), "10.0.0.1"),
        ("10.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", ("203.0.113.5, 198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", ("203.0.113.5", "198.51.100.1"), "198.51.100.1"),
        ("10.0.0.1", ("203.0.113.5, 198.51.100.1, 10.1.2.3",), "198.51.100.1"),
        ("10.0.0.1", ("198.51.100.1, nonsense",), "10.0.0.1"),
        ("10.0.0.1", ("\xff, 198.51.100.1",), "198.51.100.1"),
        ("::ffff:10.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        ("::1", ("2001:db8::7",), "2001:db8::7"),
        (None, ("198.51.100.1",), "unknown"),
        ("10.0.0.1", (",".join(["10.1.0.1"] * 5000),), "10.1.0.1"),
    ],
)
def test_forwarded_addresses_are_believed_from_trusted_proxies_only(peer: str | None, forwarded: tuple[str, ...], expected: str) -> None:
    assert client_address(scope(peer, *forwarded), PROXY) == expected


def test_a_proxy_setting_that_is_no_address_is_refused() -> None:
    with pytest.raises(ValueError, match="proxy"):
        trusted_networks("proxy.example.com")
