"""Broken constraints as our own errors."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from storage.errors import Conflict


@contextmanager
def conflicts() -> Iterator[None]:
    """Raise Conflict, naming the constraint, for what a unique constraint refuses inside the block."""
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        raise Conflict(error.constraint_name or "") from error
