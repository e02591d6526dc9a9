"""What everybody in a room is sent, encoded once for each way in which its members write it.

A member writes the stock dialect, or `promptsync.v1` on a channel of its own number; most use the same few numbers.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from crdt.presence import Entry, encode
from protocol import messages, ysync
from protocol.session import frames
from server.wire import encode_frame

if TYPE_CHECKING:
    from server.rooms import Committed

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
        self._entries = encode(entries)
        self._encoded: dict[int | None, bytes] = {}

    def frames(self, way: int | None) -> bytes:
        """It as a WebSocket frame."""
        encoded = self._encoded.get(way)
        if encoded is None:
            stock = way is STOCK
            message = ysync.encode_awareness(self._entries) if stock else message_of_presence(way, self._entries)
            encoded = self._encoded[way] = encode_frame(message)
        return encoded


def update_frames(channel: int, seq: int, update: bytes) -> bytes:
    """One update as the WebSocket frames of a channel."""
    return b"".join(map(encode_frame, frames(messages.Update(channel, seq, update))))


def message_of_presence(channel: int | None, entries: bytes) -> bytes:
    """Presence as a channel's message."""
    assert channel is not None  # noqa: S101  # not the stock dialect's way; tells the type checker
    return next(iter(frames(messages.Presence(channel, entries))))
