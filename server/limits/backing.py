"""Which store the counters are kept in."""

from collections.abc import Callable
from datetime import datetime

from server.config import Settings
from server.limits.stores import LocalStore, PostgresStore, Store
from storage.pool import Database


def counter_store(settings: Settings, database: Database, clock: Callable[[], datetime]) -> Store:
    """Where the settings have counters kept: in Redis where they name one, else in the database.

    Raises:
        BadRedisAddress: the setting names no address.
    """
    if settings.redis_url is None:
        return PostgresStore(database, clock)
    from server.limits.redis_store import RedisOrLocal  # 6 MB of memory that most servers need not spend

    return RedisOrLocal(settings.redis_url, LocalStore(clock))
