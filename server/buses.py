"""Which way messages go between processes: Redis or Valkey where the settings name one, else PostgreSQL."""

import os

from server.bus import Bus
from server.config import Settings
from server.notify_bus import notify_bus
from storage.pool import Database


def make_bus(settings: Settings, database: Database) -> Bus:
    """The bus between this process and the others on the same database; its `run` connects it, and goes on trying when it cannot.

    Call it on the event loop.

    Raises:
        BadRedisAddress: the setting names no address.
    """
    if settings.redis_url is None:
        return notify_bus(database, os.urandom)
    from server.redis_bus import redis_bus  # 6 MB of memory that most servers need not spend

    return redis_bus(settings.redis_url, os.urandom)
