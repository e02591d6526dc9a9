"""Compaction under load over two processes loses nothing and holds nobody up."""

import pytest

from tests.faults import folding
from tests.faults.test_together import BYSTANDER_MS, every_round
from tests.faults.together import Case
from tests.support.many import Fleet

pytestmark = pytest.mark.faults


@every_round
@pytest.mark.parametrize("case", [folding.compaction_races, folding.asleep_below_the_log], ids=lambda case: case.__name__)
async def test_nothing_is_lost_and_others_are_undisturbed_when(two: Fleet, case: Case, seed: int) -> None:
    verdict = await case(two, seed)

    print(f"seed {seed}: {verdict}")
    verdict.check(duplicates=True, bystander=BYSTANDER_MS)
