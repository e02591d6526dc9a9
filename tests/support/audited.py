"""What the audit log has, and a watch over everything that is logged: for tests of what is noted and what must not be."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import structlog

from storage import audit
from storage.audit import Entry
from storage.pool import Database


async def entries(database: Database, user_id: UUID | str | None = None, event: str | None = None) -> list[Entry]:
    """What was noted of this account, or of all, oldest first."""
    wanted = UUID(user_id) if isinstance(user_id, str) else user_id
    async with database.acquire() as connection:
        return (await audit.page(connection, user_id=wanted, event=event, limit=100_000))[::-1]


async def events(database: Database, user_id: UUID | str) -> list[str]:
    """The names of what was noted of this account, oldest first."""
    return [entry.event for entry in await entries(database, user_id)]


async def audit_text(database: Database) -> str:
    """Every row of the log as text, to look for what must not be there."""
    return "\n".join(repr(entry) for entry in await entries(database))


@contextmanager
def logged() -> Iterator["Logged"]:
    """Keeps whatever is logged inside the block, by structlog and by the standard library, down to debug."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with structlog.testing.capture_logs() as lines:
            yield Logged(stream, lines)
    finally:
        root.setLevel(level)
        root.removeHandler(handler)


class Logged:
    """What was logged."""

    def __init__(self, stream: io.StringIO, lines: list[Any]) -> None:
        self._stream = stream
        self.lines = lines

    @property
    def text(self) -> str:
        return json.dumps(self.lines, default=repr) + self._stream.getvalue()

    def assert_without(self, *secrets: str, besides: str = "") -> None:
        """None of the secrets is in what was logged, nor in `besides`."""
        everything = self.text + besides
        assert not [secret for secret in secrets if secret in everything], "a secret was told"
