"""`promptsync user`: accounts from the terminal, for whoever runs the server."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID, uuid4

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from auth.errors import AuthError, EmailTaken, InvalidEmail, WeakPassword
from auth.sessions import Device
from server.accounts_terminal import AsJson, Who, find, when
from server.config import Settings
from server.database import ask, opened, reachable_dsn
from server.keys import open_key_file
from server.services import Services, make_services
from server.terminal import explained, fail, printable, settings_of_terminal
from server.times import utc_now
from server.user_changes_cli import Generate, delete, disable, enable, new_password, reset_password, set_role, tell_password
from storage import administration, session_list
from storage.administration import Facts
from storage.cluster import claim
from storage.libraries import draw_client_id
from storage.pool import Connection
from storage.session_list import LiveSession

app = typer.Typer(help="Accounts of this server.", no_args_is_help=True)

_PAGE = 500


@app.command("add")
def add(
    email: Annotated[str, typer.Argument(help="Mail address of the new account.")],
    name: Annotated[str | None, typer.Option(help="Shown name; the part before the @ without it.")] = None,
    generate: Generate = False,
) -> None:
    """Make an account, with a library of its own. Asks for the password, so that it is in no shell history."""
    with explained():
        password = new_password(generate=generate)
        settings = settings_of_terminal()
        with reachable_dsn(settings) as dsn:
            library = asyncio.run(_add(settings, dsn, email, name, password))
        typer.echo(f"Made the account {email} with the library {library}.")
        if generate:
            tell_password(password)


@app.command("list")
def list_all(
    query: Annotated[str, typer.Option(help="Only those with this in their address or name, or with this id.")] = "",
    as_json: AsJson = False,
) -> None:
    """List the accounts, oldest first: address, name, role, own library, last login, sessions."""
    with explained():
        found = ask(lambda connection: _all(connection, query))
        if as_json:
            return typer.echo(json.dumps([_plain(facts) for facts in found], indent=2))
        table = Table(Column("address", no_wrap=True), "name", "role", "library", "made", "last login", "sessions", "")
        for facts in found:
            user = facts.user
            table.add_row(
                *map(_cell, (user.email or "-", user.name, user.role.value, str(user.library_id), f"{user.created_at:%Y-%m-%d}")),
                *(when(user.last_login_at), str(facts.sessions), "disabled" if facts.disabled_at else ""),
            )
        Console().print(table)


@app.command()
def show(account: Who, as_json: AsJson = False) -> None:
    """Show one account: how one signs in to it, what it owns, and whether it is disabled; never what is in its libraries."""
    with explained():
        found = ask(lambda connection: find(connection, account))
        if as_json:
            return typer.echo(json.dumps(_plain(found), indent=2))
        table = Table(title=f"account {found.user.id}", title_justify="left", box=None, show_header=False)
        for name, value in _facts(found):
            table.add_row(name, _cell(value))
        Console(soft_wrap=True).print(table)


@app.command()
def sessions(account: Who, as_json: AsJson = False) -> None:
    """List where an account is signed in, the session used last first. `disable` and `reset-password` end all of them."""
    with explained():
        found = ask(lambda connection: _sessions(connection, account))
        if as_json:
            return typer.echo(json.dumps([asdict(session) for session in found], indent=2, default=str))
        if not found:
            return typer.echo("No sessions.")
        table = Table("session", "device", "platform", "since", "last used", "from", "by", box=None)
        for session in found:
            cells = (str(session.id), session.device_name, session.platform, when(session.created_at), when(session.last_seen_at))
            table.add_row(*map(_cell, (*cells, session.address, session.method)))
        Console(soft_wrap=True).print(table)


for command in (disable, enable, reset_password, set_role, delete):
    app.command()(command)


async def _add(settings: Settings, dsn: str, email: str, name: str | None, password: str) -> str:
    async with _services(settings, dsn) as services:
        device = Device(id=uuid4(), name="promptsync user add", platform="cli")
        try:
            grant = await services.accounts.register(email=email, password=password, name=name, device=device, now=services.clock())
            await services.endings.log_out(grant.access_token, now=services.clock())
        except InvalidEmail:
            fail(f"{email} is not a mail address that can have an account")
        except EmailTaken:
            fail(f"an account with the address {email} exists")
        except WeakPassword as error:
            fail(f"the password breaks a rule: {error.rule}")
        except AuthError as error:
            fail(type(error).__name__)
        return str(grant.user.library_id)


async def _all(connection: Connection, query: str) -> list[Facts]:
    found: list[Facts] = []
    after = (datetime.min.replace(tzinfo=UTC), UUID(int=0))
    while page := await administration.page(connection, query=query, after=after, limit=_PAGE, now=utc_now()):
        found += page
        after = (page[-1].user.created_at, page[-1].user.id)
    return found


async def _sessions(connection: Connection, account: str) -> list[LiveSession]:
    found = await find(connection, account)
    return await session_list.live(connection, found.user.id, now=utc_now())


def _facts(found: Facts) -> list[tuple[str, str]]:
    user = found.user
    proofs = [*(["password"] if found.has_password else []), *found.providers]
    return [
        ("address", f"{user.email} ({'verified' if user.email_verified_at else 'not verified'})" if user.email else "none"),
        ("name", user.name),
        ("role", user.role.value),
        ("signs in with", ", ".join(proofs) or "nothing"),
        ("made", when(user.created_at)),
        ("last login", when(user.last_login_at)),
        ("state", f"disabled since {when(found.disabled_at)}" if found.disabled_at else "enabled"),
        ("own library", str(user.library_id)),
        ("libraries", str(found.libraries)),
        ("sessions", str(found.sessions)),
    ]


def _plain(found: Facts) -> dict[str, object]:
    plain: dict[str, object] = json.loads(json.dumps(asdict(found), default=str))
    return plain


def _cell(text: str) -> Text:
    return Text(printable(text))  # not markup, whatever somebody calls himself


@asynccontextmanager
async def _services(settings: Settings, dsn: str) -> AsyncIterator[Services]:
    async with opened(dsn) as database:
        key_file, _ = await open_key_file(settings, database)
        keyring = key_file.live_keyring()
        # as a server does: what these keys seal without being the database's would keep every later start out
        async with database.acquire() as connection:
            await claim(connection, keyring, new_client_id=lambda: draw_client_id(secrets.token_bytes))
        yield make_services(settings, database=database, keyring=keyring, signing_keys=[(key.id, key.seed) for key in key_file.signing])
