"""A server on a real socket for the tests of a module, a fresh user for each test, and somebody whom the tests may not disturb."""

from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest

from tests.support.database import Databases
from tests.support.library_replica import RestDevice
from tests.support.running import RawSocket, Running, User, running_server, undisturbed
from tests.support.wechat_world import World, running_world, watched
from tests.support.wire_client import WireClient


@pytest.fixture(scope="module")
async def server(databases: Databases, template_database: str) -> AsyncIterator[Running]:
    """One server for all tests of a module that do not spoil it."""
    dsn = databases.create(template_database)
    async with running_server(dsn) as server:
        yield server
    databases.drop(dsn)


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
