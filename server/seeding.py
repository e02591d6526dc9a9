"""Libraries from before there was a seed get it when they are opened: by the ordinary write path, and nobody waits for it."""

from crdt.seed import SEED
from crdt.updates import inspect
from server.batch import Entry, Refusal
from server.rooms import Room
from server.writer import Writer

INSPECTED = inspect(SEED)


class Seeding:
    """Hands the seed to the writer for rooms that lack it.

    What cannot be stored now comes at a later opening; what somebody else has stored meanwhile adds nothing, and is not stored again.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._handed: set[Room] = set()  # at most one a room: while nothing can be stored, many may come back to it

    def complete(self, room: Room) -> None:
        """Let the room get what it lacks of the seed, soon after. Never raises, and does not wait."""
        if room not in self._handed and room.knowledge.adds(INSPECTED):
            self._handed.add(room)
            self._writer.submit(Entry(room, SEED, INSPECTED, None, True, self))

    def stored(self, entry: Entry, seq: int) -> None:
        self._handed.discard(entry.room)

    def redundant(self, entry: Entry, head: int) -> None:
        self._handed.discard(entry.room)

    def refused(self, entry: Entry, refusal: Refusal) -> None:
        self._handed.discard(entry.room)
