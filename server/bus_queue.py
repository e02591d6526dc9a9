"""What waits to be said to the other processes: bounded, each library's newest `Advanced` only."""

from collections import OrderedDict
from collections.abc import Hashable, Sequence

from server.bus import Advanced, Message, size_of

QUEUE_BYTES = 4 << 20
"""What may wait while the way to the others is broken or slow. Past it the oldest is dropped and counted: the others find out by asking the
database, as they do from time to time."""
ITEM_BYTES = 200
"""What a waiting message takes besides its own bytes, about."""


class BusQueue:
    """Messages in the order in which they were first said. An `Advanced` replaces the one of its library that still waits, in its place."""

    def __init__(self, limit: int = QUEUE_BYTES) -> None:
        self._limit = limit
        self._waiting: OrderedDict[Hashable, Message] = OrderedDict()
        self._bytes = 0
        self._number = 0
        self.dropped = 0
        """How many have been dropped so far."""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def nbytes(self) -> int:
        """What the queue holds, in bytes."""
        return self._bytes

    def put(self, message: Message) -> None:
        """Add it at the end."""
        if type(message) is Advanced:
            key: Hashable = message.library_id
            waiting = self._waiting.get(key)
            if waiting is not None:
                if type(waiting) is Advanced and waiting.seq < message.seq:
                    self._waiting[key] = message
                return
        else:
            key = self._number = self._number + 1
        self._waiting[key] = message
        self._bytes += size_of(message) + ITEM_BYTES
        while self._bytes > self._limit:
            self._drop_oldest()

    def take(self, limit: int) -> list[Message]:
        """The oldest messages, of up to `limit` bytes but at least one if there is any."""
        taken: list[Message] = []
        size = 0
        while self._waiting:
            key, message = next(iter(self._waiting.items()))
            size += size_of(message)
            if taken and size > limit:
                break
            del self._waiting[key]
            self._bytes -= size_of(message) + ITEM_BYTES
            taken.append(message)
        return taken

    def give_back(self, messages: Sequence[Message]) -> None:
        """Put what was taken, and may not have been heard, before everything else: hearing it twice does no harm."""
        later = self.take(self._bytes)
        for message in (*messages, *later):
            self.put(message)

    def _drop_oldest(self) -> None:
        _, message = self._waiting.popitem(last=False)
        self._bytes -= size_of(message) + ITEM_BYTES
        self.dropped += 1
