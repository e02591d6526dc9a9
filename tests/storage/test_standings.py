"""What sessions are to the libraries that they have open."""

from uuid import UUID, uuid4

import pytest

from storage.libraries import Role
from storage.pool import Database
from storage.standings import Standing, standings
from storage.updates import Place
from tests.support.core import store_user


async def store_session(database: Database, user_id: UUID) -> UUID:
    session_id = uuid4()
    async with database.acquire() as connection:
        await connection.execute(
            "INSERT INTO sessions (id, user_id, device_id, device_name, platform, refresh_key, idle_expires_at, expires_at,"
            " authenticated_at) VALUES ($1, $2, $3, '', '', '', now() + interval '1 h', now() + interval '1 h', now())",
            session_id,
            user_id,
            uuid4(),
        )
    return session_id


async def test_each_session_is_told_what_it_is_to_its_library(database: Database) -> None:
    async with database.acquire() as connection:
        users = [await store_user(connection) for _ in range(4)]
        libraries = [uuid4() for _ in range(2)]
        for library_id in libraries:
            await connection.execute(
                "INSERT INTO libraries (id, owner_id, name, server_client_id) VALUES ($1, $2, '', 1)", library_id, users[0]
            )
        for user_id, role in zip(users, ("owner", "editor", "viewer"), strict=False):
            await connection.execute("INSERT INTO members (library_id, user_id, role) VALUES ($1, $2, $3)", libraries[0], user_id, role)
        sessions = [await store_session(database, user_id) for user_id in users]
        asked = {(session, library) for session in sessions for library in (*libraries, UUID(int=1))}

        known = await standings(connection, asked)
        assert [known[session, libraries[0]] for session in sessions] == [
            Standing(Role.OWNER, Place(0, 1)),
            Standing(Role.EDITOR, Place(0, 1)),
            Standing(Role.VIEWER, Place(0, 1)),
            Standing(None, Place(0, 1)),
        ]
        assert known[sessions[0], libraries[1]] == Standing(None, Place(0, 1))
        assert known[sessions[0], UUID(int=1)] == Standing(None, None)
        assert len(known) == len(asked)

        await connection.execute("UPDATE libraries SET deleted_at = now() WHERE id = $1", libraries[0])
        assert (await standings(connection, asked))[sessions[1], libraries[0]].place is None


ENDINGS = ["revoked_at = now()", "expires_at = now() - interval '1 s'", "idle_expires_at = now() - interval '1 s'"]


@pytest.mark.parametrize("ending", ENDINGS)
async def test_an_ended_session_is_absent(database: Database, ending: str) -> None:
    async with database.acquire() as connection:
        user_id = await store_user(connection)
        ended, live, library_id = await store_session(database, user_id), await store_session(database, user_id), uuid4()
        await connection.execute("UPDATE sessions SET " + ending + " WHERE id = $1", ended)  # noqa: S608  # from the list above
        assert set(await standings(connection, {(ended, library_id), (live, library_id), (uuid4(), library_id)})) == {(live, library_id)}
        await connection.execute("UPDATE users SET disabled_at = now() WHERE id = $1", user_id)
        assert await standings(connection, {(live, library_id)}) == {}
        assert await standings(connection, set()) == {}
