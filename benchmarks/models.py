"""What calling a model through this server takes more than calling it straight, and what many streams cost somebody in another library.

The provider is a process of its own on this machine that says when it sent each piece. The same call is made straight and through the
server in turns, so that both are measured in the same conditions.
"""

import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import httpx2

from benchmarks.disturbance import p99, told_apart
from benchmarks.rest import Rest
from benchmarks.scenarios import Plan, Row, Subject, measure
from tests.support.server import Account

CALLS, STREAMED = 200, 20
"""Calls of a run: short ones, and longer ones whose pieces are timed."""
SHORT, LONG = "stamped-5-0", "stamped-50-0.005"
STREAMS = 200
STREAM_SECONDS = 20
STREAM = f"stamped-{10 * STREAM_SECONDS}-0.1"
"""Of the many at once: ten pieces a second each, about as fast as a model speaks. After one comes the next, so ten begin a second."""
QUIET_SECONDS = 2.0
TEXT = "You are a careful assistant. Answer in three sentences. " * 20


def models(subject: Subject, plan: Plan) -> Iterator[Row]:
    """Both calls in turns, `plan.runs` times; then 200 streams at once beside a relay."""
    with _provider() as port:
        subject.server.set(model_hosts=f"127.0.0.1:{port}", model_calls_a_minute="1000000", model_calls_at_once="1000")
        subject.restart()
        account = subject.server.register()
        for model in (SHORT, LONG, STREAM):
            with closing(Rest(subject.server, account)) as client:
                body = {"name": model, "enabled": True, "provider": "custom", "model": model, "base_url": f"http://127.0.0.1:{port}/v1"}
                client.ask("PUT", f"/api/models/config/{model}", body)
        asyncio.run(_both(subject, account, port, LONG, 2))  # what is imported at first use is
        for what, model, number, pick in (("a call", SHORT, CALLS, 0), ("a streamed piece", LONG, STREAMED, 1)):
            runs = [asyncio.run(_both(subject, account, port, model, number))[pick] for _ in range(plan.runs)]
            each = tuple(ours - straight for ours, straight in runs)
            note = f"{statistics.median(ours for ours, _ in runs):.2f} against {statistics.median(straight for _, straight in runs):.2f} ms"
            yield Row(
                work=f"models: {what} through the server, more than straight, p50",
                unit="ms",
                value=statistics.median(each),
                all=each,
                note=note,
            )
        p99s, quiet = zip(*(_disturbed(subject, plan, account) for _ in range(plan.runs)), strict=True)
        note = f"against {statistics.median(quiet):.1f} ms without"
        yield Row(
            work=f"another library's relay p99 beside {STREAMS} streams, 10 pieces/s each",
            unit="ms",
            value=statistics.median(p99s),
            all=p99s,
            note=note,
        )


@contextmanager
def _provider() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-m", "benchmarks.provider"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


async def _both(subject: Subject, account: Account, port: int, model: str, number: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """The medians, ours and straight, in ms: of whole calls, and from the sending of a piece to its arrival."""
    calls: tuple[list[float], list[float]] = ([], [])
    lags: tuple[list[float], list[float]] = ([], [])
    asked = {"model": model, "stream": True, "messages": [{"role": "user", "content": TEXT}]}
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        for _ in range(number):
            for side, pieces in enumerate(
                (_ours(client, subject, account, model), _events(client, f"http://127.0.0.1:{port}/v1/chat/completions", asked))
            ):
                began = time.monotonic()
                async for data, arrived in pieces:
                    lags[side].extend(arrived - stamp for stamp in _stamps(data))
                calls[side].append(time.monotonic() - began)
    return _medians(calls), _medians(lags)


def _medians(sides: tuple[list[float], list[float]]) -> tuple[float, float]:
    ours, straight = (statistics.median(side) * 1000 for side in sides)
    return ours, straight


def _ours(client: httpx2.AsyncClient, subject: Subject, account: Account, model: str) -> AsyncIterator[tuple[str, float]]:
    body = {"mode": "optimize", "text": TEXT, "model_config_id": model, "stream": True}
    return _events(client, f"{subject.server.url}/api/optimize", body, {"Authorization": f"Bearer {account.access_token}"})


async def _events(
    client: httpx2.AsyncClient, url: str, body: object, headers: dict[str, str] | None = None
) -> AsyncIterator[tuple[str, float]]:
    """The data of each event, and when it arrived."""
    async with client.stream("POST", url, json=body, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        async for line in answer.aiter_lines():
            if line.startswith("data:"):
                yield line[5:].strip(), time.monotonic()


def _stamps(data: str) -> Iterator[float]:
    """When the pieces in an event were sent: in ours there are several where they came within a few milliseconds."""
    if data == "[DONE]":
        return
    event = json.loads(data)
    assert "code" not in event, event
    if event.keys() == {"text"}:  # the last one of ours has the whole answer once more
        yield from map(float, event["text"].split())
    for choice in event.get("choices", ()):
        yield from map(float, choice["delta"].get("content", "").split())


def _disturbed(subject: Subject, plan: Plan, account: Account) -> tuple[float, float]:
    """The p99 of a pair of devices in another library while all the streams run, and before any has begun."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as other:
        enough = Path(folder) / "enough"
        relaying = other.submit(measure, subject.job("relay", plan, 1, writers=1, in_flight=1, until_file=str(enough)))
        try:
            time.sleep(plan.warm_up + QUIET_SECONDS)
            quiet = time.perf_counter(), time.perf_counter() + QUIET_SECONDS
            time.sleep(QUIET_SECONDS)
            began, ended = asyncio.run(_many(subject, account, plan.seconds))
        finally:
            enough.touch()
        (beside, without), _ = told_apart(relaying.result(), [(began, ended), quiet])
        return p99(beside), p99(without)


async def _many(subject: Subject, account: Account, seconds: float) -> tuple[float, float]:
    """Have as many streams running as there should be; from when to when they all were."""
    body = json.dumps({"mode": "optimize", "text": TEXT, "model_config_id": STREAM, "stream": True}).encode()
    head = (
        f"POST /api/optimize HTTP/1.1\r\nHost: 127.0.0.1:{subject.server.port}\r\nAuthorization: Bearer {account.access_token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    asking = head.encode() + body
    readers = [asyncio.create_task(_read_on(subject.server.port, asking, random.uniform(0, STREAM_SECONDS))) for _ in range(STREAMS)]
    await asyncio.sleep(STREAM_SECONDS)
    began = time.perf_counter()
    await asyncio.wait(readers, timeout=seconds)  # they end by failing only
    ended = time.perf_counter()
    for reader in readers:
        reader.cancel()
    for ending in await asyncio.gather(*readers, return_exceptions=True):
        assert isinstance(ending, asyncio.CancelledError), ending
    return began, ended


async def _read_on(port: int, asking: bytes, after: float) -> None:
    """Read one answer after the other, by the bytes: a client's library would take as much of the processor as the server does."""
    await asyncio.sleep(after)
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(asking)
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 200 "), answer[:1000]
        assert b"event: done" in answer[-10_000:], answer[-1000:]
