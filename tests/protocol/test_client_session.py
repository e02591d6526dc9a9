"""Both ends of `promptsync.v1` over a wire that loses everything on its way whenever it breaks."""

from collections import deque
from contextlib import ExitStack
from unittest.mock import patch
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from crdt.knowledge import Knowledge
from crdt.replica import Replica
from crdt.updates import EMPTY_UPDATE, inspect
from protocol import session
from protocol.client import ClientSession
from protocol.client_events import LibraryOpened, Received, Refused, Saved, StatusHeard
from protocol.client_states import ClientState, LibraryState
from tests.support.small_server import SmallPeer, SmallServer

LIBRARIES = (UUID(int=1), UUID(int=2))


class Device:
    """An application of a ClientSession with a document for each library, which keeps count of what it was told."""

    def __init__(self, server: SmallServer, client_id: int, *, window_pushes: int = 3) -> None:
        self.server = server
        self.session = ClientSession(window_pushes=window_pushes, window_bytes=200)
        self.replicas = {library: Replica(client_id * 10 + number) for number, library in enumerate(LIBRARIES)}
        self.made: dict[UUID, list[tuple[int, bytes]]] = {library: [] for library in LIBRARIES}
        self.saved: dict[UUID, list[int]] = {library: [] for library in LIBRARIES}
        self.refused: list[Refused] = []
        self.shown: dict[UUID, Knowledge] = {library: Knowledge() for library in LIBRARIES}
        self.numbers = dict.fromkeys(LIBRARIES, 0)
        self.peer: SmallPeer | None = None
        self.uplink: deque[bytes] = deque()
        for library in LIBRARIES:
            self.session.follow(library)

    def push(self, library: UUID, update: bytes) -> None:
        number = self.numbers[library]
        self.numbers[library] += 1
        self.made[library].append((number, update))
        self.session.push(library, number, update)

    def write(self, library: UUID, key: str, text: str) -> None:
        self.push(library, self.replicas[library].write_prompt(key, text))

    def connect(self) -> None:
        self.peer = self.server.connect()
        self.session.connect()
        self.reopen()

    def reopen(self) -> None:
        for library in LIBRARIES:
            if self.session.state_of(library) is LibraryState.SHUT and self.session.state is not ClientState.OFFLINE:
                self.session.open(library, self.replicas[library].state_vector())
            self.session.retry(library)

    def disconnect(self) -> None:
        """Everything on its way is lost, in both directions."""
        if self.peer is not None:
            self.peer.gone()
            self.peer = None
        self.uplink.clear()
        self.session.disconnect()

    def send(self) -> bool:
        """Let one frame reach the server; whether there was one."""
        while (frame := self.session.next_frame()) is not None:
            self.uplink.append(frame)
        if self.peer is None or not self.uplink:
            return False
        self.peer.receive(self.uplink.popleft())
        return True

    def hear(self) -> bool:
        """Let one frame reach the device; whether there was one."""
        if self.peer is None or not self.peer.outbox:
            return False
        self._take(self.session.receive(self.peer.outbox.popleft()))
        return True

    def _take(self, event: object) -> None:
        match event:
            case LibraryOpened(library=library, vector=vector):
                self._offer(library, vector)
            case Received(library, _, update):
                self.replicas[library].apply(update)
                self.shown[library].learn(inspect(update))
            case Saved(library, number, update, _, _):
                assert (number, update) in self.made[library]
                self.saved[library].append(number)
                self.shown[library].learn(inspect(update))
            case Refused():
                self.refused.append(event)
            case StatusHeard(library=library, vector=vector, ask=True):
                self._offer(library, vector)
                self.session.answer(library)

    def _offer(self, library: UUID, vector: bytes) -> None:
        missing = self.replicas[library].missing(vector)
        if missing != EMPTY_UPDATE:
            self.push(library, missing)

    def unacknowledged(self, library: UUID) -> list[int]:
        return [entry.number for entry in self.session.pending(library)]


class Conversations(RuleBasedStateMachine):
    """Two devices and one server, in any order of what may happen."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = ExitStack()
        self.parts.enter_context(patch.object(session, "PART_BYTES", 60))  # most updates come in parts then
        self.server = SmallServer()
        self.devices = [Device(self.server, 1), Device(self.server, 2)]
        self.unstorable: set[bytes] = set()
        self.trouble: str | None = None
        self.server.refusal = self._refusal
        self.writes = 0

    def _refusal(self, update: bytes) -> str | None:
        return "unstorable" if update in self.unstorable else self.trouble

    devices_ = st.integers(0, 1)
    libraries = st.sampled_from(LIBRARIES)

    @rule(device=devices_, library=libraries, size=st.integers(1, 120))
    def write(self, device: int, library: UUID, size: int) -> None:
        self.writes += 1
        self.devices[device].write(library, f"key {self.writes % 5}", f"{self.writes} " * size)

    @rule(device=devices_, library=libraries)
    def delete(self, device: int, library: UUID) -> None:
        replica = self.devices[device].replicas[library]
        for key in list(replica.prompts())[:1]:
            self.devices[device].push(library, replica.delete_prompt(key))

    @rule(device=devices_, library=libraries)
    def push_what_nobody_can_store(self, device: int, library: UUID) -> None:
        replica = self.devices[device].replicas[library]
        update = Replica(1000 + self.writes).write_prompt("x", "not to be stored")
        self.writes += 1
        replica.apply(update)
        self.unstorable.add(update)
        self.devices[device].push(library, update)

    @rule(device=devices_)
    def connect(self, device: int) -> None:
        if self.devices[device].peer is None:
            self.devices[device].connect()

    @rule(device=devices_)
    def disconnect(self, device: int) -> None:
        self.devices[device].disconnect()

    @rule(device=devices_, sent=st.integers(0, 12), heard=st.integers(0, 12))
    def exchange(self, device: int, sent: int, heard: int) -> None:
        for _ in range(sent):
            self.devices[device].send()
        for _ in range(heard):
            self.devices[device].hear()

    @rule(device=devices_, library=libraries, heard=st.integers(0, 12))
    def write_to_an_open_library(self, device: int, library: UUID, heard: int) -> None:
        self.connect(device)
        self.exchange(device, 50, 50)
        self.write(device, library, 40)
        self.exchange(device, 3, heard)

    @rule(lazy=st.booleans())
    def updates_are_late(self, lazy: bool) -> None:
        self.server.lazy = lazy

    @rule()
    def late_updates_come(self) -> None:
        self.server.relay()

    @rule(device=devices_, code=st.sampled_from([1012, 1013, 4403]))
    def the_server_closes_a_channel(self, device: int, code: int) -> None:
        peer = self.devices[device].peer
        if peer is not None and peer.channels:
            peer.shut(min(peer.channels), code)

    @rule(device=devices_, library=libraries)
    def the_device_closes_a_library(self, device: int, library: UUID) -> None:
        self.devices[device].session.close(library)

    @rule(device=devices_)
    def reopen(self, device: int) -> None:
        self.devices[device].reopen()

    @rule(device=devices_)
    def the_server_asks(self, device: int) -> None:
        peer = self.devices[device].peer
        if peer is not None:
            for channel in peer.channels:
                peer.say(peer.status(channel, ask=True))

    @rule(code=st.sampled_from([None, "try_later", "of a later version"]))
    def the_server_cannot_store(self, code: str | None) -> None:
        self.trouble = code

    @precondition(lambda self: all(device.peer is None for device in self.devices))
    @rule(library=libraries, data=st.data())
    def the_database_is_put_back(self, library: UUID, data: st.DataObject) -> None:
        stored = self.server.library(library)
        stored.restore(data.draw(st.integers(0, len(stored.log))))

    @invariant()
    def the_cursor_is_never_ahead_of_what_was_received(self) -> None:
        for device in self.devices:
            for library in LIBRARIES:
                place, stored = device.session.place(library), self.server.library(library)
                if place is None or place.epoch != stored.epoch:
                    continue
                held = Knowledge()
                held.learn(inspect(device.replicas[library].dump()))
                assert place.cursor <= len(stored.log)
                for update in stored.log[: place.cursor]:
                    assert not held.adds(inspect(update))

    @invariant()
    def what_waits_is_in_order_and_nothing_is_in_two_places(self) -> None:
        for device in self.devices:
            for library in LIBRARIES:
                waiting = device.unacknowledged(library)
                refused = [refused.number for refused in device.refused if refused.library == library]
                assert waiting == sorted(waiting)
                assert sorted([*waiting, *device.saved[library], *refused]) == [number for number, _ in device.made[library]]

    def teardown(self) -> None:
        with self.parts:
            self.settle()

    def settle(self) -> None:
        """Once nothing is in the way everything is stored, and both ends agree."""
        self.trouble, self.server.lazy = None, False
        self.server.relay()
        for device in self.devices:
            device.disconnect()
        for _ in range(50):
            for device in self.devices:
                if device.peer is None:
                    device.connect()
                device.reopen()
            while any([device.send() or device.hear() for device in self.devices]):
                pass
        for library in LIBRARIES:
            stored = self.server.library(library)
            for device in self.devices:
                assert device.session.unacknowledged(library) == 0
                place = device.session.place(library)
                assert place is not None
                assert place.cursor == len(stored.log)
            first, second = (device.replicas[library].prompts() for device in self.devices)
            assert {key: text for key, text in first.items() if key != "x"} == {key: text for key, text in second.items() if key != "x"}
            self._stored_once(library)

    def _stored_once(self, library: UUID) -> None:
        stored, seen = self.server.library(library), Knowledge()
        for update in stored.log:
            assert seen.adds(inspect(update)), "stored twice"
            seen.learn(inspect(update))
        refused = [refused.update for device in self.devices for refused in device.refused]
        assert set(refused) <= self.unstorable
        for device in self.devices:
            for _, update in device.made[library]:
                assert update in self.unstorable or not seen.adds(inspect(update)), "lost"


TestConversations = Conversations.TestCase
TestConversations.settings = settings(
    max_examples=60, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
