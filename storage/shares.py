"""The rows of share links: what each opens, for whom it was made, and how often it was read.

What a link opens (its code, the prompt, the version, the note) is sealed with the library's data key. A code is found by its hash, which
needs no key: it is random, so nobody guesses it from that. The prompt's id is there as a keyed hash, to end the links to one that is
destroyed.
"""

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from storage.cipher import DataKey, library_key_place, share_place
from storage.keyring import Keyring
from storage.libraries import Library, Role
from storage.pool import Connection, Record

_PROMPT_LABEL = b"promptsync shared prompt 1"
_LIVE = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)"
_LOCK = """
    SELECT l.key_id, l.wrapped_key, m.role FROM libraries l JOIN members m ON m.library_id = l.id AND m.user_id = $2
    WHERE l.id = $1 AND l.deleted_at IS NULL FOR NO KEY UPDATE OF l
"""
_KEY = "SELECT key_id, wrapped_key FROM libraries WHERE id = $1 AND deleted_at IS NULL"
_SHARED_KEY = f"{_KEY} AND EXISTS (SELECT FROM shares WHERE library_id = $1 AND revoked_at IS NULL)"
_INSERT = """
    INSERT INTO shares (id, library_id, code_hash, prompt_hash, sealed, created_by, created_at, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""
_COLUMNS = "id, library_id, sealed, created_by, created_at, expires_at, revoked_at, opened, last_opened_at"
_ONE = f"SELECT {_COLUMNS} FROM shares WHERE id = $1 AND library_id = $2"  # noqa: S608  # constants only
_LIST = f"SELECT {_COLUMNS} FROM shares WHERE library_id = $1 ORDER BY created_at DESC, id DESC"  # noqa: S608  # constants only
_FIND = f"""
    SELECT s.*, l.name, l.owner_id, l.created_at AS library_created_at, l.head, l.epoch, l.key_id, l.wrapped_key
    FROM (SELECT {_COLUMNS} FROM shares WHERE code_hash = $1 AND {_LIVE}) s JOIN libraries l ON l.id = s.library_id
    WHERE l.deleted_at IS NULL
"""  # noqa: S608  # constants only
_COUNT_LIVE = f"SELECT count(*) FROM shares WHERE library_id = $1 AND {_LIVE}"  # noqa: S608  # constants only
_FORGET = f"""
    DELETE FROM shares WHERE id = ANY(ARRAY(
        SELECT id FROM shares WHERE library_id = $1 AND NOT ({_LIVE}) ORDER BY coalesce(revoked_at, expires_at) DESC, id OFFSET $3
    ))
"""  # noqa: S608  # constants only
_REVOKE = "UPDATE shares SET revoked_at = coalesce(revoked_at, $3) WHERE id = $1 AND library_id = $2 RETURNING 1"
_END = "UPDATE shares SET revoked_at = $3 WHERE library_id = $1 AND prompt_hash = ANY($2) AND revoked_at IS NULL"
_END_ALL_OF = "UPDATE shares SET revoked_at = $2 WHERE created_by = $1 AND revoked_at IS NULL RETURNING 1"
_ADD_OPENINGS = """
    UPDATE shares AS s SET opened = s.opened + n.opened, last_opened_at = greatest(s.last_opened_at, n.at)
    FROM unnest($1::uuid[], $2::bigint[], $3::timestamptz[]) AS n (id, opened, at) WHERE s.id = n.id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewShare:
    """A link to be made: to a version of a prompt, or without one to the prompt as it is whenever it is read."""

    id: UUID
    library_id: UUID
    code: str = field(repr=False)
    prompt_id: str
    version_id: str | None
    note: str
    created_by: UUID
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A link as it stands."""

    id: UUID
    library_id: UUID
    code: str = field(repr=False)
    prompt_id: str
    version_id: str | None
    note: str
    created_by: UUID | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    opened: int
    last_opened_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How often a link was read since that was last noted, and when for the last time."""

    share_id: UUID
    times: int
    last_at: datetime


def hash_of(code: str) -> bytes:
    """What a code is found by."""
    return hashlib.sha256(code.encode()).digest()


async def lock(connection: Connection, keyring: Keyring, library_id: UUID, user_id: UUID) -> tuple[DataKey, Role] | None:
    """The library's data key and the user's role in it now, its row locked until the transaction ends; None where it is gone for the user.

    The lock orders those who count the library's links.
    """
    row = await connection.fetchrow(_LOCK, library_id, user_id)
    return (_unwrapped(keyring, row, library_id), Role(row["role"])) if row else None


async def create(connection: Connection, key: DataKey, share: NewShare) -> Share:
    """Store a new link."""
    opens = {"code": share.code, "prompt": share.prompt_id, "version": share.version_id, "note": share.note}
    sealed = key.seal(json.dumps(opens).encode(), share_place(share.library_id, share.id))
    await connection.execute(
        _INSERT,
        share.id,
        share.library_id,
        hash_of(share.code),
        _prompt_hash(key, share.prompt_id),
        sealed,
        share.created_by,
        share.created_at,
        share.expires_at,
    )
    return Share(
        id=share.id,
        library_id=share.library_id,
        code=share.code,
        prompt_id=share.prompt_id,
        version_id=share.version_id,
        note=share.note,
        created_by=share.created_by,
        created_at=share.created_at,
        expires_at=share.expires_at,
        revoked_at=None,
        opened=0,
        last_opened_at=None,
    )


async def get(connection: Connection, key: DataKey, library_id: UUID, share_id: UUID) -> Share | None:
    """One of the library's links; None where it has none such."""
    row = await connection.fetchrow(_ONE, share_id, library_id)
    return _share(row, key) if row else None


async def of_library(connection: Connection, keyring: Keyring, library_id: UUID) -> list[Share]:
    """The library's links, the newest first, those that have ended too."""
    library = await connection.fetchrow(_KEY, library_id)
    if library is None:
        return []
    key = _unwrapped(keyring, library, library_id)
    return [_share(row, key) for row in await connection.fetch(_LIST, library_id)]


async def find(connection: Connection, keyring: Keyring, code: str, *, now: datetime) -> tuple[Share, Library] | None:
    """The link that this code opens now, and its library, as a viewer sees it; None where it opens nothing, whatever the reason."""
    row = await connection.fetchrow(_FIND, hash_of(code), now)
    if row is None:
        return None
    library = Library(
        id=row["library_id"],
        name=row["name"],
        owner_id=row["owner_id"],
        role=Role.VIEWER,
        created_at=row["library_created_at"],
        head=row["head"],
        epoch=row["epoch"],
    )
    return _share(row, _unwrapped(keyring, row, library.id)), library


async def count_live(connection: Connection, library_id: UUID, *, now: datetime) -> int:
    """How many of the library's links have not ended."""
    return int(await connection.fetchval(_COUNT_LIVE, library_id, now))


async def forget_ended(connection: Connection, library_id: UUID, *, now: datetime, but: int) -> None:
    """Delete the library's links that have ended, but for so many that ended last."""
    await connection.execute(_FORGET, library_id, now, but)


async def revoke(connection: Connection, library_id: UUID, share_id: UUID, *, now: datetime) -> bool:
    """End one of the library's links, if it has not ended; False where it has none such."""
    return await connection.fetchval(_REVOKE, share_id, library_id, now) is not None


async def end_of_prompts(connection: Connection, keyring: Keyring, library_id: UUID, prompt_ids: Collection[str], *, now: datetime) -> None:
    """End all links to these prompts."""
    library = await connection.fetchrow(_SHARED_KEY, library_id)
    if library is not None:
        key = _unwrapped(keyring, library, library_id)
        await connection.execute(_END, library_id, [_prompt_hash(key, prompt_id) for prompt_id in prompt_ids], now)


async def add_openings(connection: Connection, openings: Iterable[Opening]) -> None:
    """Note that links were read; those that are gone are left out."""
    # in one order everywhere, so that two processes do not wait for each other
    noted = sorted(openings, key=lambda each: each.share_id)
    columns = [each.share_id for each in noted], [each.times for each in noted], [each.last_at for each in noted]
    await connection.execute(_ADD_OPENINGS, *columns)


def _unwrapped(keyring: Keyring, row: Record, library_id: UUID) -> DataKey:
    return keyring.unwrap(row["key_id"], row["wrapped_key"], library_key_place(library_id))


def _prompt_hash(key: DataKey, prompt_id: str) -> bytes:
    return key.fingerprint(_PROMPT_LABEL + prompt_id.encode())


def _share(row: Record, key: DataKey) -> Share:
    opens = json.loads(key.open(row["sealed"], share_place(row["library_id"], row["id"])))
    return Share(
        id=row["id"],
        library_id=row["library_id"],
        code=opens["code"],
        prompt_id=opens["prompt"],
        version_id=opens["version"],
        note=opens["note"],
        created_by=row["created_by"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        opened=row["opened"],
        last_opened_at=row["last_opened_at"],
    )


async def end_all_of(connection: Connection, user_id: UUID, *, now: datetime) -> int:
    """End every link that the user has made; how many there were."""
    return len(await connection.fetch(_END_ALL_OF, user_id, now))
