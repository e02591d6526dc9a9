"""What the commands about accounts share: an account found by its address or id, and the parts that change one."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, TypeVar
from uuid import UUID

import typer

from auth import emails
from auth.administration import Administration
from auth.errors import InvalidEmail
from auth.passwords import Passwords
from server.config import load_settings
from server.database import opened, reachable_dsn
from server.purge import enqueue_account_purge
from server.terminal import fail, printable
from server.times import utc_now
from storage import administration, users
from storage.administration import Facts
from storage.pool import Connection

T = TypeVar("T")
Who = Annotated[str, typer.Argument(metavar="ACCOUNT", help="Mail address or id.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def change(who: str, work: Callable[[Administration, Facts], Awaitable[T]]) -> T:
    """Change the account that `who` names; ends the command where there is none. Raises as `ask`.

    Servers may go on running: they find out about sessions that have ended, and libraries that are gone, within two seconds.
    """

    async def changed(dsn: str) -> T:
        passwords = Passwords(cores=1)
        try:
            async with opened(dsn) as database:
                parts = Administration(
                    database=database,
                    passwords=passwords,
                    on_revoked=lambda session_ids: None,
                    on_deleted=lambda library_id: None,
                    enqueue_purge=enqueue_account_purge,
                )
                async with database.acquire() as connection:
                    found = await find(connection, who)
                return await work(parts, found)
        finally:
            passwords.close()

    with reachable_dsn(load_settings()) as dsn:
        return asyncio.run(changed(dsn))


async def find(connection: Connection, who: str) -> Facts:
    """The account of this address or id; ends the command where there is none."""
    user_id = await id_of(connection, who)
    found = None if user_id is None else await administration.one(connection, user_id, now=utc_now())
    if found is None:
        fail(f"there is no account {printable(who)}; see `promptsync user list`")
    return found


async def id_of(connection: Connection, who: str) -> UUID | None:
    """The id that is meant: itself, whether or not there is such an account, or that of the account of an address."""
    try:
        return UUID(who)
    except ValueError:
        pass
    try:
        account = await users.by_email(connection, emails.parse(who).key)
    except InvalidEmail:
        return None
    return None if account is None else account.user.id


def named(found: Facts) -> str:
    """What an account is called in a sentence."""
    return printable(found.user.email or str(found.user.id))


def when(moment: datetime | None, *, never: str = "never") -> str:
    """A moment in UTC, to the minute."""
    return f"{moment:%Y-%m-%d %H:%M}" if moment else never
