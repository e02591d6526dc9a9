"""Processes apart: what a server starts for work that is to be no burden on it, and that ends with it however that ends."""

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_ROOT = Path(__file__).resolve().parents[1]


def started_apart(module: str, *handed: int, **environment: str) -> subprocess.Popen[bytes]:
    """A process that runs this module of ours, told the numbers of the file descriptors that it is handed, and last our pid.

    It has nothing else of this process: not its environment, which holds secrets, nor its folder, terminal and output. Raises OSError.
    """
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module, *map(str, (*handed, os.getpid()))],
        pass_fds=handed,
        env={"PYTHONPATH": os.pathsep.join([str(_ROOT), *filter(None, sys.path)]), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # ours may be a pipe whose end tells of ours
        start_new_session=True,  # Ctrl-C in the terminal reaches us alone
    )


def begin_apart(parent: int) -> None:
    """What such a process does first: signals are its server's business, and it ends last. Raises as `end_with_parent`."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    end_with_parent(parent)


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the one of this pid dies, whatever this one is at. Source: prctl(2), PR_SET_PDEATHSIG.

    Raises SystemExit where that cannot be had, and where it has died already.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), *[ctypes.c_ulong(0)] * 3) != 0:
        sys.exit(f"prctl(PR_SET_PDEATHSIG): {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        sys.exit("the server is gone")
