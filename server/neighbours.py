"""The neighbours: what the other processes say, and what this one tells them."""

import asyncio
from collections.abc import Iterable, Sequence
from uuid import UUID

import structlog

from crdt.errors import CrdtError
from crdt.presence import Entry, decode, encode
from server.bus import Advanced, Bus, LibraryDeleted, Message, PresenceAsked, PresenceSaid, SessionsRevoked
from server.follower import Follower
from server.queued_bus import COMPLAINT_SECONDS
from server.rooms import Room
from server.sockets import Hall
from storage.cipher import presence_place
from storage.errors import SealBroken

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 0.2
"""After this it is said who is present in a library, once to all who asked meanwhile: an answer may be a thousand messages."""

_USER_BYTES = 16
_CLAIMED, _RENEWED = b"\x01", b"\x00"


class Neighbours:
    """Between the bus and the rooms. What it is told is a hint, or was sealed with the library's own key: anybody may write to a bus."""

    def __init__(self, bus: Bus, hall: Hall, follower: Follower) -> None:
        self._bus = bus
        self._hall = hall
        self._rooms = hall.rooms
        self._follower = follower
        self._asked: set[UUID] = set()  # libraries of which it will be said who is present
        self._foreign = 0
        self._complain_at = 0.0

    # --- what they say

    def heard(self, message: Message) -> None:
        """Another process says so."""
        match message:
            case Advanced(library_id, seq):
                room = self._rooms.get(library_id)
                if room is not None and room.members and room.head < seq:
                    self._follower.behind(room)
            case PresenceSaid(library_id, sealed):
                self._overhear(library_id, sealed)
            case PresenceAsked(library_id):
                if library_id not in self._asked and self._rooms.get(library_id) is not None:
                    self._asked.add(library_id)
                    asyncio.get_running_loop().call_later(ANSWER_SECONDS, self._answer, library_id)
            case SessionsRevoked(session_ids):
                self._hall.suspect_any_of(session_ids)
            case LibraryDeleted(library_id):
                self._hall.suspect_any_of((library_id,))

    def missed(self) -> None:
        """Anything may have been said meanwhile."""
        for room in self._rooms:
            if room.members:
                self._follower.behind(room)
                self._bus.publish(PresenceAsked(room.library_id))
        self._hall.suspect(self._hall.devices)

    def _answer(self, library_id: UUID) -> None:
        self._asked.discard(library_id)
        if (room := self._rooms.get(library_id)) is not None:
            for user_id, entry in room.presence.here():
                assert isinstance(user_id, UUID)  # noqa: S101  # members' own; presence itself takes any
                self._say(room, user_id, [entry], False)

    def _overhear(self, library_id: UUID, sealed: bytes) -> None:
        room = self._rooms.get(library_id)
        if room is None or not room.members:
            return
        try:
            said = room.key.open(sealed, presence_place(library_id))
            user_id, claimed, entries = (
                UUID(bytes=said[:_USER_BYTES]),
                said[_USER_BYTES : _USER_BYTES + 1] == _CLAIMED,
                decode(said[_USER_BYTES + 1 :]),
            )
            room.overhear(user_id, entries, self._hall.now(), claimed=claimed)
        except (SealBroken, CrdtError, ValueError) as error:
            self._foreign += 1
            if self._hall.now() >= self._complain_at:
                log.warning("presence_not_ours", library=str(library_id), error=type(error).__name__, messages=self._foreign)
                self._complain_at = self._hall.now() + COMPLAINT_SECONDS
                self._foreign = 0

    # --- what they are told

    def stored(self, room: Room) -> None:
        """The library's log has grown to the room's head."""
        self._bus.publish(Advanced(room.library_id, room.head))

    def occupied(self, room: Room) -> None:
        """The first device has come: hear of this library from now on."""
        room.say = self._say
        self._bus.follow(room.library_id)
        self._bus.publish(PresenceAsked(room.library_id))

    def vacated(self, room: Room) -> None:
        """Nobody is here any more."""
        self._bus.unfollow(room.library_id)

    def sessions_revoked(self, session_ids: Iterable[UUID]) -> None:
        """Close their sockets, wherever they are."""
        ended = tuple(session_ids)
        self._hall.close_sessions(ended)
        self._bus.publish(SessionsRevoked(ended))

    def library_deleted(self, library_id: UUID) -> None:
        """Close whoever has it open, wherever."""
        self._hall.close_library(library_id)
        self._bus.publish(LibraryDeleted(library_id))

    def _say(self, room: Room, user_id: UUID, entries: Sequence[Entry], claimed: bool) -> None:
        if not self._bus.alone:
            said = user_id.bytes + (_CLAIMED if claimed else _RENEWED) + encode(entries)
            self._bus.publish(PresenceSaid(room.library_id, room.key.seal(said, presence_place(room.library_id))))
