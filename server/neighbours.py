"""The neighbours: what the other processes say, and what this one tells them.

What is stored is told only where another process has the library open too, or may have: once one has had it, or has written to it, until
the last device here has left. With the devices of a library in one process nothing is said of it but who is present. Who opens a library
asks who is there, and whoever has it open answers, so both know; where one of these messages was lost, the question that each asks the
database once a second finds the other's writing, and it says so again.
"""

import asyncio
import math
from collections.abc import Iterable, Sequence
from uuid import UUID

import structlog

from crdt.errors import CrdtError
from crdt.presence import Entry, decode, encode
from server.bus import (
    Advanced,
    Bus,
    DevicesAsked,
    DevicesSaid,
    LibraryDeleted,
    Message,
    PresenceAsked,
    PresenceSaid,
    SessionsRevoked,
)
from server.census import Census
from server.follower import Follower
from server.queued_bus import COMPLAINT_SECONDS
from server.rooms import Room
from server.sockets import Hall
from storage.cipher import presence_place
from storage.errors import SealBroken

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 0.2
"""After this it is said who is present in a library, once to all who asked meanwhile: an answer may be a thousand messages."""

SHARED_SECONDS = 2.0
"""So long after a library was opened here, or the bus was away, others are taken to have it open: by then they have said so."""

_USER_BYTES = 16
_CLAIMED, _RENEWED = b"\x01", b"\x00"


class Neighbours:
    """Between the bus and the rooms. What it is told is a hint, or was sealed with the library's own key: anybody may write to a bus."""

    def __init__(self, bus: Bus, hall: Hall, follower: Follower, census: Census) -> None:
        self._bus = bus
        self._hall = hall
        self._rooms = hall.rooms
        self._follower = follower
        self._census = census
        self._asked: set[UUID] = set()  # libraries of which it will be said who is present
        self._foreign = 0
        self._complain_at = 0.0

    # --- what they say

    def heard(self, message: Message) -> None:
        """Another process says so."""
        match message:
            case Advanced(library_id, seq):
                if (room := self._shared(library_id)) is not None and room.head < seq:
                    self._follower.behind(room)
            case PresenceSaid(library_id, sealed):
                if (room := self._shared(library_id)) is not None:
                    self._overhear(room, sealed)
            case PresenceAsked(library_id):
                if self._shared(library_id) is not None and library_id not in self._asked:
                    self._asked.add(library_id)
                    asyncio.get_running_loop().call_later(ANSWER_SECONDS, self._answer, library_id)
            case DevicesAsked():
                self._census.asked(message)
            case DevicesSaid():
                self._census.told(message)
            case SessionsRevoked(session_ids):
                self._hall.suspect_any_of(session_ids)
            case LibraryDeleted(library_id):
                self._hall.suspect_any_of((library_id,))

    def missed(self) -> None:
        """Anything may have been said meanwhile."""
        for room in self._rooms:
            if room.members:
                self._follower.behind(room)
                self._ask(room)
        self._hall.suspect(self._hall.devices)

    def _answer(self, library_id: UUID) -> None:
        self._asked.discard(library_id)
        if (room := self._rooms.get(library_id)) is not None and room.members:
            self._bus.publish(Advanced(library_id, room.head))  # so that whoever asked knows that the library is open here
            for user_id, entry in room.presence.here():
                assert isinstance(user_id, UUID)  # noqa: S101  # members' own; presence itself takes any
                self.say(room, user_id, [entry], False)

    def _shared(self, library_id: UUID) -> Room | None:
        """The room of a library that another process speaks of, if anybody is in it: from now on the others are told of it too."""
        room = self._rooms.get(library_id)
        if room is None or not room.members:
            return None
        room.shared_until = math.inf
        return room

    def _overhear(self, room: Room, sealed: bytes) -> None:
        try:
            said = room.key.open(sealed, presence_place(room.library_id))
            user_id, claimed, entries = (
                UUID(bytes=said[:_USER_BYTES]),
                said[_USER_BYTES : _USER_BYTES + 1] == _CLAIMED,
                decode(said[_USER_BYTES + 1 :]),
            )
            room.overhear(user_id, entries, self._hall.now(), claimed=claimed)
        except (SealBroken, CrdtError, ValueError) as error:
            self._foreign += 1
            if self._hall.now() >= self._complain_at:
                log.warning("presence_not_ours", library=str(room.library_id), error=type(error).__name__, messages=self._foreign)
                self._complain_at = self._hall.now() + COMPLAINT_SECONDS
                self._foreign = 0

    # --- what they are told

    def stored(self, room: Room) -> None:
        """The library's log has grown to the room's head."""
        # where nobody is in the room, nothing was asked or heard of it
        if not room.members or room.dropped or self._hall.now() < room.shared_until:
            self._bus.publish(Advanced(room.library_id, room.head))

    def occupied(self, room: Room) -> None:
        """The first device has come: hear of this library from now on."""
        room.say = self.say
        self._bus.follow(room.library_id)
        self._ask(room)

    def vacated(self, room: Room) -> None:
        """Nobody is here any more."""
        self._bus.unfollow(room.library_id)
        room.shared_until = 0.0

    def overtaken(self, room: Room) -> None:
        """Another process writes the library: have it know that it is open here."""
        self._bus.publish(Advanced(room.library_id, room.head))  # not a question: answers may be long, and the poll finds this often

    def _ask(self, room: Room) -> None:
        room.shared_until = max(room.shared_until, self._hall.now() + SHARED_SECONDS)
        self._bus.publish(PresenceAsked(room.library_id))

    def sessions_revoked(self, session_ids: Iterable[UUID]) -> None:
        """Close their sockets, wherever they are."""
        ended = tuple(session_ids)
        self._hall.close_sessions(ended)
        self._bus.publish(SessionsRevoked(ended))

    def library_deleted(self, library_id: UUID) -> None:
        """Close whoever has it open, wherever."""
        self._hall.close_library(library_id)
        self._bus.publish(LibraryDeleted(library_id))

    def say(self, room: Room, user_id: UUID, entries: Sequence[Entry], claimed: bool) -> None:
        """Who is present here: see `Room.say`."""
        if not self._bus.alone:
            said = user_id.bytes + (_CLAIMED if claimed else _RENEWED) + encode(entries)
            self._bus.publish(PresenceSaid(room.library_id, room.key.seal(said, presence_place(room.library_id))))
