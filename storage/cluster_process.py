"""The processes of an embedded cluster: how one is started so that it cannot outlive us for long, and how leftovers are found.

A process is ours when it runs as the cluster's account and says so: a postmaster or initdb by its arguments (`-D <data folder>`),
the others by their title (`postgres: <cluster name>: …`). Both can be read by anyone, while /proc/<pid>/cwd needs privileges that
root lacks in a container. A process id in a file proves nothing: ids are used again.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from storage.cluster_account import Account, ClusterHome
from storage.errors import EmbeddedFailed

INITDB_PREFIX = "initdb-"
_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}
_QUIT_SECONDS = 5.0
_KILL_SECONDS = 5.0

# Runs between fork and exec, as a program: Python's `preexec_fn` may deadlock in a process with threads. The kernel sends SIGINT (to
# PostgreSQL: roll back, write everything, stop) when the thread that forked dies. The signal must be asked for after the change of user,
# which clears it, and the parent looked at after that, since it may have died before.
_LAUNCHER = """
import ctypes, os, signal, sys
parent, uid, gid = map(int, sys.argv[1:4])
if os.geteuid() != uid:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
os.umask(0o077)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(1, ctypes.c_ulong(signal.SIGINT), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
    sys.exit("prctl(PR_SET_PDEATHSIG): " + os.strerror(ctypes.get_errno()))
if os.getppid() != parent:
    sys.exit("the server is gone")
os.execv(sys.argv[4], sys.argv[4:])
"""


def launch(arguments: list[str], account: Account, log: int) -> subprocess.Popen[bytes]:
    """Start a program as `account`, its output to the file `log`; it gets SIGINT when the calling thread ends.

    It is in a session of its own: Ctrl-C in the terminal reaches us alone, and we stop it in order. Raises EmbeddedFailed.
    """
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), str(account.uid), str(account.gid)]
    try:
        return subprocess.Popen(
            [*launcher, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", env=_ENVIRONMENT, start_new_session=True
        )
    except OSError as error:
        raise EmbeddedFailed(f"cannot start {arguments[0]}: {error.strerror}") from error


def stop_processes(home: ClusterHome, timeout: float, *, quit_seconds: float = _QUIT_SECONDS) -> None:
    """Stop every process of the cluster and return when all are gone; returns at once when there is none.

    Asks for a fast shutdown first, for at most `timeout` seconds, then for an immediate one, for `quit_seconds`, then kills: the next
    start recovers.
    Raises EmbeddedFailed when something survives even that.
    """
    for number, patience in ((signal.SIGINT, timeout), (signal.SIGQUIT, quit_seconds), (signal.SIGKILL, _KILL_SECONDS)):
        deadline = time.monotonic() + patience
        told: set[int] = set()
        while processes := find_processes(home):
            if time.monotonic() > deadline:
                break
            # without a postmaster (it was killed) the others are told to leave at once: SIGINT would only cancel a query
            heads = [pid for pid, is_head in processes.items() if is_head]
            targets = heads if heads and number != signal.SIGKILL else list(processes)
            for pid in set(targets) - told:
                _send(home, pid, number if heads or number == signal.SIGKILL else signal.SIGQUIT)
                told.add(pid)
            time.sleep(0.02)
        else:
            return
    raise EmbeddedFailed(f"processes of an earlier run do not end: {', '.join(map(str, find_processes(home)))}")


def find_processes(home: ClusterHome) -> dict[int, bool]:
    """The live processes of the cluster by id, each with whether it heads the others: a postmaster, or an initdb."""
    found: dict[int, bool] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            kind = _kind(home, int(entry.name))
            if kind is not None:
                found[int(entry.name)] = kind
    return found


def remove_stale_files(home: ClusterHome, socket_folder: Path) -> None:
    """Remove what a killed PostgreSQL left and a new one would stumble on; call only when none of its processes lives.

    PostgreSQL refuses to start while the process id in its lock files is in use, by whatever program.
    """
    (socket_folder / ".s.PGSQL.5432").unlink(missing_ok=True)
    (socket_folder / ".s.PGSQL.5432.lock").unlink(missing_ok=True)
    lock = home.data / "postmaster.pid"
    with suppress(FileNotFoundError, ValueError, IndexError):
        pid = int(lock.read_text().splitlines()[0])
        # otherwise it stays: PostgreSQL then checks by it that nobody uses the old shared memory
        if Path(f"/proc/{pid}").exists():
            lock.unlink()


def _kind(home: ClusterHome, pid: int) -> bool | None:
    """Whether that process is the cluster's postmaster or initdb (True), another one of it (False), or neither (None)."""
    folder = Path(f"/proc/{pid}")
    try:
        if folder.stat().st_uid != home.account.uid:
            return None
        line = (folder / "cmdline").read_bytes()
    except OSError:
        return None  # gone meanwhile
    if line.startswith(f"postgres: {home.title}: ".encode()):
        return False
    program, option, folder_given, *_ = [*line.split(b"\0"), b"", b"", b""]
    if option != b"-D":
        return None
    is_postmaster = program.endswith(b"/postgres") and folder_given == os.fsencode(home.data)
    is_initdb = program.endswith(b"/initdb") and folder_given.startswith(os.fsencode(home.path / INITDB_PREFIX))
    return True if is_postmaster or is_initdb else None


def _send(home: ClusterHome, pid: int, number: signal.Signals) -> None:
    """Signal the process if it still is the cluster's: the descriptor keeps its id from being used again in between."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if _kind(home, pid) is not None:
            signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)
