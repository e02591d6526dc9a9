"""The folder of an embedded cluster's socket: private, and with a name that fits a socket's address.

The kernel takes at most 107 bytes, and a list of hosts is parsed at commas, so a cluster deep in a long path gets its folder
in /run/user/<uid> or /tmp instead, under a name nobody can guess or take; `socket-folder` in the cluster's home remembers it,
so the address stays the same over restarts.
"""

import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path

from storage.cluster_account import ClusterHome, check_private
from storage.errors import EmbeddedFailed

_LONGEST = 107 - len("/.s.PGSQL.5432")
_PLAIN = re.compile(r"[^\x00-\x1f,\"%\\]+")


def choose_socket_folder(home: ClusterHome) -> Path:
    """The folder for the cluster's socket, made if need be: 0700 and the cluster account's. Raises EmbeddedFailed."""
    folder = home.path / "run"
    if len(os.fsencode(folder)) > _LONGEST or not _PLAIN.fullmatch(str(folder)):
        return _elsewhere(home)
    if not os.path.lexists(folder):
        folder.mkdir(mode=0o700)
        os.chown(folder, home.account.uid, home.account.gid)
    check_private(folder, home.account.uid)
    return folder


def forget_socket_folder(home: ClusterHome) -> None:
    """Remove a socket folder that stands outside the cluster's home."""
    folder = _remembered(home)
    if folder is not None:
        for file in (".s.PGSQL.5432", ".s.PGSQL.5432.lock"):
            (folder / file).unlink(missing_ok=True)
        folder.rmdir()


def _elsewhere(home: ClusterHome) -> Path:
    folder = _remembered(home)
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="promptsync-", dir=_base(home.account.uid)))
        os.chown(folder, home.account.uid, home.account.gid)
        (home.path / "socket-folder").write_bytes(os.fsencode(folder))
    return folder


def _remembered(home: ClusterHome) -> Path | None:
    """The folder used before, if it still is there and private."""
    with suppress(OSError, EmbeddedFailed):
        folder = Path(os.fsdecode((home.path / "socket-folder").read_bytes()))
        check_private(folder, home.account.uid)
        return folder
    return None


def _base(uid: int) -> Path:
    session = Path(f"/run/user/{uid}")
    with suppress(OSError, EmbeddedFailed):
        check_private(session, uid)
        return session
    return Path("/tmp")  # noqa: S108  # mkdtemp makes a folder of a random name, open to us alone
