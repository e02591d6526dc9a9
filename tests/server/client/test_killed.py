"""The client's process is killed amid its pushes: what `push` had confirmed as kept reaches the server from the next process."""

import asyncio
import sys
from pathlib import Path

import pytest

from crdt.replica import Replica
from server.client import connect
from tests.server.client.pushing import LIBRARY
from tests.support.server import ROOT
from tests.support.small_socket import small_socket

pytestmark = pytest.mark.faults


async def push_until_killed(url: str, folder: Path, count: int) -> int:
    """How many pushes were confirmed before the kill: at least `count`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.server.client.pushing", url, str(folder), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    for _ in range(count):
        assert await asyncio.wait_for(process.stdout.readline(), 30)
    process.kill()
    rest = await process.stdout.read()
    await process.wait()
    return count + len(rest.split())


@pytest.mark.parametrize("count", [1, 25, 120])
@pytest.mark.parametrize("away", [True, False], ids=["offline", "online"])
async def test_nothing_that_push_confirmed_is_lost(tmp_path: Path, count: int, away: bool) -> None:
    async with small_socket() as listening, asyncio.timeout(90):
        url = "http://127.0.0.1:9" if away else listening.url
        confirmed = await push_until_killed(url, tmp_path, count)
        replica = Replica()
        async with connect(listening.url, "token", queue=tmp_path) as client:
            library = await client.open(LIBRARY, replica)
            if away:
                assert library.unsaved in (confirmed, confirmed + 1)
            await library.synced()
            await library.saved()
        stored = Replica()
        for update in listening.small.library(LIBRARY).log:
            stored.apply(update)
        assert {f"{number}" for number in range(confirmed)} <= set(stored.prompts())
        assert stored.prompts() == replica.prompts()
