"""What the server itself says among a library's devices: that a prompt is being improved.

It is presence like a device's, of a client id of its own, so devices on every dialect and in every process see it. It is renewed as devices
renew theirs; where this process dies, it goes as theirs do, after `EXPIRY`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias
from uuid import UUID

import structlog

from crdt.presence import Entry
from server.rooms import Room
from server.sockets import Hall
from storage.errors import StorageError
from storage.libraries import Library

log = structlog.get_logger(__name__)

RENEW_SECONDS = 10.0
"""How often it is said again: three times before it expires."""
SERVER = UUID(int=0)
"""Whose presence it is: no user has this id, so no device can take the client id over, and devices of every user are told."""

Say: TypeAlias = Callable[[Room, UUID, Sequence[Entry], bool], None]
"""Tells the other processes: see `Room.say`."""


class Announcer:
    """Speaks in the rooms of this process."""

    def __init__(self, hall: Hall, say: Say, random: Callable[[int], bytes]) -> None:
        self._hall = hall
        self._say = say
        self._random = random

    @asynccontextmanager
    async def shown(self, library: Library, state: str) -> AsyncIterator[None]:
        """Show a state, the JSON text of an object, to whoever is in the library, for as long as the block runs.

        A library that cannot be opened is not told: what the block does matters more.
        """
        client = int.from_bytes(self._random(4))
        try:
            await self._hall.room_of(library)
        except StorageError as error:
            log.info("not_announced", error=type(error).__name__)
        renewing = asyncio.create_task(self._renew(library.id, client, state))
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.wait((renewing,))
            self._tell(library.id, client, None)

    async def _renew(self, library_id: UUID, client: int, state: str) -> None:
        clock = 1
        while True:
            self._tell(library_id, client, Entry(client, clock, state))
            await asyncio.sleep(RENEW_SECONDS)
            clock += 1

    def _tell(self, library_id: UUID, client: int, entry: Entry | None) -> None:
        """Say it, or with None take it back."""
        room = self._hall.rooms.get(library_id)
        if room is None:
            return
        owner = (SERVER, client)
        said = room.announce(owner, SERVER, entry, self._hall.now()) if entry is not None else room.retract(owner)
        if said:
            self._say(room, SERVER, said, entry is not None and entry.clock == 1)
