"""What a database is: which keys seal it, and whether it is still the one that was served before.

A database put back to an earlier time would hand out again the `seq`s and the server's Yjs clocks that devices have seen already, and two
contents at one clock diverge for ever in silence. A new system identifier (a dump restored into another cluster) or a new
timeline (point-in-time recovery, a promoted standby) tells of it, and every library's epoch rises. Files copied back in place, and a
dump restored within the same cluster, change neither: for those there is `promptsync epoch raise`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from storage.errors import StorageError, Unavailable, WrongKeys
from storage.keyring import Keyring
from storage.pool import Connection

CLAIM_LOCK = 0x50_53_63_6C_61_69_6D
"""The advisory lock under which processes that start at the same time claim one after the other."""
_PAGE_ROWS = 1000
_NIL = UUID(int=0)

_LOCK = "SELECT pg_advisory_xact_lock($1)"
_ROLE = """
    SELECT quote_ident(current_user) AS name, has_function_privilege('pg_control_system()', 'EXECUTE')
        AND has_function_privilege('pg_current_wal_lsn()', 'EXECUTE')
        AND has_function_privilege('pg_walfile_name(pg_lsn)', 'EXECUTE') AS may
"""
# The timeline that is written now. pg_control_checkpoint() gives that of the last checkpoint, which may lag behind a promotion.
_IDENTITY = "SELECT system_identifier, pg_walfile_name(pg_current_wal_lsn()) AS file FROM pg_control_system()"
_KNOWN = "SELECT system_identifier, timeline FROM cluster"
_REMEMBER_FIRST = "INSERT INTO cluster (system_identifier, timeline) VALUES ($1, $2)"
_REMEMBER = "UPDATE cluster SET system_identifier = $1, timeline = $2"
_REGISTERED = "SELECT id, fingerprint FROM encryption_keys"
_REGISTER = "INSERT INTO encryption_keys (id, fingerprint, created_at) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING"
# One step of the index for each key, not one for each row.
_USED = """
    WITH RECURSIVE of_users (id) AS (
        SELECT min(key_id) FROM users
        UNION ALL SELECT (SELECT min(key_id) FROM users WHERE key_id > u.id) FROM of_users u WHERE u.id IS NOT NULL
    ), of_libraries (id) AS (
        SELECT min(key_id) FROM libraries
        UNION ALL SELECT (SELECT min(key_id) FROM libraries WHERE key_id > l.id) FROM of_libraries l WHERE l.id IS NOT NULL
    )
    SELECT id FROM of_users WHERE id IS NOT NULL UNION SELECT id FROM of_libraries WHERE id IS NOT NULL
"""
_PAGE = "SELECT id, server_client_id FROM libraries WHERE id > $1 ORDER BY id LIMIT $2 FOR NO KEY UPDATE"
_RAISE = """
    UPDATE libraries AS l SET epoch = epoch + 1, server_client_id = fresh.client_id
    FROM unnest($1::uuid[], $2::bigint[]) AS fresh (id, client_id) WHERE l.id = fresh.id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which history a database is writing: its cluster, and the timeline there."""

    system_identifier: int
    timeline: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a start found and did."""

    identity: Identity
    previous: Identity | None
    """What the database said of itself before; None at the very first start."""
    registered: tuple[str, ...]
    """Ids of the keys that the database did not know before."""
    raised: int
    """How many libraries were put into a new epoch."""

    @property
    def moved(self) -> bool:
        """Whether this is another history than the one served before."""
        return self.previous is not None and self.previous != self.identity


async def identity(connection: Connection) -> Identity:
    """Which history the database is writing now; asked on every reconnect and compared with the one claimed.

    Raises:
        Unavailable: it is a standby, which writes none.
        StorageError: our role may not ask; the text has the GRANT. (PostgreSQL grants it to everyone unless revoked.)
    """
    role = await connection.fetchrow(_ROLE)
    assert role is not None  # noqa: S101  # a SELECT without FROM
    if not role["may"]:
        functions = "pg_control_system(), pg_current_wal_lsn(), pg_walfile_name(pg_lsn)"
        raise StorageError(
            f"the role {role['name']} may not ask which cluster this is; as superuser, in this database, run: "
            f"GRANT EXECUTE ON FUNCTION {functions} TO {role['name']}"
        )
    try:
        row = await connection.fetchrow(_IDENTITY)
    except asyncpg.ObjectNotInPrerequisiteStateError:
        raise Unavailable("the database is a standby in recovery, and cannot be written") from None
    assert row is not None  # noqa: S101  # the function has one row
    # a WAL file is named by timeline, log and segment, 8 hexadecimal digits each
    return Identity(system_identifier=row["system_identifier"], timeline=int(row["file"][:8], 16))


async def claim(connection: Connection, keyring: Keyring, *, new_client_id: Callable[[], int]) -> Claim:
    """Make sure, in one transaction, that these keys open this database, and that what was lost from it is not written twice.

    Called on start, and on a reconnect that finds another identity. The first claim registers the active key; a later one
    compares every key with its fingerprint, and raises all epochs when the identity is not the one known.
    `new_client_id` draws Yjs client ids.

    Raises:
        WrongKeys: a key that data is or may be sealed with is missing or differs; the text names it. Nothing was changed.
        Unavailable, StorageError: as `identity`.
    """
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(_LOCK, CLAIM_LOCK)
        registered = await _claim_keys(connection, keyring)
        now = await identity(connection)
        row = await connection.fetchrow(_KNOWN)
        previous = Identity(**row) if row is not None else None
        raised = 0
        if previous is None:
            await connection.execute(_REMEMBER_FIRST, now.system_identifier, now.timeline)
        elif previous != now:
            raised = await raise_epochs(connection, new_client_id=new_client_id)
            await connection.execute(_REMEMBER, now.system_identifier, now.timeline)
        return Claim(identity=now, previous=previous, registered=registered, raised=raised)


async def raise_epochs(connection: Connection, *, new_client_id: Callable[[], int]) -> int:
    """Put every library into a new epoch, with a new server client id; returns how many.

    All of them or none. May run while servers do: each takes the new epoch with its next write of a library.
    """
    raised, last = 0, _NIL
    async with connection.transaction():
        while rows := await connection.fetch(_PAGE, last, _PAGE_ROWS):
            last = rows[-1]["id"]
            fresh = [_another(row["server_client_id"], new_client_id) for row in rows]
            await connection.execute(_RAISE, [row["id"] for row in rows], fresh)
            raised += len(rows)
    return raised


async def needed_keys(connection: Connection) -> tuple[str, ...]:
    """The ids of all keys without which this database must not be served, in order: registered, or used by a row."""
    registered = {row["id"] for row in await connection.fetch(_REGISTERED)}
    return tuple(sorted(registered | await used_keys(connection)))


async def used_keys(connection: Connection) -> frozenset[str]:
    """The ids of the keys that wrap some row's data key."""
    return frozenset(row["id"] for row in await connection.fetch(_USED))


async def register(connection: Connection, keyring: Keyring, key_ids: Iterable[str]) -> None:
    """Note keys of the keyring as ones that data here is sealed with. Raises WrongKeys when the keyring lacks one."""
    wanted = set(key_ids)
    for key in keyring.keys:
        if key.id in wanted:
            await connection.execute(_REGISTER, key.id, key.fingerprint, key.created_at)
            wanted.discard(key.id)
    if wanted:
        raise WrongKeys(f"the key file lacks {_names(wanted)}")


async def check_keys(connection: Connection, keyring: Keyring) -> tuple[frozenset[str], frozenset[str]]:
    """The ids of the keys registered and of those used, once it is sure that the keyring has them all.

    Raises:
        WrongKeys: one is missing or differs; the text names it.
    """
    fingerprints = {row["id"]: row["fingerprint"] for row in await connection.fetch(_REGISTERED)}
    used = await used_keys(connection)
    _compare(fingerprints, used, keyring)
    return frozenset(fingerprints), used


async def _claim_keys(connection: Connection, keyring: Keyring) -> tuple[str, ...]:
    registered, used = await check_keys(connection, keyring)
    # a row can be sealed with a key not registered yet: a server takes the new one as soon as a rotation has saved it
    new = ({keyring.active_id} | used) - registered
    await register(connection, keyring, new)
    return tuple(sorted(new))


def _compare(fingerprints: Mapping[str, bytes], used: frozenset[str], keyring: Keyring) -> None:
    """Raise WrongKeys unless the keyring has every key that is registered or used, with its fingerprint."""
    differing = [id for id, fingerprint in fingerprints.items() if id in keyring and not keyring.matches(id, fingerprint)]
    missing = [id for id in fingerprints.keys() | used if id not in keyring]
    if differing:
        raise WrongKeys(f"the key file holds another key under {_names(differing)} than the one this database is sealed with")
    if missing and not any(id in keyring for id in fingerprints):
        raise WrongKeys(
            f"this key file belongs to another database: this one is sealed with {_names(missing)}, "
            f"and the file holds {_names(keyring.ids)}"
        )
    if missing:
        raise WrongKeys(f"the key file lacks {_names(missing)}, which data in this database is sealed with; put it back from your copy")
    if used and not fingerprints:
        raise WrongKeys(f"this database holds data sealed with {_names(used)} and knows no key: the table encryption_keys was not restored")


def _another(old: int, draw: Callable[[], int]) -> int:
    while (fresh := draw()) == old:
        pass
    return fresh


def _names(ids: Iterable[str]) -> str:
    return ", ".join(sorted(ids))
