"""Users and libraries with wrapped data keys, for the tests of keys: stored under a keyring, and opened again by one."""

import itertools
import secrets
from datetime import UTC, datetime
from uuid import UUID, uuid4

from storage.cipher import DataKey, library_key_place, update_place, user_key_place
from storage.keyring import EncryptionKey, Keyring
from storage.pool import Connection

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
_numbers = itertools.count(1)


def new_key(id: str) -> EncryptionKey:
    """A fresh key-encryption key of this id."""
    return EncryptionKey(id=id, created_at=NOW, key=DataKey.new(secrets.token_bytes(32)))


async def store_user(connection: Connection, keyring: Keyring) -> UUID:
    """Store a user who has one library, with one sealed update in it; returns the user's id."""
    user_id, library_id, number = uuid4(), uuid4(), next(_numbers)
    user_key, library_key = DataKey.new(secrets.token_bytes(32)), DataKey.new(secrets.token_bytes(32))
    key_id, wrapped = keyring.wrap(user_key, user_key_place(user_id))
    await connection.execute(
        "INSERT INTO users (id, email, email_key, name, library_id, wrapped_key, key_id) VALUES ($1, $2, $2, '', $3, $4, $5)",
        user_id,
        f"{number}@example.com",
        library_id,
        wrapped,
        key_id,
    )
    key_id, wrapped = keyring.wrap(library_key, library_key_place(library_id))
    await connection.execute(
        "INSERT INTO libraries (id, owner_id, name, server_client_id, wrapped_key, key_id) VALUES ($1, $2, '', $3, $4, $5)",
        library_id,
        user_id,
        number,
        wrapped,
        key_id,
    )
    sealed = library_key.seal(b"text", update_place(library_id, 1, 1))
    await connection.execute("INSERT INTO updates (library_id, seq, epoch, sealed) VALUES ($1, 1, 1, $2)", library_id, sealed)
    return user_id


async def destroy_library_key(connection: Connection, owner_id: UUID) -> None:
    """Take the data key of a user's library away, as its deletion does."""
    await connection.execute("UPDATE libraries SET wrapped_key = NULL, key_id = NULL WHERE owner_id = $1", owner_id)


async def open_everything(connection: Connection, keyring: Keyring) -> int:
    """Open every wrapped key and every update with this keyring alone, and return how many updates that were."""
    for row in await connection.fetch("SELECT id, wrapped_key, key_id FROM users"):
        keyring.unwrap(row["key_id"], row["wrapped_key"], user_key_place(row["id"]))
    opened = 0
    for row in await connection.fetch(
        "SELECT l.id, wrapped_key, key_id, u.seq, u.epoch, u.sealed FROM libraries l JOIN updates u ON u.library_id = l.id"
        " WHERE wrapped_key IS NOT NULL"
    ):
        key = keyring.unwrap(row["key_id"], row["wrapped_key"], library_key_place(row["id"]))
        assert key.open(row["sealed"], update_place(row["id"], row["epoch"], row["seq"])) == b"text"
        opened += 1
    return opened


async def keys_in_use(connection: Connection) -> set[str]:
    """The ids that wrapped keys name."""
    rows = await connection.fetch("SELECT key_id FROM users UNION SELECT key_id FROM libraries WHERE key_id IS NOT NULL")
    return {row["key_id"] for row in rows}


async def keys_registered(connection: Connection) -> set[str]:
    """The ids in the register."""
    return {row["id"] for row in await connection.fetch("SELECT id FROM encryption_keys")}
