import asyncio
import errno
import os
import stat
from pathlib import Path

import pytest

from server.database import FACTS_FILE, keep_running, read_facts, write_facts
from storage import embedded
from storage.embedded import Embedded
from storage.errors import DataFolderBusy, EmbeddedFailed


def test_the_facts_are_private_and_replace_what_stands_there(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("untouched")
    for name in (FACTS_FILE, f"{FACTS_FILE}.{os.getpid()}"):
        (tmp_path / name).symlink_to(elsewhere)
    write_facts(tmp_path, pid=1)
    assert read_facts(tmp_path) == {"pid": 1}
    assert stat.S_IMODE((tmp_path / FACTS_FILE).lstat().st_mode) == 0o600
    assert elsewhere.read_text() == "untouched"


def test_a_full_disk_is_told_as_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))

    monkeypatch.setattr(embedded, "prepare_home", full)
    cluster = Embedded(tmp_path)
    with pytest.raises(EmbeddedFailed, match=f"{tmp_path}: No space left"):
        cluster.start()
    cluster.stop()


class Ended:
    """A PostgreSQL that has ended and comes back at the third attempt."""

    pid = 7

    def __init__(self) -> None:
        self.failures: list[Exception] = [EmbeddedFailed("no"), DataFolderBusy("a command has it")]

    def poll(self) -> int | None:
        return 1

    def start(self) -> str:
        if self.failures:
            raise self.failures.pop()
        return ""


async def test_postgres_is_tried_again_whatever_kept_it_from_coming_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.database.WATCH_SECONDS", 0)
    restarted = asyncio.Event()
    keeper = asyncio.create_task(keep_running(Ended(), restarted))  # type: ignore[arg-type]
    try:
        await asyncio.wait_for(restarted.wait(), 10)
    finally:
        keeper.cancel()
