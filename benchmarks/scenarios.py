"""What is measured and how it is reported: sets up a server or takes a given one, starts the generator, draws the table."""

import json
import statistics
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.job import Door, Job
from tests.support.server import ROOT, Server

GENERATOR_SECONDS = 300
"""Longest one measurement may take; a generator that hangs is ended."""
LIBRARIES_AN_ACCOUNT = 500
"""An account may own a thousand."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the command line asked for."""

    seconds: float
    runs: int
    warm_up: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: medians over the runs, and every run's main number in `all`."""

    work: str
    unit: str
    value: float
    all: tuple[float, ...]
    server_us: float | None = None
    postgres_us: float | None = None
    note: str = ""


class Subject:
    """The server that is measured: by default one of our own, with an empty database."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def job(self, work: str, plan: Plan, count: int, **details: Any) -> Job:
        """A job on `count` new libraries."""
        return self.here(
            Job(
                work=work,
                host="127.0.0.1",
                port=self.server.port,
                doors=self._doors(count),
                seconds=plan.seconds,
                warm_up=plan.warm_up,
                **details,
            )
        )

    def _doors(self, count: int) -> list[Door]:
        doors: list[Door] = []
        while len(doors) < count:
            account = self.server.register()
            libraries = [self.server.create_library(account) for _ in range(min(LIBRARIES_AN_ACCOUNT, count - len(doors)))]
            doors += [Door(f"/sync/{library}", account.sync_token) for library in libraries]
        return doors

    def here(self, job: Job) -> Job:
        """The same job on the processes that run now."""
        pid = self.server.process.pid if self.server.process else None
        return replace(job, server_pid=pid, postgres_pid=self.server.postmaster())

    def restart(self) -> None:
        """Stop it in order and start it again, so that nothing is in its memory."""
        self.server.terminate()
        self.server.start()


class Peer(Subject):
    """Another server that speaks the y-websocket dialect, started by hand: any name is a document, no token is needed."""

    def __init__(self, host: str, port: int, pid: int | None) -> None:
        self._address, self._pid, self._made = (host, port), pid, 0
        self._run = uuid.uuid4().hex[:8]  # its documents outlive a run

    def job(self, work: str, plan: Plan, count: int, **details: Any) -> Job:
        self._made += count
        doors = [Door(f"/bench-{self._run}-{number}", "none") for number in range(self._made - count, self._made)]
        host, port = self._address

        return Job(
            work=work,
            host=host,
            port=port,
            doors=doors,
            server_pid=self._pid,
            stored=False,
            seconds=plan.seconds,
            warm_up=plan.warm_up,
            **details,
        )

    def here(self, job: Job) -> Job:
        return job

    def restart(self) -> None:
        raise SystemExit("a peer cannot be restarted from here: measure relay, latency, fanout or idle")


@contextmanager
def own_server(settings: Mapping[str, str] | None = None) -> Iterator[Subject]:
    """Our server on an empty data folder, durable, with rate limits out of the way and the given settings; gone afterwards."""
    with Server(env={"PROMPTSYNC_LOG_LEVEL": "warning"} | dict(settings or {}), forked=False) as server:
        yield Subject(server)


def measure(job: Job) -> dict[str, Any]:
    """Run one job in a process of its own and return its answer.

    Raises RuntimeError with what the generator printed.
    """
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.generator"],
        input=json.dumps(job.as_json()), capture_output=True, text=True, cwd=ROOT, timeout=GENERATOR_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"{job.work} failed:\n{done.stderr[-3000:]}")
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer


def relay(subject: Subject, plan: Plan) -> Iterator[Row]:
    for writers, in_flight, name in ((2, 4, "both write"), (1, 4, "one writes"), (2, 16, "both write")):
        answers = [measure(subject.job("relay", plan, 20, writers=writers, in_flight=in_flight)) for _ in range(plan.runs)]
        yield rate(f"relay: 20 libraries x 2 devices, {name}, {in_flight} in flight each", "deliveries/s", answers, "deliveries")


def latency(subject: Subject, plan: Plan) -> Iterator[Row]:
    answers = [measure(subject.job("relay", plan, 1, writers=1, in_flight=1)) for _ in range(plan.runs)]
    p50 = [statistics.median(answer["latencies_ms"]) for answer in answers]
    p99 = [statistics.quantiles(answer["latencies_ms"], n=100)[98] for answer in answers]
    name = "one device to one device, 1 in flight"
    yield replace(rate(f"{name}: p50", "ms", answers, "deliveries"), value=statistics.median(p50), all=tuple(p50))
    yield Row(work=f"{name}: p99", unit="ms", value=statistics.median(p99), all=tuple(p99))


def fanout(subject: Subject, plan: Plan) -> Iterator[Row]:
    answers = [measure(subject.job("fanout", plan, 1, devices=100, in_flight=32)) for _ in range(plan.runs)]
    yield rate("fan-out: 1 library x 100 devices, 32 in flight", "deliveries/s", answers, "deliveries")


def opening(subject: Subject, plan: Plan) -> Iterator[Row]:
    job = subject.job("fill", plan, 500)
    size = measure(job)["bytes"]
    for up_to_date, name in ((False, "empty devices"), (True, "devices up to date")):
        answers = []
        for _ in range(plan.runs):
            subject.restart()
            answers.append(measure(subject.here(replace(job, work="open", up_to_date=up_to_date))))
        failures = sorted({text for answer in answers for text in answer["failures"]})
        short = sum(answer["short"] for answer in answers)
        row = rate(f"opening storm after a restart: 500 libraries of {size / 1000:.0f} KB, {name}", "clients/s", answers, "clients")
        yield replace(row, note="none short" if not short else f"{short} of {sum(a['clients'] for a in answers)} short {failures}")


def idle(subject: Subject, plan: Plan) -> Iterator[Row]:
    answer = measure(subject.job("idle", plan, 1050))
    value = answer["bytes"] / answer["connections"] / 1024
    busy = f"{answer['server_cpu'] / answer['seconds']:.1%} of a core"
    yield Row(work="idle connection on a library of its own (1,000 of them)", unit="KB each", value=value, all=(value,), note=busy)


WORKS: dict[str, Callable[[Subject, Plan], Iterator[Row]]] = {
    "relay": relay,
    "latency": latency,
    "fanout": fanout,
    "open": opening,
    "idle": idle,
}


def rate(work: str, unit: str, answers: list[dict[str, Any]], counted: str) -> Row:
    """The row of a work that is counted a second, with the CPU of each of what is counted."""
    rates = [answer[counted] / answer["seconds"] for answer in answers]
    return Row(
        work=work,
        unit=unit,
        value=statistics.median(rates),
        all=tuple(rates),
        server_us=statistics.median(answer["server_cpu"] / answer[counted] * 1e6 for answer in answers),
        postgres_us=statistics.median(answer["postgres_cpu"] / answer[counted] * 1e6 for answer in answers),
    )


def table(rows: list[Row]) -> str:
    """The rows as a table in GitHub's markdown."""
    lines = ["| work | median | lowest to highest run | server CPU us each | PostgreSQL CPU us each |", "|---|---|---|---|---|"]
    for row in rows:
        spread = f"{number(min(row.all))} to {number(max(row.all))}" if len(row.all) > 1 else "one run"
        cpu = [number(us) if us is not None else "-" for us in (row.server_us, row.postgres_us)]
        lines.append(
            f"| {row.work} | {number(row.value)} {row.unit}{f', {row.note}' if row.note else ''} | {spread} | {cpu[0]} | {cpu[1]} |"
        )
    return "\n".join(lines)


def number(value: float) -> str:
    """A number with as many digits as it is worth."""
    if value >= 1000:
        return f"{round(value, -2):,.0f}" if value >= 10_000 else f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
