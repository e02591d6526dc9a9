"""Devices are sent away one after the other, a few at once, and nobody comes in meanwhile."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from protocol.closes import Close
from server.drain import CLOSES_A_SECOND, drain
from tests.support.core import until
from tests.support.running import Running, User, closed


@dataclass(eq=False)
class Device:
    hall: "Hall"
    at: float | None = None
    told: tuple[Close, str] | None = None

    @property
    def closed(self) -> bool:
        return self.at is not None

    def hang_up(self, code: Close, reason: str) -> None:
        assert not self.closed
        self.at, self.told = asyncio.get_running_loop().time(), (code, reason)
        if not self.hall.lingering:
            self.hall.devices.discard(self)


@dataclass
class Hall:
    lingering: bool
    devices: set[Any] = field(default_factory=set)
    draining: bool = False


@pytest.mark.parametrize("lingering", [False, True], ids=["devices go at once", "devices stay until they have answered"])
async def test_no_socket_is_closed_before_its_part_of_the_time_has_passed(lingering: bool) -> None:
    hall = Hall(lingering)
    devices = [Device(hall) for _ in range(60)]
    hall.devices |= set(devices)
    window = len(devices) / CLOSES_A_SECOND
    began = asyncio.get_running_loop().time()

    await drain(hall, 60.0)  # type: ignore[arg-type]  # all that is asked of a hall

    assert hall.draining
    assert {device.told for device in devices} == {(Close.RESTART, "the server restarts")}
    times = sorted(device.at - began for device in devices if device.at is not None)
    assert len(times) == len(devices)
    assert all(time >= window * place / len(devices) for place, time in enumerate(times))


async def test_the_time_is_bounded_however_many_there_are() -> None:
    hall = Hall(lingering=False)
    devices = [Device(hall) for _ in range(5000)]
    hall.devices |= set(devices)
    began = asyncio.get_running_loop().time()

    await drain(hall, 0.1)  # type: ignore[arg-type]  # as above

    times = sorted(device.at - began for device in devices if device.at is not None)
    assert not hall.devices
    assert all(time >= 0.1 * place / len(devices) for place, time in enumerate(times))


async def test_who_came_in_while_others_were_sent_away_is_sent_away_last() -> None:
    hall = Hall(lingering=False)
    hall.devices |= {Device(hall) for _ in range(20)}
    work = asyncio.create_task(drain(hall, 0.1))  # type: ignore[arg-type]  # as above
    await until(lambda: len(hall.devices) < 20, "the first close")
    late = Device(hall)
    hall.devices.add(late)
    await work

    assert late.closed
    assert not hall.devices


async def test_nobody_to_send_away_takes_no_time() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()

    await drain(Hall(lingering=False), 60.0)  # type: ignore[arg-type]  # as above

    assert loop.time() - began < 0.5


async def test_a_device_that_opens_while_the_server_drains_is_sent_elsewhere(server: Running, user: User) -> None:
    server.app.hall.draining = True
    try:
        socket = await server.socket(user)
        assert (await closed(socket))[0] == Close.RESTART
    finally:
        server.app.hall.draining = False
