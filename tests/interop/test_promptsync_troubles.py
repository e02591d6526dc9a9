"""A device on promptsync.v1 that is not let in, may not write, loses its library or its session, or the server itself."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from tests.interop.devices import NewDevice, NodeDevice, seeded, wait_until_equal
from tests.interop.test_promptsync_clients import progress
from tests.support.born import BORN
from tests.support.many import Node
from tests.support.server import ROOT, Account, Server

pytestmark = pytest.mark.node

each_stock = pytest.mark.parametrize("stock", ["2", "3"])
SMALL_UPDATE_BYTES = 2_000_000


@pytest.fixture
def known_database(packages: None, database_dsn: str, tmp_path: Path) -> Iterator[Server]:
    """A server on `database_dsn`, which takes updates of at most SMALL_UPDATE_BYTES."""
    with Node(database_dsn, tmp_path / "keys.json", env={"PROMPTSYNC_MAX_UPDATE_BYTES": str(SMALL_UPDATE_BYTES)}) as server:
        yield server


def execute(dsn: str, statement: str, *arguments: object) -> None:
    """One statement, behind the server's back."""

    async def run() -> None:
        connection = await asyncpg.connect(dsn)
        try:
            assert await connection.execute(statement, *arguments) in ("INSERT 0 1", "UPDATE 1")
        finally:
            await connection.close()

    asyncio.run(run())


def join(dsn: str, library: str, account: Account, role: str) -> None:
    """Make `account` a member of `library`."""
    member = "SELECT $1, owner_id, $3, now() FROM libraries WHERE id = $2"
    statement = f"INSERT INTO members (library_id, user_id, role, created_at) {member}"
    execute(dsn, statement, library, account.library_id, role)


# --- coming in


@pytest.mark.parametrize("way", ["hello", "dialect", "header"])
def test_the_token_comes_in_any_of_three_ways(server: Server, account: Account, library: str, device: NewDevice, way: str) -> None:
    a = device("promptsync")
    a.do("open", url=server.sync_url, library=library, token=account.sync_token, tokenBy=way)
    a.wait("synced")
    a.edit(["map set", "way", way])
    a.wait("acknowledged")


@pytest.mark.parametrize("way", ["hello", "dialect", "header"])
def test_a_wrong_token_is_told_by_its_close_code(server: Server, library: str, device: NewDevice, way: str) -> None:
    stranger = device("promptsync")
    stranger.do("open", url=server.sync_url, library=library, token="not-a-token", tokenBy=way)
    stranger.wait("event", {"name": "close", "code": 4401})
    assert stranger.do("stay_closed", milliseconds=500)


def test_the_device_of_another_session_is_told_by_its_close_code(server: Server, account: Account, library: str, device: NewDevice) -> None:
    stranger = device("promptsync")
    stranger.do("open", url=server.sync_url, library=library, token=account.sync_token, device=str(uuid4()))
    stranger.wait("event", {"name": "close", "code": 4401})


def test_a_library_of_somebody_else_closes_its_channel_alone(server: Server, account: Account, library: str, device: NewDevice) -> None:
    owner = device("promptsync").open(server, library, account.sync_token)
    owner.edit(["map set", "secret", "mine"])
    owner.wait("acknowledged")
    other = server.register()
    stranger = device("promptsync").open(server, library, other.sync_token, connect=False)
    own = stranger.do("add", library=other.library_id)["at"]
    stranger.edit(["map set", "intruder", 1])

    stranger.connect()

    stranger.wait("event", {"name": "channel closed", "at": 0, "code": 4404})
    stranger.do("wait", at=own, until="synced", within=10000)
    assert stranger.content()["map"] == {"intruder": 1}
    assert owner.content()["map"] == {"secret": "mine"}
    assert progress(stranger)["state"] == "ended"


# --- what is refused


@each_stock
def test_a_viewer_is_told_that_it_may_not_write_and_goes_on_reading(
    known_database: Server, database_dsn: str, device: NewDevice, stock: str
) -> None:
    account, guest = known_database.register(), known_database.register()
    library = account.library_id
    join(database_dsn, library, guest, "viewer")
    owner = device(stock).open(known_database, library, account.sync_token)
    owner.wait("synced")
    owner.edit(["map set", "title", "mine"])
    owner.do("presence", state={"name": "owner"})
    viewer = device("promptsync").open(known_database, library, guest.sync_token, awareness=False)
    viewer.wait("event", {"name": "opened", "role": "viewer"})
    viewer.wait("map_has", "title")
    viewer.wait("present", [owner.client])

    viewer.edit(["map set", "graffiti", 1])

    viewer.wait("event", {"name": "refused", "ref": 0, "code": "forbidden"})
    owner.edit(["map set", "after", True])
    viewer.wait("map_has", "after")
    assert (progress(viewer)["state"], viewer.do("connection")["openings"]) == ("open", 1)
    assert owner.content()["map"] == {"title": "mine", "after": True}


def test_an_update_past_the_limit_is_refused_alone(known_database: Server, device: NewDevice) -> None:
    account = known_database.register()
    a, b = (device("promptsync").open(known_database, account.library_id, account.sync_token) for _ in range(2))
    a.wait("synced")
    b.wait("synced")

    b.edit(["text repeat", "too much of it\n", SMALL_UPDATE_BYTES // 10])

    b.wait("event", {"name": "refused", "code": "too_large"})
    b.edit(["map set", "small", 1])
    a.edit(["map set", "other", 1])
    a.wait("acknowledged")
    b.wait("map_has", "other")
    assert progress(b)["state"] == "open"


# --- what ends


@each_stock
def test_a_session_that_ends_closes_the_socket(server: Server, device: NewDevice, stock: str) -> None:
    account = server.register()
    a = device("promptsync").open(server, account.library_id, account.sync_token)
    b = device(stock).open(server, account.library_id, account.sync_token)
    a.wait("synced")
    b.wait("synced")

    assert server.request("POST", "/api/auth/logout", token=account.access_token)[0] == 204

    a.wait("event", {"name": "close", "code": 4401})
    b.wait("event", {"name": "close", "code": 4401})
    assert a.do("stay_closed", milliseconds=500)


@each_stock
def test_a_library_that_is_deleted_closes_its_channel(
    server: Server, account: Account, library: str, device: NewDevice, stock: str
) -> None:
    a = device("promptsync").open(server, account.library_id, account.sync_token)
    doomed = a.do("add", library=library)["at"]
    b = device(stock).open(server, account.library_id, account.sync_token)
    a.do("wait", at=doomed, until="synced", within=10000)
    a.wait("synced")
    b.wait("synced")

    assert server.request("DELETE", f"/api/libraries/{library}", token=account.access_token)[0] == 204

    a.wait("event", {"name": "channel closed", "at": doomed, "code": 4404})
    b.edit(["map set", f"still here {stock}", True])
    a.wait("map_has", f"still here {stock}")
    assert a.do("connection")["openings"] == 1
    assert progress(a, doomed)["state"] == "ended"


# --- a server that is killed


def typing(device: NodeDevice, prefix: str) -> None:
    """Write and delete keys all the time, about a thousand a second."""
    device.do("type", prefix=prefix, count=20000, burst=2, erase=True)


@pytest.mark.faults
@pytest.mark.parametrize("other", ["promptsync", "2", "3"])
def test_what_was_acknowledged_outlives_a_killed_server(own_server: Server, device: NewDevice, other: str) -> None:
    account = own_server.register()
    library = account.library_id
    a = device("promptsync").open(own_server, library, account.sync_token)
    b = device(other).open(own_server, library, account.sync_token)
    a.wait("synced")
    b.wait("synced")
    typing(a, "a")
    typing(b, "b")
    a.wait("acknowledged_past", 100)
    b.wait("acknowledged_past", 100)

    own_server.kill9()
    a.wait("connected", False)
    b.wait("connected", False)
    a.disconnect()
    b.disconnect()
    told = progress(a)
    a.do("rest")
    b.do("rest")
    assert told["waiting"] > 0  # it was killed amid pushes
    own_server.start()

    # a device that never met the others sees what they were told is stored, deletions included
    witness = device("promptsync").open(own_server, library, account.sync_token)
    witness.wait("synced")
    assert witness.do("covers", update=a.do("acknowledged"))
    assert not witness.do("covers", update=a.do("update"))

    a.connect()
    b.connect()
    a.wait("acknowledged")
    a.wait("synced")
    b.wait("synced")
    content = wait_until_equal(a, b, witness)
    assert content["vector"] == seeded({each.client: each.do("progress")["clock"] for each in (a, b)})
    assert content["map"].keys() == kept("a", progress(a)["clock"]) | kept("b", b.do("progress")["clock"])


def kept(prefix: str, written: int) -> set[str]:
    """The keys that `typing` leaves of so many that it has written."""
    return {f"{prefix}{number}" for number in range(written) if number % 3 or number + 3 > written}


@pytest.mark.faults
def test_a_device_comes_back_by_itself_and_brings_what_was_not_acknowledged(own_server: Server, device: NewDevice) -> None:
    account = own_server.register()
    a, b = (device("promptsync").open(own_server, account.library_id, account.sync_token) for _ in range(2))
    a.wait("synced")
    b.wait("synced")

    for round_ in range(3):
        typing(a, f"a{round_} ")
        a.wait("acknowledged_past", progress(a)["acknowledged"] + 50)
        own_server.kill9()
        a.wait("connected", False)
        time.sleep(0.2)  # offline edits
        a.do("rest")
        own_server.start()
        a.do("wait", until="acknowledged", within=30000)

    a.wait("synced")
    b.wait("synced")
    content = wait_until_equal(a, b)
    assert content["vector"] == seeded({a.client: progress(a)["clock"]})
    witness = device("promptsync").open(own_server, account.library_id, account.sync_token)
    witness.wait("synced")
    assert witness.do("covers", update=a.do("acknowledged"))
    wait_until_equal(a, b, witness)


# --- a database that was put back


@pytest.mark.parametrize("connected", [True, False], ids=["connected", "away"])
def test_what_a_database_that_was_put_back_lacks_is_pushed_again(
    known_database: Server, database_dsn: str, device: NewDevice, connected: bool
) -> None:
    server = known_database
    account = server.register()
    a = device("promptsync").open(server, account.library_id, account.sync_token)
    a.wait("synced")
    a.edit(["map set", "early", 1], ["text insert", 0, "early "], ["map set", "gone", 1])
    a.wait("cursor", BORN + 3)
    a.edit(["map set", "late", 1], ["map delete", "gone"], ["text append", "late"])
    a.wait("cursor", BORN + 6)
    a.wait("acknowledged")
    if not connected:
        a.disconnect()

    server.terminate()
    put_back(database_dsn, account.library_id, BORN + 3)
    subprocess.run([sys.executable, "-m", "server.cli", "epoch", "raise", "--yes"], cwd=ROOT, env=server.environment(), check=True)
    server.start()
    if not connected:
        a.connect()

    a.wait("event", {"name": "opened", "epoch": 2})
    a.wait("synced")
    a.wait("acknowledged")
    assert progress(a)["cursor"] == BORN + 4  # everything that was lost came as one update
    witness = device("promptsync").open(server, account.library_id, account.sync_token)
    witness.wait("synced")
    content = wait_until_equal(a, witness)
    assert content["map"] == {"early": 1, "late": 1}
    assert content["text"] == [{"insert": "early late"}]


def put_back(dsn: str, library: str, head: int) -> None:
    """Bring the log of `library` to where it was when `head` was its newest update."""

    async def run() -> None:
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute("DELETE FROM updates WHERE library_id = $1 AND seq > $2", library, head)
            await connection.execute("UPDATE libraries SET head = $2 WHERE id = $1", library, head)
        finally:
            await connection.close()

    asyncio.run(run())
