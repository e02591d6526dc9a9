"""How a process treats its memory: what the collector looks at, and what is kept of what was freed.

A library of 8 MB that is read, opened and dropped gives its memory back to the system each time, and the next one has to have every page of
it cleared and mapped again: on a virtual machine that takes as long as decrypting it.
"""

import atexit
import ctypes
import gc
from typing import Final

KEPT_BYTES: Final = 64 << 20
"""What of its heap's end a process keeps though nothing lies there: room for the copies of one large library. What is above goes back."""
MAPPED_FROM_BYTES: Final = 32 << 20
"""A piece from this size on is mapped by itself and goes back at once; it is the most that glibc takes here."""

TUNABLES: Final = "glibc.malloc.hugetlb=1"
"""For GLIBC_TUNABLES of a process that holds large documents: ask for pages of 2 MiB, where the system gives them to who asks."""

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3

COLLECT_AFTER: Final = (20_000, 20, 50)
"""The garbage collector's thresholds: the hot paths make thousands of short-lived objects a second and hardly any cycle."""


def begin() -> None:
    """What a process does first: the collector looks seldom at what imports make, and not at all at what is there in the end.

    They are a hundred thousand, and live as long as the process. Looking through them at the end took as long as half of the imports, and
    on the way a tenth of them.
    """
    gc.set_threshold(*COLLECT_AFTER)
    atexit.register(gc.freeze)


def settle() -> None:
    """What a process does once it is ready for its work: nothing made so far is looked at again by the collector, and freed memory is kept.

    Source: mallopt(3). Where the C library knows no such thing (it is not glibc) memory is kept as that library keeps it.
    """
    gc.collect()
    gc.freeze()  # what was made so far lives as long as the process
    gc.set_threshold(*COLLECT_AFTER)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, MAPPED_FROM_BYTES)
