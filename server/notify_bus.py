"""The bus over PostgreSQL's LISTEN and NOTIFY: nothing more to set up than the database there is anyway.

Every process hears everything, so a library is not subscribed to; what nobody here follows is dropped unread. Messages are gathered while
the last NOTIFY is under way, so there is at most one at a time from a process, however much it stores.
"""

import binascii
from collections.abc import Callable, Sequence
from uuid import UUID

from server.bus import Message, encode
from server.queued_bus import Link, LinkFailed, QueuedBus
from storage.errors import Unavailable
from storage.notifications import MAX_TEXT_BYTES, Notifications
from storage.pool import Database

CHANNEL = "promptsync"
PACKET_BYTES = MAX_TEXT_BYTES // 4 * 3
"""What fits into a notification as base64: it is text, and knows no zero byte."""


def notify_bus(database: Database, random_bytes: Callable[[int], bytes]) -> QueuedBus:
    """A bus between the processes on this database. It takes one connection while it runs."""

    async def connect(sender: bytes, take: Callable[[bytes], None]) -> Link:
        try:
            return _NotifyLink(await Notifications.listen(database, CHANNEL, lambda text: take(_packet(text))), sender)
        except Unavailable as error:
            raise LinkFailed(str(error)) from error

    return QueuedBus(connect, packet_bytes=PACKET_BYTES, random_bytes=random_bytes)


def _packet(text: str) -> bytes:
    """The packet in a notification; what is no base64 becomes what is no packet."""
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:  # a character outside ASCII among them
        return b""


class _NotifyLink:
    def __init__(self, notifications: Notifications, sender: bytes) -> None:
        self._notifications = notifications
        self._sender = sender

    async def say(self, messages: Sequence[Message]) -> None:
        packets = encode(messages, self._sender, limit=PACKET_BYTES)
        try:
            await self._notifications.notify([binascii.b2a_base64(packet, newline=False).decode() for packet in packets])
        except Unavailable as error:
            raise LinkFailed(str(error)) from error

    async def others(self) -> int:
        try:
            return await self._notifications.others()
        except Unavailable as error:
            raise LinkFailed(str(error)) from error

    async def hear(self, follow: Sequence[UUID], unfollow: Sequence[UUID]) -> None:
        return None

    async def broken(self) -> None:
        await self._notifications.ended()
        raise LinkFailed("the connection has ended")

    async def close(self) -> None:
        self._notifications.close()
