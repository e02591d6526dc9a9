"""What everybody in a room is sent, encoded once for each way in which its members write it.

A member writes the stock dialect, or `promptsync.v1` on a channel of its own number; most use the same few numbers.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from crdt.presence import Entry, encode
from protocol import messages, ysync
from protocol.session import frames
from server.wire import encode_frame

if TYPE_CHECKING:
    from server.rooms import Committed

MAX_PRESENCE_BYTES = 64 << 10
"""The most bytes of presence in one message of a channel; a single state that is larger by its head goes all the same."""
STOCK = None
"""The way of the stock dialect; any other is the number of a channel."""


class Updates:
    """Updates that were committed, in seq order."""

    __slots__ = ("_encoded", "items")

    def __init__(self, items: "Sequence[Committed]") -> None:
        self.items = items
        self._encoded: dict[int | None, bytes] = {}

    def frames(self, way: int | None) -> bytes:
        """All of them as WebSocket frames."""
        encoded = self._encoded.get(way)
        if encoded is None:
            encoded = self._encoded[way] = self._encode(way)
        return encoded

    def _encode(self, way: int | None) -> bytes:
        if way is not STOCK:
            return b"".join(update_frames(way, item.seq, item.update) for item in self.items)
        if len(self.items) == 1:
            return encode_frame(ysync.encode_update(self.items[0].update))
        return b"".join([encode_frame(ysync.encode_update(item.update)) for item in self.items])


class Shown:
    """Presence that has changed."""

    __slots__ = ("_encoded", "_entries")

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries
        self._encoded: dict[int | None, bytes] = {}

    def frames(self, way: int | None) -> bytes:
        """It as WebSocket frames: one, or for a channel several where it is too much for one message."""
        encoded = self._encoded.get(way)
        if encoded is None:
            if way is STOCK:
                messages_of_it = [ysync.encode_awareness(encode(self._entries))]
            else:
                messages_of_it = [message_of_presence(way, part) for part in _portions(self._entries)]
            encoded = self._encoded[way] = b"".join(map(encode_frame, messages_of_it))
        return encoded


def _portions(entries: Sequence[Entry]) -> Iterator[bytes]:
    """The entries encoded, as few times as the bound allows."""
    whole = encode(entries)
    if len(whole) <= MAX_PRESENCE_BYTES or len(entries) <= 1:
        yield whole
        return
    half = len(entries) // 2
    yield from _portions(entries[:half])
    yield from _portions(entries[half:])


def update_frames(channel: int, seq: int, update: bytes) -> bytes:
    """One update as the WebSocket frames of a channel."""
    return b"".join(map(encode_frame, frames(messages.Update(channel, seq, update))))


def message_of_presence(channel: int, entries: bytes) -> bytes:
    """Presence as a channel's message."""
    return next(iter(frames(messages.Presence(channel, entries))))
