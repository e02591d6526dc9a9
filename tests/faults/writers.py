"""Load for the fault tests: devices on one or several server processes that write without pause, and somebody beside them."""

import asyncio
import random
import statistics
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import lru_cache, partial

import websockets

from crdt.knowledge import Knowledge
from crdt.replica import Replica
from crdt.updates import Inspected, inspect
from tests.support.server import Account, Server
from tests.support.wire_client import WireClient

IN_FLIGHT = 4
"""Updates a writer sends before it waits for an acknowledgement."""
PROVIDER_SECONDS = 0.1
"""A stock provider's first wait before it connects again."""
BYSTANDER_SECONDS = 0.02
"""Between two edits of somebody who types beside the load."""
LEAST_EDITS = 5
"""How many of them must have arrived before anything is said of them."""


class Device:
    """A device on one library: it writes prompts of its own, edits and deletes them, or only looks on."""

    def __init__(self, servers: Sequence[Server], account: Account, library: str, name: str) -> None:
        """It belongs to the first of `servers`, and tries the others when that one does not let it in."""
        self.replica = Replica()
        self.servers = servers
        self.wire = WireClient(servers[0].sync_url, library, account.sync_token, self.replica)
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

    async def come_back(self, *, within: float = 60.0) -> None:
        """Connect again as a provider behind a load balancer does: at home, else at another process; until it works."""
        async with asyncio.timeout(within):
            while not self.wire.online:
                for server in self.servers:
                    self.wire.move(server.sync_url)
                    with suppress(OSError, websockets.WebSocketException, AssertionError):
                        await self.wire.connect(within=5.0)
                        break
                else:
                    await asyncio.sleep(PROVIDER_SECONDS)

    async def stay(self) -> None:
        """Come back whenever the connection ends, until cancelled."""
        while True:
            await self.wire.offline(within=3600)
            await self.come_back(within=120)

    @property
    def told(self) -> list[bytes]:
        """Every update this device was told is stored, or was shown of others, since it began."""
        return self.wire.acknowledged + self.wire.shown


class Library:
    """Two devices that write and one that looks on, spread over the server processes; with several, one more looks on elsewhere."""

    def __init__(self, servers: Sequence[Server], account: Account, library: str) -> None:
        self.servers, self.account, self.id = servers, account, library
        names = ["a", "b", "observer", *(["far observer"] if len(servers) > 1 else [])]
        made = [self._device(name, place) for place, name in enumerate(names)]
        self.writers, self.devices = made[:2], made

    def _device(self, name: str, home: int) -> Device:
        first = home % len(self.servers)
        return Device([*self.servers[first:], *self.servers[:first]], self.account, self.id, name)

    def at_home(self, server: Server) -> list[Device]:
        """The devices that belong to this process."""
        return [device for device in self.devices if device.servers[0] is server]

    @property
    def told(self) -> set[bytes]:
        """Every update that anybody here was told is stored, or was shown."""
        return {update for device in self.devices for update in device.told}

    @property
    def acknowledged(self) -> int:
        """How many updates were acknowledged so far."""
        return sum(len(device.wire.acknowledged) for device in self.devices)

    @property
    def shown(self) -> int:
        """How many updates were shown to others so far."""
        return sum(len(device.wire.shown) for device in self.devices)

    @property
    def expected(self) -> set[str]:
        """The prompts there are once everything has arrived: each is touched by one device only."""
        return {prompt for device in self.writers for prompt in device.living}

    async def opened_by_a_new_device(self, server: Server | None = None) -> Device:
        """A device without any data that has opened the library, at this process if one is given."""
        device = Device([server] if server else self.servers, self.account, self.id, "new")
        await device.come_back()
        return device

    async def wait_until_converged(self, devices: Iterable[Device]) -> None:
        """Wait until all of `devices` hold exactly the prompts that should be there."""
        for device in devices:
            await device.wire.until(partial(self._complete, device), within=30, what=f"all of {self.id} on {device.name}")

    def _complete(self, device: Device) -> bool:
        return set(device.replica.prompts()) == self.expected


class Bystander:
    """Somebody who types into another library all the while, and how long each edit takes to reach the other device."""

    def __init__(self, account: Account, library: str, here: Server, there: Server) -> None:
        self.writer = Device([here], account, library, "bystander")
        self.reader = Device([there], account, library, "bystander's reader")
        self.milliseconds: list[float] = []
        self._arrived = asyncio.Event()

    async def type(self) -> None:
        """Write one edit after the other until cancelled; AssertionError when the connection ends."""
        await asyncio.gather(self.writer.wire.connect(), self.reader.wire.connect())
        replica, seen = self.writer.replica, self.reader.wire.shown
        await self.writer.wire.push(replica.write_prompt("beside", ""))
        while True:
            began, wanted = time.perf_counter(), len(seen)
            await self.writer.wire.push(replica.edit_text("beside", 0, "x"))
            await self.reader.wire.until(lambda wanted=wanted: len(seen) > wanted, within=30, what="the bystander's edit")  # type: ignore[misc]
            self.milliseconds.append((time.perf_counter() - began) * 1000)
            self._arrived.set()
            await asyncio.sleep(BYSTANDER_SECONDS)

    async def has_arrived(self, count: int = LEAST_EDITS) -> None:
        """Wait until `count` edits have reached the other device; TimeoutError when they do not."""
        async with asyncio.timeout(60):
            while len(self.milliseconds) < count:
                self._arrived.clear()
                await self._arrived.wait()

    @property
    def p99(self) -> float:
        """Milliseconds from an edit to its arrival at the other device: the 99th of a hundred, or the worst of fewer."""
        assert self.milliseconds, "no edit of the bystander has arrived"
        return statistics.quantiles(self.milliseconds, n=100)[98] if len(self.milliseconds) > 100 else max(self.milliseconds)


@asynccontextmanager
async def bystander(here: Server, there: Server) -> AsyncIterator[Bystander]:
    """Somebody of another account, typing until the end of the block, whom nothing may cut off."""
    account = await asyncio.to_thread(here.register)
    beside = Bystander(account, account.library_id, here, there)
    typing = asyncio.create_task(beside.type())
    try:
        yield beside
        await beside.has_arrived()
        assert not typing.done(), typing.exception()
    finally:
        typing.cancel()
        await asyncio.gather(typing, return_exceptions=True)
        await asyncio.gather(beside.writer.wire.disconnect(), beside.reader.wire.disconnect())


@lru_cache(maxsize=50_000)
def read(update: bytes) -> Inspected:
    """What is in an update; each is told to four devices, and looked for again and again."""
    return inspect(update)


def lost(told: Iterable[bytes], new: Device) -> list[bytes]:
    """Which of the updates in `told` a new device was not given, by the structs and deletions they consist of."""
    given = Knowledge()
    for update in new.wire.shown:
        given.learn(read(update))
    return [update for update in told if given.adds(read(update))]


async def open_libraries(count: int, *servers: Server) -> list[Library]:
    """`count` fresh libraries of a fresh account, every device of them online."""
    account = await asyncio.to_thread(servers[0].register)
    ids = [await asyncio.to_thread(servers[0].create_library, account) for _ in range(count)]
    opened = [Library(servers, account, library) for library in ids]
    await asyncio.gather(*(device.wire.connect() for library in opened for device in library.devices))
    return opened


async def close_libraries(libraries: Iterable[Library]) -> None:
    await asyncio.gather(*(device.wire.disconnect() for library in libraries for device in library.devices))


@asynccontextmanager
async def load(libraries: list[Library], random_source: random.Random, *, coming_back: bool = False) -> AsyncIterator[None]:
    """Everybody writes until the end of the block; `coming_back`: and connects again whenever cut off."""
    devices = [device for library in libraries for device in library.devices]
    tasks = [asyncio.create_task(device.write(random_source)) for library in libraries for device in library.writers]
    tasks += [asyncio.create_task(device.stay()) for device in devices] if coming_back else []
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    failures = [error for error in ended if isinstance(error, Exception)]
    assert not failures, failures


async def wait_for_acknowledgements(libraries: list[Library], count: int, *, among: Sequence[Device] = (), within: float = 60.0) -> None:
    """Wait until each library that is still connected has `count` more acknowledged updates than now; or just of devices `among` it."""

    def enough(devices: Sequence[Device], wanted: int, device: Device) -> bool:
        return sum(len(each.wire.acknowledged) for each in devices) >= wanted or not device.wire.online

    asked = [[device for device in library.writers if not among or device in among] for library in libraries]
    wanted = [sum(len(device.wire.acknowledged) for device in devices) + count for devices in asked]
    for devices, least in zip(asked, wanted, strict=True):
        for device in devices:
            await device.wire.until(partial(enough, devices, least, device), within=within, what="acknowledgements under load")
