"""The devices of the simulation, on either dialect, and the wire that each has to the server."""

import asyncio
import itertools
import random
from collections import deque
from typing import TYPE_CHECKING

from crdt.replica import Replica
from protocol import ysync
from protocol.client import ClientSession
from protocol.client_events import Event, LibraryClosed, LibraryOpened, Postponed, Received, Refused, Saved
from protocol.closes import Close
from server.wire import Peer
from tests.support.core import payloads_in

if TYPE_CHECKING:
    from tests.simulation.world import World

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

    def trust(self, message_bytes: int | None = None) -> None: ...

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

    def repeat(self) -> None:
        """Something is sent twice."""
        if self.uplink:
            self.uplink.append(self.world.random.choice(self.uplink))

    def shuffle(self) -> None:
        """What is on its way up arrives in another order: the server meets gaps."""
        waiting = list(self.uplink)
        self.world.random.shuffle(waiting)
        self.uplink = deque(waiting)

    @property
    def quiet(self) -> bool:
        return self.wire is not None and self.synced and not self.uplink and not self.wire.downlink and self.wire.open


class LinkedDevice(SimulatedDevice):
    """A device on promptsync.v1, with the reference client: it keeps what is not acknowledged, and a cursor while it lives."""

    def __init__(self, world: "World", name: str) -> None:
        super().__init__(world, name)
        self._session: ClientSession | None = None
        self._numbers = itertools.count(1)

    @property
    def session(self) -> ClientSession:
        if self._session is None:
            self._session = ClientSession()
            self._session.follow(self.world.library_id)
        return self._session

    def connect(self) -> None:
        self.disconnect()
        self.wire, self.synced = self.world.server.connect_link(), False
        self.session.connect()
        self.session.open(self.world.library_id, self.replica.state_vector())
        self._pump()

    def disconnect(self) -> None:
        if self.wire is not None:
            self.session.disconnect()
        super().disconnect()

    def edit(self) -> None:
        self._push(_edit(self.replica, self.name, self.world.random))

    def repeat(self) -> None:
        """An update is pushed twice: what is stored already is acknowledged again."""
        if waiting := self.session.pending(self.world.library_id):
            self._push(self.world.random.choice(waiting).update)

    def shuffle(self) -> None:
        """Nothing: frames keep their order on a socket."""

    def _push(self, update: bytes) -> None:
        self.session.push(self.world.library_id, next(self._numbers), update)
        self._pump()

    def _pump(self) -> None:
        while self.wire is not None and (frame := self.session.next_frame()) is not None:
            self.uplink.append(frame)

    def hear(self, count: int) -> None:
        wire = self.wire
        if wire is None:
            return
        for _ in range(min(count, len(wire.downlink))):
            if self.wire is wire:
                self._learn(self.session.receive(wire.downlink.popleft()))
                self._pump()
        if not wire.downlink and not wire.open and self.wire is wire:
            assert wire.closed is None or wire.closed in MAY_RETRY, f"{self.name} was closed with {wire.closed}"
            self.disconnect()

    def _learn(self, event: Event | None) -> None:
        match event:
            case LibraryOpened(vector=vector):
                self._push(self.replica.missing(vector))
            case Received(update=update, catching_up=catching_up):
                self.replica.apply(update)
                self.told.append(update)
                self.synced = self.synced or catching_up
            case Saved(update=update):
                self.told.append(update)
            case Postponed():
                self.session.retry(self.world.library_id)
            case Refused(code=code):
                raise AssertionError(f"{self.name} was refused: {code}")
            case LibraryClosed(code=code):
                assert code in MAY_RETRY, f"{self.name}'s channel was closed with {code}"
                self.disconnect()

    @property
    def quiet(self) -> bool:
        return super().quiet and not self.session.unacknowledged(self.world.library_id)


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
