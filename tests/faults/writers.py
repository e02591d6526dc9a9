"""Load for the kill tests: devices that write without pause, and the question of what a new device gets."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial

from crdt.knowledge import Knowledge
from crdt.replica import Replica
from crdt.updates import inspect
from tests.support.server import Account, Server
from tests.support.wire_client import WireClient

IN_FLIGHT = 4
"""Updates a writer sends before it waits for an acknowledgement."""


class Device:
    """A device on one library: it writes prompts of its own, edits and deletes them, or only looks on."""

    def __init__(self, server: Server, account: Account, library: str, name: str) -> None:
        self.replica = Replica()
        self.wire = WireClient(server.sync_url, library, account.sync_token, self.replica)
        self.name = name
        self.living: list[str] = []
        self._written = 0

    async def write(self, random_source: random.Random) -> None:
        """Make and send edits, `IN_FLIGHT` at a time, until cancelled."""
        while True:
            await self.wire.until(lambda: len(self.wire.unconfirmed) < IN_FLIGHT, within=120, what=f"an acknowledgement for {self.name}")
            await self.wire.push(self._edit(random_source))

    def _edit(self, random_source: random.Random) -> bytes:
        kind = random_source.random()
        if self.living and kind < 0.15:
            return self.replica.delete_prompt(self.living.pop(random_source.randrange(len(self.living))))
        if self.living and kind < 0.4:
            words = f"第{self._written}版 🙂 {'x' * random_source.randrange(200)}"
            return self.replica.edit_text(random_source.choice(self.living), 0, words, 1)
        self._written += 1
        prompt = f"{self.name}-{self._written}"
        self.living.append(prompt)
        return self.replica.write_prompt(prompt, f"Prompt {self._written}")

    @property
    def told(self) -> list[bytes]:
        """Every update this device was told is stored, or was shown of others, since it began."""
        return self.wire.acknowledged + self.wire.shown


class Library:
    """Two devices that write and one that looks on."""

    def __init__(self, server: Server, account: Account, library: str) -> None:
        self.server, self.account, self.id = server, account, library
        self.writers = [Device(server, account, library, name) for name in ("a", "b")]
        self.devices = [*self.writers, Device(server, account, library, "observer")]

    @property
    def acknowledged(self) -> int:
        """How many updates were acknowledged so far."""
        return sum(len(device.wire.acknowledged) for device in self.devices)

    @property
    def expected(self) -> set[str]:
        """The prompts there are once everything has arrived: each is touched by one device only."""
        return {prompt for device in self.writers for prompt in device.living}

    async def opened_by_a_new_device(self) -> Device:
        """A device without any data that has opened the library."""
        device = Device(self.server, self.account, self.id, "new")
        await device.wire.reconnect()
        return device

    async def wait_until_converged(self, devices: Iterable[Device]) -> None:
        """Wait until all of `devices` hold exactly the prompts that should be there."""
        for device in devices:
            await device.wire.until(partial(self._complete, device), within=30, what=f"all of {self.id} on {device.name}")

    def _complete(self, device: Device) -> bool:
        return set(device.replica.prompts()) == self.expected


def lost(told: Iterable[bytes], new: Device) -> list[bytes]:
    """Which of the updates in `told` a new device was not given, by the structs and deletions they consist of."""
    given = Knowledge()
    for update in new.wire.shown:
        given.learn(inspect(update))
    return [update for update in told if given.adds(inspect(update))]


async def open_libraries(server: Server, count: int) -> list[Library]:
    """`count` fresh libraries of a fresh account, every device of them online."""
    account = await asyncio.to_thread(server.register)
    ids = [await asyncio.to_thread(server.create_library, account) for _ in range(count)]
    opened = [Library(server, account, library) for library in ids]
    await asyncio.gather(*(device.wire.connect() for library in opened for device in library.devices))
    return opened


async def close_libraries(libraries: Iterable[Library]) -> None:
    await asyncio.gather(*(device.wire.disconnect() for library in libraries for device in library.devices))


@asynccontextmanager
async def load(libraries: list[Library], random_source: random.Random) -> AsyncIterator[None]:
    """Everybody writes until the end of the block."""
    writers = [asyncio.create_task(device.write(random_source)) for library in libraries for device in library.writers]
    try:
        yield
    finally:
        for writer in writers:
            writer.cancel()
        ended = await asyncio.gather(*writers, return_exceptions=True)
    failures = [error for error in ended if isinstance(error, Exception)]
    assert not failures, failures


async def wait_for_acknowledgements(libraries: list[Library], count: int) -> None:
    """Wait until each library that is still connected has `count` more acknowledged updates than now."""

    def enough(library: Library, wanted: int, device: Device) -> bool:
        return library.acknowledged >= wanted or not device.wire.online

    for library, wanted in [(library, library.acknowledged + count) for library in libraries]:
        for device in library.writers:
            await device.wire.until(partial(enough, library, wanted, device), within=60, what="acknowledgements under load")
