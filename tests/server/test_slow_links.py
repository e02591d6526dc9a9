"""Large messages over slow links: they take longer than a pong may, and whoever only trickles still goes."""

import asyncio

import pytest

from crdt.replica import Replica
from crdt.updates import EMPTY_STATE_VECTOR
from protocol import ysync
from server import wire
from tests.support.core import until
from tests.support.running import RawSocket, masked, running_server

pytestmark = [pytest.mark.usefixtures("raw_sockets"), pytest.mark.faults]  # they are about time, and need the machine to themselves

PING_SECONDS = 0.3
LARGE = "x" * (3 << 20)
PIECES = 40  # at one every 40 ms: five times as long as a pong may take


async def test_an_update_that_takes_longer_to_send_than_a_pong_may_take_is_stored(database_dsn: str) -> None:
    async with running_server(database_dsn, ping_seconds=PING_SECONDS) as server:
        user = await server.user()
        async with server.device(user) as bystander:
            raw = await RawSocket.open(server.port, user.library_id, user.sync_token)
            message = masked(ysync.encode_update(Replica().write_prompt("p", LARGE)))
            size = len(message) // PIECES + 1
            for start in range(0, len(message), size):
                raw.send(message[start : start + size])
                await asyncio.sleep(0.04)
            answering = asyncio.create_task(_answer_pings(raw))
            await bystander.until(lambda: "p" in bystander.replica.prompts())
            answering.cancel()


async def _answer_pings(raw: RawSocket) -> None:
    """As any client does once its own message no longer stands in the way."""
    while True:
        opcode, payload = await raw.frame()
        if opcode == 9:
            raw.send(masked(payload, opcode=10))


async def test_an_opening_answer_that_takes_longer_to_read_than_a_pong_may_take_arrives(database_dsn: str) -> None:
    async with running_server(database_dsn, ping_seconds=PING_SECONDS) as server:
        user = await server.user()
        async with server.device(user) as writer:
            await writer.push(writer.replica.write_prompt("p", LARGE))
            await writer.confirmed()
        raw = await RawSocket.open(server.port, user.library_id, user.sync_token, receive_buffer=1 << 16)
        raw.send(masked(ysync.encode_step1(EMPTY_STATE_VECTOR)))
        left = len(LARGE)
        while left > 0:
            read = await asyncio.wait_for(raw.reader.readexactly(min(left, len(LARGE) // PIECES)), 10)
            left -= len(read)
            await asyncio.sleep(0.04)


async def test_a_device_that_is_silent_or_trickles_is_dropped(database_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "SLOWEST_BYTES", 1 << 20)
    async with running_server(database_dsn, ping_seconds=PING_SECONDS) as server:
        user = await server.user()
        await RawSocket.open(server.port, user.library_id, user.sync_token)
        trickling = await RawSocket.open(server.port, user.library_id, user.sync_token)
        trickling.send(b"\x82\xff" + (1 << 20).to_bytes(8, "big") + bytes(4))
        await until(lambda: len(server.app.hall.devices) == 2, "both")

        async def trickle() -> None:
            while True:
                trickling.send(b"x")
                await asyncio.sleep(0.02)

        work = asyncio.create_task(trickle())
        await until(lambda: not server.app.hall.devices, "the end of both", within=5)
        work.cancel()
