"""What waits for a device, a worker or the budget: bounded in memory, handled in order, and never all at once."""

import asyncio
from uuid import UUID

import pytest

from crdt.seed import SEED
from crdt.updates import EMPTY_STATE_VECTOR, Inspected, Limits, inspect
from protocol import ysync
from protocol.closes import Close
from server import intake, member
from server.rooms import Room
from tests.support.core import typed, typing, until
from tests.support.running import RawSocket, Running, User, closed, masked, next_update, running_server, undisturbed
from tests.support.wire_client import WireClient

pytestmark = pytest.mark.usefixtures("raw_sockets")


class Gate:
    """A server's loader that waits."""

    def __init__(self, server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened = asyncio.Event()
        self._load = server.app.shelf.room
        monkeypatch.setattr(server.app.rooms, "_load", self)

    async def __call__(self, library_id: UUID) -> Room:
        await self.opened.wait()
        return await self._load(library_id)


async def test_frames_without_content_count_while_a_room_is_being_opened(database_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_server(database_dsn, socket_inflight_bytes=100_000) as server:
        user, gate = await server.user(), Gate(server, monkeypatch)
        raw = await RawSocket.open(server.port, user.library_id, user.sync_token)
        raw.send(masked(ysync.KEEP_ALIVE) * 20_000)
        await until(lambda: any(device._intake.paused for device in server.stock), "a device that is not read from")
        gate.opened.set()
        raw.send(masked(ysync.encode_update(typed("a", 11, 0))))
        while (await raw.frame())[1] != ysync.encode_update(typed("a", 11, 0)):
            pass


async def test_frames_that_waited_are_handled_in_order_and_in_slices(database_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "SLICE_BYTES", 1_000)
    edits = typing(11, 500)
    async with running_server(database_dsn) as server:
        user, gate = await server.user(), Gate(server, monkeypatch)
        async with await server.socket(user) as socket:
            for edit in edits:
                await socket.send(ysync.encode_update(edit))
            await until(lambda: any(len(device._backlog) == 500 for device in server.stock), "all of them waiting")
            (device,) = server.stock
            gate.opened.set()
            turns = 0
            while len(device._backlog):
                turns += device.room is not None
                await asyncio.sleep(0)
            assert turns > 20
            assert [await next_update(socket) for _ in edits] == edits


async def test_large_updates_that_wait_for_a_worker_are_bounded(database_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_server(database_dsn, writer_queue_bytes=1 << 20) as server:
        user, free = await server.user(), asyncio.Event()

        async def slowly(update: bytes, limits: Limits) -> Inspected:
            if len(update) > len(SEED):
                await free.wait()
            return inspect(update, limits=limits)

        monkeypatch.setattr(server.app.workers, "inspect", slowly)
        update = typed("x" * 700_000, 11, 0)
        async with await server.socket(user) as first, await server.socket(user) as second:
            await first.send(ysync.encode_update(update))
            await until(lambda: server.app.hall.inspecting_bytes == len(update), "one at the worker")
            await second.send(ysync.encode_update(update))
            assert (await closed(second))[0] == Close.TRY_LATER
            free.set()
            assert await next_update(first) == update
        free.clear()
        async with await server.socket(user) as third:
            await third.send(ysync.encode_update(update))
            await until(lambda: bool(server.app.hall.inspecting_bytes), "one at the worker")
        await until(lambda: not server.app.hall.inspecting_bytes, "one that was given up")


async def test_devices_that_wait_for_the_budget_hold_no_copies(
    server: Running, user: User, bystander: WireClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bystander.push(bystander.replica.write_prompt("p", "x" * 300_000))
    await bystander.confirmed()
    async with server.device(user):
        pass  # the answer is in the cache now
    made: list[int] = []
    monkeypatch.setattr(member, "encode_step2", lambda answer: made.append(len(answer)) or ysync.encode_step2(answer))  # type: ignore[func-returns-value]
    budget = server.app.hall.opening_budget
    async with budget.taken(server.app.hall.settings.opening_bytes):
        waiting = [await RawSocket.open(server.port, user.library_id, user.sync_token) for _ in range(3)]
        for raw in waiting:
            raw.send(masked(ysync.encode_step1(EMPTY_STATE_VECTOR)))
        await until(lambda: len(budget._line) == 3, "three in line")
        assert not made
    for raw in waiting:
        while len((await raw.frame())[1]) < 300_000:
            pass
    await undisturbed(bystander)
