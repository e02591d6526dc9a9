"""REST clients and devices edit one library on two processes, while a process, its documents or the database fails: nothing is lost."""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.faults.authors import Shared, authors, check
from tests.faults.judge import Archive
from tests.support.core import until
from tests.support.cutting_proxy import Cut, cutting_proxy
from tests.support.many import Fleet, Node, family, fleet

pytestmark = pytest.mark.faults

ROUNDS = int(os.environ.get("PROMPTSYNC_TEST_ROUNDS", "1"))
PAUSE_SECONDS = 2.0
LARGE = "x" * (200 << 10)
"""So much text that the library lies in the document processes."""

Case = Callable[[Fleet, Shared], Awaitable[None]]


@pytest.fixture(scope="module")
async def nodes() -> AsyncIterator[Fleet]:
    """Two processes that keep the whole log."""
    async with fleet(2) as two:
        yield two


@asynccontextmanager
async def shared_by(two: Fleet, *others: Node, seed: int, is_large: bool = False) -> AsyncIterator[Shared]:
    """A library of a new account."""
    account = await asyncio.to_thread(two.nodes[0].register)
    async with Shared([*two.nodes, *others], account, random.Random(seed)) as shared:
        if is_large:
            made = await shared.ask("POST", "/api/prompts", {"title": "large", "original_text": LARGE})
            assert made.status_code == 201
        yield shared


async def nothing(two: Fleet, shared: Shared) -> None:
    """No fault."""
    await shared.more(10)


async def one_killed(two: Fleet, shared: Shared) -> None:
    """SIGKILL of one process, and a new start."""
    here = shared.random.choice(two.nodes)
    here.kill9()
    await shared.more(10)
    await here.again()


async def postgres_crashes(two: Fleet, shared: Shared) -> None:
    """SIGKILL of PostgreSQL under both, and a new start."""
    await two.postgres.crash_and_recover()
    await two.all_answer()


async def documents_killed(two: Fleet, shared: Shared) -> None:
    """SIGKILL of the processes that hold documents, again and again."""
    for _ in range(3):
        for node in two.nodes:
            for pid in workers_of(node):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        await shared.more(8)


async def one_paused(two: Fleet, shared: Shared) -> None:
    """One process stands still amid its edits, and wakes up when others have written as the same client."""
    here = shared.random.choice(two.nodes)
    here.pause()
    try:
        await asyncio.sleep(PAUSE_SECONDS)  # the length of the pause is what is tested
    finally:
        here.resume()
    await shared.more(10)


def workers_of(node: Node) -> list[int]:
    """The document processes of a serving process."""
    assert node.process is not None
    found = []
    for pid in family(node.process.pid)[1:]:
        with suppress(OSError):
            if b"server.document_process" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


@pytest.mark.parametrize("seed", range(1, ROUNDS + 1))
@pytest.mark.parametrize("case", [nothing, one_killed, postgres_crashes, documents_killed, one_paused], ids=lambda case: case.__name__)
async def test_nothing_that_rest_has_answered_is_lost_or_there_twice_when(nodes: Fleet, case: Case, seed: int) -> None:
    began = time.monotonic()
    async with shared_by(nodes, is_large=case in (documents_killed, one_paused), seed=seed) as shared:
        try:
            async with authors(shared):
                await case(nodes, shared)
        finally:
            await nodes.restore()
        await check(shared, Archive(nodes.postgres.dsn, nodes.keys))
    print(f"{shared.answered} answered, {shared.unanswered} lost, {shared.failed} sent again, {time.monotonic() - began:.1f} s")


@pytest.mark.parametrize("seed", range(1, ROUNDS + 1))
async def test_an_edit_whose_commit_is_cut_is_stored_once(nodes: Fleet, seed: int) -> None:
    async with cutting_proxy(nodes.postgres.dsn) as proxy:
        behind = Node(proxy.dsn, nodes.keys)
        try:
            await asyncio.to_thread(behind.start)
            async with shared_by(nodes, behind, seed=seed) as shared:
                async with authors(shared):
                    for cut in (Cut.BEFORE, Cut.AFTER, Cut.AFTER, Cut.BEFORE):
                        proxy.cuts.append(cut)
                        await until(lambda: not proxy.cuts, "the cut", within=30)
                await check(shared, Archive(nodes.postgres.dsn, nodes.keys))
        finally:
            await asyncio.to_thread(behind.cleanup)
    print(f"{shared.answered} answered, {shared.unanswered} lost, {shared.failed} sent again")
