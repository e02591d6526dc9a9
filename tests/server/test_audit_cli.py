"""`promptsync audit`: read, followed, and safe to print whatever clients call themselves."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import IO, Any
from uuid import UUID, uuid4

import pytest
import typer
from typer.testing import CliRunner, Result

from server.audit_cli import audit
from storage import audit as log
from storage.audit import NewEntry
from storage.keyring import Keyring
from storage.pool import Database
from tests.support.sealed_rows import new_key, store_user
from tests.support.server import ROOT

NOW = datetime.now(UTC)
Command = Callable[..., Result]


@pytest.fixture
def read(external: str) -> Command:
    """Runs `promptsync audit ...`."""
    app = typer.Typer()
    app.command()(audit)
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def note(dsn: str, *lines: dict[str, Any]) -> None:
    async def run() -> None:
        database = await Database.open(dsn, size=1)
        async with database.transaction() as connection:
            for line in lines:
                new = NewEntry(at=NOW, event="signed_in", user_id=None)
                await log.append(connection, replace(new, **line))
        await database.close()

    asyncio.run(run())


def known_user(dsn: str) -> tuple[UUID, str]:
    """The id and address of an account."""

    async def run() -> tuple[UUID, str]:
        database = await Database.open(dsn, size=1)
        async with database.transaction() as connection:
            user_id = await store_user(connection, Keyring([new_key("k1")]))
            address: str = await connection.fetchval("SELECT email FROM users WHERE id = $1", user_id)
        await database.close()
        return user_id, address

    return asyncio.run(run())


def events(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return [json.loads(line)["event"] for line in result.output.splitlines()]


def test_nothing_is_said_so(read: Command) -> None:
    assert read().output == "Nothing was noted.\n"
    assert read("--json").output == ""


def test_lines_are_chosen_by_account_kind_and_time(read: Command, external: str) -> None:
    user_id, address = known_user(external)
    gone = uuid4()
    note(
        external,
        {"event": "registered", "user_id": user_id, "at": NOW - timedelta(days=8)},
        {"event": "sign_in_failed", "user_id": user_id, "at": NOW - timedelta(hours=2)},
        {"event": "signed_in", "user_id": user_id},
        {"event": "account_deleted", "user_id": gone},
    )
    assert events(read("--json")) == ["registered", "sign_in_failed", "signed_in", "account_deleted"]
    assert events(read("--json", "--limit", "2")) == ["signed_in", "account_deleted"]
    for who in (address, str(user_id)):
        assert events(read("--json", "--user", who)) == ["registered", "sign_in_failed", "signed_in"]
    assert events(read("--json", "--user", str(gone))) == ["account_deleted"]
    assert events(read("--json", "--event", "sign_in_failed")) == ["sign_in_failed"]
    assert events(read("--json", "--since", "7d")) == ["sign_in_failed", "signed_in", "account_deleted"]
    assert events(read("--json", "--since", "1h")) == ["signed_in", "account_deleted"]
    assert events(read("--json", "--since", (NOW - timedelta(hours=3)).isoformat())) == ["sign_in_failed", "signed_in", "account_deleted"]
    assert events(read("--json", "--since", f"{NOW - timedelta(days=9):%Y-%m-%d}", "--event", "registered")) == ["registered"]
    shown = read().output
    assert address in shown
    assert str(gone) in shown


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--user", "bob@example.com"), "there is no account"),
        (("--since", "yesterday"), "is no time"),
        (("--since", "99999w"), "is no time"),
        (("--since", "0001-01-01T00:00+14:00"), "is no time"),
    ],
)
def test_what_cannot_be_asked_is_said_in_a_sentence(read: Command, arguments: tuple[str, ...], says: str) -> None:
    result = read(*arguments)
    assert result.exit_code == 1
    assert says in result.output


def test_whatever_a_client_calls_itself_stays_on_its_line(read: Command, external: str) -> None:
    nasty = "a\nb\r[bold]\x1b[2J\u2028c"
    note(external, {"user_agent": nasty, "target": nasty, "address": nasty, "details": {"name": nasty}})
    (line,) = read("--json").output.splitlines()
    assert json.loads(line)["user_agent"] == nasty
    table = read().output
    assert "\x1b" not in table
    assert "[bold]" in table
    assert len(table.splitlines()) == 2


def test_followed_it_prints_what_comes_once_and_in_lines(external: str) -> None:
    note(external, *({"event": f"before_{number}"} for number in range(3)))
    command = [sys.executable, "-m", "server.cli", "audit", "--follow", "--json", "--limit", "2"]
    # a terminal's Ctrl-C reaches it, also where these tests run in the background, with SIGINT ignored
    taking = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=taking) as process:
        try:
            assert process.stdout is not None
            printed = [json.loads(process.stdout.readline())["event"] for _ in range(2)]
            for number in range(3):
                note(external, {"event": f"after_{number}"})
                printed.append(json.loads(process.stdout.readline())["event"])
            asyncio.run(_commit_in_the_other_order(external, process.stdout, printed))
        finally:
            process.send_signal(signal.SIGINT)
            try:
                _, errors = process.communicate(timeout=20)
            finally:
                process.kill()
    assert printed == ["before_1", "before_2", "after_0", "after_1", "after_2", "quick", "slow"]
    assert (process.returncode, errors) == (0, "")


async def _commit_in_the_other_order(dsn: str, output: IO[str], printed: list[str]) -> None:
    """Two lines, of which the first is committed after the second has been printed."""
    database = await Database.open(dsn, size=2)
    async with database.transaction() as slow:
        await log.append(slow, NewEntry(at=NOW, event="slow", user_id=None))
        async with database.transaction() as quick:
            await log.append(quick, NewEntry(at=NOW, event="quick", user_id=None))
        printed.append(json.loads(await asyncio.to_thread(output.readline))["event"])
    printed.append(json.loads(await asyncio.to_thread(output.readline))["event"])
    await database.close()
