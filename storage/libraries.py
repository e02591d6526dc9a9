"""The libraries' rows and their members. What is marked as deleted is destroyed by `storage/retention.py`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from storage.cipher import KEY_BYTES, DataKey, library_key_place, update_place
from storage.keyring import Keyring
from storage.pool import Connection, Record

FIRST_SEQ, FIRST_EPOCH = 1, 1
"""The place of the update that a library is created with, in its log."""
_INSERT = """
    WITH library AS (
        INSERT INTO libraries (id, owner_id, name, server_client_id, wrapped_key, key_id, created_at, head, epoch)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id, owner_id, head, epoch
    ), first AS (
        INSERT INTO updates (library_id, seq, epoch, sealed) SELECT id, head, epoch, $10 FROM library
    )
    INSERT INTO members (library_id, user_id, role, created_at) SELECT id, owner_id, 'owner', $7 FROM library
"""
_COUNT = "SELECT count(*) FROM libraries WHERE owner_id = $1 AND deleted_at IS NULL"
COLUMNS = "l.id, l.name, l.owner_id, l.created_at, l.head, l.epoch, m.role"
"""What a `Library` is made of; `l` is its row, `m` a member's."""
_OF_USER = f"""
    SELECT {COLUMNS} FROM members m JOIN libraries l ON l.id = m.library_id
    WHERE m.user_id = $1 AND l.deleted_at IS NULL ORDER BY l.created_at, l.id
"""  # noqa: S608  # constants only
_FOR_USER = f"""
    SELECT {COLUMNS} FROM members m JOIN libraries l ON l.id = m.library_id
    WHERE m.library_id = $1 AND m.user_id = $2 AND l.deleted_at IS NULL
"""  # noqa: S608  # constants only
_RENEW_CLIENT_ID = """
    UPDATE libraries SET server_client_id = CASE WHEN server_client_id = $2 THEN $3 ELSE server_client_id END
    WHERE id = $1 AND deleted_at IS NULL RETURNING server_client_id
"""
_MARK_DELETED = "UPDATE libraries SET deleted_at = $2 WHERE id = $1 AND deleted_at IS NULL RETURNING id"


class Role(StrEnum):
    """What a member is in a library."""

    OWNER = "owner"
    EDITOR = "editor"
    VIEWER = "viewer"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLibrary:
    """What a library is created with; `server_client_id` is the Yjs client that edits made on the server write as."""

    id: UUID
    owner_id: UUID
    name: str
    server_client_id: int
    wrapped_key: bytes = field(repr=False)
    key_id: str
    sealed: bytes = field(repr=False)
    """The first update of its log."""
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """A library as one of its members sees it."""

    id: UUID
    name: str
    owner_id: UUID
    role: Role
    created_at: datetime
    head: int
    epoch: int


def draw_client_id(random: Callable[[int], bytes]) -> int:
    """A Yjs client id for the server: 2**31 to 2**32 - 1, inside what Yjs draws for itself (uint32)."""
    return 1 << 31 | int.from_bytes(random(4), "big") >> 1


def new(
    *,
    library_id: UUID,
    owner_id: UUID,
    name: str,
    first_update: bytes,
    keyring: Keyring,
    random: Callable[[int], bytes],
    now: datetime,
) -> NewLibrary:
    """A library with a data key and a client id of its own, and `first_update` sealed as what its log begins with; not yet stored."""
    key = DataKey.new(random(KEY_BYTES))
    key_id, wrapped = keyring.wrap(key, library_key_place(library_id))
    return NewLibrary(
        id=library_id,
        owner_id=owner_id,
        name=name,
        server_client_id=draw_client_id(random),
        wrapped_key=wrapped,
        key_id=key_id,
        sealed=key.seal(first_update, update_place(library_id, FIRST_EPOCH, FIRST_SEQ)),
        created_at=now,
    )


async def create(connection: Connection, library: NewLibrary) -> Library:
    """Store a new library with its first update, and its owner as the first member."""
    await connection.execute(
        _INSERT,
        library.id,
        library.owner_id,
        library.name,
        library.server_client_id,
        library.wrapped_key,
        library.key_id,
        library.created_at,
        FIRST_SEQ,
        FIRST_EPOCH,
        library.sealed,
    )
    return Library(
        id=library.id,
        name=library.name,
        owner_id=library.owner_id,
        role=Role.OWNER,
        created_at=library.created_at,
        head=FIRST_SEQ,
        epoch=FIRST_EPOCH,
    )


async def count_of_owner(connection: Connection, owner_id: UUID) -> int:
    """How many libraries the user owns that are not deleted."""
    return int(await connection.fetchval(_COUNT, owner_id))


async def of_user(connection: Connection, user_id: UUID) -> list[Library]:
    """The libraries that the user is a member of, oldest first."""
    return [of_row(row) for row in await connection.fetch(_OF_USER, user_id)]


async def for_user(connection: Connection, library_id: UUID, user_id: UUID) -> Library | None:
    """The library as this user sees it; None when it is deleted, does not exist, or is none of the user's business."""
    row = await connection.fetchrow(_FOR_USER, library_id, user_id)
    return of_row(row) if row else None


async def renew_client_id(connection: Connection, library_id: UUID, old: int, new: int) -> int | None:
    """The client id that edits made on the server write as from now on: `new` in the place of `old`, or what another process has put there.

    None where the library is gone.
    """
    found = await connection.fetchval(_RENEW_CLIENT_ID, library_id, old, new)
    return None if found is None else int(found)


async def mark_deleted(connection: Connection, library_id: UUID, *, now: datetime) -> bool:
    """Hide a library from everyone at once; False when it is gone already. Its rows go by a job.

    Waits for the row's lock, so no update can be stored in it after this has committed.
    """
    return await connection.fetchval(_MARK_DELETED, library_id, now) is not None


def of_row(row: Record) -> Library:
    """The library in a row that has COLUMNS, and maybe others."""
    return Library(
        id=row["id"],
        name=row["name"],
        owner_id=row["owner_id"],
        role=Role(row["role"]),
        created_at=row["created_at"],
        head=row["head"],
        epoch=row["epoch"],
    )
