"""What a bus promises, asked of both kinds with their real servers: PostgreSQL's notifications, and Redis."""

import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol
from uuid import UUID, uuid4

import asyncpg
import pytest
import structlog
from pydantic import SecretStr
from redis.asyncio import Redis

from server import metrics, queued_bus
from server.bus import Advanced, DevicesAsked, DevicesSaid, LibraryDeleted, Message, PresenceAsked, PresenceSaid, SessionsRevoked
from server.buses import make_bus
from server.config import load_settings
from server.notify_bus import CHANNEL
from server.queued_bus import QueuedBus
from server.redis_bus import EVERYBODY, BadRedisAddress
from storage.pool import Database
from tests.support.core import eventually, until
from tests.support.cutting_proxy import cutting_proxy
from tests.support.redis import RedisServer, need_redis


class Ear:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.misses = 0

    def heard(self, message: Message) -> None:
        self.messages.append(message)

    def missed(self) -> None:
        self.misses += 1


class Carrier(Protocol):
    """What carries the messages, and what can happen to it."""

    def bus(self) -> QueuedBus: ...
    async def cut(self) -> None:
        """Every connection breaks; new ones can be made."""

    async def go_away(self) -> None: ...
    async def come_back(self) -> None: ...
    async def say_junk(self, junk: bytes) -> None:
        """A foreign sender says something on our channel."""


class Postgres:
    def __init__(self, dsn: str, proxy: Any) -> None:
        self._dsn = dsn
        self._proxy = proxy

    def bus(self) -> QueuedBus:
        bus = make_bus(load_settings(), Database(self._proxy.dsn, size=2))
        assert isinstance(bus, QueuedBus)
        return bus

    async def _execute(self, statement: str, *arguments: object) -> None:
        connection = await asyncpg.connect(self._dsn)
        await connection.execute(statement, *arguments)
        await connection.close()

    async def cut(self) -> None:
        await self._execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'promptsync bus'")

    async def go_away(self) -> None:
        self._proxy.refusing = True
        self._proxy.cut_all()

    async def come_back(self) -> None:
        self._proxy.refusing = False

    async def say_junk(self, junk: bytes) -> None:
        await self._execute("SELECT pg_notify($1, $2)", CHANNEL, junk.decode("latin-1").replace("\0", "é"))


class RedisCarrier:
    def __init__(self, dsn: str, server: RedisServer) -> None:
        self._dsn = dsn
        self._server = server

    def bus(self) -> QueuedBus:
        bus = make_bus(load_settings(redis_url=SecretStr(self._server.url)), Database(self._dsn, size=2))
        assert isinstance(bus, QueuedBus)
        return bus

    async def cut(self) -> None:
        async with Redis.from_url(self._server.url) as client:
            for kind in ("pubsub", "normal"):
                await client.client_kill_filter(_type=kind, skipme=True)

    async def go_away(self) -> None:
        self._server.kill()

    async def come_back(self) -> None:
        self._server.start()

    async def say_junk(self, junk: bytes) -> None:
        async with Redis.from_url(self._server.url) as client:
            await client.publish(EVERYBODY, junk)


@pytest.fixture(params=["notify", "redis"])
async def carrier(request: pytest.FixtureRequest, database_dsn: str) -> AsyncIterator[Carrier]:
    if request.param == "notify":
        async with cutting_proxy(database_dsn) as proxy:
            yield Postgres(database_dsn, proxy)
    else:
        need_redis()
        with RedisServer() as server:
            yield RedisCarrier(database_dsn, server)


@asynccontextmanager
async def running(bus: QueuedBus) -> AsyncIterator[Ear]:
    """The bus at work and connected, with what is heard on it."""
    ear = Ear()
    work = asyncio.create_task(bus.run(ear))
    try:
        await until(lambda: ear.misses > 0, "a connected bus")
        yield ear
    finally:
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work


async def test_every_kind_of_message_reaches_the_others_and_never_oneself(carrier: Carrier) -> None:
    library = uuid4()
    one, two, three = carrier.bus(), carrier.bus(), carrier.bus()
    said: list[Message] = [
        Advanced(library, 7),
        PresenceAsked(library),
        PresenceSaid(library, os.urandom(300)),
        SessionsRevoked((uuid4(), uuid4())),
        LibraryDeleted(library),
        DevicesAsked(library, os.urandom(16), True),
        DevicesAsked(library, os.urandom(16), False),
        DevicesSaid(library, os.urandom(16), os.urandom(300)),
    ]
    async with running(one) as own, running(two) as other, running(three) as third:
        await until(lambda: not one.alone, "company")
        for bus in (one, two, three):
            bus.follow(library)
        await in_effect(one, other, library)
        await in_effect(one, third, library)
        other.messages.clear()
        for message in said:
            one.publish(message)
        for ear in (other, third):
            await until(lambda ear=ear: len(ear.messages) >= len(said), "the messages")  # type: ignore[misc]  # a default binds the name

        assert other.messages == said
        assert third.messages == said
        assert own.messages == []


async def in_effect(speaker: QueuedBus, ear: Ear, *libraries: UUID) -> None:
    """Wait until `ear` hears of these libraries, and nothing more is on its way."""
    for library in libraries:

        async def asked(library: UUID = library) -> bool:
            speaker.publish(PresenceAsked(library))
            return PresenceAsked(library) in ear.messages

        await eventually(asked, "a subscription")
    last = LibraryDeleted(uuid4())
    speaker.publish(last)
    await until(lambda: last in ear.messages, "the last of the questions")
    ear.messages.clear()


async def test_order_is_kept_for_a_library_and_between_kinds(carrier: Carrier) -> None:
    library = uuid4()
    one, two = carrier.bus(), carrier.bus()
    async with running(one), running(two) as other:
        await until(lambda: not one.alone, "company")
        two.follow(library)
        await in_effect(one, other, library)
        said: list[Message] = []
        for number in range(300):
            said += [PresenceSaid(library, number.to_bytes(2, "big") * 100), SessionsRevoked((uuid4(),))]
        for message in said:
            one.publish(message)
        await until(lambda: len(other.messages) == len(said), "all messages")

        assert other.messages == said


async def test_what_a_library_wrote_meanwhile_is_said_once_and_costs_microseconds(carrier: Carrier) -> None:
    libraries = [uuid4() for _ in range(50)]
    one, two = carrier.bus(), carrier.bus()
    async with running(one), running(two) as other:
        await until(lambda: not one.alone, "company")
        for library in libraries:
            two.follow(library)
        await in_effect(one, other, *libraries)
        began = time.perf_counter()
        for seq in range(1, 401):
            for library in libraries:
                one.publish(Advanced(library, seq))
        each = (time.perf_counter() - began) / 20_000
        await until(lambda: {Advanced(library, 400) for library in libraries} <= set(other.messages), "the newest")

        assert len(other.messages) == 50, "no other turn of the loop was in between"
        assert each < 50e-6


async def test_a_library_is_heard_of_only_while_it_is_followed(carrier: Carrier) -> None:
    followed, other_library = uuid4(), uuid4()
    one, two = carrier.bus(), carrier.bus()
    async with running(one), running(two) as other:
        await until(lambda: not one.alone, "company")
        two.follow(followed)
        await in_effect(one, other, followed)
        one.publish(Advanced(other_library, 1))
        one.publish(Advanced(followed, 1))
        await until(lambda: len(other.messages) == 1, "the one message")
        two.unfollow(followed)
        two.follow(other_library)
        await in_effect(one, other, other_library)
        one.publish(Advanced(followed, 2))
        one.publish(LibraryDeleted(other_library))
        await until(lambda: len(other.messages) > 0, "what everybody hears")

        assert other.messages == [LibraryDeleted(other_library)]


async def test_what_is_asked_after_following_is_answered_to_somebody_who_hears(carrier: Carrier) -> None:
    """The first thing a process does with a library: follow it, ask who is there, and hear the answer."""
    one, two = carrier.bus(), carrier.bus()

    async with running(one) as asking, running(two) as asked:
        await until(lambda: not one.alone and not two.alone, "company")
        for number in range(20):
            library = uuid4()
            two.follow(library)
            await in_effect(one, asked, library)
            one.follow(library)
            one.publish(PresenceAsked(library))
            await until(lambda: len(asked.messages) == 1, "the question")
            two.publish(PresenceSaid(library, b"here"))
            await until(lambda number=number: len(asking.messages) == number + 1, "the answer")  # type: ignore[misc]  # as above


def presence(library: UUID, bus: QueuedBus, more: int) -> Message:
    return PresenceSaid(library, os.urandom(bus.presence_bytes + more))


def devices(library: UUID, bus: QueuedBus, more: int) -> Message:
    return DevicesSaid(library, os.urandom(16), os.urandom(bus.devices_bytes + more))


@pytest.mark.parametrize("made", [presence, devices])
async def test_sealed_bytes_of_any_size_allowed_come_through_and_one_more_is_counted(
    carrier: Carrier, made: Callable[[UUID, QueuedBus, int], Message]
) -> None:
    library = uuid4()
    one, two = carrier.bus(), carrier.bus()
    async with running(one), running(two) as other:
        await until(lambda: not one.alone, "company")
        two.follow(library)
        await in_effect(one, other, library)
        largest = made(library, one, 0)
        before = metrics.bus_dropped.labels("oversized")._value.get()
        one.publish(made(library, one, 1))
        one.publish(largest)
        one.publish(LibraryDeleted(library))
        await until(lambda: len(other.messages) == 2, "what fits")

        assert other.messages == [largest, LibraryDeleted(library)]
        assert metrics.bus_dropped.labels("oversized")._value.get() == before + 1


async def test_alone_nothing_is_kept_nor_said_until_somebody_comes_and_after_everybody_left(carrier: Carrier) -> None:
    library = uuid4()
    one, two = carrier.bus(), carrier.bus()
    async with running(one):
        await until(lambda: one.alone, "solitude")
        one.publish(Advanced(library, 1))
        one.publish(PresenceSaid(library, b"x"))
        assert len(one._queue) == 0
        async with running(two):
            await until(lambda: not one.alone, "a hello", within=0.5)
            assert not two.alone
        await until(lambda: one.alone, "solitude again")


async def test_a_broken_connection_is_made_again_and_said_so(carrier: Carrier) -> None:
    library = uuid4()
    one, two = carrier.bus(), carrier.bus()
    async with running(one) as own, running(two) as other:
        two.follow(library)
        await in_effect(one, other, library)
        await carrier.cut()
        await until(lambda: own.misses > 1 and other.misses > 1, "both told that they may have missed something")
        await until(lambda: not one.alone, "company")
        one.publish(Advanced(library, 1))
        await until(lambda: other.messages == [Advanced(library, 1)], "a message on the new connection")


async def test_what_is_said_while_the_way_is_broken_is_said_when_it_is_back(carrier: Carrier) -> None:
    library = uuid4()
    one, two = carrier.bus(), carrier.bus()
    async with running(one) as own, running(two) as other:
        await until(lambda: not one.alone, "company")
        two.follow(library)
        await in_effect(one, other, library)
        await carrier.go_away()
        session = uuid4()

        async def noticed() -> bool:
            one.publish(Advanced(library, 1))
            return one._away and two._away

        await eventually(noticed, "both noticing")
        one.publish(Advanced(library, 2))
        one.publish(SessionsRevoked((session,)))
        one.publish(Advanced(library, 3))
        await carrier.come_back()
        await until(lambda: own.misses > 1 and other.misses > 1, "the way back")
        one.publish(Advanced(library, 4))
        await until(lambda: Advanced(library, 4) in other.messages, "a message on the new connection")
        await until(lambda: one._queue.nbytes == 0, "an empty queue")


async def test_what_waits_is_bounded_while_the_way_is_broken(carrier: Carrier) -> None:
    bus = carrier.bus()
    for _ in range(3000):
        bus.publish(PresenceSaid(uuid4(), bytes(4000)))

    assert bus._queue.nbytes <= 4 << 20


async def test_junk_on_the_channel_is_dropped_counted_and_told_of_once(carrier: Carrier) -> None:
    library = uuid4()
    one, two = carrier.bus(), carrier.bus()
    async with running(one), running(two) as other:
        await until(lambda: not one.alone, "company")
        two.follow(library)
        await in_effect(one, other, library)
        with structlog.testing.capture_logs() as lines:
            for junk in (b"", b"hello", os.urandom(50), b"\xb1" + bytes(15), b"\xb1" * 200, b"SECRET" * 500):
                await carrier.say_junk(junk)
            one.publish(Advanced(library, 1))
            await until(lambda: other.messages == [Advanced(library, 1)], "an ordinary message")

        complaints = [line for line in lines if line["event"] == "bus_junk"]
        assert len(complaints) == 2, "one from each of the two"
        assert "SECRET" not in str(lines)


async def test_a_listener_that_fails_hears_the_next_message(carrier: Carrier) -> None:
    one, two = carrier.bus(), carrier.bus()

    class Failing(Ear):
        def heard(self, message: Message) -> None:
            super().heard(message)
            raise RuntimeError("it fails")

    ear = Failing()
    work = asyncio.create_task(two.run(ear))
    async with running(one):
        await until(lambda: ear.misses > 0 and not one.alone, "two buses")
        for _ in range(3):
            one.publish(LibraryDeleted(uuid4()))
        await until(lambda: len(ear.messages) == 3, "all messages")
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work


async def test_a_bus_in_full_use_stays_connected_and_ends_whenever_it_is_told(carrier: Carrier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queued_bus, "COUNT_SECONDS", 0.001)  # it asks who is there all the while
    libraries = [uuid4() for _ in range(20)]
    numbers = random.Random(7)
    for _ in range(20):
        bus, ear = carrier.bus(), Ear()
        work = asyncio.create_task(bus.run(ear))
        await until(lambda ear=ear: ear.misses > 0, "a connected bus")  # type: ignore[misc]  # a default binds the name
        for number in range(numbers.randrange(20)):
            bus.alone = False
            for library in libraries:
                bus.publish(Advanced(library, number))
            bus.follow(uuid4())
            await asyncio.sleep(0.001 * numbers.random())

        work.cancel()
        done, _ = await asyncio.wait([work], timeout=5)

        assert done, "it does not end"
        assert ear.misses == 1, "it was disconnected"


@pytest.mark.parametrize("url", ["redis://u:SECRET@h:port", "http://:SECRET@h", "redis://:SECRET/x@h", "SECRET"])
def test_an_address_that_cannot_be_read_is_refused_without_being_shown(url: str, database_dsn: str) -> None:
    with pytest.raises(BadRedisAddress, match="PROMPTSYNC_REDIS_URL") as refused:
        make_bus(load_settings(redis_url=SecretStr(url)), None)  # type: ignore[arg-type]  # it is not asked

    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize("away", [False, True], ids=["a wrong password", "no server"])
async def test_a_password_is_in_no_log_line(away: bool, database_dsn: str, capfd: pytest.CaptureFixture[str]) -> None:
    need_redis()
    with RedisServer(password="other") as server, structlog.testing.capture_logs() as lines:
        if away:
            server.kill()
        url = server.url.replace("unix://", "unix://somebody:SECRET@")
        bus = make_bus(load_settings(redis_url=SecretStr(url)), Database(database_dsn, size=2))
        work = asyncio.create_task(bus.run(Ear()))
        await until(lambda: any(line["event"] == "bus_away" for line in lines), "a refusal")
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work

    assert "SECRET" not in f"{lines}{capfd.readouterr()}"


async def test_what_is_said_when_alone_is_not_even_queued(database_dsn: str) -> None:
    bus = make_bus(load_settings(), Database(database_dsn, size=2))
    assert isinstance(bus, QueuedBus)
    bus.alone = True
    bus.publish(Advanced(uuid4(), 1))
    assert len(bus._queue) == 0
