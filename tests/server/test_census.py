"""Who has a library open, over two processes: asked and answered on the bus, sealed, bounded, and waited for only where it may help."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from protocol import ysync
from server import census, metrics, status
from server.bus import DevicesAsked, DevicesSaid
from server.roster import pack
from storage.cipher import OVERHEAD_BYTES, devices_place
from tests.support.born import BORN
from tests.support.core import until
from tests.support.database import Databases
from tests.support.pair import Pair, noted, running_pair
from tests.support.running import RawSocket, masked


@pytest.fixture(scope="module")
async def servers(databases: Databases, template_database: str) -> AsyncIterator[Pair]:
    async with running_pair(databases, template_database) as pair:
        yield pair


@pytest.fixture
async def pair(servers: Pair) -> Pair:
    """The two, and a new user."""
    return Pair(servers.one, servers.other, await servers.one.user())


@pytest.fixture
async def client(pair: Pair) -> AsyncIterator[httpx2.AsyncClient]:
    async with pair.one.http(pair.user) as client:
        yield client


async def only(client: httpx2.AsyncClient) -> dict[str, Any]:
    answer = await client.get("/api/sync/status")
    assert answer.status_code == 200, answer.text
    (found,) = answer.json()["libraries"]
    assert isinstance(found, dict)
    return found


async def force(client: httpx2.AsyncClient) -> dict[str, Any]:
    answer = await client.post("/api/sync/force")
    assert answer.status_code == 200, answer.text
    forced: dict[str, Any] = answer.json()
    return forced


async def test_devices_of_another_process_are_listed_whether_or_not_one_is_here(pair: Pair, client: httpx2.AsyncClient) -> None:
    async with pair.other.device(pair.user):
        (there,) = (await only(client))["devices"]
        assert (there["device_name"], there["platform"], there["may_write"], there["dialect"]) == ("test", "test", True, "yjs")
        async with pair.one.device(pair.user):
            assert len((await only(client))["devices"]) == 2
    await until(lambda: not pair.other.app.hall.devices, "the devices to go")
    assert (await only(client))["devices"] == []


async def test_several_may_ask_at_once_and_nothing_is_followed_afterwards(pair: Pair, client: httpx2.AsyncClient) -> None:
    async with pair.other.device(pair.user):
        found = await asyncio.gather(*(only(client) for _ in range(8)))
        assert [len(each["devices"]) for each in found] == [1] * 8
    assert not pair.one.app.census._questions
    assert not pair.one.app.census._hearing
    assert pair.user.library_id not in pair.one.app.bus._followed  # type: ignore[attr-defined]  # the queued bus has it


async def test_a_library_that_is_open_here_alone_is_answered_at_once(
    pair: Pair, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair.one.device(pair.user):
        room = pair.one.app.rooms.get(pair.user.library_id)
        assert room is not None
        room.shared_until = 0.0  # as it is SHARED_SECONDS after it was opened
        said = noted(pair, monkeypatch)
        monkeypatch.setattr(census, "OTHERS_SECONDS", 30.0)
        monkeypatch.setattr(status, "OTHERS_SECONDS", 30.0)
        assert len((await asyncio.wait_for(only(client), 5))["devices"]) == 1
        assert not [message for message in said if isinstance(message, DevicesAsked)]


async def test_others_are_not_waited_for_longer_than_half_a_second(pair: Pair, client: httpx2.AsyncClient) -> None:
    began = time.monotonic()
    await only(client)
    assert census.OTHERS_SECONDS <= 0.5
    assert time.monotonic() - began < census.OTHERS_SECONDS + 1


async def test_devices_of_another_process_bring_what_they_have_not_sent(pair: Pair, client: httpx2.AsyncClient) -> None:
    async with pair.other.device(pair.user) as device, pair.one.device(pair.user) as here:
        device.replica.write_prompt("p", "never sent")
        here.replica.write_prompt("q", "nor this")
        forced = await force(client)
        for each in (device, here):
            await each.until(lambda each=each: set(each.replica.prompts()) == {"p", "q"})  # type: ignore[misc]  # a default binds it
    (found,) = forced["libraries"]
    assert forced["unfinished"] == []
    assert (found["head"], found["snapshot"]["seq"], found["tail"]["updates"], len(found["devices"])) == (BORN + 2, BORN + 2, 0, 2)


@pytest.mark.usefixtures("raw_sockets")
async def test_a_device_of_another_process_that_does_not_answer_is_said_to_be_silent(
    pair: Pair, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(census, "EXCHANGE_SECONDS", 0.7)
    frozen = await RawSocket.open(pair.other.port, pair.user.library_id, pair.user.sync_token)
    frozen.send(masked(ysync.encode_step1(b"\x00")))
    await until(lambda: bool(pair.other.app.hall.devices), "the device")
    forced = await asyncio.wait_for(force(client), status.DEVICES_SECONDS)
    assert [(each["what"], each["devices"]) for each in forced["unfinished"]] == [("devices", 1)]
    assert len(forced["libraries"][0]["devices"]) == 1


@pytest.mark.usefixtures("raw_sockets")
async def test_a_process_that_does_not_finish_in_time_is_not_waited_for(
    pair: Pair, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "DEVICES_SECONDS", 0.8)
    frozen = await RawSocket.open(pair.other.port, pair.user.library_id, pair.user.sync_token)
    frozen.send(masked(ysync.encode_step1(b"\x00")))
    await until(lambda: bool(pair.other.app.hall.devices), "the device")
    forced = await asyncio.wait_for(force(client), 5)
    assert [(each["what"], each["devices"]) for each in forced["unfinished"]] == [("devices", 1)]


async def test_a_list_that_does_not_fit_is_cut_and_that_is_said(
    pair: Pair, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair.other.app.bus, "devices_bytes", OVERHEAD_BYTES + 17 + 60)
    async with pair.other.device(pair.user), pair.other.device(pair.user):
        found = await only(client)
    assert (len(found["devices"]), found["devices_cut"]) == (1, True)


async def test_answers_that_are_forged_damaged_or_to_another_question_are_dropped_and_counted(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(census, "OTHERS_SECONDS", 30.0)
    app, library_id = pair.one.app, pair.user.library_id
    room = await app.rooms.open(library_id)
    asking = asyncio.create_task(app.census.take({library_id: room.key}, exchange=False, within=30))
    await until(lambda: bool(app.census._questions), "the question")
    (((_, number), question),) = app.census._questions.items()
    roster, place = pack(bytes(16), [], more=False, limit=100), devices_place(library_id, number)
    before = metrics.bus_dropped.labels("not_ours")._value.get()
    junk = [
        bytes(64),
        b"",
        os.urandom(200),
        room.key.seal(roster, devices_place(library_id, bytes(16))),  # an answer from earlier
        room.key.seal(roster[:5], place),
        room.key.seal(roster + b"x", place),
    ]
    for sealed in junk:
        pair.other.app.bus.publish(DevicesSaid(library_id, number, sealed))
        app.census.told(DevicesSaid(library_id, bytes(16), sealed))  # nobody has asked that
    await until(lambda: metrics.bus_dropped.labels("not_ours")._value.get() == before + len(junk), "all of them")
    assert question.answers == {}
    pair.other.app.bus.publish(DevicesSaid(library_id, number, room.key.seal(roster, place)))
    await until(lambda: bool(question.answers), "a good one")
    asking.cancel()
    await asyncio.wait([asking])
    assert not app.census._questions


async def test_who_floods_with_questions_costs_little(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    library_id = pair.user.library_id
    async with pair.one.device(pair.user):
        said, before = noted(pair, monkeypatch), metrics.bus_dropped.labels("questions")._value.get()
        for _ in range(100):
            pair.one.app.census.asked(DevicesAsked(library_id, os.urandom(16), True))
        twice = 2 * census.MAX_QUESTIONS
        await until(lambda: sum(isinstance(message, DevicesSaid) for message in said) == twice, "the answers")
        assert metrics.bus_dropped.labels("questions")._value.get() == before + 100 - census.MAX_QUESTIONS


async def test_a_question_about_a_library_that_nobody_has_open_is_not_answered(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    said = noted(pair, monkeypatch)
    await pair.one.app.rooms.open(pair.user.library_id)
    pair.one.app.census.asked(DevicesAsked(pair.user.library_id, os.urandom(16), True))
    assert not pair.one.app.census._waiting
    assert said == []
