"""The wiring: which parts make a running server, and in what order they start and stop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from protocol.closes import Close
from server.announcer import Announcer
from server.api import create_api
from server.budget import ByteBudget
from server.bus import Bus
from server.buses import make_bus
from server.census import Census
from server.channel import Channel
from server.compactor import Compactor
from server.documents import Documents
from server.editor import Editor
from server.file_reader import FileReader
from server.follower import Follower
from server.jobs import Jobs
from server.member import Device as StockDevice
from server.neighbours import Neighbours
from server.optimizer import Optimizer
from server.restorer import Restorer
from server.rooms import Room, Rooms
from server.routes.export import export_router
from server.routes.health import health_routes
from server.routes.imports import import_router
from server.routes.optimize import optimize_router
from server.routes.restoring import restoring_router
from server.routes.status import status_router
from server.routes.sync import sync_routes
from server.services import Services
from server.shelf import Shelf
from server.sockets import Device, Hall
from server.status import Overseer
from server.sync import SyncEndpoint
from server.workers import FOLD_NICENESS, Workers
from server.writer import Writer
from storage import updates
from storage.cluster import claim
from storage.errors import StorageError, Unavailable
from storage.libraries import draw_client_id

log = structlog.get_logger(__name__)


class Application:
    """The ASGI application: WebSockets go to the sync endpoint, everything else to the REST API."""

    def __init__(self, services: Services, bus: Bus | None = None) -> None:
        settings = services.settings
        self.services = services
        self.workers = Workers(settings.update_workers)
        self.shelf = Shelf(services.database, services.keyring, self.workers, cache_bytes=settings.document_cache_bytes)
        self.rooms = Rooms(self._load, settings.room_cache_bytes)
        self.follower = Follower(services.database, self.rooms, self.shelf, tell=lambda: self.writer.tell())
        self.writer = Writer(
            services.database,
            self.rooms,
            follower=self.follower,
            connected=self._meet_the_database,
            stored=self._stored,
            queue_bytes=settings.writer_queue_bytes,
        )
        self.hall = Hall(
            settings,
            services.database,
            self.rooms,
            self.writer,
            self.shelf,
            self.follower,
            self.workers,
            ByteBudget(settings.opening_bytes),
        )
        self.bus = bus or make_bus(settings, services.database)
        self.census = Census(self.bus, self.rooms, _connected, now=self.hall.now, random=services.random)
        self.neighbours = Neighbours(self.bus, self.hall, self.follower, self.census)
        self.rooms.neighbourhood = self.neighbours
        self.jobs = Jobs(services)
        self.compactor = Compactor(
            services.database,
            services.keyring,
            Workers(1, niceness=FOLD_NICENESS),  # its own: no opening waits behind a fold
            compact_updates=settings.compact_updates,
            compact_bytes=settings.compact_bytes,
            on_compacted=self._compacted,
            on_quarantined=self._quarantined,
        )
        self.shelf.on_broken = self.compactor.broken
        self.documents = Documents(self.shelf, processes=settings.document_workers, cache_bytes=settings.open_document_bytes)
        self.editor = Editor(services, self.hall, self.documents)
        self.file_reader = FileReader(largest=settings.max_import_bytes)
        self.overseer = Overseer(self.hall, self.census, self.compactor)
        self.restorer = Restorer(services.database, services.keyring, self.workers, self.editor, self.compactor, clock=services.clock)
        self.optimizer = Optimizer(services.models.stream, services.idempotency)
        announcer = Announcer(self.hall, self.neighbours.say, services.random)
        self._sync = SyncEndpoint(services, self.hall)
        health = health_routes(services, draining=lambda: self.hall.draining, failing=lambda: self.writer.failing)
        self._api: ASGIApp = create_api(
            services,
            self.editor,
            routes=[*health, *sync_routes(services, self.hall)],
            routers=[
                status_router(self.overseer),
                restoring_router(self.restorer),
                export_router(self.hall),
                import_router(self.file_reader),
                optimize_router(self.optimizer, announcer),
            ],
        )
        services.hooks.sessions_revoked = self.neighbours.sessions_revoked
        services.hooks.library_deleted = self.neighbours.library_deleted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._sync if scope["type"] == "websocket" else self._api)(scope, receive, send)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run what works in the background. Drain the writer before leaving, or what it has taken stays unsettled."""
        async with asyncio.TaskGroup() as group:
            works = (
                self.writer.run(),
                self.follower.run(),
                self.bus.run(self.neighbours),
                self.hall.watch_sessions(),
                self.hall.sweep(),
                self.compactor.run(),
                self.services.opened_shares.run(),
                *([self.jobs.run()] if self.services.settings.jobs else []),
            )
            tasks = [group.create_task(work) for work in works]
            try:
                yield
            finally:
                await self.optimizer.stop()
                for task in tasks:
                    task.cancel()
                self.census.close()
                self.overseer.close()
                self.workers.close()
                self.documents.close()
                self.file_reader.close()

    async def _load(self, library_id: UUID) -> Room:
        room = await self.shelf.room(library_id)
        self.compactor.wanted(room)
        return room

    def _stored(self, room: Room) -> None:
        self.rooms.used(room)
        self.neighbours.stored(room)
        self.compactor.wanted(room)

    def _compacted(self, library_id: UUID, seq: int, nbytes: int) -> None:
        if (room := self.rooms.get(library_id)) is not None:
            room.compacted(seq, nbytes)

    def _quarantined(self, library_id: UUID) -> None:
        self.shelf.forget(library_id)
        if (room := self.rooms.get(library_id)) is not None:
            self.rooms.drop(room, Close.RESTART, "an update of the library was set apart: start again")

    async def _meet_the_database(self) -> None:
        """On each new connection that writes: is it the same database, and has it not been put back to an earlier time?

        Raises:
            Unavailable: it cannot be asked, or is not one that these keys open; nothing is written to it meanwhile.
        """
        heads = {room: room.head for room in self.rooms}  # before the question: rooms advance meanwhile
        try:
            async with self.services.database.acquire() as connection:
                claimed = await claim(connection, self.services.keyring, new_client_id=lambda: draw_client_id(self.services.random))
                found = await updates.heads(connection, [room.library_id for room in heads])
        except Unavailable:
            raise
        except StorageError as error:
            log.error("database_not_ours", reason=str(error))
            raise Unavailable("not the database it was") from error
        if claimed.raised:
            log.warning("epochs_raised", libraries=claimed.raised, reason="the database is another or was put back")
        self._drop_rooms_ahead(heads, found)

    def _drop_rooms_ahead(self, heads: dict[Room, int], found: dict[UUID, updates.Place]) -> None:
        for room, head in heads.items():
            place = found.get(room.library_id)
            if place is not None and not room.dropped and (place.epoch != room.epoch or place.head < head):
                log.error("room_ahead_of_database", library=str(room.library_id), head=head, found=place.head)
                self.shelf.forget(room.library_id)
                self.rooms.drop(room, Close.RESTART, "the library was restored: start again")


def _connected(room: Room) -> list[Device]:
    return [member for member in room.members if isinstance(member, StockDevice | Channel)]
