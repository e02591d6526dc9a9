"""The sessions' rows: one live row a device. Whoever mints a token or revokes does it under the row's lock."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from storage.conflicts import conflicts
from storage.libraries import Library, Role
from storage.pool import Connection, Record
from storage.users import User, user_of

_INSERT = """
    INSERT INTO sessions (
        id, user_id, device_id, device_name, platform, refresh_key, rotated_at, created_at, last_seen_at,
        idle_expires_at, expires_at, user_agent, address, authenticated_at, method
    ) VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $7, $8, $9, $10, $11, $7, $12)
"""
_USER = "u.id, u.email, u.email_verified_at, u.name, u.library_id, u.role AS rank, u.created_at, u.last_login_at"
# Only the session is locked: refreshing must not wait for what holds the user's row.
_LOCK = f"""
    SELECT {_USER}, u.wrapped_key, u.key_id, u.disabled_at, s.id AS session_id, s.refresh_counter, s.refresh_key, s.rotated_at,
        s.current_used, s.idle_expires_at, s.expires_at, s.revoked_at
    FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.id = $1 FOR NO KEY UPDATE OF s
"""  # noqa: S608  # the columns are the constant above
_ROTATE = """
    UPDATE sessions SET refresh_counter = $2, rotated_at = $3, current_used = false, last_seen_at = $3, idle_expires_at = $4,
        address = coalesce($5, address)
    WHERE id = $1
"""
_REVOKE = "UPDATE sessions SET revoked_at = $2, revoke_reason = $3 WHERE id = $1 AND revoked_at IS NULL RETURNING id"
_REVOKE_DEVICE = """
    UPDATE sessions SET revoked_at = $3, revoke_reason = $4
    WHERE user_id = $1 AND device_id = $2 AND revoked_at IS NULL RETURNING id
"""
_ALIVE = "s.revoked_at IS NULL AND s.expires_at > $2 AND s.idle_expires_at > $2 AND u.disabled_at IS NULL"
_IDENTIFY = f"""
    SELECT {_USER}, s.id AS session_id, s.device_id, s.refresh_counter, s.current_used, s.expires_at, s.authenticated_at, s.last_seen_at
    FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.id = $1 AND {_ALIVE}
"""  # noqa: S608  # constants only
_IDENTIFY_IN = f"""
    SELECT {_USER}, s.id AS session_id, s.device_id, s.refresh_counter, s.current_used, s.expires_at, s.authenticated_at, s.last_seen_at,
        l.id AS l_id, l.name AS l_name, l.owner_id AS l_owner_id, l.created_at AS l_created_at, l.head AS l_head, l.epoch AS l_epoch, m.role
    FROM sessions s JOIN users u ON u.id = s.user_id
    LEFT JOIN members m ON m.user_id = u.id AND m.library_id = coalesce($3, u.library_id)
    LEFT JOIN libraries l ON l.id = m.library_id AND l.deleted_at IS NULL
    WHERE s.id = $1 AND {_ALIVE}
"""  # noqa: S608  # constants only
_MARK_USED = """
    UPDATE sessions SET current_used = true, last_seen_at = $3, address = coalesce($4, address)
    WHERE id = $1 AND refresh_counter = $2 AND NOT current_used
"""

_DEVICES = "SELECT id, device_id, device_name, platform FROM sessions WHERE user_id = $1 AND id = ANY($2)"
_DEVICE_NAMES = """
    SELECT DISTINCT ON (device_id) device_id, device_name, platform FROM sessions
    WHERE user_id = $1 AND device_id = ANY($2) ORDER BY device_id, created_at DESC
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceNames:
    """What a user calls a device, and what it runs on."""

    id: UUID
    name: str
    platform: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """What a session is opened with. `refresh_key` is sealed with the user's data key."""

    id: UUID
    user_id: UUID
    device_id: UUID
    device_name: str
    platform: str
    refresh_key: bytes = field(repr=False)
    created_at: datetime
    idle_expires_at: datetime
    expires_at: datetime
    user_agent: str
    address: str
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedSession:
    """A session whose row lock this transaction holds, with its user and the user's wrapped data key, which goes with the account."""

    id: UUID
    user: User
    wrapped_key: bytes | None = field(repr=False)
    key_id: str | None
    user_disabled: bool
    counter: int
    sealed_key: bytes = field(repr=False)
    rotated_at: datetime
    current_used: bool
    idle_expires_at: datetime
    expires_at: datetime
    revoked: bool

    def is_over(self, now: datetime) -> bool:
        """Whether nobody may be served by this session at `now`."""
        return self.revoked or self.user_disabled or now >= min(self.idle_expires_at, self.expires_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A live session and its user."""

    session_id: UUID
    device_id: UUID
    user: User
    counter: int
    current_used: bool
    expires_at: datetime
    authenticated_at: datetime
    last_seen_at: datetime


async def create(connection: Connection, session: NewSession) -> None:
    """Store a new session.

    Raises:
        Conflict: `sessions_one_live_a_device`, the device's earlier one was not revoked first.
    """
    with conflicts():
        await connection.execute(
            _INSERT,
            session.id,
            session.user_id,
            session.device_id,
            session.device_name,
            session.platform,
            session.refresh_key,
            session.created_at,
            session.idle_expires_at,
            session.expires_at,
            session.user_agent,
            session.address,
            session.method,
        )


async def lock(connection: Connection, session_id: UUID) -> LockedSession | None:
    """The session, its row locked until the caller's transaction ends; None when there is none."""
    row = await connection.fetchrow(_LOCK, session_id)
    if row is None:
        return None
    return LockedSession(
        id=row["session_id"],
        user=user_of(row),
        wrapped_key=row["wrapped_key"],
        key_id=row["key_id"],
        user_disabled=row["disabled_at"] is not None,
        counter=row["refresh_counter"],
        sealed_key=row["refresh_key"],
        rotated_at=row["rotated_at"],
        current_used=row["current_used"],
        idle_expires_at=row["idle_expires_at"],
        expires_at=row["expires_at"],
        revoked=row["revoked_at"] is not None,
    )


async def rotate(
    connection: Connection, session_id: UUID, *, counter: int, now: datetime, idle_expires_at: datetime, address: str | None = None
) -> None:
    """Begin the generation `counter`, not yet used, asked for from `address`; `expires_at` stays. For the holder of the row's lock."""
    await connection.execute(_ROTATE, session_id, counter, now, idle_expires_at, address)


async def revoke(connection: Connection, session_id: UUID, *, now: datetime, reason: str) -> bool:
    """End a session for good; False when it had ended already or there is none."""
    return await connection.fetchval(_REVOKE, session_id, now, reason) is not None


async def revoke_device(connection: Connection, user_id: UUID, device_id: UUID, *, now: datetime, reason: str) -> list[UUID]:
    """End the live session of a user's device, if there is one; the ids of what was ended."""
    return [row["id"] for row in await connection.fetch(_REVOKE_DEVICE, user_id, device_id, now, reason)]


async def identify(connection: Connection, session_id: UUID, *, now: datetime) -> Identity | None:
    """The session and its user while both may be served: one look-up by primary key."""
    row = await connection.fetchrow(_IDENTIFY, session_id, now)
    return None if row is None else _identity(row)


async def identify_in(
    connection: Connection, session_id: UUID, library_id: UUID | None, *, now: datetime
) -> tuple[Identity, Library | None] | None:
    """The same, and a library as that user sees it (without an id the account's own); see `libraries.for_user`."""
    row = await connection.fetchrow(_IDENTIFY_IN, session_id, now, library_id)
    if row is None:
        return None
    library = None
    if row["l_id"] is not None:
        library = Library(
            id=row["l_id"],
            name=row["l_name"],
            owner_id=row["l_owner_id"],
            role=Role(row["role"]),
            created_at=row["l_created_at"],
            head=row["l_head"],
            epoch=row["l_epoch"],
        )
    return _identity(row), library


def _identity(row: Record) -> Identity:
    return Identity(
        session_id=row["session_id"],
        device_id=row["device_id"],
        user=user_of(row),
        counter=row["refresh_counter"],
        current_used=row["current_used"],
        expires_at=row["expires_at"],
        authenticated_at=row["authenticated_at"],
        last_seen_at=row["last_seen_at"],
    )


async def devices(connection: Connection, user_id: UUID, session_ids: Iterable[UUID]) -> dict[UUID, DeviceNames]:
    """The devices of those of the sessions that are the user's."""
    return {
        row["id"]: DeviceNames(id=row["device_id"], name=row["device_name"], platform=row["platform"])
        for row in await connection.fetch(_DEVICES, user_id, list(session_ids))
    }


async def device_names(connection: Connection, user_id: UUID, device_ids: Iterable[UUID]) -> dict[UUID, DeviceNames]:
    """What the user called these devices the last time; those of others, and those of which no session is kept, are absent."""
    return {
        row["device_id"]: DeviceNames(id=row["device_id"], name=row["device_name"], platform=row["platform"])
        for row in await connection.fetch(_DEVICE_NAMES, user_id, list(device_ids))
    }


async def mark_used(connection: Connection, session_id: UUID, generation: int, *, now: datetime, address: str | None = None) -> None:
    """Note that a token of this generation was used, and from where, if it is the current one: from now on the one before is void."""
    await connection.execute(_MARK_USED, session_id, generation, now, address)
