"""One server a data folder: a lock that the kernel releases when its holder dies, however it dies."""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from storage.errors import DataFolderBusy, EmbeddedFailed


def make_private(folder: Path) -> None:
    """Make `folder` and its missing parents, open to us alone (0700); what exists stays as it is.

    Raises EmbeddedFailed when that is not possible.
    """
    try:
        for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise EmbeddedFailed(f"cannot make the folder {folder}: {error.strerror}") from error
    if not folder.is_dir():
        raise EmbeddedFailed(f"{folder} is not a folder")


class FolderLock:
    """Holds `<folder>/lock` while a server uses the folder; the file names the process.

    It is a `flock`, so SIGKILL frees it, and programs we start do not inherit it (close-on-exec). A process made by
    `os.fork` alone would: start workers by spawn.
    """

    def __init__(self, folder: Path, *, wait: bool = False) -> None:
        self._folder = folder
        self._mode = fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock, making the folder if it is missing; taking it twice is taking it once.

        Raises DataFolderBusy when another process (or another FolderLock) holds it (with `wait` it waits instead),
        EmbeddedFailed when the folder cannot be written.
        """
        if self._file is not None:
            return
        make_private(self._folder)
        try:
            file = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise EmbeddedFailed(f"cannot write in {self._folder}: {error.strerror}") from error
        try:
            fcntl.flock(file, self._mode)
        except BlockingIOError:
            holder = os.pread(file, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(file)
            raise DataFolderBusy(f"the data folder {self._folder} is in use by another server, process {holder}") from None
        try:
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            os.close(file)
            raise EmbeddedFailed(f"cannot write in {self._folder}: {error.strerror}") from error
        self._file = file

    def release(self) -> None:
        """Give the lock back; does nothing when it is not held. The file stays: removing it would race with the next holder."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._file is not None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()
