"""Accounts, sessions and libraries that the server wrote at revision 0006 go on after the migrations that followed."""

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from auth.tokens import Audience
from storage import updates
from storage.cipher import DataKey, library_key_place, update_place
from storage.keyring import EncryptionKey, Keyring
from storage.schema import migrate, needed_revision
from tests.support.database import SCRIPTS
from tests.support.rest import PASSWORD, START, Rest, code_of, rest_api

ROWS = Path(__file__).with_name("accounts_at_0006.sql")
WRITTEN: dict[str, Any] = json.loads(ROWS.with_suffix(".json").read_text())
LAPTOP, PHONE, ENDED, MEMBER, DISABLED = (WRITTEN[name] for name in ("laptop", "phone", "ended", "member", "disabled"))
SIGNING_KEYS = [("s1", bytes(range(32)))]


@pytest.fixture
async def rest(empty_database: str, tmp_path: Path) -> AsyncIterator[Rest]:
    """The application over a database of revision 0006 that was migrated, a minute after its rows were written."""
    await _write_at_0006(empty_database, tmp_path / "migrations")
    assert await migrate(empty_database, SCRIPTS) == ("0006", needed_revision(SCRIPTS))
    keyring = Keyring([EncryptionKey(id="k1", created_at=START, key=DataKey.new(bytes(range(32))))])
    async with rest_api(empty_database, keyring=keyring, signing_keys=SIGNING_KEYS) as rest:
        rest.clock.advance(minutes=1)
        yield rest


async def _write_at_0006(dsn: str, scripts: Path) -> None:
    (scripts / "versions").mkdir(parents=True)
    shutil.copy(SCRIPTS / "env.py", scripts)
    for file in sorted((SCRIPTS / "versions").glob("000[1-6]_*")):
        shutil.copy(file, scripts / "versions")
    assert await migrate(dsn, scripts) == (None, "0006")
    connection = await asyncpg.connect(dsn)
    await connection.execute("SET session_replication_role = replica")  # as pg_dump has it: rows come before those that they refer to
    await connection.execute(ROWS.read_text())
    await connection.close()


async def test_tokens_go_on(rest: Rest) -> None:
    for session in (LAPTOP, PHONE, MEMBER):
        assert await rest.status_of(session["access_token"]) == 200
        who = await rest.services.sessions.authenticate(session["sync_token"], {Audience.SYNC}, now=rest.clock())
        assert str(who.user.id) == session["user_id"]
    for session in (ENDED, DISABLED):
        assert await rest.status_of(session["access_token"]) == 401


async def test_refresh_tokens_go_on_and_one_that_is_used_again_still_ends_its_session(rest: Rest) -> None:
    answer = await rest.refresh(PHONE["refresh_token"])
    assert answer.status_code == 200
    assert await rest.status_of(answer.json()["access_token"]) == 200
    rest.clock.advance(minutes=5)
    assert code_of(await rest.refresh(PHONE["refresh_token"])) == "session_ended"
    assert await rest.status_of(answer.json()["access_token"]) == 401
    for session in (ENDED, DISABLED):
        assert code_of(await rest.refresh(session["refresh_token"])) == "session_ended"


async def test_users_sign_in_and_see_where_they_are_signed_in(rest: Rest) -> None:
    answer = await rest.post("/api/auth/login", {"email": "ADA@example.com", "password": PASSWORD})
    assert answer.status_code == 200
    user = answer.json()["user"]
    assert (user["id"], user["email_verified"], user["library_id"]) == (LAPTOP["user_id"], False, LAPTOP["library_id"])
    sessions = (await rest.get("/api/auth/sessions", answer.json()["access_token"])).json()["sessions"]
    assert {each["device"]["name"] for each in sessions} == {"laptop", "phone", "unnamed device"}
    assert {each["method"] for each in sessions} == {"password"}
    refused = await rest.post("/api/auth/login", {"email": "eve@example.com", "password": PASSWORD})
    assert code_of(refused) == "invalid_credentials"


async def test_a_session_of_before_counts_as_a_recent_login_from_when_it_was_opened(rest: Rest) -> None:
    assert (await rest.post("/api/auth/email", {"email": "new@example.com"}, PHONE["access_token"])).status_code == 202
    rest.clock.advance(minutes=20)
    later = (await rest.refresh(LAPTOP["refresh_token"])).json()
    refused = await rest.post("/api/auth/email", {"email": "new@example.com"}, later["access_token"])
    assert code_of(refused) == "recent_login_required"


async def test_libraries_open_for_their_members(rest: Rest) -> None:
    for session, count in ((LAPTOP, 2), (MEMBER, 2)):
        seen = (await rest.get("/api/libraries", session["access_token"])).json()["libraries"]
        assert {WRITTEN["team"], session["library_id"]} == {each["id"] for each in seen}
        assert len(seen) == count
    for library in (LAPTOP["library_id"], MEMBER["library_id"], WRITTEN["team"]):
        assert len(await _log(rest, UUID(library))) == 1


async def _log(rest: Rest, library_id: UUID) -> list[bytes]:
    async with rest.services.database.acquire() as connection:
        loaded = await updates.since(connection, library_id, 0)
    key = rest.services.keyring.unwrap(loaded.key_id, loaded.wrapped_key, library_key_place(library_id))
    return [key.open(row.sealed, update_place(library_id, row.epoch, row.seq)) for row in loaded.tail]


async def test_an_account_of_before_can_be_deleted_and_its_address_taken_again(rest: Rest) -> None:
    assert (await rest.delete("/api/users/me", LAPTOP["access_token"])).status_code == 204
    assert await rest.status_of(PHONE["access_token"]) == 401
    fresh = await rest.register("ada@example.com")
    assert fresh["user"]["id"] != LAPTOP["user_id"]
