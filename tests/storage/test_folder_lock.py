"""One server a data folder."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from storage.errors import DataFolderBusy, EmbeddedFailed
from storage.folder_lock import FolderLock, make_private

HOLD = """
import pathlib, sys
from storage.folder_lock import FolderLock
FolderLock(pathlib.Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_holder_is_refused_with_folder_and_process(tmp_path: Path) -> None:
    with FolderLock(tmp_path), pytest.raises(DataFolderBusy, match=rf"{tmp_path} is in use .* process {os.getpid()}$"):
        FolderLock(tmp_path).acquire()


def test_a_lock_given_back_can_be_taken_again(tmp_path: Path) -> None:
    for _ in range(2):
        with FolderLock(tmp_path) as lock:
            lock.acquire()
            assert lock.held
        assert not lock.held


def test_sigkill_frees_the_lock(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(DataFolderBusy, match=f"process {holder.pid}$"):
            FolderLock(tmp_path).acquire()
        holder.kill()
        holder.wait()
        with FolderLock(tmp_path) as lock:
            assert lock.held


def test_programs_do_not_inherit_the_lock(tmp_path: Path) -> None:
    with FolderLock(tmp_path):
        files = [int(name) for name in os.listdir("/proc/self/fd") if os.path.realpath(f"/proc/self/fd/{name}") == str(tmp_path / "lock")]
        assert files
        assert all(fcntl.fcntl(file, fcntl.F_GETFD) & fcntl.FD_CLOEXEC for file in files)


def test_a_missing_folder_is_made_private_and_what_exists_is_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with FolderLock(tmp_path / "a" / "b"):
        assert [path.stat().st_mode & 0o777 for path in (tmp_path, tmp_path / "a", tmp_path / "a" / "b")] == [0o755, 0o700, 0o700]
        assert (tmp_path / "a" / "b" / "lock").stat().st_mode & 0o777 == 0o600


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(EmbeddedFailed, match="not a folder"):
        make_private(tmp_path / "data")
    with pytest.raises(EmbeddedFailed, match="cannot make the folder"):
        make_private(tmp_path / "data" / "below")


def test_a_symbolic_link_as_lock_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EmbeddedFailed, match="cannot write"):
        FolderLock(tmp_path).acquire()
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk_is_said_and_the_lock_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as broken:
        broken.setattr(os, "pwrite", full)
        with pytest.raises(EmbeddedFailed, match=rf"cannot write in {tmp_path}: No space left"):
            FolderLock(tmp_path).acquire()
    with FolderLock(tmp_path) as lock:
        assert lock.held
