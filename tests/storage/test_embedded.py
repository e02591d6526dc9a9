"""The embedded cluster: private, and up again after whatever was killed. As root each test runs twice, also as a user who is not."""

import asyncio
import itertools
import os
import pwd
import re
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from storage.cluster_account import home_path
from storage.embedded import Embedded, remove
from storage.errors import EmbeddedFailed
from tests.storage.conftest import Owners
from tests.support.cluster_owner import ClusterOwner, OwnerFailed

SECONDS = 20.0
NUMBERS = itertools.count(1)


def wait_until(condition: Callable[[], bool]) -> None:
    """Poll until the condition holds; fail after SECONDS."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def lives(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return not re.search(r"^State:\s+Z", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:
        return False


def mode(path: Path) -> int:
    """The permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def sockets(address: str) -> Path:
    """The socket folder in an address."""
    return Path(parse_qs(urlsplit(address).query)["host"][0])


def keep(owner: ClusterOwner) -> Callable[[ClusterOwner], bool]:
    """Store something, and return what tells whether it is there."""
    table = f"kept_{next(NUMBERS)}"
    owner.ask("query", f"CREATE TABLE {table} AS SELECT 7 AS number")
    return lambda later: bool(later.ask("query", f"SELECT number FROM {table}") == 7)  # noqa: S608


def test_it_is_private_and_listens_on_no_port(owners: Owners, folder: Path) -> None:
    folder.parent.chmod(0o755)
    owner = owners()
    owner.start()
    data = Path(owner.ask("data"))
    assert mode(data) == mode(sockets(owner.ask("address"))) == 0o700
    assert mode(data.parent) in (0o700, 0o710)
    assert mode(folder) == 0o700
    assert mode(folder.parent) == 0o755
    assert owner.ask("query", "SHOW listen_addresses") == ""
    assert owner.ask("query", "SHOW unix_socket_permissions") == "0700"
    assert owner.ask("query", "SELECT string_agg(DISTINCT auth_method, ' ') FROM pg_hba_file_rules") == "peer"


def test_stopped_in_order_it_leaves_no_process_and_keeps_its_data(owners: Owners) -> None:
    owner = owners()
    pid = owner.start()
    is_kept = keep(owner)
    owner.ask("stop")
    assert not lives(pid)
    owner.start()
    assert is_kept(owner)


def test_a_killed_postgresql_is_started_again_at_the_same_address(owners: Owners) -> None:
    owner = owners()
    pid, address = owner.start(), owner.ask("address")
    is_kept = keep(owner)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not lives(pid))
    assert owner.start() != pid
    assert owner.ask("address") == address
    assert is_kept(owner)


def test_postgresql_ends_by_itself_when_its_owner_is_killed(owners: Owners) -> None:
    first = owners()
    pid = first.start()
    is_kept = keep(first)
    first.kill()
    wait_until(lambda: not lives(pid))
    second = owners()
    second.start()
    assert is_kept(second)


def test_it_starts_again_at_once_after_its_owner_is_killed(owners: Owners) -> None:
    for _ in range(3):
        owner = owners()
        owner.start()
        owner.kill()
    assert owners().start()


def test_it_starts_again_after_owner_and_postgresql_are_killed(owners: Owners) -> None:
    first = owners()
    pid = first.start()
    is_kept = keep(first)
    os.kill(pid, signal.SIGKILL)
    first.kill()
    second = owners()
    second.start()
    assert is_kept(second)


def test_a_postgresql_that_was_left_running_is_stopped_and_replaced(owners: Owners) -> None:
    first = owners()
    pid = first.start()
    command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]
    data = Path(first.ask("data"))
    first.ask("stop")
    switch: dict[str, Any] = {}
    if os.geteuid() == 0:
        switch = {"user": data.stat().st_uid, "group": data.stat().st_gid, "extra_groups": []}
    with subprocess.Popen(command, cwd="/", stderr=subprocess.DEVNULL, **switch) as orphan:
        wait_until((data / "postmaster.pid").exists)
        assert owners().start() != orphan.pid
        assert orphan.wait(SECONDS) is not None


def test_a_second_owner_is_refused_and_the_first_is_not_disturbed(owners: Owners) -> None:
    first, second = owners(), owners()
    pid = first.start()
    with pytest.raises(OwnerFailed, match=f"^DataFolderBusy: .* process {first.process.pid}$"):
        second.start()
    assert first.start() == pid
    assert first.ask("query", "SELECT 1") == 1


def test_a_cluster_killed_while_it_was_made_is_made_again(uid: int, folder: Path, programs: tuple[Path, Path]) -> None:
    new = folder / "new"
    home = home_path(new) if uid == os.geteuid() else new / "postgres"
    with ClusterOwner(new, uid, *programs) as first, ClusterOwner(new, uid, *programs) as second:
        first.tell("start")
        wait_until(lambda: any(home.glob("initdb-*/PG_VERSION")))
        first.kill()
        assert not (home / "data").exists()
        second.start()
        assert not list(home.glob("initdb-*"))
        second.ask("stop")
        second.ask("remove", str(new))


def test_a_process_id_used_again_by_a_stranger_does_not_keep_it_from_starting(owners: Owners) -> None:
    owner = owners()
    owner.start()
    data, run = Path(owner.ask("data")), sockets(owner.ask("address"))
    owner.ask("stop")
    for lock in (data / "postmaster.pid", run / ".s.PGSQL.5432.lock"):
        lock.write_text(f"{os.getpid()}\n{data}\n1700000000\n5432\n{run}\n\n")
        os.chown(lock, data.stat().st_uid, -1)
    assert owner.start()


def test_a_long_path_gets_a_short_private_socket_folder(uid: int, folder: Path, programs: tuple[Path, Path]) -> None:
    deep = folder / ("long, " * 20) / "data"
    with ClusterOwner(deep, uid, *programs) as owner:
        owner.start()
        address = owner.ask("address")
        run = sockets(address)
        assert len(str(run)) < 80
        assert mode(run) == 0o700
        owner.ask("stop")
        assert owner.ask("address") == address
        owner.ask("stop")
        owner.ask("remove", str(deep))
        assert not run.exists()


def test_what_cannot_be_run_is_refused_with_the_reason(own_folder: Path) -> None:
    with Embedded(own_folder, durable=False) as cluster:
        data = cluster.data
    assert data is not None
    control, version = data / "global" / "pg_control", data / "PG_VERSION"
    for file, content, reason in (
        (control, b"", r"(?s)PostgreSQL ended with -?\d+:.*pg_control"),
        (version, b"17\n", r"made by PostgreSQL 17, this version brings 18: dump it"),
    ):
        whole = file.read_bytes()
        file.write_bytes(content)
        with pytest.raises(EmbeddedFailed, match=reason):
            cluster.start()
        assert cluster.pid is None
        file.write_bytes(whole)
    version.rename(data / "elsewhere")
    with pytest.raises(EmbeddedFailed, match=r"holds no PostgreSQL cluster; move it away"):
        cluster.start()
    (data / "elsewhere").rename(version)


def test_it_outlives_the_thread_that_asked_for_it(own_folder: Path) -> None:
    cluster = Embedded(own_folder, durable=False)
    thread = threading.Thread(target=cluster.start)
    thread.start()
    thread.join()
    try:
        first = cluster.pid
        assert cluster.start()
        assert cluster.pid == first
        assert cluster.poll() is None
    finally:
        cluster.stop()
    assert cluster.poll() == 0
    assert cluster.pid is None


async def test_queries_that_outlive_the_postmaster_do_not_keep_it_from_starting(own_folder: Path) -> None:
    with Embedded(own_folder, durable=False) as cluster:
        connection = await asyncpg.connect(await asyncio.to_thread(cluster.start))
        busy = asyncio.ensure_future(connection.execute("SELECT count(*) FROM generate_series(1, 1000000000000)"))
        backend, pid = connection.get_server_pid(), cluster.pid
        assert pid is not None
        await asyncio.sleep(0)
        os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(wait_until, lambda: cluster.poll() is not None)
        assert cluster.poll() == -signal.SIGKILL
        await asyncio.to_thread(cluster.start)
        assert not lives(backend)
        with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.PostgresError, OSError)):
            await busy


def test_a_start_under_way_is_given_up_when_it_is_stopped(own_folder: Path) -> None:
    new = own_folder / "new"
    cluster = Embedded(new, durable=False)
    with ThreadPoolExecutor() as threads:
        started = threads.submit(cluster.start)
        wait_until(lambda: any(home_path(new).glob("initdb-*/PG_VERSION")))
        cluster.stop()
        with pytest.raises(EmbeddedFailed, match="stopped while the cluster was being made"):
            started.result()
    assert cluster.pid is None
    assert not any(path.is_dir() for path in home_path(new).iterdir())
    remove(new)
    new.rmdir()


def test_the_log_stays_bounded_and_reveals_no_content(own_folder: Path) -> None:
    async def collide(dsn: str) -> None:
        connection = await asyncpg.connect(dsn)
        await connection.execute("CREATE TEMPORARY TABLE users (email text PRIMARY KEY)")
        await connection.execute("INSERT INTO users VALUES ('secret@example.com')")
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute("INSERT INTO users VALUES ('secret@example.com')")
        await connection.close()

    with Embedded(own_folder, durable=False) as cluster:
        asyncio.run(collide(cluster.start()))
        log = home_path(own_folder) / "postgres.log"
        assert "duplicate key" in log.read_text()
        assert "secret" not in log.read_text()
        os.truncate(log, 11 << 20)
        cluster.poll()
        assert log.stat().st_size == 0


def test_removing_takes_the_cluster_and_nothing_else(own_folder: Path) -> None:
    with Embedded(own_folder, durable=False):
        (own_folder / "keys.json").touch()
    remove(own_folder)
    remove(own_folder)
    assert not home_path(own_folder).exists()
    assert [path.name for path in own_folder.iterdir()] == ["keys.json"]


def test_a_user_without_an_account_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(EmbeddedFailed, match=rf"uid {os.geteuid()} has no account .* set PROMPTSYNC_DATABASE_URL"):
        Embedded(tmp_path / "data").start()
    assert not (tmp_path / "data").exists()
