"""What every test may ask for: a database of its own. And the rules for what needs Node."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator

import pytest
import structlog
from hypothesis import Verbosity, settings

from storage.pool import Database
from tests.support.database import Databases, private_cluster

UNDER_CI = bool(os.environ.get("CI"))

settings.register_profile("here", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True, max_examples=50, verbosity=Verbosity.normal)
settings.load_profile("ci" if UNDER_CI else "here")

# Rich's tracebacks show every local of every frame: one that is logged took ten seconds
for processor in structlog.get_config()["processors"]:
    if isinstance(processor, structlog.dev.ConsoleRenderer):
        processor.exception_formatter = structlog.dev.plain_traceback


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """A command that is called in this process may install uvloop for all that comes after it, and choose what is logged and how."""
    policy = asyncio.get_event_loop_policy()
    yield
    if asyncio.get_event_loop_policy() is not policy:
        asyncio.set_event_loop_policy(policy)
    if structlog.is_configured():
        structlog.reset_defaults()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Without Node a test that needs it skips, and says so; in CI it fails, for there nothing may be left out."""
    if item.get_closest_marker("node") is None:
        return
    missing = [program for program in ("node", "npm") if shutil.which(program) is None]
    if missing and UNDER_CI:
        pytest.fail(f"{' and '.join(missing)} must be installed in CI", pytrace=False)
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}")


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """The address of a private PostgreSQL without durability, one for each test process."""
    with private_cluster() as dsn:
        yield dsn


@pytest.fixture(scope="session")
def databases(cluster: str) -> Iterator[Databases]:
    """Makes databases in the private cluster."""
    databases = Databases(cluster)
    try:
        yield databases
    finally:
        databases.close()


@pytest.fixture(scope="session")
def template_database(databases: Databases) -> str:
    """The name of a migrated database to copy."""
    return databases.make_template()


@pytest.fixture
def empty_database(databases: Databases) -> Iterator[str]:
    """The address of a fresh database without our schema."""
    dsn = databases.create()
    yield dsn
    databases.drop(dsn)


@pytest.fixture
def database_dsn(databases: Databases, template_database: str) -> Iterator[str]:
    """The address of a fresh, migrated database, dropped after the test."""
    dsn = databases.create(template_database)
    yield dsn
    databases.drop(dsn)


@pytest.fixture(scope="module")
def shared_dsn(databases: Databases, template_database: str) -> Iterator[str]:
    """The address of a fresh, migrated database for all tests of a module, dropped after them."""
    dsn = databases.create(template_database)
    yield dsn
    databases.drop(dsn)


@pytest.fixture
async def database(database_dsn: str) -> AsyncIterator[Database]:
    """A pool of connections to a fresh, migrated database."""
    database = await Database.open(database_dsn, size=4)
    yield database
    await database.close()
