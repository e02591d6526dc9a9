"""`promptsync epoch`: what to say after the database was put back in a way that it cannot tell by itself."""

import asyncio
import secrets
from typing import Annotated

import typer

from server.config import load_settings
from server.database import MIGRATIONS, reachable_dsn
from server.terminal import explained, fail
from storage import schema
from storage.cluster import raise_epochs
from storage.libraries import draw_client_id
from storage.pool import Database

app = typer.Typer(help="The epoch of the libraries: it rises when the database was put back to an earlier time.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps `raise` a command of its own, though it is the only one."""


@app.command("raise")
def raise_all(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; needed where nobody can answer.")] = False,
) -> None:
    """Put every library into a new epoch. Run it after copying the database's files back, or restoring a dump in place.

    A database that is put back would give out numbers that devices have seen already, for other content, and copies would
    differ for ever without anyone noticing. A dump restored into another cluster, a recovery to a point in time and a promoted
    standby are noticed at the next start, and need nothing. Files copied back into the same cluster, and a dump restored within
    it, leave no trace: stop the server, put them back, run this, then start the server.

    Nothing is lost by it: devices send again what the database lacks, as after any reconnect. Run once too often, it costs each
    device one full opening.
    """
    with explained():
        settings = load_settings()
        if not yes and not typer.confirm("Put every library of this database into a new epoch?"):
            fail("nothing was changed")
        with reachable_dsn(settings) as dsn:
            raised = asyncio.run(_raise(dsn))
        typer.echo(f"{raised} {'library is' if raised == 1 else 'libraries are'} in a new epoch.")


async def _raise(dsn: str) -> int:
    await schema.check(dsn, MIGRATIONS)
    database = Database(dsn, size=2)
    connection = await database.connect("epoch raise")
    try:
        return await raise_epochs(connection, new_client_id=lambda: draw_client_id(secrets.token_bytes))
    finally:
        await connection.close()
