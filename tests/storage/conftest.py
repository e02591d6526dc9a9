"""Users, folders and processes for the tests of the embedded cluster."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from storage.cluster_account import find_binaries, prepare_home
from storage.embedded import remove
from tests.support.cluster_owner import ClusterOwner

AS_ROOT = os.geteuid() == 0
NOBODY = 65534
Owners = Callable[[], ClusterOwner]

# what only root can try (being several users) exists only for root; every promise is tested without it too
collect_ignore = [] if AS_ROOT else ["test_embedded_root.py"]


@pytest.fixture(scope="session")
def programs() -> tuple[Path, Path]:
    """PostgreSQL's folder and a Python, both such that any user can run them."""
    if not AS_ROOT:
        return find_binaries(), Path(sys.executable)
    with tempfile.TemporaryDirectory() as folder:
        binaries = prepare_home(Path(folder)).binaries  # root's copy, made for such users
        remove(Path(folder))
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        trial = ["env", python, "-I", "-S", "-c", "import ctypes"]
        if subprocess.run(trial, user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, cwd="/").returncode == 0:
            return binaries, Path(python)
    pytest.fail("there is no Python here that a user other than root can run")


@pytest.fixture(scope="session", params=[os.geteuid(), NOBODY] if AS_ROOT else [os.geteuid()], ids=lambda uid: f"uid {uid}")
def uid(request: pytest.FixtureRequest) -> int:
    """Who runs the cluster: we, and when we are root also a user who is not."""
    number: int = request.param
    return number


@pytest.fixture(scope="session")
def folder(uid: int, programs: tuple[Path, Path]) -> Iterator[Path]:
    """That user's data folder, with a cluster (making one takes a second). Not under tmp_path, which only its maker can enter."""
    base = Path(tempfile.mkdtemp(prefix="promptsync-test-"))
    os.chown(base, uid, -1)
    with ClusterOwner(base / "data", uid, *programs) as owner:
        yield base / "data"
        owner.ask("remove", str(base / "data"))
    shutil.rmtree(base)


@pytest.fixture
def owners(folder: Path, uid: int, programs: tuple[Path, Path]) -> Iterator[Owners]:
    """Makes processes that may own the cluster; what they started ends with the test."""
    with ExitStack() as running:
        yield lambda: running.enter_context(ClusterOwner(folder, uid, *programs))


@pytest.fixture(scope="session")
def own_folder() -> Iterator[Path]:
    """A data folder of ours, for clusters in this process; who spoils one puts it right again."""
    base = Path(tempfile.mkdtemp(prefix="promptsync-test-"))
    yield base / "data"
    remove(base / "data")
    shutil.rmtree(base)
