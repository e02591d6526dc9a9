"""Yrs panics on some updates that it decodes: told as an ordinary error, so that one library's trouble stays its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from crdt.errors import DocumentBroken


@contextmanager
def told_as_broken() -> Iterator[None]:
    """Work on a document. Raises DocumentBroken where Yrs cannot bear what is in it; MemoryError and what the work raises pass."""
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        # A panic in Rust comes as a BaseException of its own; interrupts and cancellations are not ours to keep.
        if type(error).__module__ != "pyo3_runtime":
            raise
        raise DocumentBroken("Yrs panicked on it") from error
