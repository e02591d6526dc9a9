"""Server processes that the fault tests share: starting them takes longer than most of the tests."""

from collections.abc import AsyncIterator

import pytest

from tests.faults.together import OFTEN
from tests.support.many import Fleet, fleet


@pytest.fixture(scope="package")
async def common_two() -> AsyncIterator[Fleet]:
    async with fleet(2, valves=True, env=OFTEN) as two:
        yield two


@pytest.fixture
async def two(common_two: Fleet) -> AsyncIterator[Fleet]:
    """Two processes, each with a way to PostgreSQL of its own. A test may do to them what it likes."""
    try:
        yield common_two
    finally:
        await common_two.restore()
