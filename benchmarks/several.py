"""Two processes against one: what a delivery costs in CPU.

First as people run it, `serve` and `serve --workers 2` in turns: there the devices of a library meet in one process. Then two separate
servers on one PostgreSQL, as on two machines, against one of them alone: whole libraries on either, and the two devices of each library on
different ones, so that each delivery has to cross.
"""

import asyncio
import statistics
from collections.abc import Iterator
from typing import Any

from benchmarks.job import Door, Job
from benchmarks.scenarios import Plan, Row, Subject, measure, own_server, rate
from tests.support.many import Fleet, fleet

LIBRARIES = 20
WAYS = {
    "whole libraries on either": {"split": False, "writers": 2},
    "each library's devices on both, one writes": {"split": True, "writers": 1},
    "each library's devices on both, both write": {"split": True, "writers": 2},
}


def several(subject: Subject, plan: Plan) -> Iterator[Row]:
    """Brings servers of its own; `subject` stays idle."""
    one, two = _workers_in_turns(plan)
    yield rate(f"relay: {LIBRARIES} libraries x 2 devices, both write, 4 in flight each, `serve`", "deliveries/s", one, "deliveries")
    yield rate("the same by `serve --workers 2`", "deliveries/s", two, "deliveries")
    yield _ratio("CPU of all servers for a delivery, `serve --workers 2` against `serve`", one, two)
    for way, details in WAYS.items():
        one, two = asyncio.run(_in_turns(plan, details))
        writers = "both write" if details["writers"] == 2 else "one writes"
        yield rate(f"relay: {LIBRARIES} libraries x 2 devices, {writers}, 4 in flight each, one server", "deliveries/s", one, "deliveries")
        yield rate(f"the same by two servers, {way}", "deliveries/s", two, "deliveries")
        yield _ratio(f"CPU of all servers for a delivery, two servers against one, {way}", one, two)


def _ratio(name: str, one: list[dict[str, Any]], two: list[dict[str, Any]]) -> Row:
    ratios = tuple(_cpu(b) / _cpu(a) for a, b in zip(one, two, strict=True))
    whole = statistics.median(_cpu(b, "postgres_cpu") / _cpu(a, "postgres_cpu") for a, b in zip(one, two, strict=True))
    return Row(work=name, unit="times", value=statistics.median(ratios), all=ratios, note=f"{whole:.2f} times with PostgreSQL's")


def _workers_in_turns(plan: Plan) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    one, two = list[dict[str, Any]](), list[dict[str, Any]]()
    with own_server() as single, own_server({"PROMPTSYNC_WORKERS": "2"}) as double:
        for _ in range(plan.runs):
            for subject, answers in ((single, one), (double, two)):
                answers.append(measure(subject.job("relay", plan, LIBRARIES, writers=2)))
    return one, two


async def _in_turns(plan: Plan, details: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    one, two = list[dict[str, Any]](), list[dict[str, Any]]()
    async with fleet(2, env={"PROMPTSYNC_LOG_LEVEL": "warning"}) as both:
        for _ in range(plan.runs):
            await both.nodes[1].stop()
            one.append(await asyncio.to_thread(measure, await _job(both, plan, 1, details)))
            await both.nodes[1].again()
            two.append(await asyncio.to_thread(measure, await _job(both, plan, 2, details)))
    return one, two


async def _job(both: Fleet, plan: Plan, processes: int, details: dict[str, Any]) -> Job:
    first, *others = both.nodes[:processes]
    account = await asyncio.to_thread(first.register)
    libraries = [await asyncio.to_thread(first.create_library, account) for _ in range(LIBRARIES)]
    pids = [node.process.pid for node in (first, *others) if node.process is not None]
    return Job(
        work="relay",
        host="127.0.0.1",
        port=first.port,
        more_ports=[node.port for node in others],
        doors=[Door(f"/sync/{library}", account.sync_token) for library in libraries],
        server_pid=pids[0],
        more_pids=pids[1:],
        postgres_pid=both.postgres.pid,
        seconds=plan.seconds,
        warm_up=plan.warm_up,
        **details,
    )


def _cpu(answer: dict[str, Any], *more: str) -> float:
    return float(sum(answer[kind] for kind in ("server_cpu", *more)) / answer["deliveries"])
