"""Compaction under load over two processes loses nothing and holds nobody up."""

import asyncio
import random

import pytest

from crdt.replica import Replica
from crdt.seed import SEED
from tests.faults import folding
from tests.faults.test_together import BYSTANDER_MS, every_round
from tests.faults.together import Case
from tests.support.many import Fleet
from tests.support.wire_client import WireClient

pytestmark = pytest.mark.faults


@every_round
@pytest.mark.parametrize("case", [folding.compaction_races, folding.asleep_below_the_log], ids=lambda case: case.__name__)
async def test_nothing_is_lost_and_others_are_undisturbed_when(two: Fleet, case: Case, seed: int) -> None:
    verdict = await case(two, seed)

    print(f"seed {seed}: {verdict}")
    verdict.check(duplicates=True, bystander=BYSTANDER_MS)


SNAPSHOT_BYTES = 2 << 20
OPENING_BYTES = 64 << 10
"""What an opening may read: the account, the session, the library's row, what is known of its snapshot, and the tail."""


async def test_an_opening_that_is_up_to_date_reads_no_bytes_of_the_snapshot(two: Fleet) -> None:
    here = two.nodes[0]
    account = await asyncio.to_thread(here.register)
    library = account.library_id
    replica = Replica.load(SEED)
    for number in range(20):
        replica.write_prompt(f"p{number}", "".join(random.Random(number).choices("abcdefgh", k=SNAPSHOT_BYTES // 20)))
    await asyncio.to_thread(here.upload, account, library, replica.dump())
    await two.command("compact", library)
    await here.stop()
    await here.again()  # nothing is in its memory
    before = two.valves[0].answered_bytes

    async with WireClient(here.sync_url, library, account.sync_token, replica) as device:
        read = two.valves[0].answered_bytes - before
        given = sum(map(len, device.shown))

    print(f"PostgreSQL answered with {read:,} bytes, the device was sent {given:,}")
    assert read < OPENING_BYTES
    assert given < OPENING_BYTES
