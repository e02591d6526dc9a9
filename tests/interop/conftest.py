"""What the interop tests share: the Node packages, one server, and devices that end with their test."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.interop.devices import NewDevice, NodeDevice, install
from tests.support.server import Account, Server


@pytest.fixture(scope="session")
def packages() -> None:
    """The pinned packages in node_modules."""
    install()


@pytest.fixture(scope="module")
def server(packages: None) -> Iterator[Server]:
    """A server for the tests of a module that do not kill it."""
    with Server() as server:
        yield server


@pytest.fixture
def own_server(packages: None) -> Iterator[Server]:
    """A server for one test, to be killed."""
    with Server() as server:
        yield server


@pytest.fixture(scope="module")
def account(server: Server) -> Account:
    return server.register()


@pytest.fixture
def library(server: Server, account: Account) -> str:
    """An empty library."""
    return server.create_library(account)


@pytest.fixture
def device(packages: None) -> Iterator[NewDevice]:
    """Makes devices, which end with the test."""
    with ExitStack() as devices:
        yield lambda provider: devices.enter_context(NodeDevice(provider))
