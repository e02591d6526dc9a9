"""What the kernel says about the processes that are measured, and about this machine."""

import os
import platform
import subprocess
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
    """`pid` and its living children."""
    children = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _stat(int(entry.name))[1:2] == [str(pid)]]
    return [pid, *children]


def resident_bytes(pid: int) -> int:
    """Memory of one process (RSS)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds used so far: by the server and its worker processes, and by all of PostgreSQL."""

    server: float
    postgres: float

    @classmethod
    def now(cls, server_pid: int | None, postgres_pid: int | None) -> "Usage":
        server = sum(cpu_seconds(pid) for pid in family(server_pid) if pid != postgres_pid) if server_pid else 0.0
        postgres = sum(cpu_seconds(pid) for pid in family(postgres_pid)) if postgres_pid else 0.0
        return cls(server, postgres)


def describe(postgres_pid: int | None) -> str:
    """One line about the machine: cores, system, Python and PostgreSQL."""
    parts = [f"{os.cpu_count()} cores", platform.system() + " " + platform.release().split("-")[0], "Python " + platform.python_version()]
    if postgres_pid is not None:
        binary = Path(f"/proc/{postgres_pid}/exe")
        printed = subprocess.run([str(binary), "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
        parts.append("PostgreSQL " + printed.split()[-1] if printed.split() else "PostgreSQL")
    return ", ".join(parts)
