"""The queue on the disk: whatever is left of the file, everything that was kept and not acknowledged is there, in order."""

import errno
import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.client import Place
from server.client import queue_file
from server.client.errors import QueueBroken
from server.client.queue_file import QueueFile
from server.client.records import HEAD_BYTES, Added, Kept, encode, mark_of, read


def held(path: Path) -> list[bytes]:
    """What a new process finds."""
    queue = QueueFile(path)
    try:
        return [entry.update for entry in queue.entries]
    finally:
        queue.close()


def test_what_was_added_is_found_again_in_order(tmp_path: Path) -> None:
    queue = QueueFile(tmp_path / "q")
    numbers = [queue.add(b"one"), queue.add(b""), queue.add(b"three" * 1000)]
    queue.flush(sync=True)
    queue.remove(numbers[1])
    queue.close()
    again = QueueFile(tmp_path / "q")
    assert again.entries == [(numbers[0], b"one"), (numbers[2], b"three" * 1000)]
    assert again.nbytes == 5003
    assert again.add(b"four") > numbers[2]
    again.close()


def test_the_file_is_ours_alone(tmp_path: Path) -> None:
    queue = QueueFile(tmp_path / "folder" / "q")
    queue.add(b"x" * 1000)
    queue.close()
    assert stat.S_IMODE((tmp_path / "folder" / "q").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o700


def test_a_file_torn_at_any_byte_keeps_every_record_before_and_takes_more(tmp_path: Path) -> None:
    path = tmp_path / "q"
    queue = QueueFile(path)
    first = queue.add(b"first")
    queue.add(b"second")
    queue.remove(first)
    queue.keep(Place(3, 17), b"\x01\x05\x06")
    queue.add(b"third")
    queue.close()
    content = path.read_bytes()
    mark = mark_of(content)
    assert mark is not None
    ends = [(end, record) for record, end in read(content, mark)]
    assert len(ends) == 5
    for cut in range(HEAD_BYTES, len(content) + 1):
        path.write_bytes(content[:cut])
        whole = [record for end, record in ends if end <= cut]
        added = [record.update for record in whole if isinstance(record, Added)]
        expected = added[1:] if len(whole) > 2 else added
        queue = QueueFile(path)
        assert [entry.update for entry in queue.entries] == expected, cut
        assert queue.kept == next((record for record in whole if isinstance(record, Kept)), None)
        queue.add(b"after")
        queue.close()
        assert held(path) == [*expected, b"after"], cut


@pytest.mark.parametrize("content", [b"", b"promptsync queue 1\n123", b"something else altogether, and long"])
def test_what_is_no_queue_is_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "q").write_bytes(content)
    with pytest.raises(QueueBroken):
        QueueFile(tmp_path / "q")
    assert (tmp_path / "q").read_bytes() == content


def test_a_hole_costs_only_what_was_in_it(tmp_path: Path) -> None:
    path = tmp_path / "q"
    queue = QueueFile(path)
    for update in (b"first", b"second", b"third"):
        queue.add(update)
    queue.close()
    content = bytearray(path.read_bytes())
    for at in range(HEAD_BYTES, len(content)):
        damaged = bytes(content[:at]) + bytes((content[at] ^ 0xFF,)) + bytes(content[at + 1 :])
        path.write_bytes(damaged)
        assert len(held(path)) == 2, at


def test_an_update_cannot_pretend_to_be_a_record(tmp_path: Path) -> None:
    path = tmp_path / "q"
    QueueFile(path).close()
    foreign = encode(Added(9, b"forged"), b"12345678")
    queue = QueueFile(path)
    queue.add(b"x" + foreign)
    queue.close()
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert held(path) == []


def test_a_worn_file_is_written_anew_and_stays_small(tmp_path: Path) -> None:
    path = tmp_path / "q"
    queue = QueueFile(path)
    staying = queue.add(b"stays")
    queue.keep(Place(1, 2), b"\x00")
    for _ in range(300):
        queue.remove(queue.add(b"x" * 10_000))
        queue.flush(sync=False)
        assert path.stat().st_size < 2 * queue_file.COMPACT_BYTES
    last = queue.add(b"last")
    queue.close()
    again = QueueFile(path)
    assert again.entries == [(staying, b"stays"), (last, b"last")]
    assert again.kept == Kept(Place(1, 2), b"\x00")
    again.close()
    assert [file.name for file in tmp_path.iterdir()] == ["q"]


def test_what_a_kill_amid_writing_anew_leaves_is_removed(tmp_path: Path) -> None:
    queue = QueueFile(tmp_path / "q")
    queue.add(b"one")
    queue.close()
    (tmp_path / ".q.0123456789abcdef").write_bytes(b"half of a file")
    assert held(tmp_path / "q") == [b"one"]
    assert [file.name for file in tmp_path.iterdir()] == ["q"]


def test_without_room_for_a_new_file_the_old_one_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(queue_file, "replace_private", full)
    queue = QueueFile(tmp_path / "q")
    for _ in range(60):
        queue.remove(queue.add(b"x" * 10_000))
    queue.add(b"kept")
    queue.flush(sync=True)
    queue.close()
    assert held(tmp_path / "q") == [b"kept"]


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_what_could_not_be_written_is_written_the_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "q"
    queue = QueueFile(path)
    queue.add(b"before")
    queue.flush(sync=True)
    real_write = os.write

    def failing(file: int, data: bytes = b"") -> int:
        if call == "write":
            real_write(file, data[: len(data) // 2])
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as broken:
        broken.setattr(os, call, failing)
        queue.add(b"during")
        with pytest.raises(OSError, match="broken"):
            queue.flush(sync=True)
    assert queue.dirty
    path_now = path.read_bytes()
    (tmp_path / "copy").write_bytes(path_now)
    assert held(tmp_path / "copy") == [b"before"]
    queue.flush(sync=True)
    queue.close()
    assert held(path) == [b"before", b"during"]


def test_nothing_counts_as_kept_before_the_disk_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    real = os.fsync
    queue = QueueFile(tmp_path / "q")

    def noting(file: int) -> None:
        synced.append(os.fstat(file).st_size)
        real(file)

    monkeypatch.setattr(os, "fsync", noting)
    queue.remove(queue.add(b"one"))
    queue.flush(sync=False)
    assert not synced
    queue.flush(sync=True)
    assert synced == [(tmp_path / "q").stat().st_size]
    queue.flush(sync=True)
    assert len(synced) == 1
    queue.close()


operations = st.lists(st.tuples(st.sampled_from(["add", "remove", "flush", "sync", "reopen"]), st.integers(0, 60_000)), max_size=40)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations)
def test_it_is_what_a_list_would_be(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]) -> None:
    path = tmp_path_factory.mktemp("queue") / "q"
    queue, model = QueueFile(path), dict[int, bytes]()
    for step, number in steps:
        match step:
            case "add":
                update = b"%d." % number * (number // 8)
                model[queue.add(update)] = update
            case "remove" if model:
                removed = list(model)[number % len(model)]
                del model[removed]
                queue.remove(removed)
            case "flush" | "sync":
                queue.flush(sync=step == "sync")
            case "reopen":
                queue.close()
                queue = QueueFile(path)
        assert {entry.number: entry.update for entry in queue.entries} == model
        assert queue.nbytes == sum(map(len, model.values()))
    queue.close()
    assert held(path) == list(model.values())
