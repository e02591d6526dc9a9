"""What only root can try: being several users, and giving the cluster an account of its own."""

import os
import pwd
import subprocess
import tempfile
from pathlib import Path

import pytest

from storage import cluster_account
from storage.cluster_account import ACCOUNT, SHARED, home_path, prepare_home
from storage.embedded import Embedded
from storage.errors import EmbeddedFailed
from tests.storage.conftest import NOBODY, Owners
from tests.storage.test_embedded import sockets
from tests.support.cluster_owner import ClusterOwner, OwnerFailed

UNKNOWN = 54321


def as_user(uid: int, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a program as another user."""
    switch = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    return subprocess.run([*switch, *command], capture_output=True, text=True, cwd="/", env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"})


@pytest.fixture
def account_entry() -> pwd.struct_passwd:
    """A system account as useradd makes it."""
    return pwd.struct_passwd((ACCOUNT, "x", 123, 123, "", str(SHARED), "/usr/sbin/nologin"))


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, account_entry: pwd.struct_passwd) -> Path:
    """A stand-in for /var/lib/promptsync, with an account of the right kind and nothing copied."""
    monkeypatch.setattr(cluster_account, "SHARED", tmp_path / "shared")
    monkeypatch.setattr(cluster_account, "_copy_binaries", lambda source: source)
    monkeypatch.setattr(pwd, "getpwnam", lambda name: account_entry)
    return tmp_path / "shared"


def test_other_users_can_neither_read_nor_connect(owners: Owners, programs: tuple[Path, Path]) -> None:
    stranger = NOBODY - 1
    owner = owners()
    owner.start()
    data, run = Path(owner.ask("data")), sockets(owner.ask("address"))
    for path in (data, data / "PG_VERSION", run, data.parent / "pg_hba.conf", data.parent / "postgres.log"):
        assert "Permission denied" in as_user(stranger, "cat", str(path)).stderr
    refused = as_user(stranger, str(programs[0] / "psql"), "-h", str(run), "-U", "promptsync", "-c", "SELECT 1")
    assert refused.returncode != 0
    assert "Permission denied" in refused.stderr


@pytest.mark.parametrize("uid", [NOBODY], indirect=True)
def test_reaching_the_socket_is_not_enough(owners: Owners, programs: tuple[Path, Path]) -> None:
    owner = owners()
    owner.start()
    run = sockets(owner.ask("address"))
    refused = subprocess.run([programs[0] / "psql", "-h", run, "-U", "promptsync", "-c", "SELECT 1"], capture_output=True, text=True)
    assert "Peer authentication failed" in refused.stderr


def test_as_root_it_runs_as_an_account_of_its_own_and_says_where(own_folder: Path) -> None:
    with Embedded(own_folder, durable=False) as cluster:
        account, home = pwd.getpwnam(ACCOUNT), home_path(own_folder)
        assert Path(f"/proc/{cluster.pid}").stat().st_uid == account.pw_uid != 0
        groups = [line for line in Path(f"/proc/{cluster.pid}/status").read_text().splitlines() if line.startswith(("Groups:", "Gid:"))]
        assert [line.split()[1:] for line in groups] == [[str(account.pw_gid)] * 4, []]
        assert cluster.notice is not None
        assert str(home) in cluster.notice
        assert (home.stat().st_uid, home.stat().st_gid, home.stat().st_mode & 0o777) == (0, account.pw_gid, 0o710)
        assert not (own_folder / "postgres").exists()
        binaries = prepare_home(own_folder).binaries
        assert as_user(account.pw_uid, str(binaries / "postgres"), "--version").returncode == 0
        assert as_user(account.pw_uid, "test", "-w", str(binaries / "postgres")).returncode == 1
        assert as_user(account.pw_uid, "test", "-w", str(home)).returncode == 1


def test_data_that_another_user_made_is_not_passed_over(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "postgres" / "data").mkdir(parents=True)
    os.chown(tmp_path / "postgres", NOBODY, NOBODY)
    with pytest.raises(EmbeddedFailed, match=f"made by the user with uid {NOBODY}; run as that user"):
        prepare_home(tmp_path)


def test_a_uid_without_an_account_is_told_what_to_do(programs: tuple[Path, Path]) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        ClusterOwner(Path(folder) / "data", UNKNOWN, *programs) as owner,
        pytest.raises(OwnerFailed, match=f"EmbeddedFailed: uid {UNKNOWN} has no account"),
    ):
        owner.start()


@pytest.mark.parametrize("change", ["link", "owner", "group", "mode"])
def test_a_cluster_folder_that_is_not_ours_is_refused(shared: Path, tmp_path: Path, change: str) -> None:
    home = prepare_home(tmp_path / "data").path
    if change == "link":
        home.rename(shared / "elsewhere")
        home.symlink_to(shared / "elsewhere")
    elif change == "mode":
        home.chmod(0o770)
    else:
        os.chown(home, NOBODY if change == "owner" else 0, NOBODY if change == "group" else -1)
    with pytest.raises(EmbeddedFailed, match=f"{home} is not safe to use"):
        prepare_home(tmp_path / "data")


@pytest.mark.parametrize("change", [{"pw_uid": 1000}, {"pw_shell": "/bin/bash"}, {"pw_uid": 0}])
def test_an_account_somebody_can_use_is_not_taken(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
) -> None:
    entry = {"pw_uid": 123, "pw_gid": 123, "pw_shell": "/usr/sbin/nologin"} | change
    monkeypatch.setattr(pwd, "getpwnam", lambda name: type("Entry", (), entry))
    with pytest.raises(EmbeddedFailed, match=f"the account {ACCOUNT} .* is not a system account"):
        prepare_home(tmp_path / "data")


def test_without_useradd_the_command_to_type_is_given(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise KeyError(name)

    monkeypatch.setattr(pwd, "getpwnam", missing)
    monkeypatch.setattr(cluster_account, "_SYSTEM_PATH", str(tmp_path))
    with pytest.raises(EmbeddedFailed, match=r"useradd is not installed.*by hand: useradd --system .* promptsync"):
        prepare_home(tmp_path / "data")


def test_a_file_of_the_accounts_cannot_redirect_what_root_writes(shared: Path, tmp_path: Path) -> None:
    home = prepare_home(tmp_path / "data")
    assert home.path.stat().st_uid == 0
    assert not home.path.stat().st_mode & 0o022


def test_the_account_is_refused_data_that_belongs_to_another(own_folder: Path) -> None:
    with Embedded(own_folder, durable=False) as cluster:
        data = cluster.data
    assert data is not None
    owner = data.stat()
    os.chown(data, NOBODY, NOBODY)
    with pytest.raises(EmbeddedFailed, match=f"belongs to uid {NOBODY}, but PostgreSQL would run as {ACCOUNT}"):
        Embedded(own_folder).start()
    os.chown(data, owner.st_uid, owner.st_gid)


def test_a_moved_data_folder_is_told_where_its_cluster_is(shared: Path, tmp_path: Path) -> None:
    folder, moved = tmp_path / "data", tmp_path / "moved"
    before = prepare_home(folder).path
    folder.rename(moved)
    with pytest.raises(EmbeddedFailed, match=f"mv {before} {home_path(moved)}"):
        prepare_home(moved)
    before.rename(home_path(moved))  # as the message says
    assert prepare_home(moved).path == home_path(moved)
    moved.rename(folder)
    home_path(moved).rename(before)
    assert prepare_home(folder).path == before


def test_the_note_of_the_cluster_follows_no_planted_link(shared: Path, tmp_path: Path) -> None:
    folder, victim = tmp_path / "data", tmp_path / "victim"
    folder.mkdir(mode=0o700)
    victim.write_text("precious")
    (folder / cluster_account.PLACE_FILE).symlink_to(victim)
    with pytest.raises(EmbeddedFailed, match="cannot write"):
        prepare_home(folder)
    assert victim.read_text() == "precious"
