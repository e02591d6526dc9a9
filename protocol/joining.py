"""Joining the parts that updates come in."""

from protocol.closes import Close
from protocol.errors import ProtocolError
from protocol.messages import Part

PART_OVERHEAD = 128
"""What a part counts besides its bytes, so that empty ones run into the bound too."""


class Joiner:
    """Holds the parts that have come until the message that ends them, `max_bytes` of them at most, over all channels."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._parts: dict[tuple[int, int], list[bytes]] = {}
        self.nbytes = 0

    def add(self, part: Part) -> None:
        """Keep a part. Raises ProtocolError past the bound."""
        size = len(part.content) + PART_OVERHEAD
        if self.nbytes + size > self._max_bytes:
            raise ProtocolError(f"parts of more than {self._max_bytes} bytes", Close.TOO_LARGE)
        self._parts.setdefault((part.channel, part.number), []).append(part.content)
        self.nbytes += size

    def whole(self, channel: int, number: int, last: bytes) -> bytes:
        """The update whose last bytes have come; they are all of it where no parts came."""
        parts = self._parts.pop((channel, number), None)
        if parts is None:
            return last
        self.nbytes -= _size(parts)
        return b"".join([*parts, last])

    def forget(self, channel: int) -> None:
        """The channel is closed: nothing ends its parts any more."""
        for place in [place for place in self._parts if place[0] == channel]:
            self.nbytes -= _size(self._parts.pop(place))

    def clear(self) -> None:
        """The socket is gone."""
        self._parts.clear()
        self.nbytes = 0


def _size(parts: list[bytes]) -> int:
    return sum(len(part) + PART_OVERHEAD for part in parts)
