"""`promptsync compact`: fold libraries now, without waiting until their servers find it due."""

import asyncio
from contextlib import suppress
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from server.compactor import Compactor, Kind, Outcome
from server.config import Settings
from server.database import MIGRATIONS, reachable_dsn
from server.terminal import explained, fail, settings_of_terminal
from server.workers import FOLD_NICENESS, Workers
from storage import compaction, schema
from storage.compaction import Standing
from storage.errors import NotFound, StorageError, Unavailable
from storage.keyfile import KeyFile
from storage.keyring import Keyring
from storage.pool import Database

PAGE = 1_000
"""Libraries looked up at once."""
_SAID = {
    Kind.BUSY: "another process is compacting it: nothing is left to do",
    Kind.MOVED: "it was deleted or put back meanwhile",
    Kind.TOO_LARGE: "its snapshot is too large to be folded again; it stays readable, and its log grows",
    Kind.BROKEN: "Yrs breaks on it, and no single update is to blame; see `promptsync library inspect`",
}


def compact(
    libraries: Annotated[list[UUID] | None, typer.Argument(metavar="LIBRARY", help="Ids of libraries.", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="Every library that has something to fold.")] = False,
) -> None:
    """Fold what lies after each library's snapshot into a new one. Servers may go on running, and do this by themselves.

    Nothing is lost and nobody waits: the new snapshot is used once it has been read back and compared. The folded updates stay for
    PROMPTSYNC_TRIM_AFTER_SECONDS. An update that breaks Yrs is put into quarantine and named. Stopped in between, run it again.
    """
    with explained():
        if bool(libraries) == every:
            fail("name libraries by their ids, or say --all")
        settings = settings_of_terminal()
        keyring = KeyFile.load(settings.key_path).live_keyring()
        with reachable_dsn(settings) as dsn:
            outcomes = asyncio.run(_run(dsn, keyring, settings, libraries or []))
        _tell(outcomes)


async def _run(dsn: str, keyring: Keyring, settings: Settings, libraries: list[UUID]) -> dict[UUID, Outcome | StorageError]:
    await schema.check(dsn, MIGRATIONS)
    database = await Database.open(dsn, size=2)
    compactor = Compactor(
        database,
        keyring,
        Workers(1, niceness=FOLD_NICENESS),
        compact_updates=settings.compact_updates,
        compact_bytes=settings.compact_bytes,
    )
    try:
        return await _compact(compactor, await _standings(database, libraries))
    finally:
        compactor.close()
        await database.close()


async def _standings(database: Database, libraries: list[UUID]) -> dict[UUID, Standing]:
    """What there is to fold in each of these, or in all that have something when none is named. Ends the command if one is missing."""
    due: dict[UUID, Standing] = {}
    async with database.acquire() as connection:
        for library_id in libraries:
            try:
                due[library_id] = await compaction.standing(connection, library_id)
            except NotFound:
                fail(f"there is no library {library_id}, or it is deleted")
        last = UUID(int=0)
        while not libraries and (page := await compaction.unfolded(connection, last, PAGE)):
            for library_id in page:
                with suppress(NotFound):  # deleted meanwhile
                    due[library_id] = await compaction.standing(connection, library_id)
            last = page[-1]
    return due


async def _compact(compactor: Compactor, due: dict[UUID, Standing]) -> dict[UUID, Outcome | StorageError]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    outcomes: dict[UUID, Outcome | StorageError] = {}
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task, done = bar.add_task("", total=sum(standing.bytes for standing in due.values())), 0
        for number, (library_id, standing) in enumerate(due.items(), 1):
            bar.update(task, description=f"library {number} of {len(due)}")
            try:
                outcomes[library_id] = await compactor.compact(library_id, folded=lambda updates, nbytes: bar.advance(task, nbytes))
            except Unavailable:
                raise
            except StorageError as error:  # one that is damaged is no reason to leave the others
                outcomes[library_id] = error
            done += standing.bytes
            bar.update(task, completed=done)
    return outcomes


def _tell(outcomes: dict[UUID, Outcome | StorageError]) -> None:
    ended = [outcome for outcome in outcomes.values() if isinstance(outcome, Outcome)]
    made = [outcome for outcome in ended if outcome.kind is Kind.COMPACTED]
    updates, nbytes = sum(outcome.updates for outcome in made), sum(outcome.snapshot_bytes for outcome in made)
    libraries = "1 library" if len(made) == 1 else f"{len(made)} libraries"
    typer.echo(f"Compacted {libraries}: {updates} updates are in snapshots of {decimal(nbytes)} now.")
    if idle := sum(outcome.kind is Kind.NOTHING for outcome in ended):
        typer.echo(f"{idle} had nothing to fold.")
    for library_id, outcome in outcomes.items():
        if isinstance(outcome, StorageError):
            typer.echo(f"{library_id}: {outcome}", err=True)
            continue
        if outcome.kind in _SAID:
            typer.echo(f"{library_id}: {_SAID[outcome.kind]}", err=True)
        for seq in outcome.quarantined:
            typer.echo(f"{library_id}: update {seq} breaks Yrs and is in quarantine now; devices still get it", err=True)
    if any(isinstance(outcome, StorageError) or outcome.kind in (Kind.TOO_LARGE, Kind.BROKEN) for outcome in outcomes.values()):
        raise typer.Exit(1)
