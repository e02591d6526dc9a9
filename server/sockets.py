"""The hall: every device connected to this process, what they share, and what is done to all of them at once."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from auth.permissions import may_write
from protocol.closes import Close
from server import metrics
from server.budget import ByteBudget
from server.config import Settings
from server.rooms import Rooms
from server.shelf import Shelf
from server.workers import Workers
from server.writer import Writer
from storage.errors import StorageError
from storage.pool import Database
from storage.standings import Standing, standings

if TYPE_CHECKING:
    from server.member import Device

log = structlog.get_logger(__name__)

ASKED_AT_ONCE = 5_000
"""Sockets whose sessions one question covers."""
SWEEP_SECONDS = 1.0
"""How often quiet sockets and silent presence are looked for."""


@dataclass(slots=True, eq=False)
class Hall:
    """What the devices of this process share. Sync parts only; nothing here knows a document."""

    settings: Settings
    database: Database
    rooms: Rooms
    writer: Writer
    shelf: Shelf
    workers: Workers
    opening_budget: ByteBudget
    devices: set["Device"] = field(default_factory=set)
    inspecting_bytes: int = 0
    """Large updates of devices that wait for a worker or are in one."""

    @staticmethod
    def now() -> float:
        """A clock for intervals, in seconds."""
        return time.monotonic()

    def enter(self, device: "Device") -> None:
        """A device is connected."""
        self.devices.add(device)
        metrics.sockets.set(len(self.devices))

    def exit(self, device: "Device") -> None:
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
                device.close(Close.UNAUTHENTICATED, "the session has ended")

    def close_library(self, library_id: UUID) -> None:
        """Forget a deleted library and close whoever has it open."""
        self.shelf.forget(library_id)
        if (room := self.rooms.get(library_id)) is not None:
            self.rooms.drop(room, Close.NOT_FOUND, "the library was deleted")

    async def watch_sessions(self) -> None:
        """Compare the open sockets with their sessions and memberships, again and again, and close what has ended."""
        while True:
            await asyncio.sleep(self.settings.session_poll_seconds)
            devices = list(self.devices)
            for start in range(0, len(devices), ASKED_AT_ONCE):
                try:
                    await self._compare(devices[start : start + ASKED_AT_ONCE])
                except StorageError as error:
                    log.warning("sessions_not_compared", error=type(error).__name__)
                except Exception as error:  # the next question may be answered: no reason to end the process
                    log.error("sessions_not_compared", error=type(error).__name__, exc_info=error)

    async def _compare(self, devices: list["Device"]) -> None:
        async with self.database.acquire() as connection:
            known = await standings(connection, {(device.session_id, device.library_id) for device in devices})
        for device in devices:
            self._apply(device, known.get((device.session_id, device.library_id)))

    def _apply(self, device: "Device", standing: Standing | None) -> None:
        if standing is None:
            device.close(Close.UNAUTHENTICATED, "the session has ended")
        elif standing.place is None:
            self.close_library(device.library_id)
            device.close(Close.NOT_FOUND, "the library was deleted")
        elif standing.role is None:
            device.close(Close.NOT_FOUND, "no longer a member of this library")
        else:
            device.may_write = may_write(standing.role)

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
