"""SIGTERM and SIGINT under load, a second server on the same data, and starting again after every kind of end."""

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import Iterator
from uuid import UUID

import pytest

from protocol.closes import Close
from tests.faults.writers import load, lost, open_libraries, wait_for_acknowledgements
from tests.support.many import family
from tests.support.running import RawSocket
from tests.support.server import START_SECONDS, STOP_SECONDS, Server, wait_until

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_a_stop_under_load_is_in_order_and_loses_nothing(server: Server, number: signal.Signals) -> None:
    libraries = await open_libraries(4, server)
    devices = [device for library in libraries for device in library.devices]

    async with load(libraries, random.Random(number)):
        await wait_for_acknowledgements(libraries, 100)
        took = await asyncio.to_thread(server.terminate, number)
        for device in devices:
            await device.wire.offline()

    assert took <= STOP_SECONDS
    assert server.postmaster() is None, "PostgreSQL outlived the server"
    codes = {device.wire.close_code for device in devices}
    assert codes <= {Close.GOING_AWAY, Close.RESTART}, f"providers must come back after {codes}"
    await asyncio.to_thread(server.start)
    for library in libraries:
        new = await library.opened_by_a_new_device()
        missing = {device.name: len(lost(device.told, new)) for device in library.devices}
        await new.wire.disconnect()
        assert not any(missing.values()), missing


async def test_what_was_sent_before_the_stop_is_acknowledged_or_given_again(server: Server) -> None:
    (library,) = await open_libraries(1, server)
    writer = library.writers[0]
    for number in range(200):
        await writer.wire.push(writer.replica.write_prompt(f"p{number}", "x"))

    await asyncio.to_thread(server.terminate)
    await writer.wire.offline()
    told = list(writer.wire.acknowledged)
    await asyncio.to_thread(server.start)

    new = await library.opened_by_a_new_device()
    assert not lost(told, new)
    await writer.wire.reconnect()
    await writer.wire.confirmed()
    await new.wire.until(lambda: len(new.replica.prompts()) == 200, what="all prompts")
    await new.wire.disconnect()
    await writer.wire.disconnect()


def test_a_stop_without_any_connection_is_quick(server: Server) -> None:
    took = server.terminate()
    server.start()

    assert took < STOP_SECONDS


def test_a_second_server_on_the_same_data_is_refused_with_the_reason(server: Server) -> None:
    second = server.spawn(port=0)
    try:
        code = second.wait(30)
    finally:
        if second.poll() is None:
            second.kill()
            second.wait(10)

    assert code != 0
    said = server.output()
    assert "in use" in said
    assert str(server.data_dir) in said
    assert "Traceback" not in said
    assert server.answers("/readyz"), "the first server must not notice"


@pytest.mark.parametrize("end", ["server", "postgres, then server", "server, then postgres", "SIGINT"])
def test_it_starts_again_by_itself_after(server: Server, end: str) -> None:
    account = server.register()
    match end:
        case "server":
            server.kill9()
        case "postgres, then server":
            server.kill9_postgres()
            server.kill9()
        case "server, then postgres":
            server.kill9()
            server.kill9_postgres()
        case "SIGINT":
            server.terminate(signal.SIGINT)

    server.start()

    status, user = server.request("GET", "/api/users/me", token=account.access_token)
    assert (status, user.get("library_id")) == (200, account.library_id)


@pytest.mark.parametrize("made", ["lock", "keys.json", "server.json"])
def test_a_first_start_that_was_killed_on_the_way_is_finished_by_the_next(made: str) -> None:
    server = Server()
    try:
        server.process = server.spawn()
        wait_until((server.data_dir / made).exists, within=START_SECONDS, what=made)
        server.kill9()

        server.start()

        server.register()
    finally:
        server.cleanup()


@pytest.mark.parametrize(("workers", "sockets"), [(1, 400), (2, 1)])
async def test_a_stop_while_the_database_is_frozen_keeps_to_its_ten_seconds(workers: int, sockets: int) -> None:
    server = Server(env={"PROMPTSYNC_WORKERS": str(workers)})
    frozen: list[int] = []
    try:
        await asyncio.to_thread(server.start)
        account = await asyncio.to_thread(server.register)
        library = UUID(account.library_id)
        for _ in range(sockets):
            await RawSocket.open(server.port, library, account.sync_token)
        postmaster = server.postmaster()
        assert postmaster is not None
        frozen = family(postmaster)
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)

        def stalled() -> bool:
            return not server.answers("/readyz")

        await asyncio.to_thread(wait_until, stalled, within=10, what="a database that does not answer")
        took = await asyncio.to_thread(server.terminate)

        print(f"{workers} processes, {sockets} sockets: stopped within {took:.1f} s of a database that is frozen")
        assert server.postmaster() is None
        await asyncio.to_thread(server.start)
        assert server.request("GET", "/api/users/me", token=account.access_token)[0] == 200
    finally:
        for pid in frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        RawSocket.abort_all()
        server.cleanup()
