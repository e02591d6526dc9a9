"""What the tests of a module share: a server on a real socket, or what lies below one; and a fresh user for each test."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import pytest

from server.compactor import Compactor
from server.workers import Workers
from tests.support.compacting import compactor_of
from tests.support.core import Core, core
from tests.support.database import Databases
from tests.support.library_replica import RestDevice
from tests.support.pair import Pair, running_pair
from tests.support.running import RawSocket, Running, User, running_server, undisturbed
from tests.support.wechat_world import World, running_world, watched
from tests.support.wire_client import WireClient


@pytest.fixture(scope="module")
async def server(shared_dsn: str) -> AsyncIterator[Running]:
    """One server for all tests of a module that do not spoil it."""
    async with running_server(shared_dsn) as server:
        yield server


@pytest.fixture
async def user(server: Running) -> User:
    """Somebody new, with an empty library."""
    return await server.user()


@pytest.fixture
async def client(server: Running, user: User) -> AsyncIterator[httpx2.AsyncClient]:
    """The user's REST client."""
    async with server.http(user) as client:
        yield client


@pytest.fixture
async def nobody(server: Running) -> AsyncIterator[httpx2.AsyncClient]:
    """A REST client that is not signed in."""
    async with server.http() as client:
        yield client


@pytest.fixture
def device(client: httpx2.AsyncClient, user: User) -> RestDevice:
    """A device of the user's that has nothing yet, and needs no socket."""
    return RestDevice(client, user.library_id)


@pytest.fixture
async def bystander(server: Running, user: User) -> AsyncIterator[WireClient]:
    """Another device in the same library, which nothing that a test does may disturb."""
    async with server.device(user) as device:
        yield device
        await undisturbed(device)


@pytest.fixture
def raw_sockets() -> Iterator[None]:
    """Breaks the hand-made connections that a test has opened."""
    yield
    RawSocket.abort_all()


@pytest.fixture
async def pair(databases: Databases, template_database: str) -> AsyncIterator[Pair]:
    """Two servers on one database that have found each other."""
    async with running_pair(databases, template_database) as pair:
        yield pair


@pytest.fixture(scope="module")
async def running(shared_dsn: str) -> AsyncIterator[Core]:
    """What a server has below its sockets, for all tests of a module that do not spoil it: each has libraries of its own."""
    async with core(shared_dsn) as running:
        yield running


@pytest.fixture
async def other(running: Core) -> AsyncIterator[Core]:
    """The same database as another process sees it: nothing is in memory yet."""
    async with core(running.dsn, keyring=running.keyring) as other:
        yield other


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    """A process that compacts, for all tests of a module."""
    workers = Workers(1)
    yield workers
    workers.close()


@pytest.fixture
def compactor(running: Core, workers: Workers) -> Iterator[Compactor]:
    """Compacts from ten updates on."""
    with compactor_of(running, workers) as compactor:
        yield compactor


@pytest.fixture(scope="module")
async def wechat_world(databases: Databases, template_database: str) -> AsyncIterator[World]:
    """The application and WeChat, for all tests of a module."""
    dsn = databases.create(template_database)
    async with running_world(dsn) as world:
        yield world
    databases.drop(dsn)


@pytest.fixture
def world(wechat_world: World, caplog: pytest.LogCaptureFixture) -> Iterator[World]:
    """The same for one test, which may let nothing secret into the log."""
    with watched(wechat_world, caplog) as world:
        yield world


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of commands that run in this process, which have no other setting."""
    for name in [name for name in os.environ if name.startswith("PROMPTSYNC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PROMPTSYNC_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def external(database_dsn: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The migrated database that these commands find, and a terminal on which they break no line."""
    monkeypatch.setenv("PROMPTSYNC_DATABASE_URL", database_dsn)
    monkeypatch.setenv("COLUMNS", "250")
    return database_dsn
