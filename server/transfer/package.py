"""A zip as it is given: looked at before anything of it is unpacked, and of its entries only the JSON is."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Sequence
from io import BytesIO

from server.errors import MalformedFile, UnsafePackage

MOST_ENTRIES = 5_000
"""Entries of a package: the app keeps 1,000 images at most. Past it the package is refused (`unsafe_package`)."""
MAX_UNPACKED_BYTES = 1 << 30
"""What all entries say that they hold: images are not unpacked, but a package that claims more is made to harm. Past it: refused."""
MAX_JSON_BYTES = 64 << 20
"""One JSON entry, unpacked. Past it: refused."""
MAX_RATIO, RATIO_FROM_BYTES = 200, 1 << 20
"""How many times larger than its bytes in the package an entry may be, from that size on: texts shrink to a tenth. Past it: refused."""
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_ENCRYPTED = 0x1
_UNSAFE = re.compile(r"[\\\0]|^/|^[A-Za-z]:|(^|/)\.\.?(/|$)|//")


class Package:
    """A zip whose entries have been looked at."""

    def __init__(self, data: bytes) -> None:
        """Raises MalformedFile for what is no whole zip; UnsafePackage for names and sizes that no app of ours writes."""
        try:
            self._zip = zipfile.ZipFile(BytesIO(data))
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, EOFError, OverflowError):
            raise MalformedFile("zip") from None
        self._entries = _checked(self._zip.infolist())

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    @property
    def resources(self) -> int:
        """How many files there are below `resources/`."""
        return sum(
            name.startswith("resources/") and not name.endswith("/.keep") and not entry.is_dir() for name, entry in self._entries.items()
        )

    def read(self, name: str) -> bytes:
        """An entry's bytes. Raises KeyError; MalformedFile where they are damaged or encrypted; UnsafePackage where there are too many."""
        entry = self._entries[name]
        if entry.file_size > MAX_JSON_BYTES:
            raise UnsafePackage("size")
        if entry.flag_bits & _ENCRYPTED or entry.compress_type not in _METHODS:
            raise MalformedFile("zip")
        try:
            with self._zip.open(entry) as opened:
                content = opened.read(MAX_JSON_BYTES + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, OverflowError, ValueError, RuntimeError, NotImplementedError):
            raise MalformedFile("zip") from None
        if len(content) > MAX_JSON_BYTES:
            raise UnsafePackage("size")
        return content


def _checked(entries: Sequence[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    if len(entries) > MOST_ENTRIES:
        raise UnsafePackage("entries")
    found: dict[str, zipfile.ZipInfo] = {}
    seen: set[str] = set()
    for entry in entries:
        # as it is written: zipfile cuts a name at NUL
        if not entry.orig_filename or _UNSAFE.search(entry.orig_filename):
            raise UnsafePackage("name")
        if entry.filename.casefold() in seen:
            raise UnsafePackage("duplicate")
        if entry.file_size > max(RATIO_FROM_BYTES, entry.compress_size * MAX_RATIO):
            raise UnsafePackage("ratio")
        seen.add(entry.filename.casefold())
        found[entry.filename] = entry
    if sum(entry.file_size for entry in entries) > MAX_UNPACKED_BYTES:
        raise UnsafePackage("size")
    return found
