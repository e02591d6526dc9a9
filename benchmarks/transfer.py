"""What it takes to export a large library and to import it elsewhere, and what that costs somebody in another library meanwhile."""

import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

from benchmarks.disturbance import p99, told_apart
from benchmarks.rest import PROMPTS, VERSIONS, library_of
from benchmarks.scenarios import Plan, Row, Subject, measure
from tests.support.server import Account, Server

QUIET_SECONDS = 1.0


def transfer(subject: Subject, plan: Plan) -> Iterator[Row]:
    """An export of a large library, an import of that file into an empty one and once more, `plan.runs` times; all while others relay."""
    server = subject.server
    account = server.register()
    server.upload(account, account.library_id, library_of(PROMPTS))
    targets = [server.create_library(account) for _ in range(plan.runs)]
    took: dict[str, list[float]] = {"export": [], "import into an empty library": [], "the same file once more": []}
    windows: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as other:
        enough = Path(folder) / "enough"
        answering = other.submit(measure, subject.job("relay", plan, 1, writers=1, in_flight=1, until_file=str(enough)))
        try:
            time.sleep(plan.warm_up + 3 * QUIET_SECONDS)
            size = 0
            for target in targets:
                file = _timed(took["export"], windows, server, account, "GET", "/api/export")
                size = len(file)
                for name in ("import into an empty library", "the same file once more"):
                    _timed(took[name], windows, server, account, "POST", f"/api/import?library={target}", file)
            time.sleep(QUIET_SECONDS)
        finally:
            enough.touch()
        inside, outside = told_apart(answering.result(), windows)
    for name, seconds in took.items():
        work = f"{PROMPTS:,} prompts x {VERSIONS} versions, a file of {size / 1e6:.1f} MB: {name}"
        yield Row(work=work, unit="s", value=statistics.median(seconds), all=tuple(seconds))
    each = tuple(p99(values) for values in inside if values)
    note = f"against {p99(outside):.1f} ms without"
    yield Row(
        work="another library's relay p99 during these",
        unit="ms",
        value=p99([one for values in inside for one in values]),
        all=each,
        note=note,
    )


def _timed(
    took: list[float],
    windows: list[tuple[float, float]],
    server: Server,
    account: Account,
    method: str,
    path: str,
    body: bytes | None = None,
) -> bytes:
    """The answer; how long it took, and from when to when."""
    headers = {"Authorization": f"Bearer {account.access_token}"} | ({"Content-Type": "application/json"} if body is not None else {})
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        began = time.perf_counter()
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        ended = time.perf_counter()
    assert answer.status < 300, (method, path, answer.status, content[:500])
    took.append(ended - began)
    windows.append((began, ended))
    time.sleep(QUIET_SECONDS)
    return content
