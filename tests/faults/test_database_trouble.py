"""A PostgreSQL in trouble stops acknowledgements and loses nothing: what was taken is stored, once, when it is back."""

import random
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from protocol.closes import Close
from server import lane, metrics
from tests.support.core import Core, core, eventually, typed, typing, until
from tests.support.running import Running, running_server
from tests.support.stalling_proxy import Cut, StallingProxy, stalling_proxy
from tests.support.troubled import CAN_MOUNT, Troubled, troubled
from tests.support.wire_client import WireClient

pytestmark = pytest.mark.faults

KINDS = (
    "stalled",
    "stalled on the way there",
    "stalled on the way back",
    "away",
    "killed",
    "restarted",
    "read-only",
    "full",
    "full with its journal",
    "frozen writers",
    "frozen",
)
NOTICED = {"away", "killed", "restarted", "read-only", "full", "full with its journal"}
"""Troubles in which PostgreSQL, or the connection, says no; in the others there is no answer for a while."""
LONG = "x" * 100_000
"""A text that does not fit into what room pages may have left."""


@pytest.fixture(scope="module")
async def trouble() -> AsyncIterator[Troubled]:
    async with troubled(stalling_proxy) as made:
        yield made


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A silent database is given up after a second instead of fifteen."""
    monkeypatch.setitem(lane.COMMAND_SECONDS, "small", 1.0)
    monkeypatch.setitem(lane.COMMAND_SECONDS, "large", 1.0)


async def is_ready(server: Running) -> bool:
    async with server.http() as client:
        return (await client.get("/readyz")).status_code == 200


async def until_ready(server: Running, ready: bool) -> None:
    async def so() -> bool:
        return await is_ready(server) is ready

    await eventually(so, f"readiness {ready}", within=30)


def failing_since() -> float:
    return metrics.registry.get_sample_value("promptsync_storing_failed_since_seconds", {"lane": "small"}) or 0.0


async def rows_of(trouble: Troubled, library_id: UUID) -> int:
    return int((await trouble.ask("SELECT count(*) FROM updates WHERE library_id = $1", library_id))[0]["count"])


async def write(device: WireClient, name: str, count: int, text: str = LONG) -> None:
    for number in range(count):
        await device.push(device.replica.write_prompt(f"{name}{number}", text))


@pytest.mark.parametrize("kind", KINDS)
async def test_trouble_stops_acknowledgements_and_then_everything_is_stored_once(trouble: Troubled, kind: str) -> None:
    if kind.startswith("full") and not CAN_MOUNT:
        pytest.skip("a file system that can be filled takes root to mount")
    async with running_server(trouble.proxy.dsn, keyring=trouble.keyring, jobs=False) as server:
        user = await server.user()
        async with server.device(user) as writer, server.device(user) as watcher:
            await write(writer, "before", 3)
            await writer.confirmed()
            stored = await rows_of(trouble, user.library_id)
            async with trouble.kinds[kind]():
                await write(writer, "amid", 4)
                await until_ready(server, False) if kind != "frozen writers" else await until(
                    lambda: failing_since() > 0, "a failure", within=30
                )
                if kind in NOTICED:
                    await until(lambda: failing_since() > 0, "a failure to store", within=30)
                assert len(writer.unconfirmed) == 4
                assert not any(prompt.startswith("amid") for prompt in watcher.replica.prompts())
                assert writer.online
                assert watcher.online
            await writer.confirmed(within=40)
            await watcher.until(lambda: len(watcher.replica.prompts()) == 7, within=20, what="everything on the other device")
        await until_ready(server, True)
        assert failing_since() == 0
        assert await rows_of(trouble, user.library_id) == stored + 4
        async with server.device(user) as new:
            assert len(new.replica.prompts()) == 7


async def test_at_the_bound_of_the_queue_sockets_are_closed_to_be_retried_with_the_reason(trouble: Troubled) -> None:
    async with running_server(trouble.proxy.dsn, keyring=trouble.keyring, jobs=False, writer_queue_bytes=350_000) as server:
        user = await server.user()
        devices = [await server.device(user).connect() for _ in range(3)]
        await write(devices[0], "before", 1)
        await devices[0].confirmed()
        async with trouble.stalled():
            for number, device in enumerate(devices):
                await write(device, f"amid{number}-", 3, "x" * 50_000)  # small enough to be inspected at once
            await until(lambda: sum(not device.online for device in devices) >= 2, "sockets that were closed")
            closed = [device for device in devices if not device.online]
            assert {device.close_code for device in closed} == {Close.TRY_LATER}
            assert 0 < server.app.writer.waiting_bytes <= 350_000
            refused = metrics.registry.get_sample_value("promptsync_updates_refused_total", {"reason": "writer_full"})
            assert refused
        for device in devices:
            while device.unconfirmed:  # as long as there is no room, it is sent away again
                if not device.online:
                    await device.reconnect()
                await device.until(lambda device=device: not device.unconfirmed or not device.online, within=40, what="an answer")  # type: ignore[misc]
        assert server.app.writer.waiting_bytes == 0
        async with server.device(user) as new:
            assert len(new.replica.prompts()) == 10
        for device in devices:
            await device.disconnect()


async def test_what_is_damaged_is_refused_for_a_while_and_alone(trouble: Troubled) -> None:
    async with running_server(trouble.proxy.dsn, keyring=trouble.keyring, jobs=False) as server:
        user = await server.user()
        libraries = [user.library_id, *[await server.library(user) for _ in range(7)]]
        devices = [await server.device(user, library_id).connect() for library_id in libraries]
        for device in devices:
            await write(device, "before", 1, "x")
            await device.confirmed()
        damaged = libraries[0]
        found = await trouble.ask(
            "SELECT DISTINCT library_id FROM updates WHERE tableoid <> (SELECT DISTINCT tableoid FROM updates WHERE library_id = $1)",
            damaged,
        )
        spared = [
            device for library_id, device in zip(libraries, devices, strict=True) if library_id in {row["library_id"] for row in found}
        ]
        assert spared
        async with trouble.damaged(damaged):
            for device in devices:
                await write(device, "amid", 1, "x")
            await devices[0].offline()
            assert devices[0].close_code == Close.TRY_LATER
            for device in spared:
                await device.confirmed()
                assert device.online
        for device in devices:
            if not device.online:
                await device.reconnect()
            await device.confirmed()
            await device.disconnect()


async def test_a_slow_way_to_the_database_costs_time_and_nothing_else(trouble: Troubled) -> None:
    async with core(trouble.proxy.dsn, keyring=trouble.keyring) as running:
        room, listener = await running.joined()
        trouble.proxy.to_server.delay_seconds = trouble.proxy.to_client.delay_seconds = 0.05
        try:
            made = typing(1, 200)
            outcomes = await running.settled(*(running.submit(room, update) for update in made))
        finally:
            trouble.proxy.to_server.delay_seconds = trouble.proxy.to_client.delay_seconds = 0.0
        assert outcomes == list(range(1, 201))
        assert await running.stored(room.library_id) == made == listener.updates


# --- COMMITs of unknown outcome

CUTS = [
    *(Cut(sent=share) for share in (0.0, 0.1, 0.5, 0.9, 1.0)),  # of the COMMIT's bytes, and gone at once
    *(Cut(answered=share) for share in (0.0, 0.05, 0.5, 0.95, 1.0)),  # all of it, and then of the answer's bytes
]


async def stores_once(running: Core, proxy: StallingProxy, cuts: list[Cut], rooms: int = 3) -> None:
    joined = [await running.joined() for _ in range(rooms)]
    for room, _ in joined:
        await running.push(room, typed("0", 9, 0))
    proxy.cuts = list(cuts)
    made = typing(1, len(cuts) + 2)
    for update in made:
        outcomes = await running.settled(*(running.submit(room, update) for room, _ in joined), within=30)
        assert all(isinstance(outcome, int) for outcome in outcomes), outcomes
    assert not proxy.cuts
    for room, listener in joined:
        # `log` checks that no seq is missing or used twice
        assert (await running.stored(room.library_id))[1:] == made == listener.updates[1:]


@pytest.mark.parametrize("way", ["dsn", "tcp_dsn"], ids=["socket", "tcp"])
@pytest.mark.parametrize("locks", [False, True], ids=["at once", "under locks"])
async def test_a_commit_cut_at_any_point_is_stored_once(database_dsn: str, way: str, locks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if locks:
        under_locks(monkeypatch)
    async with stalling_proxy(database_dsn) as proxy, core(getattr(proxy, way)) as running:
        for cut in CUTS:
            try:
                await stores_once(running, proxy, [cut])
            except AssertionError as error:
                error.add_note(f"cut: {cut}")
                raise


@pytest.mark.parametrize("seed", range(1, 6))
async def test_commits_cut_again_and_again_at_random_points_are_stored_once(
    database_dsn: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = random.Random(seed)
    cuts = [Cut(answered=source.random()) if source.random() < 0.5 else Cut(sent=source.choice([source.random(), 1.0])) for _ in range(12)]
    if source.random() < 0.5:
        under_locks(monkeypatch)
    async with stalling_proxy(database_dsn) as proxy, core(proxy.dsn) as running:
        await stores_once(running, proxy, cuts)


@pytest.mark.parametrize("way", ["there", "back"])
async def test_a_commit_that_is_stalled_and_given_up_is_stored_once(database_dsn: str, way: str) -> None:
    async with stalling_proxy(database_dsn) as proxy, core(proxy.dsn) as running:
        room, listener = await running.joined()
        await running.push(room, typed("0", 9, 0))
        direction = proxy.to_server if way == "there" else proxy.to_client
        direction.stall()
        entries = [running.submit(room, update) for update in typing(1, 10)]
        await until(lambda: running.writer.failing, "a statement that was given up", within=20)
        assert not any(entry in running.told.outcomes for entry in entries[:1])
        direction.go()
        assert await running.settled(*entries, within=30) == list(range(2, 12))
        assert (await running.stored(room.library_id))[1:] == typing(1, 10) == listener.updates[1:]


def under_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no library stand where its room does, so that everything is stored under the row locks."""
    from server import batch, writer
    from server.batch import Fate
    from storage.pool import Dedicated

    async def store_at_once(connection: Dedicated, shares: list[batch.Share]) -> tuple[dict[UUID, Fate], dict[UUID, int]]:
        return {share.room.library_id: Fate.MOVED for share in shares}, {}

    monkeypatch.setattr(writer, "store_at_once", store_at_once)
