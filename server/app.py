"""The wiring: which parts make a running server, and in what order they start and stop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from protocol.closes import Close
from server.api import create_api
from server.budget import ByteBudget
from server.purge import Purge
from server.rooms import Room, Rooms
from server.routes.health import health_routes
from server.routes.sync import sync_routes
from server.services import Services
from server.shelf import Shelf
from server.sockets import Hall
from server.sync import SyncEndpoint
from server.workers import Workers
from server.writer import Writer
from storage import updates
from storage.cluster import claim
from storage.errors import StorageError, Unavailable
from storage.libraries import draw_client_id

log = structlog.get_logger(__name__)


class Application:
    """The ASGI application: WebSockets go to the sync endpoint, everything else to the REST API."""

    def __init__(self, services: Services) -> None:
        settings = services.settings
        self.services = services
        self.workers = Workers(settings.update_workers)
        self.shelf = Shelf(services.database, services.keyring, self.workers, cache_bytes=settings.document_cache_bytes)
        self.rooms = Rooms(self.shelf.room, settings.room_cache_bytes)
        self.writer = Writer(
            services.database,
            self.rooms,
            catch_up=self.shelf.catch_up,
            reconnected=self._meet_the_database_again,
            queue_bytes=settings.writer_queue_bytes,
        )
        self.hall = Hall(settings, services.database, self.rooms, self.writer, self.shelf, self.workers, ByteBudget(settings.opening_bytes))
        self.purge = Purge(services.database)
        self._sync = SyncEndpoint(services, self.hall)
        self._api: ASGIApp = create_api(services, routes=[*health_routes(services), *sync_routes(services, self.hall)])
        services.hooks.sessions_revoked = self.hall.close_sessions
        services.hooks.library_deleted = self._library_deleted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._sync if scope["type"] == "websocket" else self._api)(scope, receive, send)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run what works in the background. Drain the writer before leaving, or what it has taken stays unsettled."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(work) for work in (self.writer.run(), self.hall.watch_sessions(), self.hall.sweep(), self.purge.run())
            ]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                self.workers.close()

    def _library_deleted(self, library_id: UUID) -> None:
        self.hall.close_library(library_id)
        self.purge.wake()

    async def _meet_the_database_again(self) -> None:
        """After a reconnect: is it the same database, and has it not been put back to an earlier time?

        Raises:
            Unavailable: it cannot be asked, or is not one that these keys open; nothing is written to it meanwhile.
        """
        rooms: list[Room] = list(self.rooms)
        try:
            async with self.services.database.acquire() as connection:
                claimed = await claim(connection, self.services.keyring, new_client_id=lambda: draw_client_id(self.services.random))
                found = await updates.heads(connection, [room.library_id for room in rooms])
        except Unavailable:
            raise
        except StorageError as error:
            log.error("database_not_ours", reason=str(error))
            raise Unavailable("not the database it was") from error
        if claimed.raised:
            log.warning("epochs_raised", libraries=claimed.raised, reason="the database is another or was put back")
        self._drop_rooms_ahead(rooms, found)

    def _drop_rooms_ahead(self, rooms: list[Room], found: dict[UUID, updates.Place]) -> None:
        for room in rooms:
            place = found.get(room.library_id)
            if place is not None and (place.epoch != room.epoch or place.head < room.head):
                log.error("room_ahead_of_database", library=str(room.library_id), head=room.head, found=place.head)
                self.shelf.forget(room.library_id)
                self.rooms.drop(room, Close.RESTART, "the library was restored: start again")
