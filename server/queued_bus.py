"""The bus: a queue, and a link to the other processes that is made anew whenever it breaks. Each kind of link has a file of its own."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Protocol, TypeVar
from uuid import UUID

import structlog

from server import metrics
from server.bus import (
    DEVICES_BYTES,
    HEAD_BYTES,
    PRESENCE_BYTES,
    SENDER_BYTES,
    BusError,
    DevicesSaid,
    LibraryDeleted,
    Listener,
    Message,
    PresenceSaid,
    SessionsRevoked,
    decode,
)
from server.bus_queue import QUEUE_BYTES, BusQueue

log = structlog.get_logger(__name__)

T = TypeVar("T")

COUNT_SECONDS = 1.0
"""How often it is asked whether others listen; the question shows a dead link as well."""
LINK_SECONDS = 5.0
"""A link that has not taken or answered something within this is broken."""
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
"""Between attempts to connect: the first pause is doubled up to this, and shortened by up to a half, so that processes come apart."""
AT_ONCE_BYTES = 256 << 10
"""How much of the queue is said at a time."""
COMPLAINT_SECONDS = 10.0
"""Between two log lines about junk: whoever can send it can send much."""


class LinkFailed(Exception):
    """The link is broken or cannot be made. The text names a kind of error and nothing else: addresses hold passwords."""


class Link(Protocol):
    """One connection to the others. Each method raises LinkFailed once it is broken."""

    async def say(self, messages: Sequence[Message]) -> None:
        """Send to every other process; no messages: a hello."""

    async def others(self) -> int:
        """How many other processes listen."""

    async def hear(self, follow: Sequence[UUID], unfollow: Sequence[UUID]) -> None:
        """Subscribe and unsubscribe; in effect when it returns."""

    async def broken(self) -> None:
        """Read until the link breaks."""

    async def close(self) -> None:
        """Give the connection back; never raises."""


Connect = Callable[[bytes, Callable[[bytes], None]], Awaitable[Link]]
"""Makes a link, given our sender and who takes packets. Raises LinkFailed."""


class QueuedBus:
    """A `Bus` (server/bus.py says what its methods promise) over any kind of link."""

    def __init__(
        self, connect: Connect, *, packet_bytes: int, random_bytes: Callable[[int], bytes], queue_bytes: int = QUEUE_BYTES
    ) -> None:
        self._connect = connect
        self._sender = random_bytes(SENDER_BYTES)
        self._queue = BusQueue(queue_bytes)
        self._wake = asyncio.Event()
        self._followed: set[UUID] = set()
        self._changed: dict[UUID, None] = {}
        self._listener: Listener | None = None
        self._complain_at = 0.0
        self._junk = 0
        self._away = False
        self.alone = False
        self.presence_bytes = packet_bytes - HEAD_BYTES - PRESENCE_BYTES
        self.devices_bytes = packet_bytes - HEAD_BYTES - DEVICES_BYTES

    def publish(self, message: Message) -> None:
        # What has ended is always said: `alone` may be a second old, and it is said seldom.
        if self.alone and type(message) is not SessionsRevoked and type(message) is not LibraryDeleted:
            return
        if self._is_oversized(message):
            metrics.bus_dropped.labels("oversized").inc()
            return
        dropped = self._queue.dropped
        self._queue.put(message)
        if self._queue.dropped > dropped:
            metrics.bus_dropped.labels("queue_full").inc(self._queue.dropped - dropped)
        self._wake.set()

    def _is_oversized(self, message: Message) -> bool:
        match message:
            case PresenceSaid(sealed=sealed):
                return len(sealed) > self.presence_bytes
            case DevicesSaid(sealed=sealed):
                return len(sealed) > self.devices_bytes
        return False

    def follow(self, library_id: UUID) -> None:
        if library_id not in self._followed:
            self._followed.add(library_id)
            self._change(library_id)

    def unfollow(self, library_id: UUID) -> None:
        if library_id in self._followed:
            self._followed.discard(library_id)
            self._change(library_id)

    def _change(self, library_id: UUID) -> None:
        self._changed[library_id] = None
        self._wake.set()

    async def run(self, listener: Listener) -> None:
        self._listener = listener
        pause = FIRST_PAUSE_SECONDS
        while True:
            began = time.monotonic()
            try:
                await self._serve(listener)
            except LinkFailed as error:
                if not self._away:
                    log.warning("bus_away", error=str(error))
            except Exception as error:  # messages are a convenience: no reason to end the process
                log.error("bus_failed", exc_info=error)
            _end_if_cancelled()
            self._away = True
            self.alone = False  # unknown: what is said meanwhile is kept
            if time.monotonic() - began > LONGEST_PAUSE_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311  # spreads attempts, decides nothing
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _serve(self, listener: Listener) -> None:
        """One link, from its making to its end. Raises LinkFailed."""
        link = await _within(self._connect(self._sender, self._take))
        try:
            self._changed.clear()
            await _within(link.hear(tuple(self._followed), ()))
            await _within(link.say(()))
            self.alone = await _within(link.others()) == 0
            self._away = False
            log.info("bus_connected", alone=self.alone)
            listener.missed()
            await _until_one_ends(self._say(link), self._count(link), link.broken())
        finally:
            await link.close()

    async def _say(self, link: Link) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._changed or len(self._queue):
                await self._resubscribe(link)
                messages = self._queue.take(AT_ONCE_BYTES)
                if not messages:
                    break
                try:
                    await _within(link.say(messages))
                except BaseException:
                    self._queue.give_back(messages)
                    self._wake.set()
                    raise
                metrics.bus_said.inc(len(messages))

    async def _resubscribe(self, link: Link) -> None:
        """Before anything is said: answers to it come on what was subscribed for them."""
        changed, self._changed = self._changed, {}
        follow = [library_id for library_id in changed if library_id in self._followed]
        unfollow = [library_id for library_id in changed if library_id not in self._followed]
        if changed:
            await _within(link.hear(follow, unfollow))

    async def _count(self, link: Link) -> None:
        while True:
            await asyncio.sleep(COUNT_SECONDS)
            self.alone = await _within(link.others()) == 0

    def _take(self, packet: bytes) -> None:
        """A packet from the link, our own ones among them."""
        try:
            sender, messages = decode(packet)
        except BusError as error:
            return self._complain(error)
        if sender == self._sender or self._listener is None:
            return
        self.alone = False
        for message in messages:
            if isinstance(message, SessionsRevoked | LibraryDeleted) or message.library_id in self._followed:
                metrics.bus_heard.inc()
                try:
                    self._listener.heard(message)
                except Exception as error:  # the next message may be taken: no reason to stop listening
                    log.error("bus_message_not_taken", kind=type(message).__name__, exc_info=error)

    def _complain(self, error: BusError) -> None:
        self._junk += 1
        metrics.bus_dropped.labels("junk").inc()
        if time.monotonic() >= self._complain_at:
            log.warning("bus_junk", reason=str(error), packets=self._junk)
            self._complain_at = time.monotonic() + COMPLAINT_SECONDS
            self._junk = 0


async def _within(work: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(LINK_SECONDS):
            done = await work
    except TimeoutError:
        raise LinkFailed("no answer in time") from None
    _end_if_cancelled()
    return done


def _end_if_cancelled() -> None:
    """Python 3.11's `wait_for`, which redis-py uses, loses a cancellation that comes as its work is done: the task would never end."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _until_one_ends(*works: Coroutine[None, None, None]) -> None:
    """Run them together until one ends, and raise what it raises. A TaskGroup would not do: Python 3.11's leaves us marked as cancelled."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()
