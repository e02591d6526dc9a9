"""`promptsync keys`: make, show, back up and rotate the keys that seal everything."""

import asyncio
import secrets
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from server.config import Settings, load_settings
from server.database import MIGRATIONS, reachable_dsn, read_facts
from server.terminal import explained
from server.times import utc_now
from storage import rotation, schema
from storage.cluster_account import find_binaries
from storage.keyfile import KeyFile, Origin
from storage.pool import Database
from storage.rotation import Rotation

app = typer.Typer(
    help="The key file: without it the database is unreadable, so keep a copy, and keep it apart from the database's dumps.",
    no_args_is_help=True,
)


@app.command()
def create() -> None:
    """Make a key file of your own, before the first start in production.

    It goes to PROMPTSYNC_KEYS_FILE (default keys.json in PROMPTSYNC_DATA_DIR), mode 0600. An existing file is never
    overwritten: a database opens with the keys that sealed it and with no others. Run this as the account that runs the
    server. Then make a copy with `promptsync keys backup`.
    """
    with explained():
        path = load_settings().key_path
        made = KeyFile.create(path, Origin.OPERATOR, utc_now(), secrets.token_bytes)
        typer.echo(f"Made {path} with the encryption key {made.keyring.active_id} and the signing key {made.signing[0].id}.")
        typer.echo("Whoever loses this file loses the data: make a copy now with `promptsync keys backup DEST`.")


@app.command()
def show() -> None:
    """List the keys by id, age and fingerprint. Never shows a key.

    The active key wraps what is new; the others only open what they wrapped before. The fingerprint is the beginning of the one
    in the database's table encryption_keys: the same there and here means the same key.
    """
    with explained():
        file = KeyFile.load(load_settings().key_path)
        table = Table(title=f"{file.path} ({file.origin})", title_justify="left", box=None)
        for heading in ("id", "use", "made", "fingerprint"):
            table.add_column(heading, no_wrap=True)
        for key in file.keyring.keys:
            use = "wraps and opens" if key.id == file.keyring.active_id else "opens only"
            table.add_row(key.id, use, f"{key.created_at:%Y-%m-%d %H:%M %Z}", key.fingerprint.hex()[:16])
        for index, signing in enumerate(file.signing):
            table.add_row(signing.id, "verifies tokens" if index else "signs tokens", "", "")
        Console(soft_wrap=True).print(table)


@app.command()
def backup(dest: Annotated[Path, typer.Argument(help="A new file, or a folder to put keys.json into.", show_default=False)]) -> None:
    """Copy the key file to DEST, mode 0600, for keeping beside a database dump but not in the same place.

    A backup has two halves, and neither is worth anything without the other: the database's dump and this file. Whoever has
    both can read everything, so keep them apart. DEST is never overwritten. Make a new copy after each rotation, and keep old
    copies as long as dumps from their time: dumps open with the keys of their time.
    """
    with explained():
        settings = load_settings()
        file = KeyFile.load(settings.key_path)
        target = dest / settings.key_path.name if dest.is_dir() else dest
        file.copy_to(target)
        typer.echo(f"Copied the keys {', '.join(file.keyring.ids)} to {target}.")
        typer.echo("A lost key file means lost data: nobody can open the database without it. Keep this copy apart from the dumps.")
        typer.echo(f"The other half, a dump of the database: {dump_command(settings)}")


@app.command()
def rotate() -> None:
    """Make a new encryption key and wrap every data key with it. Servers may go on running; content is not sealed again.

    Rotate when someone who knew the key file leaves, or once a year. Stopped or crashed in between, run it again: it goes on
    where it was. The old key stays in the file, since backups from before open only with it; remove it by hand when the
    last of them is gone. Servers on this machine take the new key by themselves. On several machines, copy the key file to
    all of them as soon as this has begun: a server without the new key cannot open libraries wrapped with it.
    """
    with explained():
        settings = load_settings()
        # looked for first: without it there is no reason to start a database
        KeyFile.load(settings.key_path)
        with reachable_dsn(settings) as dsn:
            done = rotate_over(dsn, settings.key_path)
        _tell(done, settings)


def rotate_over(dsn: str, path: Path) -> Rotation:
    """Rotate the keys of the file at `path` in the database at `dsn`, with a progress bar when a person is watching.

    Raises:
        SchemaMismatch: the database is not of this version.
        StorageError: as `storage.rotation.rotate`.
    """
    console = Console(stderr=True)
    columns = (TextColumn("wrapping data keys"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())

    async def run() -> Rotation:
        await schema.check(dsn, MIGRATIONS)
        database = Database(dsn, size=2)
        connection = await database.connect("keys rotate")
        try:
            with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
                task = bar.add_task("", total=None)

                def advance(step: rotation.Progress) -> None:
                    bar.update(task, completed=step.done, total=step.total)

                return await rotation.rotate(connection, path, now=utc_now(), random=secrets.token_bytes, progress=advance)
        finally:
            connection.terminate()

    return asyncio.run(run())


def dump_command(settings: Settings) -> str:
    """What to run for a dump of the database; never with a password in it."""
    if settings.database_url is not None:
        return 'pg_dump --format=custom --file=promptsync.dump "$PROMPTSYNC_DATABASE_URL"'
    dsn = read_facts(settings.data_dir).get("database")
    program = quote(str(find_binaries() / "pg_dump"))
    if not isinstance(dsn, str):
        return f"start the server, and run this again; it will name the command ({program} and the address of its database)"
    return f"{program} --format=custom --file=promptsync.dump {quote(dsn)}"


def _tell(done: Rotation, settings: Settings) -> None:
    begun = "Finished the rotation that was begun before" if done.resumed else "Rotated"
    typer.echo(f"{begun}: {done.active_id} wraps everything new; {done.rewrapped} data keys were wrapped again.")
    if done.retired:
        typer.echo(
            f"Nothing in this database is wrapped with {', '.join(done.retired)} any more. Keep it in {settings.key_path} as long as "
            "you keep backups from before now: they open only with it. Removed too early, it is asked for by name at the next start."
        )
    typer.echo("Make a new copy of the key file now: `promptsync keys backup DEST`.")
    if settings.database_url is not None:
        typer.echo("Servers on other machines need this key file now; those on this machine take the new key by themselves.")
    if done.late:
        typer.echo(f"{done.late} rows were still written under an old key: run `promptsync keys rotate` again.", err=True)
    if done.broken:
        ids = ", ".join(str(id) for id in done.broken)
        typer.echo(f"The data keys of these users or libraries do not open, and were left as they are: {ids}", err=True)
    if done.late or done.broken:
        raise typer.Exit(1)
