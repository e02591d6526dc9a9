"""The operator's view of a library, and compaction by hand: what they print, and what they never do."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar
from uuid import UUID, uuid4

import pytest
import typer
from typer.testing import CliRunner, Result

from server import user_cli
from server.compact_cli import compact
from server.library_cli import app as library
from server.times import utc_now
from storage import compaction, rotation
from storage.keyfile import KeyFile
from storage.pool import Connection
from tests.support.born import BORN
from tests.support.core import Core, core, deleted, typed, typing
from tests.support.poison import NO_PARENT

T = TypeVar("T")
compact_app = typer.Typer()
compact_app.command()(compact)


class Server:
    """A database with a user, who has a new library, as the commands find it in the environment; and a server on it while it is needed."""

    def __init__(self, dsn: str, keys: Path) -> None:
        self._dsn = dsn
        self._keys = keys

    @asynccontextmanager
    async def _core(self) -> AsyncIterator[Core]:
        async with core(self._dsn, keyring=KeyFile.load(self._keys).keyring) as running:
            yield running

    def run(self, work: Callable[[Core], Awaitable[T]]) -> T:
        async def within() -> T:
            async with self._core() as running:
                return await work(running)

        return asyncio.run(within())

    def holding(self, *updates: bytes) -> UUID:
        """A library that holds these updates."""

        async def work(running: Core) -> UUID:
            room = await running.room()
            await running.push(room, *updates)
            return room.library_id

        return self.run(work)

    def execute(self, statement: str, *arguments: object) -> None:
        async def work(running: Core) -> None:
            await running.execute(statement, *arguments)

        self.run(work)


@pytest.fixture
def server(external: str, data_dir: Path) -> Server:
    assert CliRunner().invoke(user_cli.app, ["add", "a@example.com", "--generate"]).exit_code == 0
    return Server(external, data_dir / "keys.json")


def compacted(*arguments: object) -> Result:
    return CliRunner().invoke(compact_app, [str(argument) for argument in arguments])


def inspected(library_id: object, *options: str) -> Result:
    return CliRunner().invoke(library, ["inspect", str(library_id), *options])


# --- compact


def test_all_libraries_are_compacted_and_counted(server: Server) -> None:
    server.holding(*typing(11, 30)), server.holding(*typing(11, 12))
    done = compacted("--all")
    assert done.exit_code == 0, done.output
    assert f"Compacted 3 libraries: {42 + BORN} updates are in snapshots of" in done.output
    again = compacted("--all")
    assert again.exit_code == 0
    assert "Compacted 0 libraries" in again.output


def test_a_library_is_compacted_by_its_id(server: Server) -> None:
    library_id, other = server.holding(*typing(11, 3)), server.holding(*typing(11, 3))
    done = compacted(library_id)
    assert (done.exit_code, "Compacted 1 library: 3 updates" in done.output) == (0, True), done.output
    done = compacted(library_id, other)
    assert "Compacted 1 library: 3 updates" in done.output
    assert "1 had nothing to fold." in done.output


def test_what_breaks_yrs_is_named(server: Server) -> None:
    library_id = server.holding(*typing(7, 3), NO_PARENT)
    done = compacted(library_id)
    assert done.exit_code == 0, done.output
    assert f"{library_id}: update 4 breaks Yrs and is in quarantine now" in done.output


def test_one_that_is_damaged_is_told_and_the_others_are_compacted(server: Server) -> None:
    damaged, sound = server.holding(*typing(11, 3)), server.holding(*typing(11, 5))
    server.execute("DELETE FROM updates WHERE library_id = $1 AND seq = 2", damaged)
    done = compacted("--all")
    assert done.exit_code == 1
    assert f"{damaged}: the log of library" in done.output
    assert f"Compacted 2 libraries: {5 + BORN} updates" in done.output
    assert compacted(sound).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ((), 1, "name libraries by their ids, or say --all"),
        ((uuid4(), "--all"), 1, "name libraries by their ids, or say --all"),
        ((UUID(int=5),), 1, f"there is no library {UUID(int=5)}, or it is deleted"),
        (("mine",), 2, "UUID"),
    ],
)
def test_what_cannot_be_compacted_is_said(server: Server, arguments: tuple[object, ...], code: int, sentence: str) -> None:
    refused = compacted(*arguments)
    assert refused.exit_code == code
    assert sentence in refused.output


def test_one_that_another_process_is_at_is_no_failure(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    library_id = server.holding(*typing(11, 3))

    async def taken(*arguments: object) -> bool:
        return False

    monkeypatch.setattr(compaction, "try_lock", taken)
    done = compacted(library_id)
    assert done.exit_code == 0
    assert f"{library_id}: another process is compacting it" in done.output


def test_keys_that_are_rotated_meanwhile_are_taken_from_the_file(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.holding(*typing(11, 3)), server.holding(*typing(11, 5))
    path = tmp_path / "data" / "keys.json"
    server.execute("UPDATE users SET key_id = $1", KeyFile.load(path).keyring.active_id)  # the owners' are of no key file
    real = compaction.try_lock
    rotated: list[rotation.Rotation] = []

    async def rotating(connection: Connection, library_id: UUID) -> bool:
        if not rotated:
            rotated.append(await rotation.rotate(connection, path, now=utc_now(), random=secrets.token_bytes))
        return await real(connection, library_id)

    monkeypatch.setattr(compaction, "try_lock", rotating)
    done = compacted("--all")
    assert done.exit_code == 0, done.output
    assert f"Compacted 3 libraries: {8 + BORN} updates" in done.output


# --- inspect


def test_a_library_is_described_without_its_content(server: Server) -> None:
    library_id = server.holding(typed("secret words", 11, 0), typed("beyond", 11, 20), deleted(11, 2, 3), NO_PARENT)
    compacted(library_id)
    server.execute("DELETE FROM updates WHERE library_id = $1 AND seq <= 2", library_id)
    shown = inspected(library_id)
    assert shown.exit_code == 0, shown.output
    for part in (str(library_id), "client 11 lacks 12 to 19", "2, ", "from 3 on", "0 updates", "Yrs cannot apply it", "quarantined"):
        assert part in shown.output, part
    assert "secret" not in shown.output
    plain = json.loads(inspected(library_id, "--json").output)
    assert (plain["id"], plain["head"], plain["epoch"], plain["oldest_seq"], plain["kept_updates"]) == (str(library_id), 4, 2, 3, 2)
    assert (plain["tail_updates"], [row["seq"] for row in plain["snapshots"]], plain["key_id"]) == (0, [4], plain["key_id"])
    assert plain["snapshots"][0]["verified_at"]
    assert [(item["seq"], item["reason"]) for item in plain["quarantined"]] == [(4, "Yrs cannot apply it")]
    assert plain["content"]["gaps"] == [[11, 12, 20]]
    assert plain["content"]["clients"] == 2


def test_a_small_new_library_has_little_to_say(server: Server) -> None:
    library_id = server.holding(*typing(11, 3))
    shown = inspected(library_id)
    assert shown.exit_code == 0
    assert "never" in shown.output
    assert "none" in shown.output
    assert "snapshots" not in shown.output


def test_one_that_does_not_open_says_why_and_the_rest(server: Server) -> None:
    library_id = server.holding(*typing(11, 3))
    server.execute("UPDATE updates SET sealed = set_byte(sealed, 20, 7) WHERE library_id = $1 AND seq = 2", library_id)
    shown = inspected(library_id)
    assert shown.exit_code == 1
    assert "NO: SealBroken" in shown.output
    assert "head" in shown.output
    refused = inspected(library_id, "--json")
    assert refused.exit_code == 1
    assert json.loads(refused.output)["error"].startswith("SealBroken")


def test_a_deleted_one_says_so(server: Server) -> None:
    library_id = server.holding(*typing(11, 3))
    server.execute("UPDATE libraries SET deleted_at = now(), wrapped_key = NULL, key_id = NULL WHERE id = $1", library_id)
    shown = inspected(library_id)
    assert shown.exit_code == 0
    assert "is being purged" in shown.output
    assert "destroyed" in shown.output


def test_many_gaps_are_counted_and_some_shown(server: Server) -> None:
    library_id = server.holding(*(typed("x", 11, clock) for clock in range(2, 60, 2)))
    shown = inspected(library_id)
    assert "and 19 more" in " ".join(shown.output.split())
    assert json.loads(inspected(library_id, "--json").output)["content"]["gap_count"] == 29


def test_no_library_and_no_id_are_refused(server: Server) -> None:
    missing = inspected(UUID(int=7))
    assert (missing.exit_code, f"there is no library {UUID(int=7)}" in missing.output) == (1, True)
    assert inspected("mine").exit_code == 2
