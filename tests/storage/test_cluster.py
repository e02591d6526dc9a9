import asyncio
import itertools
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest

from storage.cluster import Identity, claim, identity, needed_keys, raise_epochs
from storage.errors import StorageError, WrongKeys
from storage.keyring import EncryptionKey, Keyring
from storage.pool import Connection
from tests.support.sealed_rows import destroy_library_key, keys_registered, new_key, store_user

KEY = new_key("kek-a")
FIRST_FRESH_ID = 1_000_000


@pytest.fixture
async def connection(database_dsn: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database_dsn)
    yield connection
    await connection.close()


@pytest.fixture
def fresh() -> Callable[[], int]:
    """Draws client ids that no library has."""
    return itertools.count(FIRST_FRESH_ID).__next__


async def seems_to_come_from(connection: Connection, system_identifier: int, timeline: int) -> None:
    await connection.execute("UPDATE cluster SET system_identifier = $1, timeline = $2", system_identifier, timeline)


async def libraries(connection: Connection) -> list[tuple[int, int]]:
    rows = await connection.fetch("SELECT epoch, server_client_id FROM libraries ORDER BY server_client_id")
    return [tuple(row) for row in rows]


async def test_the_first_claim_registers_the_active_key_and_the_identity(connection: Connection, fresh: Callable[[], int]) -> None:
    claimed = await claim(connection, Keyring([KEY, new_key("kek-spare")]), new_client_id=fresh)
    assert (claimed.previous, claimed.moved, claimed.registered, claimed.raised) == (None, False, ("kek-a",), 0)
    assert claimed.identity == await identity(connection)
    assert await keys_registered(connection) == {"kek-a"}


async def test_a_second_claim_changes_nothing(connection: Connection, fresh: Callable[[], int]) -> None:
    await claim(connection, Keyring([KEY]), new_client_id=fresh)
    await store_user(connection, Keyring([KEY]))
    before = await libraries(connection)
    again = await claim(connection, Keyring([KEY]), new_client_id=fresh)
    assert (again.registered, again.moved, again.raised, again.previous) == ((), False, 0, again.identity)
    assert await libraries(connection) == before


async def test_processes_that_start_at_once_all_claim(database_dsn: str, fresh: Callable[[], int]) -> None:
    connections = [await asyncpg.connect(database_dsn) for _ in range(4)]
    claims = await asyncio.gather(*(claim(each, Keyring([KEY]), new_client_id=fresh) for each in connections))
    assert sorted(each.registered for each in claims) == [(), (), (), ("kek-a",)]
    for each in connections:
        await each.close()


async def test_only_one_of_several_processes_raises_the_epochs(database_dsn: str, connection: Connection, fresh: Callable[[], int]) -> None:
    await claim(connection, Keyring([KEY]), new_client_id=fresh)
    await store_user(connection, Keyring([KEY]))
    await seems_to_come_from(connection, 42, 1)
    connections = [await asyncpg.connect(database_dsn) for _ in range(3)]
    claims = await asyncio.gather(*(claim(each, Keyring([KEY]), new_client_id=fresh) for each in connections))
    assert sorted(each.raised for each in claims) == [0, 0, 1]
    assert [epoch for epoch, _ in await libraries(connection)] == [2]
    for each in connections:
        await each.close()


@pytest.mark.parametrize("what", ["system identifier", "timeline"])
async def test_every_epoch_rises_when_the_identity_is_another(connection: Connection, fresh: Callable[[], int], what: str) -> None:
    keyring = Keyring([KEY])
    now = (await claim(connection, keyring, new_client_id=fresh)).identity
    for _ in range(3):
        await store_user(connection, keyring)
    before = {client_id for _, client_id in await libraries(connection)}
    old = (
        Identity(system_identifier=42, timeline=now.timeline)
        if what == "system identifier"
        else Identity(system_identifier=now.system_identifier, timeline=now.timeline + 7)
    )
    await seems_to_come_from(connection, old.system_identifier, old.timeline)
    claimed = await claim(connection, keyring, new_client_id=fresh)
    assert (claimed.moved, claimed.raised, claimed.previous, claimed.identity) == (True, 3, old, now)
    rows = await libraries(connection)
    assert [epoch for epoch, _ in rows] == [2] * 3
    assert len({client_id for _, client_id in rows} - before) == 3
    assert not (await claim(connection, keyring, new_client_id=fresh)).moved


async def test_epochs_are_raised_by_hand_over_many_pages(connection: Connection, fresh: Callable[[], int]) -> None:
    owner = await store_user(connection, Keyring([KEY]))
    await connection.execute(
        "INSERT INTO libraries (id, owner_id, name, epoch, server_client_id)"
        " SELECT gen_random_uuid(), $1, '', 7, n FROM generate_series(1000, 3499) n",
        owner,
    )
    assert await raise_epochs(connection, new_client_id=fresh) == 2501
    rows = await libraries(connection)
    assert {epoch for epoch, _ in rows} == {2, 8}
    assert sorted(client_id for _, client_id in rows) == list(range(FIRST_FRESH_ID, FIRST_FRESH_ID + 2501))


async def test_a_raised_library_never_keeps_its_client_id(connection: Connection) -> None:
    await store_user(connection, Keyring([KEY]))
    ((_, old),) = await libraries(connection)
    draws = iter([old, old, old + 1])
    await raise_epochs(connection, new_client_id=lambda: next(draws))
    assert await libraries(connection) == [(2, old + 1)]


async def claimed_with_data(connection: Connection, *keys: EncryptionKey) -> None:
    """A database whose register has these keys, with a user under each of them."""
    for count, key in enumerate(keys, 1):
        await claim(connection, Keyring(keys[:count][::-1]), new_client_id=lambda: 1)
        await store_user(connection, Keyring([key]))


async def test_the_key_file_of_another_database_is_refused_as_that(connection: Connection, fresh: Callable[[], int]) -> None:
    await claimed_with_data(connection, KEY)
    with pytest.raises(WrongKeys, match=r"belongs to another database.*sealed with kek-a.*holds kek-x"):
        await claim(connection, Keyring([new_key("kek-x")]), new_client_id=fresh)


async def test_a_missing_key_is_refused_by_name(connection: Connection, fresh: Callable[[], int]) -> None:
    old = new_key("kek-old")
    await claimed_with_data(connection, old, KEY)
    with pytest.raises(WrongKeys, match="lacks kek-old"):
        await claim(connection, Keyring([KEY]), new_client_id=fresh)
    assert (await claim(connection, Keyring([KEY, old]), new_client_id=fresh)).registered == ()


async def test_another_key_under_a_known_id_is_refused_by_name(connection: Connection, fresh: Callable[[], int]) -> None:
    await claimed_with_data(connection, KEY)
    with pytest.raises(WrongKeys, match="another key under kek-a"):
        await claim(connection, Keyring([new_key("kek-a")]), new_client_id=fresh)


async def test_a_key_that_is_used_and_not_registered_is_needed_too(connection: Connection, fresh: Callable[[], int]) -> None:
    await claimed_with_data(connection, KEY)
    saved = new_key("kek-saved")
    await store_user(connection, Keyring([saved]))
    with pytest.raises(WrongKeys, match="lacks kek-saved"):
        await claim(connection, Keyring([KEY]), new_client_id=fresh)
    assert (await claim(connection, Keyring([KEY, saved]), new_client_id=fresh)).registered == ("kek-saved",)


async def test_a_refused_claim_changes_nothing(connection: Connection, fresh: Callable[[], int]) -> None:
    await claimed_with_data(connection, KEY)
    await seems_to_come_from(connection, 42, 1)
    before = await libraries(connection)
    with pytest.raises(WrongKeys):
        await claim(connection, Keyring([new_key("kek-x")]), new_client_id=fresh)
    assert await libraries(connection) == before
    assert await keys_registered(connection) == {"kek-a"}
    assert (await claim(connection, Keyring([KEY]), new_client_id=fresh)).moved


async def test_data_without_a_register_is_refused(connection: Connection, fresh: Callable[[], int]) -> None:
    await store_user(connection, Keyring([KEY]))
    with pytest.raises(WrongKeys, match="encryption_keys was not restored"):
        await claim(connection, Keyring([KEY]), new_client_id=fresh)


async def test_a_new_active_key_is_registered_at_a_start(connection: Connection, fresh: Callable[[], int]) -> None:
    await claimed_with_data(connection, KEY)
    assert (await claim(connection, Keyring([new_key("kek-b"), KEY]), new_client_id=fresh)).registered == ("kek-b",)


async def test_a_database_that_was_never_claimed_needs_no_key(connection: Connection) -> None:
    assert await needed_keys(connection) == ()
    await claimed_with_data(connection, KEY)
    assert await needed_keys(connection) == ("kek-a",)


async def test_destroyed_libraries_need_no_key(connection: Connection) -> None:
    await destroy_library_key(connection, await store_user(connection, Keyring([KEY])))
    await connection.execute("UPDATE users SET key_id = 'kek-user'")
    assert await needed_keys(connection) == ("kek-user",)


async def test_an_ordinary_role_may_claim(connection: Connection, fresh: Callable[[], int]) -> None:
    await in_role(connection, "claimant_plain")
    await claim(connection, Keyring([KEY]), new_client_id=fresh)


async def test_a_role_that_may_not_ask_is_told_what_to_grant(connection: Connection, fresh: Callable[[], int]) -> None:
    # of this database only: rights on functions are not shared between databases
    await connection.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    await in_role(connection, "Claimant barred")
    with pytest.raises(StorageError, match=r'GRANT EXECUTE ON FUNCTION pg_control_system\(\), .* TO "Claimant barred"') as caught:
        await claim(connection, Keyring([KEY]), new_client_id=fresh)
    grant = str(caught.value).split("run: ")[1]
    await connection.execute("RESET ROLE")
    await connection.execute(grant)
    await connection.execute('SET ROLE "Claimant barred"')
    assert (await claim(connection, Keyring([KEY]), new_client_id=fresh)).registered == ("kek-a",)


async def in_role(connection: Connection, role: str) -> None:
    """Go on as a role without any privilege but on our tables."""
    await connection.execute(f"""
        DO $$ BEGIN CREATE ROLE "{role}"; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
        GRANT ALL ON ALL TABLES IN SCHEMA public TO "{role}";
        SET ROLE "{role}";
    """)
