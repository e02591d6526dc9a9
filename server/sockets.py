"""The hall: every device connected to this process, what they share, and what is done to all of them at once."""

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Protocol, TypeVar
from uuid import UUID

import structlog

from auth.permissions import may_write
from protocol.closes import Close
from server import metrics
from server.budget import ByteBudget
from server.config import Settings
from server.follower import Follower, RoomDropped
from server.intake import Allowance
from server.joins import Joins
from server.rooms import Room, Rooms
from server.seeding import Seeding
from server.shelf import Shelf
from server.workers import Workers
from server.writer import Writer
from storage.errors import StorageError, Unavailable
from storage.libraries import Library
from storage.pool import Database
from storage.standings import Standing, standings
from storage.updates import Place

log = structlog.get_logger(__name__)

T = TypeVar("T")

ASKED_AT_ONCE = 5_000
"""Sockets whose sessions one question covers."""
GATHER_SECONDS = 0.05
"""How long hints that something has ended are gathered before the database is asked: whoever may write to the bus can send many."""
MAX_HINTS = 10_000
"""Ids that are remembered meanwhile; past it every device is compared."""
OPENING_ATTEMPTS = 5
"""How often a room is opened that another process keeps writing to or restores; past it: close 1013."""
SWEEP_SECONDS = 1.0
"""How often quiet sockets and silent presence are looked for."""


class Device(Protocol):
    """A device in a library, on whichever dialect: a socket, or a channel of one."""

    user_id: UUID
    session_id: UUID
    library_id: UUID
    room: Room | None
    may_write: bool
    closed: bool
    dialect: str
    client: str
    """The client's name and version, as far as it says."""
    opened_at: datetime
    known_seq: int | None
    """The seq up to which it is known to have everything; None: not known yet."""

    def __hash__(self) -> int: ...

    @property
    def last_sent(self) -> float:
        """When anything was sent to it (the hall's clock)."""

    def keep_alive(self) -> None:
        """Send data that means nothing, where its dialect needs it."""

    async def exchange(self) -> None:
        """Ask the device for what the room lacks, and wait until that is stored, or the device is gone."""

    def close(self, code: Close, reason: str) -> None:
        """End its part in the library."""

    def hang_up(self, code: Close, reason: str) -> None:
        """End its connection."""


class Guest(Protocol):
    """A socket that belongs to a session, and not to one library."""

    closed: bool

    def __hash__(self) -> int: ...

    @property
    def guest_of(self) -> UUID | None:
        """Its session, where none of its devices stands for it: it has no library open."""

    def hang_up(self, code: Close, reason: str) -> None:
        """End the connection."""


@dataclass(slots=True, eq=False)
class Hall:
    """What the devices of this process share. Sync parts only; nothing here knows a document."""

    settings: Settings
    database: Database
    rooms: Rooms
    writer: Writer
    shelf: Shelf
    follower: Follower
    workers: Workers
    opening_budget: ByteBudget
    devices: set[Device] = field(default_factory=set)
    inspecting_bytes: int = 0
    """Large updates of devices that wait for a worker or are in one."""
    joins: Joins = field(init=False)
    """Pushes in parts whose last part has not come: as much of them as may wait to be stored."""
    allowance: Allowance = field(init=False)
    """How fast each socket may send."""
    seeding: Seeding = field(init=False)
    """Completes the rooms that are opened."""
    guests: set[Guest] = field(default_factory=set)
    """Sockets that may open libraries, whether they have or not."""
    draining: bool = False
    """Whether this process is about to stop: nobody is let in any more."""
    _suspects: set[Device] = field(default_factory=set)
    _hints: set[UUID] = field(default_factory=set)
    _suspected: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.joins = Joins(self.settings.writer_queue_bytes)
        self.allowance = Allowance(self.settings.socket_bytes_a_second, self.settings.socket_updates_a_second)
        self.seeding = Seeding(self.writer)

    @staticmethod
    def now() -> float:
        """A clock for intervals, in seconds."""
        return time.monotonic()

    def enter(self, device: Device) -> None:
        """A device is connected."""
        self.devices.add(device)
        metrics.sockets.set(len(self.devices))

    def exit(self, device: Device) -> None:
        """A device is gone."""
        self.devices.discard(device)
        metrics.sockets.set(len(self.devices))

    def inspected(self, size: int, _: object) -> None:
        """A large update of so many bytes is read, or given up."""
        self.inspecting_bytes -= size

    def close_sessions(self, session_ids: Iterable[UUID]) -> None:
        """Close what these sessions have open: they were revoked."""
        revoked = set(session_ids)
        for device in tuple(self.devices):
            if device.session_id in revoked:
                device.hang_up(Close.UNAUTHENTICATED, "the session has ended")
        for guest in tuple(self.guests):
            if guest.guest_of in revoked:
                guest.hang_up(Close.UNAUTHENTICATED, "the session has ended")

    def close_library(self, library_id: UUID) -> None:
        """Forget a deleted library and close whoever has it open."""
        self.shelf.forget(library_id)
        if (room := self.rooms.get(library_id)) is not None:
            self.rooms.drop(room, Close.NOT_FOUND, "the library was deleted")

    def suspect(self, devices: Iterable[Device]) -> None:
        """Compare these with their sessions and libraries now instead of at the next poll: a hint says that something has ended."""
        self._suspects.update(devices)
        if self._suspects:
            self._suspected.set()

    def suspect_any_of(self, ids: Iterable[UUID]) -> None:
        """The same for the devices of these sessions or libraries, whichever the ids are of; they are looked for later, all at once."""
        self._hints.update(ids)
        if len(self._hints) > MAX_HINTS:
            self._hints.clear()
            self._suspects.update(self.devices)
        self._suspected.set()

    async def watch_sessions(self) -> None:
        """Compare the open sockets with their sessions, memberships and libraries, again and again, and close what has ended."""
        due = self.now() + self.settings.session_poll_seconds
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._suspected.wait(), max(0.0, due - self.now()))
                await asyncio.sleep(GATHER_SECONDS)
            devices = self._take_suspects()
            if self.now() >= due:
                due = self.now() + self.settings.session_poll_seconds
                devices = list(self.devices)
            guests = [guest for guest in self.guests if guest.guest_of is not None]  # few: a socket is there for its libraries
            questions = [partial(self._compare, part) for part in _in_parts(devices)]
            questions += [partial(self._compare_guests, part) for part in _in_parts(guests)]
            for question in questions:
                try:
                    await question()
                except StorageError as error:
                    log.warning("sessions_not_compared", error=type(error).__name__)
                except Exception as error:  # the next question may be answered: no reason to end the process
                    log.error("sessions_not_compared", error=type(error).__name__, exc_info=error)

    async def _compare_guests(self, guests: list[Guest]) -> None:
        asked = {guest: guest.guest_of for guest in guests}
        async with self.database.acquire() as connection:  # no library has a session's id: only the session is asked after
            known = await standings(connection, {(session, session) for session in asked.values() if session is not None})
        for guest, session in asked.items():
            if session is not None and (session, session) not in known and not guest.closed:
                guest.hang_up(Close.UNAUTHENTICATED, "the session has ended")

    def _take_suspects(self) -> list[Device]:
        suspects, hints = self._suspects, self._hints
        self._suspects, self._hints = set(), set()
        self._suspected.clear()
        if hints:
            suspects.update(device for device in self.devices if device.session_id in hints or device.library_id in hints)
        return [device for device in suspects if not device.closed]

    async def _compare(self, devices: list[Device]) -> None:
        heads = {device.room: device.room.head for device in devices if device.room is not None}  # before the question: rooms advance
        async with self.database.acquire() as connection:
            known = await standings(connection, {(device.session_id, device.library_id) for device in devices})
        for device in devices:
            standing = known.get((device.session_id, device.library_id))
            self._apply(device, standing)
            if standing is not None and standing.place is not None and device.room in heads:
                self._compare_place(device.room, heads[device.room], standing.place)

    def _apply(self, device: Device, standing: Standing | None) -> None:
        if standing is None:
            device.hang_up(Close.UNAUTHENTICATED, "the session has ended")
        elif standing.place is None:
            self.close_library(device.library_id)
            device.close(Close.NOT_FOUND, "the library was deleted")
        elif standing.role is None:
            device.close(Close.NOT_FOUND, "no longer a member of this library")
        else:
            device.may_write = may_write(standing.role)

    def _compare_place(self, room: Room, head: int, place: Place) -> None:
        """`head` was the room's before the question: what stands before it now has been put back to an earlier time."""
        if room.dropped:
            return
        if place.epoch > room.epoch or place.head < head:
            self._drop_restored(room)
        elif place.head > room.head:
            self.follower.behind(room)
            if self.rooms.neighbourhood is not None:
                self.rooms.neighbourhood.overtaken(room)  # the bus has told of it already, or has lost something

    def _drop_restored(self, room: Room) -> None:
        log.warning("library_restored", library=str(room.library_id), epoch=room.epoch, head=room.head)
        self.shelf.forget(room.library_id)
        self.rooms.drop(room, Close.RESTART, "the library was restored: start again")

    async def open(self, library: Library) -> Room:
        """The library's room as `room_of` has it, for somebody who opens the library: one without the seed gets it now.

        Raises:
            as `room_of` does.
        """
        room = await self.room_of(library)
        self.seeding.complete(room)
        return room

    async def room_of(self, library: Library) -> Room:
        """The library's room, at the place where the library was seen or later. Join it before the next await.

        Raises:
            Unavailable: it cannot be read now; others as `Shelf.room`.
        """
        for _ in range(OPENING_ATTEMPTS):
            room = await self.rooms.open(library.id)
            if room.epoch < library.epoch:
                self._drop_restored(room)
                continue
            if room.head < library.head:  # kept from before, while nobody here listened
                with suppress(RoomDropped):
                    await self.follower.catch_up(room)
            if not room.dropped and room.head >= library.head:
                return room
        raise Unavailable("the room falls behind")

    async def sweep(self) -> None:
        """Keep quiet sockets alive, and take away presence that nobody renews."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = self.now()
            for device in tuple(self.devices):
                if now - device.last_sent >= self.settings.keepalive_seconds:
                    device.keep_alive()
            for room in self.rooms:
                room.expire_presence(now)
            metrics.rooms.set(len(self.rooms))
            metrics.queue_bytes.set(self.writer.waiting_bytes)


def _in_parts(asked: list[T]) -> Iterator[list[T]]:
    return (asked[start : start + ASKED_AT_ONCE] for start in range(0, len(asked), ASKED_AT_ONCE))
