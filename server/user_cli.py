"""`promptsync user`: accounts from the terminal, for whoever runs the server."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated
from uuid import uuid4

import typer
from rich.console import Console
from rich.table import Table

from auth.errors import AuthError, EmailTaken, InvalidEmail, WeakPassword
from auth.sessions import Device
from server.config import Settings
from server.database import MIGRATIONS, reachable_dsn
from server.keys import open_key_file
from server.services import Services, make_services
from server.terminal import explained, fail, settings_of_terminal
from storage import schema, users
from storage.cluster import claim
from storage.libraries import draw_client_id
from storage.pool import Database

app = typer.Typer(help="Accounts of this server.", no_args_is_help=True)

_GENERATED_BYTES = 15


@app.command("add")
def add(
    email: Annotated[str, typer.Argument(help="Mail address of the new account.")],
    name: Annotated[str | None, typer.Option(help="Shown name; the part before the @ without it.")] = None,
    generate: Annotated[bool, typer.Option("--generate", help="Make a password and print it once, instead of asking.")] = False,
) -> None:
    """Make an account, with a library of its own. Asks for the password, so that it is in no shell history."""
    with explained():
        password = (
            secrets.token_urlsafe(_GENERATED_BYTES) if generate else typer.prompt("Password", hide_input=True, confirmation_prompt=True)
        )
        settings = settings_of_terminal()
        with reachable_dsn(settings) as dsn:
            library = asyncio.run(_add(settings, dsn, email, name, password))
        typer.echo(f"Made the account {email} with the library {library}.")
        if generate:
            typer.echo(f"Password (shown only now): {password}")


@app.command("list")
def list_all() -> None:
    """List the accounts, oldest first: address, name, own library, last login."""
    with explained():
        settings = settings_of_terminal()
        with reachable_dsn(settings) as dsn:
            found = asyncio.run(_list(dsn))
        table = Table("address", "name", "library", "made", "last login")
        for user in found:
            login = f"{user.last_login_at:%Y-%m-%d %H:%M}" if user.last_login_at else "never"
            table.add_row(user.email or "-", user.name, str(user.library_id), f"{user.created_at:%Y-%m-%d}", login)
        Console().print(table)


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


async def _list(dsn: str) -> list[users.User]:
    await schema.check(dsn, MIGRATIONS)
    database = await Database.open(dsn, size=1)
    try:
        async with database.acquire() as connection:
            return [user async for user in users.each(connection)]
    finally:
        await database.close()


@asynccontextmanager
async def _services(settings: Settings, dsn: str) -> AsyncIterator[Services]:
    await schema.check(dsn, MIGRATIONS)
    database = await Database.open(dsn, size=2)
    try:
        key_file, _ = await open_key_file(settings, database)
        keyring = key_file.live_keyring()
        # as a server does: what these keys seal without being the database's would keep every later start out
        async with database.acquire() as connection:
            await claim(connection, keyring, new_client_id=lambda: draw_client_id(secrets.token_bytes))
        yield make_services(settings, database=database, keyring=keyring, signing_keys=[(key.id, key.seed) for key in key_file.signing])
    finally:
        await database.close()
