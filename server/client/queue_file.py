"""The queue of one library's unsaved updates on the disk.

Append-only: what is added is synced to the disk before it counts as kept. What is acknowledged is noted without that, since pushing it once
more does no harm. When little of the file is still of use, a new one takes its place, whole or not at all.
"""

import os
import threading
from pathlib import Path

from protocol.client import Place
from protocol.outbox import Entry
from server.client.errors import QueueBroken
from server.client.records import HEAD_BYTES, MARK_BYTES, Added, Kept, Record, Removed, encode, mark_of, read, size_of, whole
from storage.privatefile import create_private, replace_private

COMPACT_BYTES = 256 << 10
"""Of no more use than half of the file and so many bytes, it is written anew."""


class Queue:
    """The queue in memory alone: it is gone with the process."""

    def __init__(self) -> None:
        self._updates: dict[int, bytes] = {}
        self._next = 0
        self.nbytes = 0
        """Of the updates in it."""
        self.kept: Kept | None = None

    @property
    def entries(self) -> list[Entry]:
        """What is in it, in order."""
        return [Entry(number, update) for number, update in self._updates.items()]

    def add(self, update: bytes) -> int:
        """Put an update at the end: its number. `flush` puts it on the disk."""
        number = self._next
        self._next += 1
        self._updates[number] = update
        self.nbytes += len(update)
        return number

    def remove(self, number: int) -> None:
        """It is stored, or dismissed."""
        self.nbytes -= len(self._updates.pop(number))

    def keep(self, place: Place, vector: bytes) -> None:
        """The application keeps its document, which holds `vector`, with everything up to `place`."""
        self.kept = Kept(place, vector)

    @property
    def dirty(self) -> bool:
        """Whether there is anything to flush."""
        return False

    def flush(self, *, sync: bool) -> None:
        """Write what has changed; with `sync` it survives a power failure when this returns. Blocks. Raises OSError."""

    def close(self) -> None:
        """Not to be used any more."""


class QueueFile(Queue):
    """The queue in a file of its own, 0600. `flush` and `close` belong into threads; all else may be called meanwhile.

    Raises QueueBroken where the file is no queue, OSError where it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._lock = threading.Lock()  # of what is in memory; never held while the disk works
        self._flushing = threading.Lock()
        self._unwritten: list[Record] = []
        self._unsynced = False
        for leftover in path.parent.glob(f".{path.name}.*"):
            leftover.unlink()
        if not path.exists():
            create_private(path, whole(os.urandom(MARK_BYTES), []))
        self._load(path.read_bytes())
        self._file = self._open()

    def _load(self, content: bytes) -> None:
        mark = mark_of(content)
        if mark is None:
            raise QueueBroken(f"{self._path} is not a queue of unsaved updates")
        self._mark, self._size = mark, HEAD_BYTES
        for record, self._size in read(content, mark):
            match record:
                case Added(number, update):
                    self._updates[number] = update
                    self._next = max(self._next, number + 1)
                case Removed(number):
                    self._updates.pop(number, None)
                case Kept():
                    self.kept = record
        if self._size < len(content):  # torn by a crash
            os.truncate(self._path, self._size)
        self.nbytes = sum(map(len, self._updates.values()))
        self._live_bytes = HEAD_BYTES + sum(map(size_of, self._live()))

    def add(self, update: bytes) -> int:
        with self._lock:
            number = super().add(update)
            self._note(Added(number, update))
        return number

    def remove(self, number: int) -> None:
        with self._lock:
            self._live_bytes -= size_of(Added(number, self._updates[number]))
            super().remove(number)
            self._note(Removed(number))

    def keep(self, place: Place, vector: bytes) -> None:
        with self._lock:
            self._live_bytes -= 0 if self.kept is None else size_of(self.kept)
            super().keep(place, vector)
            self._note(Kept(place, vector))

    def _note(self, record: Record) -> None:
        self._unwritten.append(record)
        self._live_bytes += 0 if isinstance(record, Removed) else size_of(record)

    @property
    def dirty(self) -> bool:
        return bool(self._unwritten)

    def flush(self, *, sync: bool) -> None:
        with self._flushing:
            with self._lock:
                batch, self._unwritten = self._unwritten, []
                worn = self._is_worn(self._size + sum(map(size_of, batch)))
                live = self._live() if worn else []
            try:
                if not worn or not self._replace(live):
                    self._append(b"".join(encode(record, self._mark) for record in batch), sync=sync)
            except OSError:
                with self._lock:
                    self._unwritten[:0] = batch
                raise

    def close(self) -> None:
        """Sync what is left, and let go of the file. Raises OSError."""
        try:
            self.flush(sync=True)
        finally:
            os.close(self._file)
            self._file = -1  # the number may soon be another file's

    def _live(self) -> list[Record]:
        kept: list[Record] = [] if self.kept is None else [self.kept]
        return kept + [Added(number, update) for number, update in self._updates.items()]

    def _is_worn(self, size: int) -> bool:
        dead = size - self._live_bytes
        return dead > COMPACT_BYTES and dead > self._live_bytes

    def _append(self, batch: bytes, *, sync: bool) -> None:
        left = memoryview(batch)
        try:
            while left:
                self._unsynced = True
                left = left[os.write(self._file, left) :]
            if sync and self._unsynced:
                os.fsync(self._file)
                self._unsynced = False
        except OSError:
            os.ftruncate(self._file, self._size)  # what failed to be synced is written again, not just synced again
            raise
        self._size += len(batch)

    def _replace(self, live: list[Record]) -> bool:
        """Whether there is a new file; where there is no room for one the old one goes on."""
        mark = os.urandom(MARK_BYTES)
        image = whole(mark, live)
        try:
            replace_private(self._path, image)
        except OSError:
            if os.path.samestat(os.stat(self._path), os.fstat(self._file)):
                return False
        os.close(self._file)
        self._file = self._open()
        self._mark, self._size, self._unsynced = mark, len(image), False
        return True

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
