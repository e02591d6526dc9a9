"""Two server processes on one library, under load, while one of them or what lies between them fails: nothing is lost."""

import os

import pytest

from tests.faults import together
from tests.faults.together import Case
from tests.support.many import Fleet

pytestmark = pytest.mark.faults

ROUNDS = int(os.environ.get("PROMPTSYNC_TEST_ROUNDS", "1"))
BYSTANDER_MS = 5_000.0
"""What somebody in another library may wait at most (p99): two busy cores are shared by everything here, so this only tells "held up"."""

every_round = pytest.mark.parametrize("seed", range(1, ROUNDS + 1))


@every_round
@pytest.mark.parametrize(
    "case",
    [
        together.nothing_happens,
        together.one_killed,
        together.one_restarted,
        together.one_paused,
        together.bus_cut,
        together.bus_gone,
        together.one_way_to_postgres_stalls,
        together.one_way_to_postgres_cut,
    ],
    ids=lambda case: case.__name__,
)
async def test_nothing_is_lost_and_others_are_undisturbed_when(two: Fleet, case: Case, seed: int) -> None:
    verdict = await case(two, seed)

    print(f"seed {seed}: {verdict}")
    verdict.check(duplicates=True, bystander=BYSTANDER_MS)


@every_round
@pytest.mark.parametrize(
    "case", [together.postgres_crashes, together.postgres_restarts, together.postgres_stalls], ids=lambda case: case.__name__
)
async def test_nothing_is_lost_when_everybody_is_held_up_since(two: Fleet, case: Case, seed: int) -> None:
    verdict = await case(two, seed)

    print(f"seed {seed}: {verdict}")
    verdict.check(duplicates=True)
