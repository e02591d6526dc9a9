"""A PostgreSQL of our own for the default run and the tests: made, started, watched over and stopped by this process.

Only the accounts named in its ident map can connect, by a socket in a folder nobody else can enter; it listens on no port and
knows no password. Everything here happens on one thread that lives as long as PostgreSQL does, because the kernel's "parent died"
signal is tied to the thread that forked.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import asyncpg

from storage.cluster_account import MAJOR, PLACE_FILE, ClusterHome, home_path, prepare_home
from storage.cluster_process import INITDB_PREFIX, launch, remove_stale_files, stop_processes
from storage.errors import EmbeddedFailed
from storage.folder_lock import FolderLock
from storage.socket_folder import choose_socket_folder, forget_socket_folder

ROLE = "promptsync"
_LOG_BYTES = 10 << 20  # past it the log begins anew
_LOG_TAIL_BYTES = 2000
_RECOVERY_SECONDS = 3600.0  # replaying what a crash left; giving up would only begin it again
_GONE_SECONDS = 5.0
_QUIT_SECONDS = 0.5  # for an immediate shutdown, which writes nothing; a process that is frozen never answers
_ORPHANS_SECONDS = 0.2  # for what a killed postmaster leaves: it notices and goes by itself, unless it is frozen
_INITDB = ["--username", ROLE, "--auth-local=peer", "--auth-host=reject", "--encoding=UTF8"]
_LOCALE = ["--locale=C.UTF-8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
_SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "shared_buffers": "128MB",
    "synchronous_commit": "on",
    "wal_level": "replica",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    # neither statements nor the values in "Key (…) already exists": the log must reveal no content
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


class Embedded:
    """The cluster of one data folder. `start` and `stop` may be called from any thread, and repeated."""

    def __init__(self, folder: Path, *, durable: bool = True, max_connections: int = 100) -> None:
        """`durable=False` gives up fsync: for tests only."""
        self._folder = folder.absolute()
        self._max_connections = max_connections
        self._durable = durable
        self._keeper: ThreadPoolExecutor | None = None
        self._guard = threading.Lock()
        self._halt = threading.Event()
        self._lock: FolderLock | None = None
        self._home: ClusterHome | None = None
        self._sockets: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, timeout: float = 60.0) -> str:
        """Bring PostgreSQL up and return its address (a DSN, the same each time); at once when it runs.

        Makes the cluster on first use, stops what an earlier run left running, and recovers what it left behind.
        `timeout` (seconds) is for the first answer; replaying a crash may take longer. Raises EmbeddedFailed with
        PostgreSQL's last words, DataFolderBusy when another process has started this cluster.
        """
        with self._guard:
            self._halt.clear()
            self._keeper = self._keeper or ThreadPoolExecutor(1, thread_name_prefix="postgres-keeper")
            started = self._keeper.submit(self._start, timeout)
        return started.result()

    def stop(self, timeout: float = 10.0) -> None:
        """Stop PostgreSQL with everything written, and give the folder back; a start under way is given up.

        After `timeout` seconds it is stopped without the last checkpoint (the next start recovers), and within another second, even
        when it does not react at all. Does nothing when it is stopped.
        """
        self._halt.set()
        with self._guard:
            keeper, self._keeper = self._keeper, None
        if keeper is not None:
            try:
                keeper.submit(self._stop, timeout).result()
            finally:
                keeper.shutdown()

    def poll(self) -> int | None:
        """None while PostgreSQL runs, else its exit status (negative: the signal that ended it; 0 when it was not started)."""
        process = self._process
        if process is None:
            return 0
        status = process.poll()
        if status is None and self._home is not None:
            _bound_log(self._home.log)
        return status

    @property
    def pid(self) -> int | None:
        """The postmaster's process id while it runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    @property
    def notice(self) -> str | None:
        """What the operator should be told about where the cluster lives; known after the start."""
        return self._home.notice if self._home is not None else None

    @property
    def data(self) -> Path | None:
        """PostgreSQL's data folder; known after the start."""
        return self._home.data if self._home is not None else None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()  # an interrupt leaves the start going on its own thread
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _start(self, timeout: float) -> str:
        if self._process is not None and self._process.poll() is None and self._sockets is not None:
            return _address(self._sockets)
        try:
            self._home = home = prepare_home(self._folder)
            self._lock = self._lock or FolderLock(home.path)
            self._lock.acquire()
            stop_processes(home, timeout=30.0)
            self._make_cluster(home)
            self._sockets = sockets = choose_socket_folder(home)
            remove_stale_files(home, sockets)
            _write_access(home)
            with _log(home) as log:
                self._process = process = launch(self._command(home, sockets), home.account, log)
            asyncio.run(self._until_ready(process, _address(sockets), timeout))
        except OSError as error:  # a full or read-only disk, mostly
            self._stop(0.0)
            where = f" {error.filename}" if error.filename is not None else ""
            raise EmbeddedFailed(f"cannot make PostgreSQL's files{where}: {error.strerror or error}") from error
        except BaseException:
            self._stop(0.0)
            raise
        return _address(sockets)

    def _stop(self, timeout: float) -> None:
        process, self._process = self._process, None
        if process is not None:
            _end(process, timeout)
        if self._home is not None and self._lock is not None and self._lock.held:
            stop_processes(self._home, timeout=0.0, quit_seconds=_ORPHANS_SECONDS)
            self._lock.release()

    def _command(self, home: ClusterHome, sockets: Path) -> list[str]:
        settings = _SETTINGS | {
            "max_connections": str(self._max_connections),
            "unix_socket_directories": f'"{sockets}"',
            "hba_file": str(home.path / "pg_hba.conf"),
            "ident_file": str(home.path / "pg_ident.conf"),
            "cluster_name": home.title,
        }
        if not self._durable:
            settings |= {"fsync": "off", "full_page_writes": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(home.binaries / "postgres"), "-D", str(home.data), *options]

    def _make_cluster(self, home: ClusterHome) -> None:
        """Make the cluster unless it is there. It is made beside its place and renamed: a half-made one is never taken for whole."""
        for unfinished in home.path.glob(f"{INITDB_PREFIX}*"):
            _remove_unfinished(unfinished)
        if home.data.exists():
            return _check_cluster(home)
        place = Path(tempfile.mkdtemp(prefix=INITDB_PREFIX, dir=home.path))
        try:
            os.chown(place, home.account.uid, home.account.gid)
            sync = [] if self._durable else ["--no-sync"]
            with _log(home) as log:
                process = launch([str(home.binaries / "initdb"), "-D", str(place), *_INITDB, *_LOCALE, *sync], home.account, log)
                while process.poll() is None:
                    if self._halt.wait(0.01):
                        _end(process, 5.0)
                        raise EmbeddedFailed("stopped while the cluster was being made")
            if process.returncode != 0:
                raise EmbeddedFailed(f"initdb ended with {process.returncode}:\n{_last_words(home.log)}")
            place.rename(home.data)
        except BaseException:
            _remove_unfinished(place)
            raise
        _sync_folder(home.path)

    async def _until_ready(self, process: subprocess.Popen[bytes], address: str, timeout: float) -> None:
        """Wait until a connection succeeds, making our database on the way when it is missing."""
        assert self._home is not None  # noqa: S101  # set by the caller
        deadline, failure = time.monotonic() + timeout, "no answer"
        while True:
            if self._halt.is_set():
                raise EmbeddedFailed("stopped while PostgreSQL was starting")
            if process.poll() is not None:
                raise EmbeddedFailed(f"PostgreSQL ended with {process.returncode}:\n{_last_words(self._home.log)}")
            if time.monotonic() > deadline:
                raise EmbeddedFailed(f"PostgreSQL did not come up in time ({failure}):\n{_last_words(self._home.log)}")
            try:
                return await _knock(address)
            except asyncpg.CannotConnectNowError as error:
                deadline, failure = max(deadline, time.monotonic() + _RECOVERY_SECONDS), str(error)
            except (OSError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError) as error:
                failure = str(error) or type(error).__name__
            except asyncpg.PostgresError as error:
                raise EmbeddedFailed(f"PostgreSQL does not let us in: {error}") from error
            await asyncio.sleep(0.01)


def remove(folder: Path) -> None:
    """Remove the cluster of a data folder for good, wherever it lives; the rest of the folder stays. For tests.

    Does nothing when there is none. Raises DataFolderBusy while a process uses it, EmbeddedFailed when it is not ours.
    """
    if not os.path.lexists(home_path(folder)):
        return
    home = prepare_home(folder)
    with FolderLock(home.path):
        stop_processes(home, timeout=0.0)
        forget_socket_folder(home)
        shutil.rmtree(home.path)
    (folder / PLACE_FILE).unlink(missing_ok=True)


def _address(sockets: Path) -> str:
    # the port is named because libpq and asyncpg would otherwise take it from the environment
    return f"postgresql://{ROLE}@/{ROLE}?host={quote(str(sockets))}&port=5432"


def _remove_unfinished(place: Path) -> None:
    """Remove a half-made cluster. The initdb that was killed with us, or its children, may be at the same, so it may take turns."""
    deadline = time.monotonic() + _GONE_SECONDS
    while place.exists():
        try:
            shutil.rmtree(place)
        except OSError as error:
            if time.monotonic() > deadline:
                raise EmbeddedFailed(f"cannot remove the half-made cluster {place}: {error.strerror}") from error
            time.sleep(0.02)


def _check_cluster(home: ClusterHome) -> None:
    """Raise EmbeddedFailed unless these binaries and this account can run the cluster that is there."""
    owner = home.data.lstat().st_uid
    if owner != home.account.uid:
        raise EmbeddedFailed(
            f"{home.data} belongs to uid {owner}, but PostgreSQL would run as {home.account.name} (uid {home.account.uid})"
        )
    try:
        version = (home.data / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        raise EmbeddedFailed(f"{home.data} holds no PostgreSQL cluster; move it away and start again") from None
    if version != MAJOR:
        raise EmbeddedFailed(
            f"{home.data} was made by PostgreSQL {version}, this version brings {MAJOR}: dump it with the old version and restore it here"
        )


def _write_access(home: ClusterHome) -> None:
    """Say who may connect: the accounts in `clients`, known to the kernel by the socket, and nobody else."""
    lines = [f'{ROLE} "{name}" {ROLE}\n' for name in home.clients]
    access = f"local all {ROLE} peer map={ROLE}\nlocal replication {ROLE} peer map={ROLE}\n"
    for name, text in (("pg_hba.conf", access), ("pg_ident.conf", "".join(lines))):
        new = home.path / f"{name}.new"
        new.unlink(missing_ok=True)
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(file, "w", encoding="utf-8") as stream:
            os.fchown(file, os.geteuid(), home.account.gid)
            os.fchmod(file, 0o640)  # the folder keeps everyone but the account out
            stream.write(text)
        new.rename(home.path / name)


async def _knock(address: str) -> None:
    """Connect once, making our database when it is missing. Raises what asyncpg does."""
    try:
        connection = await asyncpg.connect(address, ssl=False, timeout=5.0)
    except asyncpg.InvalidCatalogNameError:
        connection = await asyncpg.connect(address, database="postgres", ssl=False, timeout=5.0)
        await connection.execute(f"CREATE DATABASE {ROLE}")
    await connection.close()


def _end(process: subprocess.Popen[bytes], timeout: float) -> None:
    """Stop a program of ours: SIGINT, after `timeout` seconds SIGQUIT, at last SIGKILL."""
    for number, patience in ((signal.SIGINT, timeout), (signal.SIGQUIT, _QUIT_SECONDS), (signal.SIGKILL, None)):
        process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            return


@contextmanager
def _log(home: ClusterHome) -> Iterator[int]:
    """The log, open for appending."""
    _bound_log(home.log)
    file = os.open(home.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        yield file
    finally:
        os.close(file)


def _bound_log(log: Path) -> None:
    with suppress(FileNotFoundError):
        if log.stat().st_size > _LOG_BYTES:
            os.truncate(log, 0)  # PostgreSQL appends, so it goes on at the new end


def _last_words(log: Path) -> str:
    text = log.read_bytes()[-_LOG_TAIL_BYTES:] if log.exists() else b""
    return "\n".join(text.decode("utf-8", "replace").splitlines()[-10:])


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
