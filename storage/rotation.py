"""A new key-encryption key: every data key is wrapped again, no data is sealed again.

The order makes a crash harmless at any point: the new key is saved in the key file and synced, then registered in the
database, then data keys are wrapped with it, a chunk a transaction, and at last the keys that wrap nothing any more are
struck off the register. Until that is done the next run goes on where this one stopped, without another new key.

Servers may run meanwhile: they look into the key file when they meet a key they do not know and before they wrap
one (storage/keyring.py), so this ends. A row wrapped just before the key was saved may be committed after the last look: it
opens, since the old key stays in the file (backups need it too), and the next run wraps it. Should the old key be taken out
before that, the next start refuses by name (storage/cluster.py asks for every key in use, registered or not).
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from uuid import UUID

from storage import cluster
from storage.cipher import library_key_place, user_key_place
from storage.errors import SealBroken, StorageError
from storage.keyfile import KeyFile
from storage.keyring import Keyring
from storage.pool import Connection

CHUNK_ROWS = 500
"""Rows wrapped again in one transaction: a writer waits for their locks about 20 ms."""
MOST_ROUNDS = 8
"""How often it is looked for rows that came under an old key meanwhile; past it they are left to the next run, and said."""
ROTATION_LOCK = 0x50_53_72_6F_74_61_74
"""The advisory lock that keeps a second rotation out."""

_NIL = UUID(int=0)

_TRY_LOCK = "SELECT pg_try_advisory_lock($1)"
_UNLOCK = "SELECT pg_advisory_unlock($1)"
_RETIRE = """
    DELETE FROM encryption_keys k WHERE k.id <> $1
    AND NOT EXISTS (SELECT FROM users u WHERE u.key_id = k.id) AND NOT EXISTS (SELECT FROM libraries l WHERE l.key_id = k.id)
    RETURNING k.id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """One table whose rows hold a wrapped key."""

    count: str
    chunk: str
    rewrap: str
    place: Callable[[UUID], bytes]


_TABLES = (
    _Table(
        count="SELECT count(*) FROM users WHERE key_id = $1",
        chunk="SELECT id, wrapped_key FROM users WHERE key_id = $1 AND id > $2 ORDER BY id LIMIT $3 FOR NO KEY UPDATE",
        rewrap="""
            UPDATE users AS t SET wrapped_key = new.wrapped, key_id = $3
            FROM unnest($1::uuid[], $2::bytea[]) AS new (id, wrapped) WHERE t.id = new.id
        """,
        place=user_key_place,
    ),
    _Table(
        count="SELECT count(*) FROM libraries WHERE key_id = $1 AND wrapped_key IS NOT NULL",
        chunk="""
            SELECT id, wrapped_key FROM libraries WHERE key_id = $1 AND wrapped_key IS NOT NULL AND id > $2
            ORDER BY id LIMIT $3 FOR NO KEY UPDATE
        """,
        rewrap="""
            UPDATE libraries AS t SET wrapped_key = new.wrapped, key_id = $3
            FROM unnest($1::uuid[], $2::bytea[]) AS new (id, wrapped) WHERE t.id = new.id
        """,
        place=library_key_place,
    ),
)


class RotationBusy(StorageError):
    """Another rotation of this database's keys is running."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a rotation is: data keys wrapped again, of those there are to wrap (it grows when servers add some)."""

    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """What a rotation did."""

    active_id: str
    resumed: bool
    """Whether it finished what an earlier run, or a key put first in the file by hand, had begun; no key was made then."""
    rewrapped: int
    retired: tuple[str, ...]
    """Keys that wrap nothing in this database any more; they stay in the key file for the backups."""
    broken: tuple[UUID, ...]
    """Users and libraries whose wrapped key does not open: left as they are, and so is the key they name."""
    late: int
    """Rows that a process still wrote under an old key after the last round: run it again."""


async def rotate(
    connection: Connection,
    path: Path,
    *,
    now: datetime,
    random: Callable[[int], bytes],
    progress: Callable[[Progress], None] = lambda progress: None,
) -> Rotation:
    """Rotate the encryption keys of the key file at `path`, over a connection of its own that is in no transaction.

    Run again after any failure, it goes on. `random` gives that many random bytes of the system's source.

    Raises:
        RotationBusy: another rotation runs.
        WrongKeys: the key file is not this database's; nothing was changed.
        KeyFileError: the key file cannot be read or written.
    """
    async with _alone(connection):
        # read under the lock: an earlier rotation may have changed it a moment ago
        file = KeyFile.load(path)
        unfinished = await _spread(connection, file.keyring, progress)
        if unfinished is not None:
            return replace(unfinished, resumed=True)
        file = file.with_new_encryption_key(now, random)
        file.save()
        done = await _spread(connection, file.keyring, progress)
        assert done is not None  # noqa: S101  # a new key is always news
        return done


async def _spread(connection: Connection, keyring: Keyring, progress: Callable[[Progress], None]) -> Rotation | None:
    """Register the active key, wrap everything with it and retire the others; None when all of that was so already."""
    registered, used = await cluster.check_keys(connection, keyring)
    unknown = ({keyring.active_id} | used) - registered
    await cluster.register(connection, keyring, unknown)
    rewrapped, broken, late = await rewrap(connection, keyring, progress=progress)
    retired = await connection.fetch(_RETIRE, keyring.active_id)
    # the first key of a database that no server has claimed yet is no rotation
    if not (rewrapped or retired or late or (unknown and registered)):
        return None
    ids = tuple(sorted(row["id"] for row in retired))
    return Rotation(active_id=keyring.active_id, resumed=False, rewrapped=rewrapped, retired=ids, broken=broken, late=late)


async def rewrap(
    connection: Connection, keyring: Keyring, *, progress: Callable[[Progress], None] = lambda progress: None
) -> tuple[int, tuple[UUID, ...], int]:
    """Wrap every data key with the active key: how many were, the ids of those that do not open, and how many came too late.

    Raises:
        WrongKeys: a row names a key that the keyring lacks.
    """
    done = 0
    broken: set[UUID] = set()
    # a server that has not met the new key yet may add rows under an old one: look until a round finds none
    for _ in range(MOST_ROUNDS):
        outdated = await _outdated(connection, keyring.active_id)
        before, total = done, done + sum(outdated.values()) - len(broken)
        progress(Progress(done=done, total=total))
        for table, key_id in outdated:
            last: UUID | None = _NIL
            while last is not None:
                rows, failed, last = await _rewrap_chunk(connection, keyring, table, key_id, last)
                done += rows
                broken |= failed
                progress(Progress(done=done, total=max(done, total)))
        if done == before:
            return done, tuple(sorted(broken)), 0
    outdated = await _outdated(connection, keyring.active_id)
    return done, tuple(sorted(broken)), sum(outdated.values()) - len(broken)


async def _outdated(connection: Connection, active_id: str) -> dict[tuple[_Table, str], int]:
    """How many data keys of each table each key but the active one wraps."""
    counts = {}
    for key_id in await cluster.used_keys(connection) - {active_id}:
        for table in _TABLES:
            counts[table, key_id] = await connection.fetchval(table.count, key_id)
    return counts


async def _rewrap_chunk(
    connection: Connection, keyring: Keyring, table: _Table, key_id: str, after: UUID
) -> tuple[int, set[UUID], UUID | None]:
    """Wrap the next rows again, in a transaction of their own: how many, those that do not open, and the last id (None: no more)."""
    async with connection.transaction():
        rows = await connection.fetch(table.chunk, key_id, after, CHUNK_ROWS)
        wrapped: dict[UUID, bytes] = {}
        for row in rows:
            # one row that is broken must not keep all others under the old key
            with suppress(SealBroken):
                wrapped[row["id"]] = _rewrapped(keyring, key_id, row["wrapped_key"], table.place(row["id"]))
        await connection.execute(table.rewrap, list(wrapped), list(wrapped.values()), keyring.active_id)
    failed = {row["id"] for row in rows} - wrapped.keys()
    return len(wrapped), failed, rows[-1]["id"] if len(rows) == CHUNK_ROWS else None


def _rewrapped(keyring: Keyring, key_id: str, wrapped: bytes, place: bytes) -> bytes:
    return keyring.wrap(keyring.unwrap(key_id, wrapped, place), place)[1]


@asynccontextmanager
async def _alone(connection: Connection) -> AsyncIterator[None]:
    if not await connection.fetchval(_TRY_LOCK, ROTATION_LOCK):
        raise RotationBusy("another rotation of this database's keys is running")
    try:
        yield
    finally:
        # the server lets go of it by itself when the connection is gone
        if not connection.is_closed():
            await connection.execute(_UNLOCK, ROTATION_LOCK)
