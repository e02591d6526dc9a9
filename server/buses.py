"""Which way messages go between processes: Redis or Valkey where the settings name one, else PostgreSQL."""

import os

from server.bus import Bus
from server.config import Settings
from server.notify_bus import notify_bus
from storage.pool import Database


def make_bus(settings: Settings, database: Database) -> Bus:
    """The bus between this process and the others on the same database; `run` connects it.

    Call it on the event loop. Raises nothing: a Redis that is away is looked for again and again.
    """
    return notify_bus(database, os.urandom)
