"""What REST over a large library takes, and what that costs somebody in another one: 1,000 prompts of three versions, about 7 MB."""

import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from benchmarks.disturbance import p99, told_apart
from benchmarks.scenarios import Plan, Row, Subject, measure
from crdt.library import Library
from crdt.operations import NewPrompt, NewVersion, add_version, create_prompt
from server.config import Settings
from tests.support.server import Account, Server

PROMPTS, VERSIONS, TEXT_BYTES = 1_000, 3, 2_300
WORDS = ("report", "careful", "translate", "summary", "table", "code", "review", "format", "日报", "总结", "翻译", "提示词", "优化")
TAGS = ("work", "home", "draft", "final", "写作", "research")
COLDS, LISTS, SEARCHES, PUTS, BATCHES = 20, 200, 100, 100, 5
"""Requests of each kind in a run."""
CREATES = 500
QUIET_SECONDS = 1.0
PUT_AWAY_SECONDS = 0.1
KEEPING = ("open_document_bytes", "document_cache_bytes", "room_cache_bytes")
"""What a server keeps of libraries in memory goes by these settings."""
SNAPSHOT_SECONDS, LOOK_SECONDS = 60.0, 0.1


@dataclass(slots=True)
class Timed:
    """How long requests took, in ms, and from when to when."""

    milliseconds: list[float] = field(default_factory=list)
    windows: list[tuple[float, float]] = field(default_factory=list)


class Rest:
    """One keep-alive connection, signed in."""

    def __init__(self, server: Server, account: Account) -> None:
        self._connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
        self._headers = {"Authorization": f"Bearer {account.access_token}", "Content-Type": "application/json"}

    def close(self) -> None:
        self._connection.close()

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """The answer's JSON. Raises AssertionError where it is a refusal."""
        self._connection.request(method, path, None if body is None else json.dumps(body).encode(), self._headers)
        answer = self._connection.getresponse()
        content = answer.read()
        assert answer.status < 300, (method, path, answer.status, content[:500])
        return json.loads(content) if content else None

    def timed(self, timed: Timed, method: str, path: str, body: object = None) -> Any:
        """The same, and how long it took."""
        began = time.perf_counter()
        answer = self.ask(method, path, body)
        ended = time.perf_counter()
        timed.milliseconds.append((ended - began) * 1000)
        timed.windows.append((began, ended))
        return answer


def library_of(prompts: int) -> bytes:
    """A library as devices make it, as one update."""
    made, draw = Library(client_id=7), random.Random(7)
    for number in range(prompts):
        versions = [
            NewVersion(id=f"version-{number}-{count}", text=_text(draw), kind="optimize", at=1_000_000 + count, device="d")
            for count in range(VERSIONS)
        ]
        tags = draw.sample(TAGS, 2)
        create_prompt(
            made,
            NewPrompt(
                id=f"prompt-{number}", title=f"Prompt {number} {draw.choice(WORDS)}", created_at=1_000_000 + number, device="d",
                order=f"a{number:04}z", original=_text(draw)[:200], tags=tags, version=versions[0],
            ),
        )  # fmt: skip
        for version in versions[1:]:
            add_version(made, f"prompt-{number}", version)
    return made.content()


def _text(draw: random.Random) -> str:
    words = []
    size = 0
    while size < TEXT_BYTES:
        words.append(draw.choice(WORDS))
        size += len(words[-1].encode()) + 1
    return " ".join(words)


def rest(subject: Subject, plan: Plan) -> Iterator[Row]:
    """Each kind of request `plan.runs` times, after a restart each time; then all of them once more, while others relay.

    Cold are requests to a server that keeps nothing of a library once another one is asked for: it reads and opens it anew each time, after
    a pause in which it has put away what it had open (10 ms of work in the process that would open the next one).
    """
    content = library_of(PROMPTS)
    runs = []
    for _ in range(plan.runs):
        account = _account_with(subject.server, content)  # a new one each time: the batches create 2,500 prompts more
        with _ready(subject, account, keeps=False) as (client, small):
            cold = _cold_requests(client, small)
        with _ready(subject, account) as (client, _):
            runs.append(cold | _requests(client))
    size = f"REST, {PROMPTS:,} prompts x {VERSIONS} versions, {len(content) / 1e6:.1f} MB"
    for name in runs[0]:
        each = tuple(statistics.median(run[name].milliseconds) for run in runs)
        yield Row(work=f"{size}: {name}, p50", unit="ms", value=statistics.median(each), all=each)
    p99s, quiet = zip(*(_disturbed(subject, plan, _account_with(subject.server, content)) for _ in range(plan.runs)), strict=True)
    note = f"against {statistics.median(quiet):.1f} ms without"
    yield Row(work="another library's relay p99 meanwhile", unit="ms", value=statistics.median(p99s), all=p99s, note=note)


def _account_with(server: Server, content: bytes) -> Account:
    account = server.register()
    server.upload(account, account.library_id, content)
    _wait_for_snapshot(server, account)
    return account


def _wait_for_snapshot(server: Server, account: Account) -> None:
    """As a library of this size is found: compacted."""
    deadline = time.monotonic() + SNAPSHOT_SECONDS
    with closing(Rest(server, account)) as client:
        while client.ask("GET", "/api/sync/status")["libraries"][0]["snapshot"] is None:
            if time.monotonic() > deadline:
                raise AssertionError("the library is not compacted")
            time.sleep(LOOK_SECONDS)


@contextmanager
def _ready(subject: Subject, account: Account, *, keeps: bool = True) -> Iterator[tuple[Rest, str]]:
    """A server that has just started, with its processes ready and none of the library's documents open; and the id of a small library."""
    with closing(Rest(subject.server, account)) as client:
        client.ask("POST", "/api/sync/force", {"library": account.library_id})  # folded, as it is found after a while
    defaults = {name: str(Settings.model_fields[name].default) for name in KEEPING}
    subject.server.set(**defaults if keeps else dict.fromkeys(KEEPING, "1"))
    subject.restart()
    with closing(Rest(subject.server, account)) as client:
        small = client.ask("POST", "/api/libraries", {"name": "small"})["id"]
        for _ in range(2):
            client.ask("POST", f"/api/prompts?library={small}", {"title": "large", "original_text": "x" * 200_000})
        client.ask("GET", f"/api/prompts?library={small}")
        time.sleep(QUIET_SECONDS)
        yield client, small


def _disturbed(subject: Subject, plan: Plan, account: Account) -> tuple[float, float]:
    """The p99 of a pair of devices in another library while requests are answered, and before and after."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as other, _ready(subject, account) as (client, _):
        enough = Path(folder) / "enough"
        answering = other.submit(measure, subject.job("relay", plan, 1, writers=1, in_flight=1, until_file=str(enough)))
        try:
            time.sleep(plan.warm_up + 3 * QUIET_SECONDS)
            timed = _requests(client)
            time.sleep(QUIET_SECONDS)
        finally:
            enough.touch()
        inside, outside = told_apart(answering.result(), [window for each in timed.values() for window in each.windows])
        return p99([value for values in inside for value in values]), p99(outside)


def _cold_requests(client: Rest, small: str) -> dict[str, Timed]:
    cold = Timed()
    for _ in range(COLDS):
        client.ask("GET", f"/api/prompts?library={small}")
        time.sleep(PUT_AWAY_SECONDS)
        listed = client.timed(cold, "GET", "/api/prompts?tags=work&limit=50")
        assert len(listed["prompts"]) == 50
    return {"list of 50 with a filter, cold": cold}


def _requests(client: Rest) -> dict[str, Timed]:
    lists, texts, searches, puts, batches = (Timed() for _ in range(5))
    draw = random.Random(time.time_ns())
    client.ask("GET", "/api/prompts?tags=work&limit=50")
    for _ in range(LISTS):
        client.timed(
            lists, "GET", f"/api/prompts?tags={draw.choice(('work', 'home', 'draft'))}&limit=50&fields=title,tags,updated_at,favorite"
        )
    for _ in range(LISTS):
        client.timed(texts, "GET", f"/api/prompts?tags={draw.choice(('work', 'home', 'draft'))}&limit=50")
    for _ in range(SEARCHES):
        word = draw.choice(("%E6%8F%90%E7%A4%BA%E8%AF%8D", "translate", "prompt%20" + str(draw.randrange(PROMPTS))))
        client.timed(searches, "GET", f"/api/prompts?search={word}&limit=50")
    for count in range(PUTS):
        prompt_id = f"prompt-{draw.randrange(PROMPTS)}"
        there = client.ask("GET", f"/api/prompts/{prompt_id}")
        changed = {name: there[name] for name in ("description", "original_text", "optimized_text", "tags", "favorite")}
        text = changed["optimized_text"]
        changed |= {"title": f"Changed {count}", "optimized_text": text[:1000] + " and more " + text[1000:]}
        client.timed(puts, "PUT", f"/api/prompts/{prompt_id}", changed)
    for _ in range(BATCHES):
        text = _text(draw)[:1000]
        creates = [{"op": "create", "title": f"Batch {count}", "original_text": text, "tags": ["work"]} for count in range(CREATES)]
        done = client.timed(batches, "POST", "/api/prompts/batch", {"operations": creates})
        client.ask(
            "POST", "/api/prompts/batch", {"operations": [{"op": "delete", "id": each["id"], "purge": True} for each in done["results"]]}
        )
    return {
        "list of 50 with a filter, warm": lists,
        "the same with texts": texts,
        "search": searches,
        "PUT": puts,
        f"batch of {CREATES} creates": batches,
    }
