"""What the kernel says about the processes that are measured, and about this machine."""

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat after the name (so that utime is number 11), or none when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def cpu_seconds(pid: int) -> float:
    """User and system time of one process and of its children that have ended and were waited for."""
    fields = _stat(pid)
    return sum(int(field) for field in fields[11:15]) / _TICKS if fields else 0.0


def family(pid: int) -> list[int]:
    """`pid` and its living descendants, parents first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for each in found:
        found += children.get(each, ())
    return found


def resident_bytes(pid: int) -> int:
    """Memory of one process (RSS)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds used so far: by the servers and their worker processes, and by all of PostgreSQL."""

    server: float
    postgres: float

    @classmethod
    def now(cls, server_pids: Sequence[int], postgres_pid: int | None) -> "Usage":
        theirs = set(family(postgres_pid)) if postgres_pid else set()
        ours = {pid for server_pid in server_pids for pid in family(server_pid)} - theirs
        return cls(sum(map(cpu_seconds, ours)), sum(map(cpu_seconds, theirs)))


def describe(postgres_pid: int | None) -> str:
    """One line about the machine: cores, system, Python and PostgreSQL."""
    parts = [f"{os.cpu_count()} cores", platform.system() + " " + platform.release().split("-")[0], "Python " + platform.python_version()]
    if postgres_pid is not None:
        binary = Path(f"/proc/{postgres_pid}/exe")
        printed = subprocess.run([str(binary), "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
        parts.append("PostgreSQL " + printed.split()[-1] if printed.split() else "PostgreSQL")
    return ", ".join(parts)
