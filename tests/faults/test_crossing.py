"""What must cross from one server process to the other: the end of a session, presence, deletion, and a gap that stays open."""

import asyncio
import random
import time
from collections.abc import Sequence
from functools import partial
from uuid import UUID

import pytest

from crdt.awareness import GONE, Entry, decode, encode
from crdt.knowledge import Knowledge
from crdt.replica import Replica
from crdt.updates import inspect, merge
from protocol import ysync
from protocol.closes import Close
from tests.faults.judge import Archive
from tests.faults.together import BUS
from tests.faults.writers import bystander, load, open_libraries, wait_for_acknowledgements
from tests.support.core import eventually, typed, typing
from tests.support.many import Fleet
from tests.support.server import Account, Server
from tests.support.wire_client import WireClient

pytestmark = pytest.mark.faults

REVOKED_SECONDS = 2.0
"""The promise: a revoked session's sockets close within this, on whichever process they are;"""
REVOKED_WITHOUT_BUS_SECONDS = 3.0
"""and within this when the bus has lost the message."""
SLACK_SECONDS = 0.5
"""For the test's own clock on a machine with less than a core for each process."""


def device(server: Server, account: Account, library: str | None = None, replica: Replica | None = None) -> WireClient:
    return WireClient(server.sync_url, library or account.library_id, account.sync_token, replica or Replica())


async def ask(server: Server, method: str, path: str, account: Account) -> int:
    return (await asyncio.to_thread(server.request, method, path, token=account.access_token))[0]


# --- sessions


async def seconds_to_the_close(two: Fleet) -> float:
    """A session signs out at one process while it has a socket at the other."""
    here, there = two.nodes
    account = await asyncio.to_thread(here.register)
    async with device(there, account) as wire:
        began = time.monotonic()
        assert await ask(here, "POST", "/api/auth/logout", account) == 204
        await wire.offline(within=10)
        took = time.monotonic() - began
    assert wire.close_code == Close.UNAUTHENTICATED
    return took


async def test_a_session_that_ends_at_one_process_is_closed_at_the_other(two: Fleet) -> None:
    took = await seconds_to_the_close(two)

    print(f"closed after {took:.2f} s")
    assert took < REVOKED_SECONDS + SLACK_SECONDS


async def test_a_session_that_ends_is_closed_elsewhere_without_a_bus(two: Fleet) -> None:
    for valve in two.valves:
        valve.refused.add(BUS)
        valve.cut(BUS)

    took = await seconds_to_the_close(two)

    print(f"closed after {took:.2f} s")
    assert took < REVOKED_WITHOUT_BUS_SECONDS + SLACK_SECONDS


# --- presence


def said(wire: WireClient) -> list[Entry]:
    return [entry for frame in wire.presence for entry in decode(frame)]


def was_told(wire: WireClient, client: int, state: str) -> bool:
    return any(entry.client == client and entry.state == state for entry in said(wire))


async def say(wire: WireClient, client: int, clock: int, state: str) -> None:
    await wire.send(ysync.encode_awareness(encode([Entry(client, clock, state)])))


async def test_presence_is_seen_at_the_other_process_and_ends_with_the_socket(two: Fleet) -> None:
    here, there = two.nodes
    account = await asyncio.to_thread(here.register)
    async with device(there, account) as watching:
        await say(watching, 22, 1, '{"name":"there"}')
        wire = await device(here, account).connect()
        await say(wire, 11, 1, '{"name":"here"}')

        await watching.until(partial(was_told, watching, 11, '{"name":"here"}'), what="presence from the other process")
        await wire.until(partial(was_told, wire, 22, '{"name":"there"}'), what="presence of who was there before")
        await wire.disconnect()
        await watching.until(partial(was_told, watching, 11, GONE), what="the end of presence at the other process")


async def test_presence_ends_with_its_process(two: Fleet) -> None:
    here, there = two.nodes
    account = await asyncio.to_thread(here.register)
    async with device(there, account) as watching:
        await say(watching, 22, 1, "{}")
        wire = await device(here, account).connect()
        await say(wire, 11, 1, '{"name":"here"}')
        await watching.until(partial(was_told, watching, 11, '{"name":"here"}'), what="presence from the other process")

        here.kill9()
        began = time.monotonic()
        await watching.until(partial(was_told, watching, 11, GONE), within=40, what="the end of presence of a dead process")

        print(f"gone after {time.monotonic() - began:.1f} s")
        await wire.disconnect()


# --- deletion


async def rows_of(two: Fleet, library: str) -> int:
    counts = await two.postgres.fetch(
        "SELECT (SELECT count(*) FROM updates WHERE library_id = $1) + (SELECT count(*) FROM snapshots WHERE library_id = $1)",
        UUID(library),
    )
    return int(counts[0][0])


async def test_a_library_deleted_under_its_devices_is_gone_at_both_processes(two: Fleet) -> None:
    here, there = two.nodes
    doomed, other = await open_libraries(2, here, there)
    async with bystander(there, here) as beside, load([doomed, other], random.Random(5)):
        await wait_for_acknowledgements([doomed, other], 100)
        assert await ask(here, "DELETE", f"/api/libraries/{doomed.id}", doomed.account) == 204
        for each in doomed.devices:
            await each.wire.offline(within=REVOKED_WITHOUT_BUS_SECONDS + SLACK_SECONDS)
        await wait_for_acknowledgements([other], 50)

    assert {each.wire.close_code for each in doomed.devices} == {Close.NOT_FOUND}
    for node in two.nodes:
        with pytest.raises(ConnectionError, match="4404"):
            await device(node, doomed.account, doomed.id).connect()
    for each in other.devices:
        assert each.wire.online
        await each.wire.disconnect()
    deadline = time.monotonic() + 60
    while left := await rows_of(two, doomed.id):
        assert time.monotonic() < deadline, f"{left} rows are left"
        await asyncio.sleep(0.1)
    print(f"bystander's p99 {beside.p99:.1f} ms")


# --- a gap

BEFORE, LATER, AFTER = (typed(letter, 77, clock) for clock, letter in enumerate("abc"))


async def stored_by(wire: WireClient, updates: Sequence[bytes]) -> None:
    for update in updates:
        await wire.push(update)
    await wire.confirmed()


async def compacted(two: Fleet, library: str) -> None:
    """Fold the library, until its snapshot reaches to its head: one of the processes may be at it."""

    async def reaches_the_head() -> bool:
        await two.command("compact", library)
        (row,) = await two.postgres.fetch(
            "SELECT head, (SELECT max(seq) FROM snapshots WHERE library_id = $1 AND verified_at IS NOT NULL) AS seq"
            " FROM libraries WHERE id = $1",
            UUID(library),
        )
        return bool(row["seq"] == row["head"])

    await eventually(reaches_the_head, "a snapshot of everything", within=30)


async def test_a_gap_stays_open_through_compaction_and_restart_until_it_is_filled(two: Fleet) -> None:
    here, there = two.nodes
    account = await asyncio.to_thread(here.register)
    library = account.library_id
    async with device(here, account) as sender:
        await stored_by(sender, [BEFORE, AFTER, *typing(78, 30)])
    await compacted(two, library)
    for node in (here, there):
        await node.stop()
        await node.again()

    async with device(there, account) as newcomer:
        assert newcomer.replica.waiting, "what lies behind the gap was given, and waits"
    given = merge(newcomer.shown)
    assert not _lacks(given, AFTER)
    assert _lacks(given, LATER)

    had_it = Replica()
    for update in (BEFORE, LATER):
        had_it.apply(update)
    async with device(here, account) as watching, device(there, account, replica=had_it):
        await watching.until(lambda: not watching.replica.waiting, what="the gap to be asked for and filled")
    held = (await Archive(two.postgres.dsn, two.keys).stored(library)).knowledge
    assert not held.adds(inspect(merge([BEFORE, LATER, AFTER])))


def _lacks(given: bytes, update: bytes) -> bool:
    held = Knowledge()
    held.learn(inspect(given))
    return held.adds(inspect(update))
