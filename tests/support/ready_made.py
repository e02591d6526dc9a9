"""Data folders that a server has started on before: a copy of one takes a third of the time that a first start takes."""

import atexit
import shutil
import subprocess
from functools import cache
from pathlib import Path

from storage.cluster_account import PLACE_FILE, home_path

_OF_A_RUN = shutil.ignore_patterns("server.json", "lock", "socket-folder", "postmaster.pid", ".s.PGSQL*")


@cache
def _model() -> Path:
    """The data folder of a server that was started once in this process, and stopped in order."""
    from tests.support.server import Server

    server = Server(fresh=True)
    atexit.register(server.cleanup)
    server.start()
    server.terminate()
    return server.data_dir


def copy_to(data_dir: Path) -> None:
    """Make the data folder: migrated, empty, with keys. Its cluster stands where a server will look for it."""
    model = _model()
    shutil.copytree(model, data_dir, ignore=_OF_A_RUN)
    home, wanted = home_path(model), home_path(data_dir)
    if not home.is_relative_to(model):
        # of root's: the cluster belongs to an account of its own, which cp keeps
        subprocess.run(["cp", "-a", "--reflink=auto", str(home), str(wanted)], check=True)
        (data_dir / PLACE_FILE).write_text(f"{wanted}\n")
        (wanted / "socket-folder").unlink(missing_ok=True)
