"""`promptsync user`: what an operator sees of accounts, and does to them."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID, uuid4

import pytest
from typer.testing import CliRunner, Result

from auth.errors import AuthError
from auth.sessions import Device
from server.config import load_settings
from server.keys import open_key_file
from server.purge import PURGE_ACCOUNT
from server.services import Services, make_services
from server.user_cli import app
from storage.audit import Entry
from storage.pool import Database
from tests.support.audited import entries
from tests.support.rest import PASSWORD, cheap_passwords

T = TypeVar("T")
Command = Callable[..., Result]
ADDRESS = "ada@example.com"


@pytest.fixture
def user(external: str) -> Command:
    """Runs `promptsync user ...` on a database with one account, ADDRESS."""
    run = CliRunner()

    def command(*arguments: str, **options: object) -> Result:
        return run.invoke(app, list(arguments), **options)  # type: ignore[arg-type]

    assert command("add", ADDRESS, "--name", "Ada [red]\x1b[2J", input=f"{PASSWORD}\n{PASSWORD}\n").exit_code == 0
    return command


def asked(dsn: str, question: Callable[[Services], Awaitable[T]]) -> T:
    """What the parts of a server on this database answer."""

    async def run() -> T:
        database = await Database.open(dsn, size=2)
        passwords = cheap_passwords()
        try:
            settings = load_settings()
            key_file, _ = await open_key_file(settings, database)
            keys = [(key.id, key.seed) for key in key_file.signing]
            return await question(
                make_services(settings, database=database, keyring=key_file.live_keyring(), signing_keys=keys, passwords=passwords)
            )
        finally:
            passwords.close()
            await database.close()

    return asyncio.run(run())


def logs_in(dsn: str, password: str) -> bool:
    async def login(services: Services) -> bool:
        device = Device(id=uuid4(), name="laptop", platform="web", address="192.0.2.7")
        try:
            await services.accounts.login(email=ADDRESS, password=password, device=device, now=services.clock())
        except AuthError:
            return False
        return True

    return asked(dsn, login)


def noted(dsn: str) -> list[Entry]:
    return asked(dsn, lambda services: entries(services.database))


def test_accounts_are_listed_and_shown_by_address_or_id_without_what_a_terminal_would_act_on(user: Command) -> None:
    listed = user("list")
    assert ADDRESS in listed.output
    assert "\x1b" not in listed.output
    assert "Ada [red]\N{REPLACEMENT CHARACTER}[2J" in listed.output
    (plain,) = json.loads(user("list", "--json").output)
    for who in (ADDRESS, ADDRESS.upper(), plain["user"]["id"]):
        shown = user("show", who)
        assert shown.exit_code == 0, shown.output
        assert "password" in shown.output
        assert "enabled" in shown.output
    assert json.loads(user("show", ADDRESS, "--json").output) == plain
    assert "hash" not in json.dumps(plain)
    assert ADDRESS not in user("list", "--query", "nobody").output
    assert ADDRESS in user("list", "--query", "ADA@").output


@pytest.mark.parametrize("who", ["bob@example.com", "nonsense", "68e0ba99-d5b8-489f-88a7-80de6025029f"])
def test_an_account_that_is_not_there_is_said_in_a_sentence(user: Command, who: str) -> None:
    for command in (("show",), ("sessions",), ("disable",), ("enable",), ("reset-password", "--generate"), ("delete", "--yes")):
        result = user(command[0], who, *command[1:])
        assert (result.exit_code, result.output) == (1, f"promptsync: there is no account {who}; see `promptsync user list`\n")
    assert user("set-role", who, "admin").exit_code == 1


def test_sessions_are_listed(user: Command, external: str) -> None:
    assert user("sessions", ADDRESS).output == "No sessions.\n"
    assert logs_in(external, PASSWORD)
    listed = user("sessions", ADDRESS).output
    assert "laptop" in listed
    assert "192.0.2.7" in listed
    (session,) = json.loads(user("sessions", ADDRESS, "--json").output)
    assert session["device_name"] == "laptop"
    assert not [name for name in session if "key" in name or "token" in name]


def test_a_disabled_account_is_signed_out_and_cannot_sign_in_until_it_is_enabled(user: Command, external: str) -> None:
    assert logs_in(external, PASSWORD)
    assert user("disable", ADDRESS).exit_code == 0
    assert user("sessions", ADDRESS).output == "No sessions.\n"
    assert not logs_in(external, PASSWORD)
    assert "disabled since" in user("show", ADDRESS).output
    assert user("enable", ADDRESS).exit_code == 0
    assert logs_in(external, PASSWORD)
    lines = [(entry.event, entry.actor, entry.actor_id) for entry in noted(external) if entry.event.startswith("account_")]
    assert lines == [("account_disabled", "operator", None), ("account_enabled", "operator", None)]


def test_a_password_that_is_replaced_ends_the_sessions_and_is_shown_once(user: Command, external: str) -> None:
    assert logs_in(external, PASSWORD)
    made = user("reset-password", ADDRESS, "--generate")
    assert made.exit_code == 0, made.output
    assert "1 session has ended" in made.output
    password = re.search(r"Password \(shown only now\): (\S{20})\n", made.output)
    assert password is not None
    assert user("sessions", ADDRESS).output == "No sessions.\n"
    assert not logs_in(external, PASSWORD)
    assert logs_in(external, password[1])
    typed = user("reset-password", ADDRESS, input="another good one\n" * 2)
    assert typed.exit_code == 0
    assert "another good one" not in typed.output
    assert logs_in(external, "another good one")
    weak = user("reset-password", ADDRESS, input="short\n" * 2)
    assert (weak.exit_code, "at least 8 characters" in weak.output) == (1, True)
    assert [entry.actor for entry in noted(external) if entry.event == "password_replaced"] == ["operator"] * 2
    assert not [text for text in (PASSWORD, password[1], "another good one") if text in str(noted(external))]


def test_the_first_administrator_is_made_here(user: Command, external: str) -> None:
    assert "is an administrator now" in user("set-role", ADDRESS, "admin").output
    assert json.loads(user("show", ADDRESS, "--json").output)["user"]["role"] == "admin"
    assert user("set-role", ADDRESS, "king").exit_code == 2
    assert "is an ordinary user now" in user("set-role", ADDRESS, "user").output, "an operator may take the last one away"
    assert [entry.details for entry in noted(external) if entry.event == "role_changed"] == [
        {"role": "admin", "before": "user"},
        {"role": "user", "before": "admin"},
    ]


def test_an_account_is_deleted_after_a_question(user: Command, external: str) -> None:
    user_id = json.loads(user("show", ADDRESS, "--json").output)["user"]["id"]
    refused = user("delete", ADDRESS, input="n\n")
    assert (refused.exit_code, "nothing was changed" in refused.output) == (1, True)
    assert user("show", ADDRESS).exit_code == 0

    assert user("delete", ADDRESS, "--yes").exit_code == 0

    assert user("show", ADDRESS).exit_code == 1
    assert user("delete", user_id, "--yes").exit_code == 1
    assert not logs_in(external, PASSWORD)
    (deleted,) = [entry for entry in noted(external) if entry.event == "account_deleted"]
    assert (deleted.user_id, deleted.actor) == (UUID(user_id), "operator")
    jobs = asked(external, _jobs)
    assert (PURGE_ACCOUNT, user_id) in jobs
    assert user("add", ADDRESS, "--generate").exit_code == 0


async def _jobs(services: Services) -> list[tuple[str, str]]:
    async with services.database.acquire() as connection:
        rows = await connection.fetch("SELECT entrypoint, payload FROM jobs_pgqueuer")
    return [(row["entrypoint"], bytes(row["payload"]).decode()) for row in rows]


def test_addresses_are_listed_whole_on_a_narrow_terminal(user: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert ADDRESS in user("list").output


@pytest.mark.parametrize("command", ["add", "list", "show", "sessions", "disable", "enable", "reset-password", "set-role", "delete"])
def test_every_command_says_what_it_does(command: str) -> None:
    said = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"})
    assert said.exit_code == 0
    assert len(said.output.split()) > 20
