"""How fast a socket may send: past it it is not read from for a while, and nothing of it is lost."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from protocol import ysync
from protocol.messages import Ack, Push
from server import intake, metrics
from server.intake import BURST_SECONDS, Allowance, Intake
from tests.support.core import typed, typing, until
from tests.support.link_client import link
from tests.support.running import Running, User, running_server

A_SECOND = 1 << 20
SHARE = A_SECOND // 50


class Wire:
    """Notes whether it is read from; twice the same is a mistake."""

    reading = True

    def pause(self) -> None:
        assert self.reading
        self.reading = False

    def resume(self) -> None:
        assert not self.reading
        self.reading = True


class Sender:
    """A socket whose clock is moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.clock_asked = 0
        self.timers: list[tuple[float, object]] = []
        monkeypatch.setattr(intake, "monotonic", self._clock)
        self.wire = Wire()
        self.intake = Intake(self.wire, 1_000, Allowance(A_SECOND, 50))  # type: ignore[arg-type]  # what it needs of one

    def _clock(self) -> float:
        self.clock_asked += 1
        return self.now

    def send(self, messages: int, nbytes: int = 0) -> None:
        for _ in range(messages):
            self.intake.spend(nbytes)


@pytest.fixture
def sender(monkeypatch: pytest.MonkeyPatch) -> Sender:
    monkeypatch.setattr(intake, "REST_SECONDS", 0.0)
    return Sender(monkeypatch)


async def test_within_the_allowance_not_even_the_clock_is_asked(sender: Sender) -> None:
    sender.send(BURST_SECONDS * 50)
    assert sender.wire.reading
    assert sender.clock_asked == 1


async def test_past_it_the_socket_rests_until_there_is_room(sender: Sender) -> None:
    before = metrics.limited.labels("socket")._value.get()
    sender.send(BURST_SECONDS * 50 + 2)
    assert not sender.wire.reading
    assert metrics.limited.labels("socket")._value.get() == before + 1
    sender.now += 2 * SHARE / A_SECOND
    await until(lambda: sender.wire.reading, "being read from again")
    sender.now += 10 * BURST_SECONDS
    sender.send(BURST_SECONDS * 50 + 2)
    assert not sender.wire.reading, "time has brought no more than may come at once"


async def test_bytes_count_like_messages(sender: Sender) -> None:
    sender.send(10, A_SECOND - SHARE)
    assert sender.wire.reading
    sender.send(1)
    assert not sender.wire.reading


async def test_as_long_as_it_owes_it_goes_on_resting(sender: Sender) -> None:
    sender.send(BURST_SECONDS * 50 + 5)
    await asyncio.sleep(0.15)  # past the time that was asked for, while its clock stands still
    assert not sender.wire.reading
    sender.now += 1
    await until(lambda: sender.wire.reading, "being read from again")


async def test_either_reason_alone_keeps_it_from_being_read(sender: Sender) -> None:
    sender.intake.add(2_000)
    sender.send(BURST_SECONDS * 50 + 1)
    assert not sender.wire.reading
    sender.intake.remove(2_000)
    assert not sender.wire.reading
    sender.intake.add(2_000)
    sender.now += 1
    await until(lambda: not sender.intake.resting, "having rested")
    assert not sender.wire.reading
    sender.intake.remove(2_000)
    assert sender.wire.reading


@pytest.fixture
async def slow(database_dsn: str) -> AsyncIterator[Running]:
    async with running_server(database_dsn, socket_updates_a_second=50, socket_bytes_a_second=A_SECOND) as server:
        yield server


async def test_a_flood_on_a_stock_socket_is_stored_to_its_end(slow: Running) -> None:
    user = await slow.user()
    edits = [typed(2_000 * "a", 11, 2_000 * number) for number in range(560)]  # more than one read brings
    socket = await slow.socket(user)
    for edit in edits:
        await socket.send(ysync.encode_update(edit))
    await until(lambda: any(device._intake.resting for device in slow.stock), "a socket that rests")
    await _stored(slow, user, edits)
    socket.transport.abort()  # it has not read its echoes


async def test_a_flood_on_the_other_dialect_is_acknowledged_to_its_end(slow: Running) -> None:
    user = await slow.user()
    edits = typing(11, 560)
    async with link(slow, user) as client:
        await client.open(1, user.library_id)
        for ref, edit in enumerate(edits):
            await client.send(Push(channel=1, ref=ref, update=edit))
        for ref in range(len(edits)):
            assert (await client.expect(Ack)).ref == ref
        await _stored(slow, user, edits)


async def _stored(server: Running, user: User, edits: list[bytes]) -> None:
    async with asyncio.timeout(20):
        while len(kept := await server.log(user.library_id)) <= len(edits):  # noqa: ASYNC110  # the database is asked
            await asyncio.sleep(0.05)
    assert [update for _, update in kept][-len(edits) :] == edits
