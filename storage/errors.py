"""What storage can fail with. Errors carry data; `server/errors.py` turns them into answers."""


class StorageError(Exception):
    """The root of everything this package raises on purpose."""


class Unavailable(StorageError):
    """The database cannot be reached or does not answer in time; trying again later may succeed."""


class NotFound(StorageError):
    """The row asked for does not exist, or is not the caller's to see."""


class Conflict(StorageError):
    """A constraint of the schema refused the write."""

    def __init__(self, constraint: str) -> None:
        super().__init__(constraint)
        self.constraint = constraint


class SealBroken(StorageError):
    """Sealed bytes do not open in this place: moved, swapped, cut or altered."""


class WrongKeys(StorageError):
    """The key file does not fit the database; the text names the key that is missing or differs."""


class SchemaMismatch(StorageError):
    """The database's schema is not the one this version needs."""

    def __init__(self, found: str | None, needed: str) -> None:
        super().__init__(f"the database is at revision {found or 'none'}, this version needs {needed}")
        self.found = found
        self.needed = needed


class EmbeddedFailed(StorageError):
    """The embedded PostgreSQL could not be set up, started or stopped; the text says why and what to do."""


class DataFolderBusy(StorageError):
    """Another server uses this data folder."""
