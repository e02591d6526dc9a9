"""The key file of a running server: loaded, made at the very first start, and never made anew for a database that has keys."""

import secrets
from collections.abc import Sequence

from server.config import Settings
from server.times import utc_now
from storage.cluster import needed_keys
from storage.errors import WrongKeys
from storage.keyfile import KeyFile, KeyFileError, KeyFileMissing, Origin
from storage.pool import Database


async def open_key_file(settings: Settings, database: Database) -> tuple[KeyFile, bool]:
    """The key file, and whether it was made just now.

    Raises:
        WrongKeys: it is missing, and the database is sealed with keys; the text names both.
        KeyFileError: it cannot be used, or production would have to generate it.
    """
    path = settings.key_path
    try:
        found = KeyFile.load(path)
    except KeyFileMissing:
        return await _first_keys(settings, database), True
    if settings.production and found.origin is Origin.GENERATED:
        raise KeyFileError(f"production does not run on generated keys: make your own with `promptsync keys create` (found {path})")
    return found, False


async def _first_keys(settings: Settings, database: Database) -> KeyFile:
    path = settings.key_path
    async with database.acquire() as connection:
        needed = await needed_keys(connection)
    if needed:
        raise WrongKeys(f"the key file {path} is missing, and the database is sealed with {_listed(needed)}: put your copy back")
    if settings.production:
        raise KeyFileError(f"there is no key file {path}: make one with `promptsync keys create`, and keep a copy apart from the database")
    return KeyFile.create(path, Origin.GENERATED, utc_now(), secrets.token_bytes)


def _listed(ids: Sequence[str]) -> str:
    return ", ".join(ids)
