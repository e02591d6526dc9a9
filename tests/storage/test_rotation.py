import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from storage import deletion, rotation, users
from storage.cluster import claim
from storage.errors import WrongKeys
from storage.keyfile import KeyFile, Origin
from storage.keyring import Keyring
from storage.pool import Connection
from storage.rotation import Progress, Rotation, RotationBusy, rotate
from tests.support.sealed_rows import NOW, destroy_library_key, keys_in_use, keys_registered, open_everything, store_user

USERS = 6
CHUNK = 2
MOST_STATEMENTS = 500


class Crashed(Exception):
    """Stands for the end of the process."""


class Crashing:
    """A connection over which the process ends before, or right after, its n-th statement."""

    def __init__(self, connection: Connection, *, before: int = -1, after: int = -1) -> None:
        self._connection = connection
        self._before, self._after = before, after
        self.statements = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def execute(self, *arguments: Any) -> Any:
        return await self._run(self._connection.execute, *arguments)

    async def fetch(self, *arguments: Any) -> Any:
        return await self._run(self._connection.fetch, *arguments)

    async def fetchval(self, *arguments: Any) -> Any:
        return await self._run(self._connection.fetchval, *arguments)

    async def _run(self, statement: Any, *arguments: Any) -> Any:
        self.statements += 1
        if self.statements == self._before:
            raise Crashed
        result = await statement(*arguments)
        if self.statements == self._after:
            raise Crashed
        return result


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "CHUNK_ROWS", CHUNK)


@pytest.fixture
async def connection(database_dsn: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database_dsn)
    yield connection
    await connection.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return KeyFile.create(tmp_path / "keys.json", Origin.GENERATED, NOW, secrets.token_bytes).path


async def start_and_fill(connection: Connection, path: Path, users: int = USERS) -> str:
    """A server's start and some data; returns the id of the key that seals it."""
    keyring = KeyFile.load(path).keyring
    await claim(connection, keyring, new_client_id=lambda: 1)
    for _ in range(users):
        await store_user(connection, keyring)
    return keyring.active_id


async def rotated(connection: Any, path: Path) -> Rotation:
    return await rotate(connection, path, now=NOW, random=secrets.token_bytes)


def content(path: Path) -> bytes:
    return path.read_bytes()


def put_back(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def only(path: Path, key_id: str) -> Keyring:
    """The keyring of the file without all other keys."""
    return Keyring([key for key in KeyFile.load(path).keyring.keys if key.id == key_id])


async def test_after_a_rotation_the_new_key_alone_opens_everything(connection: Connection, path: Path) -> None:
    old = await start_and_fill(connection, path)
    done = await rotated(connection, path)
    assert (done.resumed, done.rewrapped, done.retired, done.broken) == (False, 2 * USERS, (old,), ())
    assert await open_everything(connection, only(path, done.active_id)) == USERS
    assert await keys_registered(connection) == await keys_in_use(connection) == {done.active_id}


async def test_the_old_key_stays_in_the_file_for_the_backups(connection: Connection, path: Path) -> None:
    old = await start_and_fill(connection, path)
    done = await rotated(connection, path)
    assert KeyFile.load(path).keyring.ids == (done.active_id, old)


async def test_a_server_starts_after_a_rotation_without_the_old_key(connection: Connection, path: Path) -> None:
    await start_and_fill(connection, path)
    done = await rotated(connection, path)
    claimed = await claim(connection, only(path, done.active_id), new_client_id=lambda: 1)
    assert claimed.registered == ()


async def test_each_rotation_makes_one_key(connection: Connection, path: Path) -> None:
    await start_and_fill(connection, path)
    ids = [(await rotated(connection, path)).active_id for _ in range(3)]
    assert len(set(ids)) == 3
    assert len(KeyFile.load(path).keyring.ids) == 4
    assert await open_everything(connection, only(path, ids[-1])) == USERS


async def test_a_database_without_rows_is_rotated_too(connection: Connection, path: Path) -> None:
    old = await start_and_fill(connection, path, users=0)
    done = await rotated(connection, path)
    assert (done.rewrapped, done.retired) == (0, (old,))
    assert await keys_registered(connection) == {done.active_id}


async def test_a_destroyed_library_stays_destroyed(connection: Connection, path: Path) -> None:
    await start_and_fill(connection, path)
    await destroy_library_key(connection, await store_user(connection, KeyFile.load(path).keyring))
    done = await rotated(connection, path)
    assert done.rewrapped == 2 * USERS + 1
    assert await connection.fetchval("SELECT count(*) FROM libraries WHERE wrapped_key IS NULL AND key_id IS NULL") == 1


async def test_a_deleted_account_has_no_key_to_be_wrapped_again(connection: Connection, path: Path) -> None:
    await start_and_fill(connection, path)
    user_id = await store_user(connection, KeyFile.load(path).keyring)
    await deletion.destroy(connection, user_id, now=NOW, reason="deleted")
    done = await rotated(connection, path)
    assert (done.rewrapped, done.broken, done.late) == (2 * USERS, (), 0)
    claimed = await claim(connection, only(path, done.active_id), new_client_id=lambda: 1)
    assert claimed.registered == ()
    assert await users.lock_with_key(connection, user_id) is None
    assert not await users.lock(connection, user_id)


async def test_progress_grows_to_the_whole(connection: Connection, path: Path) -> None:
    await start_and_fill(connection, path)
    seen: list[Progress] = []
    await rotate(connection, path, now=NOW, random=secrets.token_bytes, progress=seen.append)
    assert [each.done for each in seen] == sorted(each.done for each in seen)
    assert all(each.done <= each.total for each in seen)
    assert seen[-1] == Progress(done=2 * USERS, total=2 * USERS)
    assert {2, 4, 6, 8, 10, 12} <= {each.done for each in seen}


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_crash_at_any_statement_loses_nothing_and_the_next_run_ends_it(
    databases: Any, template_database: str, path: Path, moment: str
) -> None:
    whole = content(path)
    for statement in range(1, MOST_STATEMENTS):
        put_back(path, whole)
        dsn = databases.create(template_database)
        connection = await asyncpg.connect(dsn)
        try:
            old = await start_and_fill(connection, path, users=3)
            if not await crashes(dsn, path, moment, statement):
                break
            await everything_is_whole(connection, path, old)
            left = KeyFile.load(path).keyring
            unfinished = await keys_registered(connection) | await keys_in_use(connection) != {left.active_id}
            done = await rotated(connection, path)
            assert done.resumed == unfinished
            assert len(KeyFile.load(path).keyring.ids) == len(left.ids) + (not unfinished)
            assert await open_everything(connection, only(path, done.active_id)) == 3
            assert await keys_registered(connection) == await keys_in_use(connection) == {done.active_id}
        finally:
            await connection.close()
            databases.drop(dsn)
    assert 15 < statement < MOST_STATEMENTS - 1


async def crashes(dsn: str, path: Path, moment: str, statement: int) -> bool:
    """Rotate over a connection that ends at this statement, and say whether it came so far."""
    connection = await asyncpg.connect(dsn)
    try:
        await rotated(Crashing(connection, **{moment: statement}), path)
    except Crashed:
        return True
    finally:
        connection.terminate()
    return False


async def everything_is_whole(connection: Connection, path: Path, old: str) -> None:
    """Everything opens with what is in the file now, and a server would start and go on."""
    keyring = KeyFile.load(path).keyring
    assert old in keyring
    assert await open_everything(connection, keyring) == 3
    # taken back at the end, so that the next run finds what the crash left
    trial = connection.transaction()
    await trial.start()
    await claim(connection, keyring, new_client_id=lambda: 1)
    await store_user(connection, keyring)
    assert await open_everything(connection, keyring) == 4
    await trial.rollback()


async def test_a_server_started_between_two_runs_does_not_hide_the_unfinished_one(connection: Connection, path: Path) -> None:
    await start_and_fill(connection, path)
    KeyFile.load(path).with_new_encryption_key(NOW, secrets.token_bytes).save()
    await claim(connection, KeyFile.load(path).keyring, new_client_id=lambda: 1)
    done = await rotated(connection, path)
    assert (done.resumed, done.rewrapped) == (True, 2 * USERS)
    assert len(KeyFile.load(path).keyring.ids) == 2


async def test_a_second_rotation_is_kept_out_while_one_runs(database_dsn: str, connection: Connection, path: Path) -> None:
    await start_and_fill(connection, path)
    other = await asyncpg.connect(database_dsn)
    await other.execute("SELECT pg_advisory_lock($1)", rotation.ROTATION_LOCK)
    before = content(path)
    with pytest.raises(RotationBusy):
        await rotated(connection, path)
    assert content(path) == before
    await other.close()
    assert (await rotated(connection, path)).rewrapped == 2 * USERS
    assert (await rotated(connection, path)).rewrapped == 2 * USERS


async def test_the_key_file_of_another_database_is_refused_and_left_as_it_is(connection: Connection, path: Path, tmp_path: Path) -> None:
    await start_and_fill(connection, path)
    other = KeyFile.create(tmp_path / "other.json", Origin.GENERATED, NOW, secrets.token_bytes).path
    before = content(other)
    with pytest.raises(WrongKeys, match="belongs to another database"):
        await rotated(connection, other)
    assert content(other) == before
    assert await open_everything(connection, KeyFile.load(path).keyring) == USERS


async def test_one_row_that_does_not_open_keeps_no_other_back(connection: Connection, path: Path) -> None:
    old = await start_and_fill(connection, path)
    broken = await connection.fetchval(
        "UPDATE libraries SET wrapped_key = '\\x01' WHERE id = (SELECT min(id::text)::uuid FROM libraries) RETURNING id"
    )
    done = await rotated(connection, path)
    assert (done.rewrapped, done.broken, done.retired) == (2 * USERS - 1, (broken,), ())
    assert await keys_registered(connection) == {old, done.active_id}
    again = await rotated(connection, path)
    assert (again.resumed, again.broken) == (False, (broken,))
    assert again.active_id != done.active_id


async def test_servers_create_and_open_rows_throughout_a_rotation(database_dsn: str, connection: Connection, path: Path) -> None:
    await start_and_fill(connection, path)
    server = KeyFile.load(path).live_keyring()
    writer = await asyncpg.connect(database_dsn)
    stop = asyncio.Event()

    async def serve() -> int:
        created = 0
        while not stop.is_set() or created < 20:
            await store_user(writer, server)
            created += 1
        return created

    serving = asyncio.create_task(serve())
    done = await rotated(connection, path)
    stop.set()
    created = await serving
    assert await open_everything(writer, server) == USERS + created
    assert (done.broken, done.late) == ((), 0)
    if await keys_in_use(writer) != {done.active_id}:
        # one row was wrapped before the key was saved and committed after the last look
        again = await rotated(connection, path)
        assert (again.resumed, again.active_id) == (True, done.active_id)
    assert await open_everything(writer, only(path, done.active_id)) == USERS + created
    await writer.close()


async def test_a_row_committed_under_the_old_key_after_the_end_is_found_by_the_next_start_and_run(
    connection: Connection, path: Path
) -> None:
    old = await start_and_fill(connection, path)
    stale = only(path, old)
    done = await rotated(connection, path)
    await store_user(connection, stale)
    with pytest.raises(WrongKeys, match=old):
        await claim(connection, only(path, done.active_id), new_client_id=lambda: 1)
    assert (await claim(connection, KeyFile.load(path).keyring, new_client_id=lambda: 1)).registered == (old,)
    again = await rotated(connection, path)
    assert (again.resumed, again.active_id, again.rewrapped, again.retired) == (True, done.active_id, 2, (old,))
    assert await open_everything(connection, only(path, done.active_id)) == USERS + 1


async def test_rows_that_come_under_the_old_key_meanwhile_are_found_in_the_same_run(connection: Connection, path: Path) -> None:
    old = await start_and_fill(connection, path)
    stale = only(path, old)
    late: list[Progress] = []

    class Late(Crashing):
        async def execute(self, *arguments: Any) -> Any:
            if "UPDATE libraries" in arguments[0] and not late:
                late.append(Progress(done=0, total=0))
                await store_user(connection, stale)
            return await super().execute(*arguments)

    done = await rotated(Late(connection), path)
    assert (done.rewrapped, done.retired) == (2 * USERS + 2, (old,))
    assert await open_everything(connection, only(path, done.active_id)) == USERS + 1


async def test_a_process_that_never_learns_of_the_new_key_cannot_keep_a_rotation_from_ending(connection: Connection, path: Path) -> None:
    old = await start_and_fill(connection, path)
    stale = only(path, old)

    class Stubborn(Crashing):
        async def execute(self, *arguments: Any) -> Any:
            if "UPDATE libraries" in arguments[0]:
                await store_user(connection, stale)
            return await super().execute(*arguments)

    done = await rotated(Stubborn(connection), path)
    assert done.late > 0
    assert done.retired == ()
    again = await rotated(connection, path)
    assert (again.resumed, again.active_id, again.retired, again.late) == (True, done.active_id, (old,), 0)
    assert len(KeyFile.load(path).keyring.ids) == 2


async def test_a_server_started_before_the_rotation_opens_what_it_rewrapped(connection: Connection, path: Path) -> None:
    await start_and_fill(connection, path)
    server = KeyFile.load(path).live_keyring()
    done = await rotated(connection, path)
    assert done.active_id not in server
    assert await open_everything(connection, server) == USERS
    await store_user(connection, server)
    assert await keys_in_use(connection) == {done.active_id}
