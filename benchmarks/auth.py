"""Whether the time of an answer tells who has an account: logins, forgotten passwords and registrations, for addresses of four kinds.

For each kind as many requests are sent, in random order over one connection, and the times of each are compared with those of
addresses that nobody has: the medians, and by the test of Mann and Whitney, which asks whether one of the two is larger more often than
chance has it.
"""

import asyncio
import json
import math
import random
import statistics
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from http.client import HTTPConnection

import asyncpg

from benchmarks.scenarios import Plan, Row, Subject
from tests.support.server import Server

SAMPLES = 200
"""Requests of each kind in a run."""
WARM_UP = 20
UNKNOWN = "unknown"
_CHANGES = {
    "known": "",
    "social only": "UPDATE users SET password_hash = NULL WHERE email_key = $1",
    "disabled": "UPDATE users SET disabled_at = now() WHERE email_key = $1",
}
"""What is done to the account of each kind of address, besides its being made."""
_NO_LIMITS = dict.fromkeys(
    ("login_failures_an_account", "login_free_failures", "registrations_an_hour", "login_attempts_burst"), "10000000"
)
PASSWORD = "what nobody has chosen"
_ASKED = {
    "login": ("/api/auth/login", {"password": PASSWORD}, 401),
    "forgot": ("/api/auth/password/forgot", {}, 202),
    "register": ("/api/auth/register", {"password": PASSWORD}, 202),
}

Times = dict[str, list[float]]


def auth(subject: Subject, plan: Plan) -> Iterator[Row]:
    addresses = asyncio.run(_accounts(subject.server))
    subject.server.set(registration="verified", **_NO_LIMITS)
    subject.restart()
    for name, (path, body, status) in _ASKED.items():
        runs = [_run(subject.server, path, body, status, addresses) for _ in range(plan.runs)]
        apart = [max(abs(_median(times, kind) / _median(times, UNKNOWN) - 1) * 100 for kind in addresses) for times in runs]
        together = {kind: [each for times in runs for each in times[kind]] for kind in runs[0]}
        told = ", ".join(f"{kind} {statistics.median(times):.2f}" for kind, times in together.items())
        chance = min(mann_whitney(together[kind], together[UNKNOWN]) for kind in addresses)
        yield Row(
            work=f"{name}: does the time tell who has an account",
            unit="% between medians",
            value=statistics.median(apart),
            all=tuple(apart),
            note=f"{told} ms; smallest p {chance:.2f}",
        )


async def _accounts(server: Server) -> dict[str, str]:
    """An address of each kind that somebody has."""
    addresses = {kind: server.register().email for kind in _CHANGES}
    connection = await asyncpg.connect(server.facts()["database"])
    for kind, address in addresses.items():
        if _CHANGES[kind]:
            await connection.execute(_CHANGES[kind], address)
    await connection.close()
    return addresses


def _run(server: Server, path: str, body: dict[str, str], status: int, addresses: dict[str, str]) -> Times:
    """How long each request took, in ms, by the kind of its address."""
    times: Times = {kind: [] for kind in (UNKNOWN, *addresses)}
    order = [kind for kind in times for _ in range(SAMPLES)]
    random.shuffle(order)
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        for number, kind in enumerate([*order[:WARM_UP], *order]):
            asked = json.dumps(body | {"email": addresses.get(kind) or f"{uuid.uuid4().hex}@example.com"}).encode()
            began = time.perf_counter()
            connection.request("POST", path, asked, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            took = (time.perf_counter() - began) * 1000
            assert answer.status == status, (path, kind, answer.status)
            if number >= WARM_UP:
                times[kind].append(took)
    return times


def _median(times: Times, kind: str) -> float:
    return statistics.median(times[kind])


def mann_whitney(one: Sequence[float], other: Sequence[float]) -> float:
    """The two-sided p of the test of Mann and Whitney, by the normal approximation; for samples without many equal values."""
    ranked = sorted([(value, True) for value in one] + [(value, False) for value in other])
    rank_sum = sum(rank for rank, (_, is_one) in enumerate(ranked, 1) if is_one)
    n, m = len(one), len(other)
    u = rank_sum - n * (n + 1) / 2
    z = (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
    return math.erfc(abs(z) / math.sqrt(2))
