"""What calling a model through this server takes more than calling it otherwise, and what many streams cost somebody in another library.

The provider is a process of its own on this machine that says when it sent each piece. The same call is made through the server, straight
by a bare HTTP client, straight by the vendor's SDK, and through a server that only passes it on (`plain_relay`), in turns, so that all are
measured in the same conditions.
"""

import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import httpx2
import openai

from benchmarks.disturbance import p99, told_apart
from benchmarks.rest import Rest
from benchmarks.scenarios import Plan, Row, Subject, measure
from tests.support.server import Account

OURS = "ours"
KEY = "sk-benchmark-0123456789abcdef"
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
    """All ways of a call in turns, `plan.runs` times; then 200 streams at once beside a relay of edits."""
    with _process("benchmarks.provider") as port, _process("benchmarks.plain_relay", str(port)) as relay_port:
        subject.server.set(model_hosts=f"127.0.0.1:{port}", model_calls_a_minute="1000000", model_calls_at_once="1000")
        subject.restart()
        account = subject.server.register()
        for model in (SHORT, LONG, STREAM):
            with closing(Rest(subject.server, account)) as client:
                body = {"name": model, "enabled": True, "provider": "custom", "model": model, "base_url": f"http://127.0.0.1:{port}/v1"}
                client.ask("PUT", f"/api/models/config/{model}", body | {"api_key": KEY})
        ways = _Ways(subject.server.url, account.access_token, relay_port, port)
        asyncio.run(_in_turns(ways, LONG, 2))  # what is imported at first use is
        calls = [asyncio.run(_in_turns(ways, SHORT, CALLS))[0] for _ in range(plan.runs)]
        for way in ("straight", "by the SDK", "by a plain relay"):
            yield _row(f"a call through the server, more than {way}, p50", calls, way)
        pieces = [asyncio.run(_in_turns(ways, LONG, STREAMED))[1] for _ in range(plan.runs)]
        yield _row("a streamed piece through the server, more than straight, p50", pieces, "straight")
        p99s, quiet = zip(*(_disturbed(subject, plan, account) for _ in range(plan.runs)), strict=True)
        note = f"against {statistics.median(quiet):.1f} ms without"
        yield Row(
            work=f"another library's relay p99 beside {STREAMS} streams, 10 pieces/s each",
            unit="ms",
            value=statistics.median(p99s),
            all=p99s,
            note=note,
        )


def _row(what: str, runs: Sequence[Mapping[str, float]], other: str) -> Row:
    """What ours takes more than another way."""
    each = tuple(run[OURS] - run[other] for run in runs)
    ours, others = (statistics.median(run[way] for run in runs) for way in (OURS, other))
    return Row(work=f"models: {what}", unit="ms", value=statistics.median(each), all=each, note=f"{ours:.2f} against {others:.2f} ms")


@contextmanager
def _process(module: str, *arguments: str) -> Iterator[int]:
    """A process that prints its port."""
    with subprocess.Popen([sys.executable, "-m", module, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


class _Ways:
    """The ways to have a model called. Each gives the data of the pieces that come, and when each came."""

    def __init__(self, server: str, token: str, relay_port: int, port: int) -> None:
        self._server = server
        self._token = token
        self._relay = f"http://127.0.0.1:{relay_port}"
        self._provider = f"http://127.0.0.1:{port}/v1"

    def of(self, client: httpx2.AsyncClient, model: str) -> Mapping[str, Callable[[], AsyncIterator[tuple[Iterable[float], float]]]]:
        """By their names."""
        sdk = openai.AsyncOpenAI(api_key=KEY, base_url=self._provider, http_client=client, max_retries=0)
        asked = {"model": model, "stream": True, "messages": [{"role": "user", "content": TEXT}]}
        ours = {"mode": "optimize", "text": TEXT, "model_config_id": model, "stream": True}
        return {
            OURS: lambda: _events(client, f"{self._server}/api/optimize", ours, {"Authorization": f"Bearer {self._token}"}),
            "straight": lambda: _events(client, f"{self._provider}/chat/completions", asked, {"Authorization": f"Bearer {KEY}"}),
            "by the SDK": lambda: _by_sdk(sdk, model),
            "by a plain relay": lambda: _events(client, f"{self._relay}/api/optimize", ours),
        }


async def _in_turns(ways: _Ways, model: str, number: int) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """The medians by way, in ms: of whole calls, and from the sending of a piece to its arrival."""
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        all_ways = ways.of(client, model)
        calls: dict[str, list[float]] = {way: [] for way in all_ways}
        lags: dict[str, list[float]] = {way: [] for way in all_ways}
        for _ in range(number):
            for way, call in random.sample(list(all_ways.items()), len(all_ways)):
                began = time.monotonic()
                async for stamps, arrived in call():
                    lags[way].extend(arrived - stamp for stamp in stamps)
                calls[way].append(time.monotonic() - began)
    return _medians(calls), _medians(lags)


def _medians(ways: Mapping[str, Sequence[float]]) -> Mapping[str, float]:
    return {way: statistics.median(each) * 1000 for way, each in ways.items()}


async def _by_sdk(sdk: openai.AsyncOpenAI, model: str) -> AsyncIterator[tuple[Iterable[float], float]]:
    async for chunk in await sdk.chat.completions.create(model=model, messages=[{"role": "user", "content": TEXT}], stream=True):
        arrived = time.monotonic()
        for choice in chunk.choices:
            yield map(float, (choice.delta.content or "").split()), arrived


async def _events(
    client: httpx2.AsyncClient, url: str, body: object, headers: dict[str, str] | None = None
) -> AsyncIterator[tuple[Iterable[float], float]]:
    async with client.stream("POST", url, json=body, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        async for line in answer.aiter_lines():
            if line.startswith("data:"):
                arrived = time.monotonic()
                yield _stamps(line[5:].strip()), arrived


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
