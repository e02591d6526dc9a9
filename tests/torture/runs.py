"""The rounds: which case runs how often on what, and what it came to."""

import asyncio
import math
import time
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.faults.crowd import come_in_waves
from tests.faults.folding import FOLDING
from tests.faults.judge import Verdict
from tests.faults.kills import ON_ONE_PORT, SINGLE
from tests.faults.together import OFTEN, TOGETHER
from tests.support.many import Fleet, fleet
from tests.support.server import Server

CROWD = "crowd in waves"
KILLS = {*SINGLE, *ON_ONE_PORT, "one of two killed", "PostgreSQL killed under two"}
"""Cases that share the rounds that were asked for; the others wait for seconds in each round, and run a tenth as often as one of these."""
CASES = [*SINGLE, *ON_ONE_PORT, *TOGETHER, *FOLDING, CROWD]
ROUND_SECONDS = 300.0
"""A round that takes longer has failed."""
SAID_CHARACTERS = 3_000
LINE_ROUNDS = 20
"""Where there is no terminal, a line is printed after so many rounds: a bar that is not redrawn says nothing until the end."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the command line asked for."""

    names: list[str]
    rounds: int
    seed: int
    deadline: float
    sockets: int

    def rounds_of(self, name: str) -> int:
        """How often a case runs."""
        each = math.ceil(self.rounds / max(1, len(KILLS.intersection(self.names))))
        return 1 if name == CROWD else each if name in KILLS else max(1, each // 10)


@dataclass(slots=True)
class Row:
    """What the rounds of a case came to."""

    rounds: int = 0
    failed: int = 0
    verdict: Verdict = field(default_factory=Verdict)

    @property
    def lost(self) -> int:
        return self.verdict.lost


@dataclass(slots=True)
class Report:
    """Everything that is told in the end."""

    rows: dict[str, Row] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


class Stage:
    """What the cases run on, made when first needed and made anew after a failure."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """`say` prints a line."""
        self.say = say
        self._open: dict[str, tuple[AbstractAsyncContextManager[object], object]] = {}

    async def play(self, name: str, seed: int, sockets: int) -> Verdict:
        """One round."""
        if name in SINGLE or name in ON_ONE_PORT:
            server = await self._get("single" if name in SINGLE else "workers")
            assert isinstance(server, Server)
            return await (SINGLE | ON_ONE_PORT)[name](server, seed)
        two = await self._get("crowd" if name == CROWD else "two")
        assert isinstance(two, Fleet)
        try:
            if name != CROWD:
                return await (TOGETHER | FOLDING)[name](two, seed)
            waves, verdict = await come_in_waves(two, sockets)
            for what, wave in waves.items():
                self.say(f"crowd, {what}: {wave}")
            return verdict
        finally:
            await two.restore()

    async def _get(self, kind: str) -> object:
        if kind not in self._open:
            context: AbstractAsyncContextManager[object]
            if kind in ("single", "workers"):
                context = _server(1 if kind == "single" else 2)
            else:
                context = fleet(2, valves=kind == "two", env=OFTEN if kind == "two" else {})
            self._open[kind] = (context, await context.__aenter__())
        return self._open[kind][1]

    async def strike(self) -> None:
        """End and remove everything."""
        while self._open:
            _, (context, _) = self._open.popitem()
            await context.__aexit__(None, None, None)


@asynccontextmanager
async def _server(workers: int) -> AsyncIterator[Server]:
    with Server(env=OFTEN | {"PROMPTSYNC_WORKERS": str(workers)}) as server:
        yield server


async def run(plan: Plan, report: Report, console: Console) -> None:
    """All the rounds, until they are done or the time is over."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[told]}"))
    report.rows = {name: Row() for name in plan.names}
    stage = Stage(lambda line: progress.console.print(line, markup=False))
    with Progress(*columns, console=console) as progress:
        whole = progress.add_task("all", total=len(schedule(plan)), told="")
        bars = {name: progress.add_task(name, total=plan.rounds_of(name), told="") for name in plan.names}
        try:
            for done, (name, seed) in enumerate(schedule(plan), 1):
                if time.monotonic() > plan.deadline:
                    stage.say("the time is over: this is how far it came")
                    break
                await _round(name, seed, plan, report, stage)
                row = report.rows[name]
                progress.update(bars[name], advance=1, told=f"lost {row.lost}, failed {row.failed}")
                progress.update(whole, advance=1)
                if not console.is_terminal and done % LINE_ROUNDS == 0:
                    stage.say(f"{done} of {len(schedule(plan))} rounds, lost {sum(row.lost for row in report.rows.values())}")
        finally:
            await stage.strike()


def schedule(plan: Plan) -> list[tuple[str, int]]:
    """The rounds as case and seed. The cases take turns, so that all have had their share whenever it ends."""
    rounds = [
        ((number + 1) / plan.rounds_of(name), name, plan.seed + number) for name in plan.names for number in range(plan.rounds_of(name))
    ]
    return [(name, seed) for _, name, seed in sorted(rounds, key=lambda each: each[0])]


async def _round(name: str, seed: int, plan: Plan, report: Report, stage: Stage) -> None:
    row = report.rows[name]
    row.rounds += 1
    try:
        async with asyncio.timeout(ROUND_SECONDS):
            verdict = await stage.play(name, seed, plan.sockets)
    except (Exception, asyncio.CancelledError) as error:
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
        row.failed += 1
        report.failures.append(f"{name}, seed {seed}: {_said(error)}")
        stage.say(f"{name}, seed {seed} failed: {type(error).__name__}")
        await stage.strike()
        return
    row.verdict += verdict
    if verdict.lost:
        report.failures.append(f"{name}, seed {seed}: lost {verdict.lost} of {verdict.acknowledged + verdict.seen}")


def _said(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))[-SAID_CHARACTERS:]


def table(report: Report) -> Table:
    """What is printed in the end."""
    made = Table(title="torture")
    for heading in (
        "case",
        "rounds",
        "failed",
        "edits acknowledged",
        "edits seen",
        "lost",
        "stored twice",
        "slowest recovery s",
        "others' p99 ms",
    ):
        made.add_column(heading, justify="left" if heading == "case" else "right")
    for name, row in report.rows.items():
        told = row.verdict
        counts = [row.rounds, row.failed, told.acknowledged, told.seen, told.lost, told.duplicates]
        made.add_row(name, *(f"{count:,}" for count in counts), f"{told.recovery:.1f}", f"{told.bystander:.0f}" if told.bystander else "-")
    return made
