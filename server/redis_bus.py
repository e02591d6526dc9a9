"""The bus over Redis' or Valkey's publish and subscribe: a channel for each library, so that a process hears only of what it follows.

Nothing is kept there and nothing is trusted to it. What breaks is not mended by the library but reported: a link that reconnected in
silence would lose messages without anybody asking the database.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import SecretStr
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from server.bus import LibraryDeleted, Message, SessionsRevoked, encode
from server.errors import ServerError
from server.queued_bus import LINK_SECONDS, Link, LinkFailed, QueuedBus

EVERYBODY = "promptsync"
"""The channel that every process hears."""
PACKET_BYTES = 1 << 20
"""Redis would take more; nobody's presence is so large, and a receiver reads it in one piece."""

# The library would otherwise make this logger itself and let it print whatever the server pushes.
logging.getLogger("push_response").setLevel(logging.WARNING)


class BadRedisAddress(ServerError):
    """The address of Redis cannot be read. The text does not show it: it may hold a password."""


def redis_bus(url: SecretStr, random_bytes: Callable[[int], bytes]) -> QueuedBus:
    """A bus between the processes that use this Redis. It takes two connections there while it runs.

    Raises:
        BadRedisAddress: `url` is no address.
    """
    check_address(url)

    async def connect(sender: bytes, take: Callable[[bytes], None]) -> Link:
        link = _RedisLink(_client(url), sender, take)
        try:
            await link.begin()
        except BaseException:
            await link.close()
            raise
        return link

    return QueuedBus(connect, packet_bytes=PACKET_BYTES, random_bytes=random_bytes)


def check_address(url: SecretStr) -> None:
    """Raise BadRedisAddress unless it can be read; whether anybody answers there is not asked."""
    try:
        known = urlsplit(url.get_secret_value()).scheme in ("redis", "rediss", "unix")
        _client(url)
    except (ValueError, TypeError):  # a port that is no number, an option that is none: the error's text would quote it
        known = False
    if not known:
        raise BadRedisAddress(
            "PROMPTSYNC_REDIS_URL is not redis://user:password@host:port, rediss://… or unix://…; special characters are percent-encoded"
        )


def _client(url: SecretStr) -> "Redis":
    return Redis.from_url(
        url.get_secret_value(), protocol=2, retry=Retry(NoBackoff(), 0), socket_connect_timeout=LINK_SECONDS, socket_timeout=LINK_SECONDS
    )


def _channel(message: Message) -> str:
    if isinstance(message, SessionsRevoked | LibraryDeleted):
        return EVERYBODY
    return _channel_of(message.library_id)


def _channel_of(library_id: UUID) -> str:
    return f"{EVERYBODY}:{library_id.hex}"


@contextmanager
def _told() -> Iterator[None]:
    """What the library and the network fail with, as LinkFailed."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise LinkFailed(type(error).__name__) from None


class _RedisLink:
    """Two connections: one is subscribed and read all the time, one publishes and asks."""

    def __init__(self, client: "Redis", sender: bytes, take: Callable[[bytes], None]) -> None:
        self._client = client
        self._pubsub: PubSub = client.pubsub()
        self._sender = sender
        self._take = take
        self._reader: asyncio.Task[None] | None = None
        self._pings: dict[bytes, asyncio.Future[None]] = {}
        self._number = 0
        self._ending = False

    async def begin(self) -> None:
        """Subscribe to what everybody hears, and read from then on."""
        with _told():
            await self._pubsub.subscribe(EVERYBODY)
        self._reader = asyncio.create_task(self._read())
        await self._passed()

    async def say(self, messages: Sequence[Message]) -> None:
        with _told():
            async with self._client.pipeline(transaction=False) as pipeline:
                for channel, group in groupby(messages, _channel) if messages else [(EVERYBODY, iter(()))]:
                    for packet in encode(list(group), self._sender, limit=PACKET_BYTES):
                        pipeline.publish(channel, packet)
                await pipeline.execute()

    async def others(self) -> int:
        await self._passed()  # an answer on the other connection says nothing about this one
        with _told():
            ((_, listening),) = await self._client.pubsub_numsub(EVERYBODY)
        return max(0, int(listening) - 1)

    async def hear(self, follow: Sequence[UUID], unfollow: Sequence[UUID]) -> None:
        with _told():
            if follow:
                await self._pubsub.subscribe(*map(_channel_of, follow))
            if unfollow:
                await self._pubsub.unsubscribe(*map(_channel_of, unfollow))
        await self._passed()

    async def broken(self) -> None:
        assert self._reader is not None  # noqa: S101  # `begin` has made it
        await asyncio.wait([self._reader])
        self._reader.result()

    async def close(self) -> None:
        if self._reader is not None:
            self._ending = True  # a cancellation may be lost on the way, see `queued_bus`
            self._reader.cancel()
            await asyncio.wait([self._reader], timeout=LINK_SECONDS)
        with suppress(RedisError, OSError, TimeoutError):
            await self._pubsub.aclose()  # type: ignore[no-untyped-call]  # the library's own
        with suppress(RedisError, OSError, TimeoutError):
            await self._client.aclose()

    async def _passed(self) -> None:
        """Wait for a ping's way there and back: what was asked on this connection before is in effect then."""
        self._number += 1
        token = str(self._number).encode()
        answer = self._pings[token] = asyncio.get_running_loop().create_future()
        try:
            with _told():
                await self._pubsub.ping(token.decode())
            await answer
        finally:
            self._pings.pop(token, None)

    async def _read(self) -> None:
        try:
            with _told():
                while not self._ending:
                    message = await self._pubsub.get_message(timeout=None)
                    if message is None:
                        continue
                    if message["type"] == "message":
                        self._take(message["data"])
                    elif message["type"] == "pong" and (answer := self._pings.get(message["data"])) is not None and not answer.done():
                        answer.set_result(None)
        except LinkFailed as error:
            for answer in self._pings.values():
                if not answer.done():
                    answer.set_exception(LinkFailed(str(error)))
            raise
