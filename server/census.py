"""The census: which devices have a library open, in this process and in the others, and what they still have to bring.

A process that is asked says at once who is connected to it, and, where its devices are to exchange with the server first, once more when
they have. Nobody knows how many will answer: those who do so within OTHERS_SECONDS are waited for. What is said is sealed with the
library's key for this one question; questions are not, and cost little however many come.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

import structlog

from server import metrics
from server.bus import QUESTION_BYTES, Bus, DevicesAsked, DevicesSaid
from server.rooms import Room, Rooms
from server.roster import PROCESS_BYTES, Roster, Seen, pack, unpack
from server.sockets import Device
from storage.cipher import OVERHEAD_BYTES, DataKey, devices_place
from storage.errors import SealBroken

log = structlog.get_logger(__name__)

OTHERS_SECONDS = 0.5
"""So long answers of other processes are waited for; one process answers another within a few milliseconds."""
GATHER_SECONDS = 0.02
"""After this all who have asked about a library meanwhile are answered."""
REST_SECONDS = 1.0
"""A library's devices exchange for others once in so long: anybody may write to a bus."""
EXCHANGE_SECONDS = 4.0
"""What the devices of this process have for it when another process asks, which waits a little longer."""
MAX_QUESTIONS = 16
"""Questions about one library that wait; further ones are dropped and counted."""
MAX_PROCESSES = 64
"""Processes whose answers to one question are kept."""
COMPLAINT_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """The devices of a library, and whether there are more than are listed."""

    devices: tuple[Seen, ...] = ()
    cut: bool = False


@dataclass(slots=True, eq=False)
class _Question:
    """What this process has asked about a library, and the newest answer of each process."""

    key: DataKey
    answers: dict[bytes, Roster] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def settled(self) -> bool:
        return not any(roster.more for roster in self.answers.values())


class Census:
    """Asks and answers. Told by `Neighbours` what the others say."""

    def __init__(
        self,
        bus: Bus,
        rooms: Rooms,
        connected: Callable[[Room], list[Device]],
        *,
        now: Callable[[], float],
        random: Callable[[int], bytes],
    ) -> None:
        """`connected` are the devices in a room; `now` is the clock of `Room.shared_until`."""
        self._bus = bus
        self._rooms = rooms
        self._connected = connected
        self._now = now
        self._random = random
        self._process = random(PROCESS_BYTES)
        self._questions: dict[tuple[UUID, bytes], _Question] = {}
        self._hearing: Counter[UUID] = Counter()  # libraries that are followed for a question
        self._waiting: dict[UUID, list[DevicesAsked]] = {}
        self._exchanging: dict[UUID, list[bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._foreign = 0
        self._complain_at = 0.0

    def close(self) -> None:
        """Answer nobody any more."""
        for task in self._tasks:
            task.cancel()

    # --- asking

    async def take(self, libraries: Mapping[UUID, DataKey], *, exchange: bool, within: float) -> dict[UUID, Counted]:
        """The devices of each of these libraries; with `exchange` once they have brought what the server lacks, or `within` is over."""
        shared = {library_id: key for library_id, key in libraries.items() if self._may_be_shared(library_id)}
        asked = {library_id: self._ask(library_id, key, exchange) for library_id, key in shared.items()}
        try:
            here, _ = await asyncio.gather(
                self._brought(libraries, within if exchange else 0.0), self._answered([question for _, question in asked.values()], within)
            )
        finally:
            for library_id, (number, _) in asked.items():
                self._forget(library_id, number)
        return {
            library_id: _together(here[library_id], asked[library_id][1].answers.values() if library_id in asked else ())
            for library_id in libraries
        }

    def _may_be_shared(self, library_id: UUID) -> bool:
        """Whether another process may have the library open: where nobody is in the room, nothing was asked or heard of it."""
        if self._bus.alone:
            return False
        room = self._rooms.get(library_id)
        return room is None or not room.members or self._now() < room.shared_until

    def _ask(self, library_id: UUID, key: DataKey, exchange: bool) -> tuple[bytes, _Question]:
        number, question = self._random(QUESTION_BYTES), _Question(key)
        self._questions[library_id, number] = question
        self._hearing[library_id] += 1
        self._bus.follow(library_id)
        self._bus.publish(DevicesAsked(library_id, number, exchange))
        return number, question

    def _forget(self, library_id: UUID, number: bytes) -> None:
        del self._questions[library_id, number]
        self._hearing[library_id] -= 1
        if not self._hearing[library_id]:
            del self._hearing[library_id]
            room = self._rooms.get(library_id)
            if room is None or not room.members:
                self._bus.unfollow(library_id)

    async def _answered(self, questions: Sequence[_Question], within: float) -> None:
        """Wait for the others: for a first answer of each, and for the last one of those who say that there is more."""
        if not questions:
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        await asyncio.sleep(min(OTHERS_SECONDS, within))
        for question in questions:
            while not question.settled and (left := deadline - loop.time()) > 0:
                question.changed.clear()
                try:
                    await asyncio.wait_for(question.changed.wait(), left)
                except TimeoutError:
                    return

    def told(self, message: DevicesSaid) -> None:
        """Another process answers."""
        question = self._questions.get((message.library_id, message.question))
        if question is None:  # it comes too late
            return
        try:
            roster = unpack(question.key.open(message.sealed, devices_place(message.library_id, message.question)))
        except (SealBroken, ValueError) as error:
            self._complain(message.library_id, error)
            return
        before = question.answers.get(roster.process)
        if (before is None and len(question.answers) >= MAX_PROCESSES) or (before is not None and not before.more):
            return
        question.answers[roster.process] = roster
        question.changed.set()

    def _complain(self, library_id: UUID, error: Exception) -> None:
        self._foreign += 1
        metrics.bus_dropped.labels("not_ours").inc()
        if self._now() >= self._complain_at:
            log.warning("devices_not_ours", library=str(library_id), error=type(error).__name__, messages=self._foreign)
            self._complain_at = self._now() + COMPLAINT_SECONDS
            self._foreign = 0

    # --- the devices of this process

    async def _brought(self, libraries: Iterable[UUID], within: float) -> dict[UUID, list[Seen]]:
        """The devices here, after they have exchanged if there is time for that. One that may not write has nothing to bring."""
        found = {library_id: self._here(library_id) for library_id in libraries}
        writers = [device for devices in found.values() for device in devices if device.may_write]
        late = await _exchanged(writers, within) if within else set()
        return {
            library_id: [_seen(device, device not in late) for device in devices if not device.closed]
            for library_id, devices in found.items()
        }

    def _here(self, library_id: UUID) -> list[Device]:
        room = self._rooms.get(library_id)
        return [] if room is None else [device for device in self._connected(room) if not device.closed]

    # --- answering

    def asked(self, message: DevicesAsked) -> None:
        """Another process wants to know."""
        room = self._rooms.get(message.library_id)
        if room is None or not room.members:
            return
        waiting = self._waiting.get(message.library_id)
        if waiting is None:
            waiting = self._waiting[message.library_id] = []
            asyncio.get_running_loop().call_later(GATHER_SECONDS, self._answer, message.library_id)
        if len(waiting) >= MAX_QUESTIONS:
            metrics.bus_dropped.labels("questions").inc()
            return
        waiting.append(message)

    def _answer(self, library_id: UUID) -> None:
        waiting = self._waiting.pop(library_id)
        devices = [_seen(device, True) for device in self._here(library_id)]
        for question in waiting:
            self._say(library_id, question.question, devices, more=question.exchange)
        exchanging = [question.question for question in waiting if question.exchange]
        if not exchanging:
            return
        if library_id in self._exchanging:
            later = self._exchanging[library_id]
            later += exchanging[: MAX_QUESTIONS - len(later)]
            return
        self._exchanging[library_id] = exchanging
        task = asyncio.create_task(self._exchange(library_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _exchange(self, library_id: UUID) -> None:
        """Let the devices of a library exchange, and say so; again for those who have asked meanwhile."""
        try:
            while questions := self._exchanging[library_id]:
                self._exchanging[library_id] = []
                devices = (await self._brought([library_id], EXCHANGE_SECONDS))[library_id]
                for question in questions:
                    self._say(library_id, question, devices, more=False)
                await asyncio.sleep(REST_SECONDS)
        finally:
            del self._exchanging[library_id]

    def _say(self, library_id: UUID, question: bytes, devices: Sequence[Seen], *, more: bool) -> None:
        room = self._rooms.get(library_id)
        if room is None:
            return
        said = pack(self._process, devices, more=more, limit=self._bus.devices_bytes - OVERHEAD_BYTES)
        self._bus.publish(DevicesSaid(library_id, question, room.key.seal(said, devices_place(library_id, question))))


async def _exchanged(devices: Sequence[Device], within: float) -> set[Device]:
    """Let them exchange, all at once; those that have not finished in time."""
    if not devices:
        return set()
    tasks = {asyncio.create_task(device.exchange()): device for device in devices}
    try:
        done, late = await asyncio.wait(tasks, timeout=within)
    finally:
        for task in tasks:
            task.cancel()
    for task in done:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("device_not_exchanged", error=type(error).__name__, exc_info=error)
    return {tasks[task] for task in late}


def _seen(device: Device, finished: bool) -> Seen:
    return Seen(
        session_id=device.session_id,
        user_id=device.user_id,
        dialect=device.dialect,
        client=device.client,
        may_write=device.may_write,
        seq=device.known_seq,
        since=device.opened_at,
        finished=finished,
    )


def _together(here: Sequence[Seen], elsewhere: Iterable[Roster]) -> Counted:
    rosters = tuple(elsewhere)
    there = [device if not roster.more else replace(device, finished=False) for roster in rosters for device in roster.devices]
    return Counted(devices=(*here, *there), cut=any(roster.cut for roster in rosters))
