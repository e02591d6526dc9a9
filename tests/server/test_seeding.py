"""Every library is born with the seed, whoever makes it; one from before gets it when it is opened, once, and nobody waits for it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from typer.testing import CliRunner

from crdt.library import SCHEMA, Library, Root
from crdt.replica import Replica
from crdt.seed import CATEGORIES, SEED
from protocol.exchange import Asked, decode_answered, encode_asked
from server import user_cli
from storage.cipher import library_key_place, update_place
from storage.keyfile import KeyFile
from tests.support.born import BORN, BORN_VECTOR
from tests.support.core import new_keyring, typed, until
from tests.support.database import Databases
from tests.support.library_replica import store
from tests.support.link_client import link
from tests.support.pair import Pair, running_pair
from tests.support.rest import PASSWORD, fresh_email
from tests.support.running import Running, User, running_server

SEEDED_LOG = [(BORN, SEED)]


def is_seeded(replica: Replica) -> bool:
    """Whether a device shows the layout's number and the categories."""
    library = Library.load(replica.dump())
    return library.root(Root.META).get("schema") == SCHEMA and set(library.root(Root.CATEGORIES).keys()) == {row[0] for row in CATEGORIES}


async def head_of(server: Running, library_id: UUID) -> int:
    async with server.services.database.acquire() as connection:
        return int(await connection.fetchval("SELECT head FROM libraries WHERE id = $1", library_id))


# --- new libraries


async def test_a_device_that_opens_a_new_account_shows_the_layout_and_the_categories(server: Running) -> None:
    async with server.http() as http:
        answer = (await http.post("/api/auth/register", json={"email": fresh_email(), "password": PASSWORD})).json()
    user = User(
        id=UUID(answer["user"]["id"]),
        session_id=UUID(int=0),
        library_id=UUID(answer["library_id"]),
        **{name: answer[name] for name in ("access_token", "refresh_token", "sync_token")},
    )
    async with server.device(user) as device:
        assert is_seeded(device.replica)
    assert await server.log(user.library_id) == SEEDED_LOG


async def test_a_further_library_is_born_with_it_too(server: Running, user: User) -> None:
    library_id = await server.library(user)
    assert await server.log(library_id) == SEEDED_LOG
    async with server.device(user, library_id) as device:
        assert is_seeded(device.replica)
    assert await server.log(library_id) == SEEDED_LOG


def test_so_is_that_of_an_account_made_in_the_terminal(external: str, data_dir: Path) -> None:
    assert CliRunner().invoke(user_cli.app, ["add", "a@example.com", "--generate"]).exit_code == 0

    async def stored() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(external)
        try:
            return await connection.fetch(
                "SELECT l.id, head, key_id, wrapped_key, seq, u.epoch, session_id, sealed"
                " FROM libraries l JOIN updates u ON u.library_id = l.id"
            )
        finally:
            await connection.close()

    (row,) = asyncio.run(stored())
    assert (row["head"], row["seq"], row["epoch"], row["session_id"]) == (1, 1, 1, None)
    assert b"cat-writing" not in row["sealed"]
    keyring = KeyFile.load(data_dir / "keys.json").keyring
    key = keyring.unwrap(row["key_id"], row["wrapped_key"], library_key_place(row["id"]))
    assert key.open(row["sealed"], update_place(row["id"], 1, 1)) == SEED


# --- those from before


async def by_stock(server: Running, user: User, library_id: UUID) -> None:
    async with server.device(user, library_id) as device:
        await device.until(lambda: SEED in device.shown)
        assert is_seeded(device.replica)


async def by_channel(server: Running, user: User, library_id: UUID) -> None:
    async with link(server, user) as client:
        opened, synced = await client.open(0, library_id)
        assert (opened.head, synced.seq) in {(0, 0), (0, BORN)}
        if synced.seq == 0:
            update = await client.next()
            assert (getattr(update, "seq", None), getattr(update, "update", None)) == (BORN, SEED)


async def by_exchange(server: Running, user: User, library_id: UUID) -> None:
    async with server.http(user) as http:
        body, headers = encode_asked(Asked(b"\x00")), {"Content-Type": "application/msgpack"}
        answer = await http.post(f"/api/sync/{library_id}", content=body, headers=headers)
    assert decode_answered(answer.content).seq in (0, BORN)


async def by_upload(server: Running, user: User, library_id: UUID) -> None:
    async with server.http(user) as http:
        answer = await store(http, library_id, b"\x00\x00")
    assert (answer.status_code, answer.json()["stored"]) == (200, False)


Opening = Callable[[Running, User, UUID], Awaitable[None]]
DOORS = [by_stock, by_channel, by_exchange, by_upload]


@pytest.mark.parametrize("opening", DOORS)
async def test_an_older_library_gets_it_when_it_is_first_opened_and_once(server: Running, user: User, opening: Opening) -> None:
    library_id = await server.older_library(user)
    await opening(server, user, library_id)
    room = await server.app.rooms.open(library_id)
    await until(lambda: room.head == BORN, "the seed")
    for again in (by_upload, by_exchange):
        await again(server, user, library_id)
    assert room.unstored == 0
    assert await server.log(library_id) == SEEDED_LOG


async def test_what_is_in_an_older_library_stays_and_the_seed_comes_behind_it(server: Running, user: User) -> None:
    library_id, edit = await server.older_library(user), Replica().write_prompt("p", "from before")
    async with server.http(user) as http:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(server.app.hall.seeding, "complete", lambda room: None)
            await store(http, library_id, edit)
    async with server.device(user, library_id) as device:
        await device.until(lambda: SEED in device.shown)
        assert is_seeded(device.replica)
        assert device.replica.prompts() == {"p": "from before"}
    assert await server.log(library_id) == [(1, edit), (2, SEED)]


async def test_a_device_that_has_brought_it_is_believed(server: Running, user: User) -> None:
    library_id = await server.older_library(user)
    async with server.http(user) as http:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(server.app.hall.seeding, "complete", lambda room: None)
            await store(http, library_id, SEED)
    await by_upload(server, user, library_id)
    assert (await server.app.rooms.open(library_id)).unstored == 0
    assert await server.log(library_id) == SEEDED_LOG


async def test_a_viewer_may_be_the_first_to_open_it(server: Running, user: User) -> None:
    library_id, viewer = await server.older_library(user), await server.user()
    await server.add_member(library_id, viewer, "viewer")
    await by_stock(server, viewer, library_id)
    assert await server.log(library_id) == SEEDED_LOG


async def test_to_ask_how_a_library_stands_changes_nothing(server: Running, user: User) -> None:
    library_id = await server.older_library(user)
    async with server.http(user) as http:
        (found,) = (await http.get("/api/sync/status", params={"library": str(library_id)})).json()["libraries"]
    assert found["head"] == 0
    room = server.app.rooms.get(library_id)
    assert room is not None
    assert room.unstored == 0
    await by_stock(server, user, library_id)  # whose room is there already


# --- two processes


@pytest.fixture(scope="module")
async def pair(databases: Databases, template_database: str) -> AsyncIterator[Pair]:
    async with running_pair(databases, template_database) as pair:
        yield pair


async def test_two_processes_that_open_it_at_once_store_it_once(pair: Pair) -> None:
    library_id = await pair.one.older_library(pair.user)
    async with (
        held_back(pair.one, library_id) as let_go,
        pair.one.device(pair.user, library_id) as here,
        pair.other.device(pair.user, library_id) as there,
    ):
        rooms = [await server.app.rooms.open(library_id) for server in (pair.one, pair.other)]
        assert [room.unstored for room in rooms] == [1, 1]
        let_go.set()
        for device in (here, there):
            await device.until(lambda device=device: SEED in device.shown)  # type: ignore[misc]  # a default binds it
        await until(lambda: not any(room.unstored for room in rooms), "what became of both")
        assert [device.shown.count(SEED) for device in (here, there)] == [1, 1]
    assert await pair.one.log(library_id) == SEEDED_LOG


@asynccontextmanager
async def held_back(server: Running, library_id: UUID) -> AsyncIterator[asyncio.Event]:
    """Nobody can write the library until the event is set."""
    let_go, locked = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with server.services.database.transaction() as connection:
            await connection.execute("SELECT FROM libraries WHERE id = $1 FOR NO KEY UPDATE", library_id)
            locked.set()
            await let_go.wait()

    holding = asyncio.create_task(hold())
    await locked.wait()
    try:
        yield let_go
    finally:
        let_go.set()
        await holding


# --- when it cannot be stored


async def test_nobody_waits_for_it_and_however_many_come_it_is_handed_in_once(server: Running, user: User) -> None:
    library_id = await server.older_library(user)
    async with held_back(server, library_id):
        for _ in range(5):
            async with server.device(user, library_id) as device:
                assert device.synced
        room = await server.app.rooms.open(library_id)
        assert (room.head, room.unstored) == (0, 1)
    await until(lambda: room.head == BORN, "the seed")
    assert await server.log(library_id) == SEEDED_LOG


async def test_one_that_the_writer_cannot_take_comes_at_a_later_opening(
    server: Running, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    library_id = await server.older_library(user)
    monkeypatch.setattr(server.app.writer, "_stopping", True)
    async with server.device(user, library_id) as device:
        assert device.synced
        monkeypatch.undo()
        assert (await server.app.rooms.open(library_id)).unstored == 0
    await by_stock(server, user, library_id)


async def test_from_a_database_that_takes_nothing_libraries_open_all_the_same(database_dsn: str) -> None:
    keyring = new_keyring()
    async with running_server(database_dsn, keyring=keyring) as server:
        user = await server.user()
        library_id = await server.older_library(user)
    await configure(database_dsn, "SET default_transaction_read_only = on")
    async with running_server(database_dsn, keyring=keyring, jobs=False) as server, server.device(user, library_id) as device:
        assert device.synced
        await until(lambda: server.app.writer.failing, "a failure to store")
        assert device.online
        assert await head_of(server, library_id) == 0
        await configure(database_dsn, "RESET default_transaction_read_only")
        await device.until(lambda: SEED in device.shown)
        assert device.replica.state_vector() == BORN_VECTOR


async def configure(dsn: str, what: str) -> None:
    connection = await asyncpg.connect(dsn, server_settings={"default_transaction_read_only": "off"})
    try:
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f'ALTER DATABASE "{name}" {what}')
    finally:
        await connection.close()


async def test_an_edit_that_comes_with_the_first_opening_finds_its_place(server: Running, user: User) -> None:
    library_id = await server.older_library(user)
    async with server.http(user) as http:
        answer = await store(http, library_id, typed("a", 11, 0))
    assert answer.json()["seq"] == BORN + 1
    assert await server.log(library_id) == [(BORN, SEED), (BORN + 1, typed("a", 11, 0))]
