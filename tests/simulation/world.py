"""A world of devices around one server: real documents, real rooms, writer, shelf and database, and a network that is as bad as it gets.

Nothing here is a socket: a `FakeWire` offers what `server.wire.Wire` does. What a device sends lies in its uplink and what it is sent in
its downlink until the walk lets some of it through; when the connection breaks, what is left of both is lost.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from uuid import UUID, uuid4

import asyncpg

from crdt.knowledge import Knowledge
from crdt.replica import Replica
from crdt.updates import inspect, merge
from protocol import ysync
from protocol.closes import Close
from server.budget import ByteBudget
from server.config import load_settings
from server.sockets import Hall
from server.sync import SyncEndpoint
from server.wire import Peer
from storage.cipher import knowledge_place, snapshot_place
from storage.keyring import Keyring
from storage.libraries import Role
from storage.pool import Database
from storage.updates import SealedSnapshot
from tests.support.core import Core, eventually, payloads_in, until
from tests.support.snapshots import store_verified

MAY_RETRY = {Close.TRY_LATER, Close.RESTART}


class FakeWire:
    """One connection's server side."""

    def __init__(self) -> None:
        self.downlink: deque[bytes] = deque()
        self.closed: int | None = None
        self.gone = asyncio.Event()
        self.peer: Peer | None = None  # until the server has accepted the connection
        self.unsent = 0

    @property
    def open(self) -> bool:
        return self.closed is None and not self.gone.is_set()

    def listen(self, peer: Peer) -> None:
        self.peer = peer

    def write(self, frames: bytes) -> bool:
        if self.open:
            self.downlink.extend(payloads_in(frames))
        return self.open

    def close(self, code: int, reason: str) -> None:
        self.closed = self.closed or code
        self.gone.set()

    async def drained(self, stall_seconds: float) -> bool:
        return True

    def ping(self) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    async def receive(self) -> dict[str, str]:
        await self.gone.wait()
        return {"type": "websocket.disconnect"}


class Server:
    """One life of the server process."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.hall = Hall(
            load_settings(), core.database, core.rooms, core.writer, core.shelf, core.follower, core.workers, ByteBudget(1 << 20)
        )
        self._endpoint = SyncEndpoint(None, self.hall)  # type: ignore[arg-type]  # admission is left out here
        self._connections: dict[FakeWire, asyncio.Task[None]] = {}

    def connect(self, library_id: UUID) -> FakeWire:
        wire = FakeWire()
        admitted = SimpleNamespace(
            principal=SimpleNamespace(user=SimpleNamespace(id=uuid4()), session_id=uuid4()),
            library=SimpleNamespace(id=library_id, role=Role.EDITOR, head=0, epoch=1),
        )
        serving = self._endpoint._serve(wire, admitted, wire.receive)  # type: ignore[arg-type]  # fakes
        self._connections[wire] = asyncio.create_task(serving)
        return wire

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


class SimulatedDevice:
    """A device as stock clients are: it asks when it connects, answers when asked, and sends what it edits while it is online."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.replica = Replica(client_id=world.random.getrandbits(32))
        self.uplink: deque[bytes] = deque()
        self.wire: FakeWire | None = None
        self.synced = False
        self.unconfirmed: list[bytes] = []
        self.told: list[bytes] = []
        """Own updates that the server echoed, and everything that it showed of others."""

    def connect(self) -> None:
        self.disconnect()
        self.wire, self.synced = self.world.server.connect(self.world.library_id), False
        self.uplink.append(ysync.encode_step1(self.replica.state_vector()))

    def disconnect(self) -> None:
        if self.wire is not None:
            self.wire.gone.set()
        self.wire = None
        self.uplink.clear()

    def edit(self) -> None:
        update = _edit(self.replica, self.name, self.world.random)
        self.unconfirmed.append(update)
        if self.wire is not None:
            self.uplink.append(ysync.encode_update(update))

    def send(self, count: int) -> None:
        """Let some of the uplink through."""
        for _ in range(min(count, len(self.uplink))):
            if self.wire is not None and self.wire.open and self.wire.peer is not None:
                self.wire.peer.receive(self.uplink.popleft())

    def hear(self, count: int) -> None:
        """Let some of the downlink through; a connection that the server has closed is noticed after what it said before."""
        wire = self.wire
        if wire is None:
            return
        for _ in range(min(count, len(wire.downlink))):
            self._take(ysync.decode(wire.downlink.popleft()))
        if not wire.downlink and not wire.open:
            if wire.closed is not None:
                assert wire.closed in MAY_RETRY, f"{self.name} was closed with {wire.closed}"
            self.disconnect()

    def _take(self, message: ysync.Message) -> None:
        match message:
            case ysync.Step1(state_vector):
                self.uplink.append(ysync.encode_step2(self.replica.missing(state_vector)))
            case ysync.Step2(update):
                self.replica.apply(update)
                self.told.append(update)
                self.synced = True
            case ysync.Update(update):
                self.replica.apply(update)
                self.told.append(update)
                if update in self.unconfirmed:
                    self.unconfirmed.remove(update)

    @property
    def quiet(self) -> bool:
        return self.wire is not None and self.synced and not self.uplink and not self.wire.downlink and self.wire.open


def _edit(replica: Replica, name: str, source: random.Random) -> bytes:
    """A new prompt, a change to one, or a deletion alone."""
    prompts = replica.prompts()
    kind = source.random()
    if not prompts or kind < 0.3:
        return replica.write_prompt(f"{name}-{source.randrange(6)}", f"提示词 {source.randrange(1000)} 🙂")
    chosen = source.choice(sorted(prompts))
    length = len(prompts[chosen])
    if kind < 0.4:
        return replica.delete_prompt(chosen)
    if kind < 0.55 and length:
        start = source.randrange(length)
        return replica.edit_text(chosen, start, "", source.randrange(1, min(4, length - start) + 1))
    return replica.edit_text(chosen, source.randrange(length + 1), source.choice(["a", "中文", "🙂", "x" * 300]))


class World:
    """The library, its server and its devices. `walk` does one random thing."""

    def __init__(self, dsn: str, keyring: Keyring, seed: int, devices: int) -> None:
        self.dsn = dsn
        self.keyring = keyring
        self.random = random.Random(seed)
        self.library_id = uuid4()
        self.restarts = 0
        self._names = iter(range(1000))
        self.devices = [SimulatedDevice(self, f"d{next(self._names)}") for _ in range(devices)]

    async def begin(self) -> None:
        self.server = await self._start()
        self.library_id = await self.server.core.library()

    async def _start(self) -> Server:
        database = await Database.open(self.dsn, size=3)
        core = Core(self.dsn, database, self.keyring, queue_bytes=1 << 26, room_cache_bytes=1 << 20, cache_bytes=1 << 20)
        core.start()
        return Server(core)

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
            (0.95, lambda: self._repeat(device)),
            (0.97, lambda: self._shuffle(device)),
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

    def _repeat(self, device: SimulatedDevice) -> None:
        """Something is sent twice."""
        if device.uplink:
            device.uplink.append(self.random.choice(device.uplink))

    def _shuffle(self, device: SimulatedDevice) -> None:
        """What is on its way up arrives in another order: the server meets gaps."""
        waiting = list(device.uplink)
        self.random.shuffle(waiting)
        device.uplink = deque(waiting)

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
