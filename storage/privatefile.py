"""Files that only their owner may read: checked when read, written whole or not at all.

Writing goes through a temporary file of the same folder, which is synced before it takes its name; the folder is synced
after. A crash therefore leaves the old file, the new one or a leftover with a random name, never half a file.
"""

import contextlib
import errno
import os
import pwd
import secrets
import stat
from pathlib import Path
from shlex import quote

from storage.errors import StorageError

MAX_FILE_BYTES = 1 << 20
"""More than any file of ours holds; a larger one is not read."""

# what file systems without hard links answer: FAT, some network and FUSE mounts
_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP}


class NotPrivate(StorageError):
    """Others can get at this file; the text says how and what to run."""


def read_private(path: Path) -> bytes:
    """The content of a file that only we (or root) can read or write.

    Raises:
        NotPrivate: group or others have any right on it, another account owns it, or it is no ordinary file.
        OSError: it cannot be read, FileNotFoundError among them.
    """
    # non-blocking: opening a pipe that someone put there must not wait for its writer
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        # of the open file, not of the path, which may be another one by now
        _check_private(path, os.fstat(descriptor))
        return file.read(MAX_FILE_BYTES)


def _check_private(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise NotPrivate(f"{path} is not an ordinary file")
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise NotPrivate(f"{path} is open to other accounts (mode {mode:04o}); run: chmod 600 {quote(str(path))}")
    ours = os.geteuid()
    if status.st_uid not in (ours, 0):
        raise NotPrivate(
            f"{path} belongs to {_account(status.st_uid)}, and this runs as {_account(ours)}; "
            f"run this as {_account(status.st_uid)}, or: chown {ours} {quote(str(path))}"
        )
    if status.st_size > MAX_FILE_BYTES:
        raise NotPrivate(f"{path} has {status.st_size} bytes, more than {MAX_FILE_BYTES}")


def create_private(path: Path, content: bytes) -> None:
    """Write a new file, 0600, and return once it is on the disk. A missing folder is made, 0700; an existing one is left as it is.

    Raises:
        FileExistsError: there is a file of this name; it is left as it is.
        OSError: it cannot be written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent)) from None
    temporary = _write_beside(path, content)
    try:
        # unlike a rename, a link never takes the place of another file
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _write_new(path, content)
    finally:
        temporary.unlink()
    _sync_folder(path.parent)


def replace_private(path: Path, content: bytes) -> None:
    """Put this content, 0600, in the place of the file, whole or not at all; on the disk when it returns. Raises OSError."""
    temporary = _write_beside(path, content)
    try:
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def version_of(path: Path) -> tuple[int, ...]:
    """What changes whenever the file is replaced or written; a few microseconds. Raises OSError."""
    status = path.stat()
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _write_beside(path: Path, content: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    _write_new(temporary, content)
    return temporary


def _write_new(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
