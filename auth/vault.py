"""The vault: what users' model configurations are authorised by, sealed with the user's data key.

A secret (an API key and header values) is sealed for one user, one configuration and one origin: the scheme, host and port that it was
given for, and the only ones that it is ever handed out for. A row that was moved, swapped, altered, or sealed with another user's key
does not open, and there is no other way to read it. Nothing of a secret is stored in the clear: what is shown of it is worked out when
somebody asks.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from auth.audit import NOBODY, Caller, Event, note
from auth.errors import ModelKeyElsewhere, ModelKeyMissing, ModelKeyUnreadable, TooManyModelHeaders, TooManyModelKeys
from auth.model_secret import ModelSecret
from storage import model_secrets, users
from storage.cipher import DataKey, model_secret_place, user_key_place
from storage.errors import NotFound, SealBroken
from storage.keyring import Keyring
from storage.model_secrets import Row
from storage.pool import Connection, Database

MAX_SECRETS = 200
"""Configurations of one user that have a secret: they are listed, and opened, whole. Past it: 409, until one is removed."""
MAX_HEADERS = 20
"""Headers of one configuration, however many requests gave them: gateways ask for one or two. Past it: 409."""
MAX_HEADER_CHARACTERS = 8192
"""Of all their values together: servers take no more in a head, and what a provider says is searched for each. Past it: 409."""
USED_EVERY = timedelta(minutes=1)
"""When a secret was last used is as exact as this, so that a busy configuration does not write a row for each call."""
UNCHECKED, UNREADABLE = "unchecked", "unreadable"
FINGERPRINT_BYTES = 8
"""Enough to tell one's keys apart, and nothing to find a key by."""

_VERSION = 1
_FINGERPRINT_LABEL = b"promptsync model key fingerprint 1|"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What may be told of a kept secret. Of one that does not open, nothing but its row."""

    id: UUID
    config_id: str
    origin: str
    has_key: bool
    hint: str | None
    """The key's last four characters, where it is long enough to show them."""
    fingerprint: str | None
    """The same for the same key of the same user: 16 hexadecimal digits."""
    header_names: tuple[str, ...]
    created_at: datetime
    last_used_at: datetime | None
    checked_at: datetime | None
    status: str
    """What the provider said when it was last asked; `unchecked`, or `unreadable`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a request says of a secret: if anything of the key, one to keep, or None for none; and headers to keep, None to remove one."""

    has_key: bool = False
    api_key: str | None = field(default=None, repr=False)
    headers: Mapping[str, str | None] | None = field(default=None, repr=False)

    @property
    def says_something(self) -> bool:
        """Whether it changes a secret."""
        return self.has_key or bool(self.headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class By:
    """Who asks for a change, as the audit log keeps it."""

    caller: Caller = NOBODY
    session_id: UUID | None = None


class Vault:
    """The secrets in this database, as one keyring opens them."""

    def __init__(
        self,
        *,
        database: Database,
        keyring: Keyring,
        random: Callable[[int], bytes],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._random = random
        self._clock = clock

    async def kept(self, user_id: UUID) -> Mapping[str, Kept]:
        """What may be told of the user's secrets, by configuration; those that do not open too.

        Raises:
            Unavailable.
        """
        async with self._database.acquire() as connection:
            rows = await model_secrets.of_user(connection, user_id)
            key = await self._key(connection, user_id) if rows else None
        return {row.config_id: _kept(key, user_id, row) for row in rows}

    async def open(self, user_id: UUID, config_id: str, origin: str) -> ModelSecret:
        """The secret of this configuration, to be sent to this origin and to no other.

        Raises:
            ModelKeyMissing: none is kept.
            ModelKeyElsewhere: it was given for another origin.
            ModelKeyUnreadable: it does not open; that is noted in the audit log, once for each secret.
        """
        async with self._database.acquire() as connection:
            found = await model_secrets.get_with_key(connection, self._keyring, user_id, config_id)
        if found is None:
            raise ModelKeyMissing
        row, key = found
        if row.origin != origin:
            raise ModelKeyElsewhere
        try:
            return _opened(key, user_id, row)
        except SealBroken:
            await self._note_unreadable(user_id, row)
            raise ModelKeyUnreadable from None

    async def put(
        self,
        user_id: UUID,
        config_id: str,
        origin: str,
        secret: ModelSecret,
        now: datetime,
        *,
        by: By | None = None,
        status: str = UNCHECKED,
    ) -> Kept:
        """Keep a secret for a configuration, in place of what it has. `status` is what the provider has just said of it.

        Raises:
            NotFound: the user is gone.
            TooManyModelKeys: MAX_SECRETS other configurations have one.
        """
        async with self._database.transaction() as connection:
            key = await self._locked(connection, user_id)
            new = self._new(config_id, origin, now, status)
            return await _put(connection, key, user_id, new, secret, Event.MODEL_KEY_SET, by or By())

    async def change(self, user_id: UUID, config_id: str, origin: str, given: Given, now: datetime, *, by: By | None = None) -> Kept | None:
        """Change what is kept for a configuration, as far as something is said of it; what is kept then, None for nothing.

        Raises:
            NotFound, TooManyModelKeys: as `put`.
            TooManyModelHeaders: MAX_HEADERS, MAX_HEADER_CHARACTERS.
            ModelKeyElsewhere: something that was given for another origin would be kept for this one.
            ModelKeyUnreadable: only headers are given, and the key beside which they would be kept does not open.
        """
        by = by or By()
        async with self._database.transaction() as connection:
            key = await self._locked(connection, user_id)
            row = await model_secrets.get(connection, user_id, config_id)
            secret = _merged(key, user_id, row, origin, given)
            if secret:
                return await _put(connection, key, user_id, self._new(config_id, origin, now), secret, Event.MODEL_KEY_SET, by)
            await _remove(connection, user_id, config_id, now, by)
            return None

    async def rotate(
        self, user_id: UUID, config_id: str, origin: str, given: Given, now: datetime, *, status: str, by: By | None = None
    ) -> Kept:
        """Keep a key that the provider has just taken in place of the one that is kept. Of several at once the last one stays, whole.

        Raises:
            NotFound: the user is gone.
            ModelKeyMissing: none is kept any more.
            ModelKeyElsewhere, ModelKeyUnreadable, TooManyModelHeaders: as `change`.
        """
        async with self._database.transaction() as connection:
            key = await self._locked(connection, user_id)
            row = await model_secrets.get(connection, user_id, config_id)
            if row is None:
                raise ModelKeyMissing
            secret = _merged(key, user_id, row, origin, given)
            new = replace(self._new(config_id, origin, now, status), checked_at=now)
            return await _put(connection, key, user_id, new, secret, Event.MODEL_KEY_ROTATED, by or By())

    async def merged(self, user_id: UUID, config_id: str, origin: str, given: Given) -> ModelSecret:
        """What `change` would keep now.

        Raises:
            ModelKeyElsewhere, ModelKeyUnreadable, TooManyModelHeaders: as `change`.
        """
        async with self._database.acquire() as connection:
            row = await model_secrets.get(connection, user_id, config_id)
            return _merged(await self._key(connection, user_id), user_id, row, origin, given)

    async def remove(self, user_id: UUID, config_id: str, now: datetime | None = None, *, by: By | None = None) -> bool:
        """Remove what is kept for a configuration; False where that is nothing."""
        async with self._database.transaction() as connection:
            return await _remove(connection, user_id, config_id, now or self._clock(), by or By())

    async def checked(self, user_id: UUID, config_id: str, status: str, now: datetime, *, secret_id: UUID | None = None) -> None:
        """Note what the provider said of a configuration's secret; of this one only, where one is named."""
        async with self._database.acquire() as connection:
            if secret_id is None:
                row = await model_secrets.get(connection, user_id, config_id)
                secret_id = row.id if row is not None else None
            if secret_id is not None:
                await model_secrets.checked(connection, user_id, secret_id, status, now=now)

    async def used(self, user_id: UUID, config_id: str, now: datetime) -> None:
        """Note that a configuration's secret is used, to the minute."""
        async with self._database.acquire() as connection:
            await model_secrets.used(connection, user_id, config_id, now=now, unless_since=now - USED_EVERY)

    # --- below

    def _new(self, config_id: str, origin: str, now: datetime, status: str = UNCHECKED) -> Row:
        """A row that is yet to be sealed."""
        secret_id = UUID(bytes=self._random(16), version=4)
        return Row(
            id=secret_id, config_id=config_id, origin=origin, sealed=b"", created_at=now, last_used_at=None, checked_at=None, status=status
        )

    async def _locked(self, connection: Connection, user_id: UUID) -> DataKey:
        """The user's data key, the user's row locked until the transaction ends: it orders those who change the user's secrets.

        Raises:
            NotFound: the user is gone.
        """
        wrapped = await users.lock_with_key(connection, user_id)
        if wrapped is None:
            raise NotFound
        return self._keyring.unwrap(*wrapped, user_key_place(user_id))

    async def _key(self, connection: Connection, user_id: UUID) -> DataKey | None:
        """The user's data key; None where it is destroyed, or its wrapping does not open."""
        try:
            return await model_secrets.user_key(connection, self._keyring, user_id)
        except SealBroken:
            return None

    async def _note_unreadable(self, user_id: UUID, row: Row) -> None:
        async with self._database.transaction() as connection:
            if await model_secrets.mark(connection, user_id, row.config_id, UNREADABLE):
                await _note(connection, Event.MODEL_KEY_UNREADABLE, user_id, row.config_id, self._clock(), By(), origin=row.origin)


async def _put(connection: Connection, key: DataKey, user_id: UUID, new: Row, secret: ModelSecret, event: Event, by: By) -> Kept:
    if await model_secrets.count_others(connection, user_id, new.config_id) >= MAX_SECRETS:
        raise TooManyModelKeys
    sealed = key.seal(_packed(secret), model_secret_place(user_id, new.id, new.config_id, new.origin))
    row = await model_secrets.put(connection, user_id, replace(new, sealed=sealed))
    await _note(connection, event, user_id, row.config_id, row.created_at, by, origin=row.origin)
    return _kept(key, user_id, row)


async def _remove(connection: Connection, user_id: UUID, config_id: str, now: datetime, by: By) -> bool:
    if not await model_secrets.remove(connection, user_id, config_id):
        return False
    await _note(connection, Event.MODEL_KEY_REMOVED, user_id, config_id, now, by)
    return True


async def _note(
    connection: Connection, event: Event, user_id: UUID, config_id: str, now: datetime, by: By, *, origin: str | None = None
) -> None:
    await note(connection, event, now=now, user_id=user_id, caller=by.caller, session_id=by.session_id, target=config_id, origin=origin)


def _merged(key: DataKey | None, user_id: UUID, row: Row | None, origin: str, given: Given) -> ModelSecret:
    """What is kept once this is done to what is there. Raises ModelKeyElsewhere, ModelKeyUnreadable, TooManyModelHeaders."""
    old = ModelSecret()
    if row is not None:
        try:
            old = _opened(key, user_id, row)
        except SealBroken:
            if not given.has_key:  # a key that is given stands for all that was there
                raise ModelKeyUnreadable from None
    said = {name.lower(): (name, value) for name, value in (given.headers or {}).items()}
    stays = {name: value for name, value in old.headers.items() if name.lower() not in said}
    if row is not None and row.origin != origin and (stays or (old.api_key and not given.has_key)):
        raise ModelKeyElsewhere
    headers = stays | {name: value for name, value in said.values() if value is not None}
    if len(headers) > MAX_HEADERS or sum(map(len, headers.values())) > MAX_HEADER_CHARACTERS:
        raise TooManyModelHeaders
    return ModelSecret(given.api_key if given.has_key else old.api_key, headers)


def _opened(key: DataKey | None, user_id: UUID, row: Row) -> ModelSecret:
    """The secret in a row. Raises SealBroken."""
    if key is None:
        raise SealBroken("the user's key is gone")
    return _unpacked(key.open(row.sealed, model_secret_place(user_id, row.id, row.config_id, row.origin)))


def _kept(key: DataKey | None, user_id: UUID, row: Row) -> Kept:
    try:
        secret = _opened(key, user_id, row)
    except SealBroken:
        secret, key = ModelSecret(), None
    fingerprint = None
    if key is not None and secret.api_key is not None:
        fingerprint = key.fingerprint(_FINGERPRINT_LABEL + secret.api_key.encode())[:FINGERPRINT_BYTES].hex()
    status = UNREADABLE if key is None else UNCHECKED if row.status == UNREADABLE else row.status
    return Kept(
        id=row.id,
        config_id=row.config_id,
        origin=row.origin,
        has_key=secret.api_key is not None,
        hint=secret.hint,
        fingerprint=fingerprint,
        header_names=tuple(secret.headers),
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        checked_at=row.checked_at,
        status=status,
    )


def _packed(secret: ModelSecret) -> bytes:
    return json.dumps([_VERSION, secret.api_key, dict(secret.headers)]).encode()


def _unpacked(packed: bytes) -> ModelSecret:
    """Raises SealBroken for a form that this release does not know."""
    match json.loads(packed):
        case [1, str() | None as api_key, dict() as headers]:
            return ModelSecret(api_key, headers)
        case _:
            raise SealBroken("a sealed model secret of a later version")
