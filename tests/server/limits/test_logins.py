"""Signing in and registering: who is told to wait, and who never is."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from structlog.testing import capture_logs

from auth.mail import Kind
from server.config import load_settings
from server.errors import TooManyAttempts
from server.limits.attempts import FORGET_SECONDS
from server.services import Services, make_services
from storage.pool import Database
from tests.support.cutting_proxy import CuttingProxy
from tests.support.rest import PASSWORD, Rest, cheap_passwords, code_of, fresh_email, new_keyring, rest_api

STRANGER, HOME, ELSEWHERE = "192.0.2.1", "198.51.100.1", "203.0.113.1"
WRONG = "wrong password"
SIGNING_KEY = ("s1", bytes(range(32)))


@pytest.fixture
async def limited(database_dsn: str) -> AsyncIterator[Rest]:
    limits: dict[str, Any] = {"login_free_failures": 5, "login_failures_an_account": 20, "login_attempts_burst": 1000}
    async with rest_api(database_dsn, trusted_proxies="127.0.0.1", **limits) as rest:
        yield rest


async def login(rest: Rest, email: str, password: str, address: str, device: str | None = None) -> httpx2.Response:
    body: dict[str, Any] = {"email": email, "password": password}
    if device is not None:
        body["device"] = {"id": device}
    response = await rest.client.post("/api/auth/login", json=body, headers={"X-Forwarded-For": address})
    assert (response.status_code == 429) == ("retry-after" in response.headers)
    if not response.is_success:
        assert code_of(response) == {401: "invalid_credentials", 429: "too_many_attempts"}[response.status_code]
    return response


async def statuses(rest: Rest, email: str, password: str, address: str, times: int) -> list[int]:
    return [(await login(rest, email, password, address)).status_code for _ in range(times)]


async def registered(rest: Rest, *, device: str | None = None) -> str:
    """The address of a new account, whose owner is at home."""
    body = {"email": fresh_email(), "password": PASSWORD} | ({"device": {"id": device}} if device else {})
    answer = await rest.client.post("/api/auth/register", json=body, headers={"X-Forwarded-For": HOME})
    assert answer.status_code == 201
    return str(body["email"])


async def test_the_sixth_failure_waits_and_each_wait_is_longer(limited: Rest) -> None:
    email = await registered(limited)
    assert await statuses(limited, email, WRONG, STRANGER, 5) == [401] * 5
    for expected in (1, 2, 4, 8):
        wrong, right = [await login(limited, email, password, STRANGER) for password in (WRONG, PASSWORD)]
        assert [wrong.headers["retry-after"], right.headers["retry-after"]] == [str(expected)] * 2
        assert wrong.content == right.content, "the answer does not tell that the password would have been right"
        limited.clock.advance(seconds=expected)
        assert (await login(limited, email, WRONG, STRANGER)).status_code == 401


async def test_the_owner_comes_in_from_elsewhere_and_on_a_known_device(limited: Rest) -> None:
    device = str(uuid4())
    email = await registered(limited, device=device)
    assert await statuses(limited, email, WRONG, STRANGER, 6) == [401] * 5 + [429]
    assert (await login(limited, email, PASSWORD, ELSEWHERE)).status_code == 200
    assert (await login(limited, email, PASSWORD, STRANGER, device)).status_code == 200, "beside the stranger, on a device of the account's"
    assert (await login(limited, email, PASSWORD, STRANGER, str(uuid4()))).status_code == 429


async def test_a_known_device_may_not_guess_for_ever_either(limited: Rest) -> None:
    device = str(uuid4())
    email = await registered(limited, device=device)
    answers = [(await login(limited, email, WRONG, f"203.0.113.{n}", device)).status_code for n in range(6)]
    assert answers == [401] * 5 + [429]


async def test_strangers_from_everywhere_delay_each_other_and_not_the_owner(limited: Rest) -> None:
    device = str(uuid4())
    email = await registered(limited, device=device)
    answers = [(await login(limited, email, WRONG, f"203.0.113.{n}")).status_code for n in range(25)]
    assert answers == [401] * 20 + [429] * 5
    assert (await login(limited, email, PASSWORD, "203.0.113.200")).status_code == 429
    assert (await login(limited, email, PASSWORD, HOME)).status_code == 200
    assert (await login(limited, email, PASSWORD, "203.0.113.201", device)).status_code == 200
    limited.clock.advance(seconds=1)
    assert (await login(limited, email, PASSWORD, "203.0.113.202")).status_code == 200, "each of them gets a turn"


async def test_a_network_of_the_owners_is_known_as_a_whole(limited: Rest) -> None:
    email = await registered(limited)
    assert (await login(limited, email, PASSWORD, "2001:db8:0:7::1")).status_code == 200
    for n in range(21):
        await login(limited, email, WRONG, f"203.0.113.{n}")
    assert (await login(limited, email, PASSWORD, "2001:db8:0:8::2")).status_code == 429
    assert (await login(limited, email, PASSWORD, "2001:db8:0:7::2")).status_code == 200


@pytest.mark.parametrize(("seconds_less", "status"), [(1, 200), (0, 429)])
async def test_devices_and_addresses_are_known_for_thirty_days(limited: Rest, seconds_less: int, status: int) -> None:
    device = str(uuid4())
    email = await registered(limited, device=device)
    limited.clock.advance(days=30, seconds=-seconds_less)
    for n in range(21):
        await login(limited, email, WRONG, f"203.0.113.{n}")
    assert (await login(limited, email, PASSWORD, HOME, device)).status_code == status


async def test_accounts_that_do_not_exist_wait_like_those_that_do(limited: Rest) -> None:
    email = await registered(limited)
    for known, unknown in zip(await answers(limited, email), await answers(limited, fresh_email()), strict=True):
        assert (known.status_code, known.content) == (unknown.status_code, unknown.content)
        assert known.headers.get("retry-after") == unknown.headers.get("retry-after")


async def answers(rest: Rest, email: str) -> list[httpx2.Response]:
    near = [await login(rest, email, WRONG, STRANGER) for _ in range(7)]
    return near + [await login(rest, email, WRONG, f"203.0.113.{n}") for n in range(20)]


async def test_other_spellings_of_an_address_count_as_one(limited: Rest) -> None:
    email = await registered(limited)
    spellings = (email, email.upper(), email.replace("example", "Example"))
    assert [await statuses(limited, spelling, WRONG, STRANGER, 2) for spelling in spellings] == [[401, 401], [401, 401], [401, 429]]


async def test_a_success_forgets_the_failures(limited: Rest) -> None:
    email = await registered(limited)
    for _ in range(3):
        assert await statuses(limited, email, WRONG, STRANGER, 4) == [401] * 4
        assert await statuses(limited, email, PASSWORD, STRANGER, 1) == [200]


async def test_failures_are_forgotten_after_half_a_day(limited: Rest) -> None:
    email = await registered(limited)
    for _ in range(2):
        assert await statuses(limited, email, WRONG, STRANGER, 6) == [401] * 5 + [429]
        limited.clock.advance(seconds=FORGET_SECONDS)


async def test_a_hundred_at_once_pass_no_more_than_one_after_the_other(limited: Rest) -> None:
    email = await registered(limited)
    found = await asyncio.gather(*(login(limited, email, WRONG, STRANGER) for _ in range(100)))
    assert sorted(response.status_code for response in found) == [401] * 5 + [429] * 95
    spread = await asyncio.gather(*(login(limited, email, WRONG, f"203.0.113.{n}") for n in range(100)))
    assert sorted(response.status_code for response in spread) == [401] * 15 + [429] * 85


async def test_one_password_on_many_accounts_is_stopped_by_address(database_dsn: str) -> None:
    async with rest_api(database_dsn, trusted_proxies="127.0.0.1", login_attempts_a_minute=10, login_attempts_burst=20) as rest:
        sprayed = [await login(rest, fresh_email(), PASSWORD, f"2001:db8::{n:x}") for n in range(1, 501)]
        assert [response.status_code for response in sprayed] == [401] * 20 + [429] * 480
        assert (await login(rest, fresh_email(), PASSWORD, "2001:db8:0:1::1")).status_code == 401
        rest.clock.advance(seconds=int(sprayed[-1].headers["retry-after"]))
        assert (await login(rest, fresh_email(), PASSWORD, "2001:db8::1")).status_code == 401


async def test_forwarded_addresses_change_nothing_unless_a_trusted_proxy_names_them(database_dsn: str) -> None:
    async with rest_api(database_dsn, login_attempts_a_minute=10, login_attempts_burst=20) as rest:
        sprayed = [await login(rest, fresh_email(), PASSWORD, f"203.0.{n // 250}.{n % 250}") for n in range(500)]
        assert [response.status_code for response in sprayed] == [401] * 20 + [429] * 480


async def test_registrations_are_counted_by_address(database_dsn: str) -> None:
    async with rest_api(database_dsn, registrations_an_hour=3) as rest:
        found = [await rest.post("/api/auth/register", {"email": fresh_email(), "password": PASSWORD}) for _ in range(4)]
        assert [response.status_code for response in found] == [201] * 3 + [429]
        assert (code_of(found[3]), found[3].headers["retry-after"]) == ("too_many_attempts", "3600")


async def test_refreshes_are_counted_by_session_and_address(database_dsn: str) -> None:
    async with rest_api(database_dsn, refreshes_a_minute=2, refreshes_an_address=5, trusted_proxies="127.0.0.1") as rest:
        token, other = [(await rest.register())["refresh_token"] for _ in range(2)]

        async def refresh(token: str, address: str) -> int:
            answer = await rest.client.post("/api/auth/refresh", json={"refresh_token": token}, headers={"X-Forwarded-For": address})
            if answer.status_code == 429:
                assert (code_of(answer), 0 < int(answer.headers["retry-after"]) <= 60) == ("too_many_attempts", True)
            return answer.status_code

        assert [await refresh(token, STRANGER) for _ in range(3)] == [200, 200, 429]
        assert await refresh(token, ELSEWHERE) == 200, "a stranger uses up nothing of the owner's"
        assert [await refresh(other, STRANGER) for _ in range(3)] == [200, 200, 429]


async def test_processes_on_one_database_count_together(database_dsn: str) -> None:
    async with services_on(database_dsn) as one, services_on(database_dsn) as other:
        email = fresh_email()
        for services in (one, other, one, other, one):
            await services.limits.login(email, STRANGER)
        for services in (one, other):
            with pytest.raises(TooManyAttempts):
                await services.limits.login(email, STRANGER)
        for _ in range(10):
            await one.limits.attempt(STRANGER)
            await other.limits.attempt(STRANGER)
        for services in (one, other):
            with pytest.raises(TooManyAttempts):
                await services.limits.attempt(STRANGER)


@asynccontextmanager
async def services_on(dsn: str) -> AsyncIterator[Services]:
    """What a process of a server with the default limits has."""
    database = await Database.open(dsn, size=2)
    passwords = cheap_passwords()
    yield make_services(load_settings(), database=database, keyring=new_keyring(), signing_keys=[SIGNING_KEY], passwords=passwords)
    passwords.close()
    await database.close()


async def test_mails_are_counted_by_mailbox_and_by_address(database_dsn: str) -> None:
    async with rest_api(database_dsn, mails_a_mailbox=3, mails_an_address=5) as rest:
        limits = rest.services.limits
        for _ in range(3):
            await limits.mail("ada@example.com", STRANGER, Kind.RESET)
        with pytest.raises(TooManyAttempts) as refused:
            await limits.mail("Ada@EXAMPLE.com", ELSEWHERE, Kind.RESET)
        assert refused.value.retry_after == 3600
        for n in range(2):
            await limits.mail(f"{n}@example.com", STRANGER, Kind.RESET)
        with pytest.raises(TooManyAttempts):
            await limits.mail("2@example.com", STRANGER, Kind.RESET)
        await limits.mail("2@example.com", HOME, Kind.RESET)


async def test_what_else_is_counted(database_dsn: str) -> None:
    few: dict[str, Any] = {
        "password_checks": 2,
        "social_attempts_a_minute": 1,
        "imports_a_minute": 1,
        "restores_a_minute": 2,
        "force_seconds": 7,
    }
    async with rest_api(database_dsn, **few, sync_requests_a_minute=4, sync_bytes_a_minute=4 << 20) as rest:
        limits, user, other = rest.services.limits, uuid4(), uuid4()
        each: list[tuple[int, int, Callable[[UUID], Awaitable[None]]]] = [
            (2, 900, limits.password_check),
            (2, 120, lambda who: limits.social(f"address {who}")),
            (3, 180, limits.bring_in),
            (2, 60, limits.restore),
            (1, 7, limits.force),
            (4, 60, lambda who: limits.sync(who, 0)),
        ]
        for times, seconds, count in each:
            for _ in range(times):
                await count(user)
            with pytest.raises(TooManyAttempts) as refused:
                await count(user)
            assert refused.value.retry_after == seconds
            await count(other)
        with pytest.raises(TooManyAttempts):
            await limits.sync(uuid4(), 4 << 20)


async def test_while_the_database_is_away_nothing_is_refused_for_good(database_dsn: str) -> None:
    proxy = CuttingProxy(database_dsn)
    await proxy.start()
    async with rest_api(proxy.dsn, login_free_failures=2) as rest:
        email = fresh_email()
        token = (await rest.register(email))["refresh_token"]
        for _ in range(5):
            proxy.refusing = True
            proxy.cut_all()
            signing_in = await rest.post("/api/auth/login", {"email": email, "password": PASSWORD})
            for answer in (signing_in, await rest.refresh(token)):
                assert (answer.status_code, code_of(answer)) == (503, "unavailable")
                assert int(answer.headers["retry-after"]) > 0
        proxy.refusing = False
        assert (await rest.refresh(token)).status_code == 200
        assert (await rest.post("/api/auth/login", {"email": email, "password": PASSWORD})).status_code == 200
    await proxy.stop()


async def test_a_refusal_names_nobody_and_leaves_the_failures_in_the_audit_log(limited: Rest) -> None:
    email = await registered(limited)
    with capture_logs() as lines:
        found = [await login(limited, email, WRONG, STRANGER) for _ in range(7)]
    assert [response.status_code for response in found] == [401] * 5 + [429] * 2
    refusals = [line for line in lines if line["event"] == "limited"]
    assert [line["limit"] for line in refusals] == ["login_failures"] * 2
    for said in (str(lines), *(response.text for response in found)):
        assert email not in said
        assert WRONG not in said
    async with limited.services.database.acquire() as connection:
        rows = await connection.fetch("SELECT * FROM audit WHERE event = 'sign_in_failed'")
        keys = str([row["key"] for row in await connection.fetch("SELECT key FROM limit_counters")])
    assert [row["address"] for row in rows] == [STRANGER] * 5, "what was refused tried nothing"
    assert WRONG not in str(rows)
    for name in (email, STRANGER, HOME):
        assert name not in keys
