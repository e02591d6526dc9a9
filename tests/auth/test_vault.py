"""The vault on a real database: what is kept opens for its user, configuration and origin, and nowhere else."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from auth.errors import ModelKeyElsewhere, ModelKeyMissing, ModelKeyUnreadable, TooManyModelKeys
from auth.model_secret import ModelSecret
from auth.vault import MAX_SECRETS, UNREADABLE, Given, Vault
from storage.errors import NotFound
from storage.keyring import Keyring
from storage.pool import Database
from storage.rotation import rewrap
from tests.support.audited import entries, events
from tests.support.sealed_rows import NOW, new_key, store_user

KEY, OTHER = "sk-canary-0123456789-abcd", "sk-canary-9876543210-wxyz"
HERE, THERE = "https://api.example.com", "https://evil.example.com"


@dataclass(frozen=True)
class Kept:
    """A vault, and two users who may keep something in it."""

    vault: Vault
    database: Database
    keyring: Keyring
    user: UUID
    other: UUID

    async def execute(self, statement: str, *arguments: object) -> None:
        """Do to the rows what only somebody with the database can."""
        async with self.database.acquire() as connection:
            await connection.execute(statement, *arguments)

    async def reads(self, config: str = "a", user: UUID | None = None, origin: str = HERE) -> str | None:
        """The key that opens."""
        return (await self.vault.open(user or self.user, config, origin)).api_key


@pytest.fixture
async def kept(database_dsn: str) -> AsyncIterator[Kept]:
    database, keyring = await Database.open(database_dsn, size=4), Keyring([new_key("k1")])
    async with database.acquire() as connection:
        users = [await store_user(connection, keyring) for _ in range(2)]
    yield Kept(Vault(database=database, keyring=keyring, random=os.urandom, clock=lambda: NOW), database, keyring, *users)
    await database.close()


async def put(kept: Kept, config: str = "a", key: str = KEY, user: UUID | None = None, origin: str = HERE) -> None:
    await kept.vault.put(user or kept.user, config, origin, ModelSecret(key, {"X-Gateway": "canary-header"}), NOW)


async def test_what_is_kept_opens_for_its_origin_alone(kept: Kept) -> None:
    await put(kept)
    secret = await kept.vault.open(kept.user, "a", HERE)
    assert (secret.api_key, secret.headers) == (KEY, {"X-Gateway": "canary-header"})
    with pytest.raises(ModelKeyElsewhere):
        await kept.reads(origin=THERE)
    for config, user in (("b", kept.user), ("a", kept.other)):
        with pytest.raises(ModelKeyMissing):
            await kept.reads(config, user)


async def test_what_is_told_of_it_is_its_end_and_what_tells_it_from_others(kept: Kept) -> None:
    await put(kept)
    await put(kept, "b", OTHER)
    await put(kept, "c", "short-key")
    await put(kept, "a", user=kept.other)
    told, others = await kept.vault.kept(kept.user), await kept.vault.kept(kept.other)
    assert [(each.hint, each.header_names, each.status) for each in told.values()] == [
        ("abcd", ("X-Gateway",), "unchecked"),
        ("wxyz", ("X-Gateway",), "unchecked"),
        (None, ("X-Gateway",), "unchecked"),
    ]
    prints = {told["a"].fingerprint, told["b"].fingerprint, told["c"].fingerprint, others["a"].fingerprint}
    assert len(prints) == 4, "the same key of another user has another fingerprint"
    before = told["a"].fingerprint
    await put(kept)
    assert (await kept.vault.kept(kept.user))["a"].fingerprint == before
    assert KEY not in repr(told) + repr(Given(has_key=True, api_key=KEY, headers={"X": KEY}))


DAMAGES = {
    "a ciphertext of another configuration": """
        UPDATE model_secrets SET sealed = (SELECT sealed FROM model_secrets WHERE config_id = 'b') WHERE config_id = 'a'
    """,
    "the row of another configuration but its name": """
        WITH gone AS (DELETE FROM model_secrets WHERE config_id = 'a' AND user_id = $1)
        UPDATE model_secrets SET config_id = 'a ' WHERE config_id = 'b'
    """,
    "a cut tag": "UPDATE model_secrets SET sealed = substring(sealed FROM 1 FOR length(sealed) - 1)",
    "next to nothing": "UPDATE model_secrets SET sealed = '\\x01'",
    "nothing": "UPDATE model_secrets SET sealed = ''",
    "another version": "UPDATE model_secrets SET sealed = set_byte(sealed, 0, 2)",
    "one bit": "UPDATE model_secrets SET sealed = set_bit(sealed, 300, 1 - get_bit(sealed, 300))",
    "another id": "UPDATE model_secrets SET id = gen_random_uuid()",
    "the plain text": "UPDATE model_secrets SET sealed = convert_to('[1, \"sk-canary-0123456789-abcd\", {}]', 'UTF8')",
    "no data key any more": "UPDATE users SET wrapped_key = NULL, key_id = NULL, deleted_at = now() WHERE id = $1",
    "the wrapped key of another": "UPDATE users SET wrapped_key = (SELECT wrapped_key FROM users WHERE id <> $1 LIMIT 1) WHERE id = $1",
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_row_that_was_tampered_with_does_not_open_and_that_is_noted_once(kept: Kept, damage: str) -> None:
    for config, key in (("a", KEY), ("b", OTHER)):
        await put(kept, config, key)
    statement = DAMAGES[damage]
    await kept.execute(statement, *([kept.user] if "$1" in statement else []))
    config = "a " if "name" in damage else "a"
    for _ in range(2):
        with pytest.raises(ModelKeyUnreadable):
            await kept.reads(config)
    told = (await kept.vault.kept(kept.user))[config]
    assert (told.status, told.hint, told.fingerprint, told.has_key, told.header_names) == (UNREADABLE, None, None, False, ())
    (noted,) = await entries(kept.database, kept.user, "model_key_unreadable")
    assert (noted.target, noted.details["origin"]) == (config, HERE)


async def test_a_row_that_is_given_to_another_user_does_not_open(kept: Kept) -> None:
    await put(kept)
    await kept.execute("UPDATE model_secrets SET user_id = $1", kept.other)
    with pytest.raises(ModelKeyUnreadable):
        await kept.reads(user=kept.other)


async def test_swapped_ciphertexts_of_two_users_open_for_neither(kept: Kept) -> None:
    await put(kept)
    await put(kept, user=kept.other)
    await kept.execute(
        "UPDATE model_secrets AS m SET sealed = o.sealed FROM model_secrets AS o WHERE o.config_id = m.config_id AND o.user_id <> m.user_id"
    )
    for user in (kept.user, kept.other):
        with pytest.raises(ModelKeyUnreadable):
            await kept.reads(user=user)


async def test_a_row_that_is_pointed_elsewhere_does_not_open_there(kept: Kept) -> None:
    await put(kept)
    await kept.execute("UPDATE model_secrets SET origin = $1", THERE)
    with pytest.raises(ModelKeyUnreadable):
        await kept.reads(origin=THERE)
    with pytest.raises(ModelKeyElsewhere):
        await kept.reads(origin=HERE)


async def test_a_new_key_mends_what_does_not_open(kept: Kept) -> None:
    await put(kept)
    await kept.execute("UPDATE model_secrets SET sealed = ''")
    with pytest.raises(ModelKeyUnreadable):
        await kept.vault.change(kept.user, "a", HERE, Given(headers={"X-Gateway": "new"}), NOW)
    await kept.vault.change(kept.user, "a", HERE, Given(has_key=True, api_key=OTHER), NOW)
    assert await kept.reads() == OTHER


async def test_a_change_keeps_what_it_says_nothing_of(kept: Kept) -> None:
    await put(kept)
    await kept.vault.change(kept.user, "a", HERE, Given(headers={"x-gateway": None, "X-Team": "t"}), NOW)
    secret = await kept.vault.open(kept.user, "a", HERE)
    assert (secret.api_key, secret.headers) == (KEY, {"X-Team": "t"})
    await kept.vault.change(kept.user, "a", HERE, Given(has_key=True, api_key=OTHER), NOW)
    secret = await kept.vault.open(kept.user, "a", HERE)
    assert (secret.api_key, secret.headers) == (OTHER, {"X-Team": "t"})
    assert await kept.vault.change(kept.user, "a", HERE, Given(has_key=True, headers={"X-Team": None}), NOW) is None
    assert await kept.vault.kept(kept.user) == {}
    assert (await events(kept.database, kept.user)) == ["model_key_set"] * 3 + ["model_key_removed"]


async def test_nothing_is_carried_over_to_another_origin(kept: Kept) -> None:
    await put(kept)
    for given in (
        Given(has_key=True, api_key=OTHER),
        Given(headers={"X-Gateway": "new"}),
        Given(has_key=True, headers={"X-Team": "t"}),
    ):
        with pytest.raises(ModelKeyElsewhere):
            await kept.vault.change(kept.user, "a", THERE, given, NOW)
    assert await kept.reads() == KEY
    await kept.vault.change(kept.user, "a", THERE, Given(has_key=True, api_key=OTHER, headers={"X-Gateway": "new"}), NOW)
    assert await kept.reads(origin=THERE) == OTHER


async def test_of_rotations_at_once_one_row_stays_and_it_is_whole(kept: Kept) -> None:
    await put(kept)
    keys = [f"sk-canary-{number:020}" for number in range(8)]
    await asyncio.gather(
        *(
            kept.vault.rotate(kept.user, "a", HERE, Given(has_key=True, api_key=key, headers={"X-Gateway": key}), NOW, status="ok")
            for key in keys
        )
    )
    secret = await kept.vault.open(kept.user, "a", HERE)
    assert secret.api_key in keys
    assert secret.headers == {"X-Gateway": secret.api_key}
    told = (await kept.vault.kept(kept.user))["a"]
    assert (told.status, told.checked_at) == ("ok", NOW)
    assert (await events(kept.database, kept.user)).count("model_key_rotated") == 8


async def test_a_key_that_was_removed_is_not_brought_back_by_a_rotation(kept: Kept) -> None:
    await put(kept)
    assert await kept.vault.remove(kept.user, "a", NOW)
    assert not await kept.vault.remove(kept.user, "a", NOW)
    with pytest.raises(ModelKeyMissing):
        await kept.vault.rotate(kept.user, "a", HERE, Given(has_key=True, api_key=OTHER), NOW, status="ok")


async def test_what_a_provider_said_is_not_said_of_the_key_that_came_after(kept: Kept) -> None:
    await put(kept)
    old = (await kept.vault.kept(kept.user))["a"].id
    await put(kept, key=OTHER)
    await kept.vault.checked(kept.user, "a", "invalid_key", NOW, secret_id=old)
    assert (await kept.vault.kept(kept.user))["a"].status == "unchecked"
    await kept.vault.checked(kept.user, "a", "ok", NOW)
    assert (await kept.vault.kept(kept.user))["a"].status == "ok"


async def test_when_it_was_used_is_told_to_the_minute(kept: Kept) -> None:
    await put(kept)
    for seconds, told in ((0, 0), (59, 0), (61, 61)):
        await kept.vault.used(kept.user, "a", NOW + timedelta(seconds=seconds))
        assert (await kept.vault.kept(kept.user))["a"].last_used_at == NOW + timedelta(seconds=told)


async def test_a_user_keeps_so_many_and_no_more(kept: Kept) -> None:
    await put(kept)
    await kept.execute(
        "INSERT INTO model_secrets SELECT gen_random_uuid(), user_id, 'c' || n, origin, sealed, created_at"
        " FROM model_secrets, generate_series(2, $1) n",
        MAX_SECRETS,
    )
    await put(kept, key=OTHER)
    with pytest.raises(TooManyModelKeys):
        await put(kept, "one more")
    await put(kept, user=kept.other)


async def test_who_is_gone_keeps_nothing(kept: Kept) -> None:
    with pytest.raises(NotFound):
        await put(kept, user=uuid4())


async def test_a_rotation_of_the_key_encryption_keys_leaves_every_secret_readable(kept: Kept) -> None:
    await put(kept)
    (old,) = kept.keyring.keys
    both = Keyring([new_key("k2"), old])
    async with kept.database.acquire() as connection:
        await rewrap(connection, both)
    only_new = Keyring([both.keys[0]])
    after = Vault(database=kept.database, keyring=only_new, random=os.urandom, clock=lambda: NOW)
    assert (await after.open(kept.user, "a", HERE)).api_key == KEY
