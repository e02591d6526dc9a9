"""A world of devices around one server: real documents, real rooms, writer, shelf and database, and a network that is as bad as it gets.

Nothing here is a socket: a `FakeWire` offers what `server.wire.Wire` does. What a device sends lies in its uplink and what it is sent in
its downlink until the walk lets some of it through; when the connection breaks, what is left of both is lost.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from uuid import UUID, uuid4

import asyncpg

from crdt.knowledge import Knowledge
from crdt.updates import inspect, merge
from server.budget import ByteBudget
from server.config import load_settings
from server.sockets import Hall
from server.sync import SyncEndpoint
from storage.cipher import knowledge_place, snapshot_place
from storage.keyring import Keyring
from storage.libraries import Role
from storage.pool import Database
from storage.updates import SealedSnapshot
from tests.simulation.devices import FakeWire, LinkedDevice, SimulatedDevice
from tests.support.core import Core, eventually, until
from tests.support.snapshots import store_verified


def principal() -> SimpleNamespace:
    return SimpleNamespace(user=SimpleNamespace(id=uuid4()), session_id=uuid4(), device_id=uuid4())


def library(library_id: UUID) -> SimpleNamespace:
    return SimpleNamespace(id=library_id, role=Role.EDITOR, head=0, epoch=1)


class Open:
    """Lets everybody in."""

    def __init__(self, library_id: UUID) -> None:
        self._library_id = library_id

    def count(self, address: str) -> None: ...

    def address(self, scope: object) -> str:
        return "nowhere"

    def seat(self, user_id: UUID) -> None: ...

    def leave(self, user_id: UUID) -> None: ...

    async def library_of_session(self, library_id: UUID, session_id: UUID, user_id: UUID) -> SimpleNamespace:
        assert library_id == self._library_id
        return library(library_id)


class Server:
    """One life of the server process."""

    def __init__(self, core: Core, library_id: UUID) -> None:
        self.core = core
        self.hall = Hall(
            load_settings(), core.database, core.rooms, core.writer, core.shelf, core.follower, core.workers, ByteBudget(1 << 20)
        )
        self._endpoint = SyncEndpoint(None, self.hall)  # type: ignore[arg-type]  # admission is left out here
        self.admit(library_id)
        self._connections: dict[FakeWire, asyncio.Task[None]] = {}

    def connect(self, library_id: UUID) -> FakeWire:
        """A stock device's connection."""
        wire = FakeWire()
        admitted = SimpleNamespace(principal=principal(), library=library(library_id))
        serving = self._endpoint._serve(wire, admitted, wire.receive)  # type: ignore[arg-type]  # fakes
        self._connections[wire] = asyncio.create_task(serving)
        return wire

    def connect_link(self) -> FakeWire:
        """A connection on promptsync.v1."""
        wire = FakeWire()
        serving = self._endpoint._converse(wire, {}, principal(), wire.receive)  # type: ignore[arg-type]  # fakes
        self._connections[wire] = asyncio.create_task(serving)
        return wire

    def admit(self, library_id: UUID) -> None:
        self._endpoint._admission = Open(library_id)  # type: ignore[assignment]

    async def end(self, *, orderly: bool) -> None:
        """Stop it; disorderly, amid whatever it does."""
        if orderly:
            assert await self.core.writer.drain(10)
        await self.core.stop()
        for wire in self._connections:
            wire.gone.set()
        await asyncio.gather(*self._connections.values(), return_exceptions=True)
        self.core.workers.close()
        await self.core.database.close()


class World:
    """The library, its server and its devices. `walk` does one random thing."""

    def __init__(self, dsn: str, keyring: Keyring, seed: int, devices: int) -> None:
        self.dsn = dsn
        self.keyring = keyring
        self.random = random.Random(seed)
        self.library_id = uuid4()
        self.restarts = 0
        self._made = 0
        self._names = iter(range(1000))
        self.devices = [self._new(f"d{next(self._names)}") for _ in range(devices)]

    def _new(self, name: str) -> SimulatedDevice:
        """Half of them speak promptsync.v1."""
        self._made += 1
        return (SimulatedDevice if self._made % 2 else LinkedDevice)(self, name)

    async def begin(self) -> None:
        self.server = await self._start()
        self.library_id = await self.server.core.library()
        self.server.admit(self.library_id)

    async def _start(self) -> Server:
        database = await Database.open(self.dsn, size=3)
        core = Core(self.dsn, database, self.keyring, queue_bytes=1 << 26, room_cache_bytes=1 << 20, cache_bytes=1 << 20)
        core.start()
        return Server(core, self.library_id)

    async def end(self) -> None:
        for device in self.devices:
            device.disconnect()
        await self.server.end(orderly=False)

    async def walk(self) -> None:
        """One random step."""
        device = self.random.choice(self.devices)
        steps: list[tuple[float, Callable[[], object]]] = [
            (0.34, device.edit),
            (0.54, lambda: device.send(self.random.randrange(1, 6))),
            (0.80, lambda: device.hear(self.random.randrange(1, 8))),
            (0.85, device.disconnect),
            (0.93, lambda: device.connect() if device.wire is None else None),
            (0.95, device.repeat),
            (0.97, device.shuffle),
        ]
        chance = self.random.random()
        for limit, step in steps:
            if chance < limit:
                step()
                break
        else:
            await self._trouble(chance)
        for _ in range(self.random.choice((0, 0, 1, 3))):
            await asyncio.sleep(0)

    async def _trouble(self, chance: float) -> None:
        if chance < 0.98:
            await self.break_the_writers_connection()
        elif chance < 0.985:
            await asyncio.sleep(0.01)
        else:
            await self.restart(orderly=chance > 0.995, fold=self.random.random() < 0.5)

    async def break_the_writers_connection(self) -> None:
        connection = await asyncpg.connect(self.dsn)
        try:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'promptsync %' AND datname = current_database()"
            )
        finally:
            await connection.close()

    async def restart(self, *, orderly: bool, fold: bool) -> None:
        """The server ends, perhaps amid a commit, and another one takes its place, perhaps after a compaction."""
        self.restarts += 1
        await self.server.end(orderly=orderly)
        self.server = await self._start()
        if fold:
            await self._fold()

    async def _fold(self) -> None:
        core = self.server.core
        await eventually(self._nothing_is_in_doubt, "the end of the former server's transactions")
        log = await core.log(self.library_id)
        room = await core.rooms.open(self.library_id)
        if len(log) < 4 or log[0][0] != 1:
            return
        part = log[: self.random.randrange(1, len(log))]
        knowledge = Knowledge()
        for _, update in part:
            knowledge.learn(inspect(update))
        seq = part[-1][0]
        snapshot = SealedSnapshot(
            seq,
            room.epoch,
            room.key.seal(knowledge.pack(), knowledge_place(self.library_id, room.epoch, seq)),
            room.key.seal_in_slices(merge([update for _, update in part]), snapshot_place(self.library_id, room.epoch, seq)),
        )
        async with core.database.transaction() as connection:
            await store_verified(connection, self.library_id, snapshot)
            await connection.execute("DELETE FROM updates WHERE library_id = $1 AND seq <= $2", self.library_id, seq)

    async def _nothing_is_in_doubt(self) -> bool:
        left = await self.server.core.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE state <> 'idle' AND pid <> pg_backend_pid()"
            " AND datname = current_database() AND backend_type = 'client backend'"
        )
        return left == 0

    async def settle(self) -> None:
        """Everybody comes online, and everything that is on its way arrives."""
        for device in self.devices:
            device.connect()  # a client that had sent things out of order, or lost some, hands them over now

        def pump() -> bool:
            for device in self.devices:
                if device.wire is None:
                    device.connect()
                device.send(100)
                device.hear(100)
            return all(device.quiet for device in self.devices) and not self.server.core.writer.waiting_bytes

        for _ in range(3):  # what one hands over is news for the others
            await until(pump, "quiet", within=20)
            with suppress(TimeoutError):
                await asyncio.sleep(0.01)

    def newcomer(self) -> SimulatedDevice:
        device = SimulatedDevice(self, f"n{next(self._names)}")
        self.devices.append(device)
        return device
