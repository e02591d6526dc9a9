"""Two servers on one database that have found each other on the default bus."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from server.bus import Message
from tests.support.core import new_keyring, until
from tests.support.database import Databases
from tests.support.running import Running, User, running_server


class Pair:
    """Two processes' servers, and a user who is known to both."""

    def __init__(self, one: Running, other: Running, user: User) -> None:
        self.one = one
        self.other = other
        self.user = user


@asynccontextmanager
async def running_pair(databases: Databases, template_database: str) -> AsyncIterator[Pair]:
    """Both on the default bus, and neither asks the database in time for what the other has done."""
    dsn, keyring = databases.create(template_database), new_keyring()
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(running_server(dsn, keyring=keyring, session_poll_seconds=30))
        other = await stack.enter_async_context(running_server(dsn, keyring=keyring, session_poll_seconds=30))
        await until(lambda: not one.app.bus.alone and not other.app.bus.alone, "the two to find each other")
        yield Pair(one, other, await one.user())
    databases.drop(dsn)


def noted(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> list[Message]:
    """What the one says on the bus from now on."""
    said: list[Message] = []
    publish = pair.one.app.bus.publish

    def publish_and_note(message: Message) -> None:
        said.append(message)
        publish(message)

    monkeypatch.setattr(pair.one.app.bus, "publish", publish_and_note)
    return said
