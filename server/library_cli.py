"""`promptsync library`: what is stored of a library, for its operator; never what is in it."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from crdt.errors import CrdtError
from crdt.knowledge import Knowledge
from server.config import load_settings
from server.database import MIGRATIONS, reachable_dsn
from server.errors import WorkerDied
from server.shelf import Shelf
from server.terminal import explained, fail
from server.workers import Workers
from storage import inspection, schema
from storage.errors import NotFound, StorageError, Unavailable
from storage.inspection import Inspection
from storage.keyfile import KeyFile
from storage.keyring import Keyring
from storage.pool import Database

app = typer.Typer(help="Libraries: where their logs stand, and what is stored of them.", no_args_is_help=True)

MOST_GAPS = 1_000
"""Gaps that are listed in JSON at most; `gap_count` counts all."""
SHOWN_GAPS = 10
"""Of them on a terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a library holds, as numbers: its clients, the runs of changes that are deleted, the changes that are missing."""

    clients: int
    deleted_runs: int
    gap_count: int
    gaps: Sequence[tuple[int, int, int]]
    """Client, first missing clock, the clock after the last missing one."""
    server_clock: int
    """Where the next edit made on the server goes."""


@app.callback()
def _group() -> None:
    """Keeps `inspect` a command of its own, though it is the only one."""


@app.command()
def inspect(
    library: Annotated[UUID, typer.Argument(metavar="ID", help="The library's id, as logs and addresses name it.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show where a library stands: head, epoch, key, snapshots, tail, gaps and what is in quarantine. Servers may go on running.

    A gap is what a device made before something that is here, and has not sent yet: it closes when that device comes back. The tail
    is what lies after the newest verified snapshot. The library is opened with the key file; if that fails, it says why, and exits
    with 1.
    """
    with explained():
        settings = load_settings()
        keyring = KeyFile.load(settings.key_path).live_keyring()
        with reachable_dsn(settings) as dsn:
            found, content = asyncio.run(_inspect(dsn, keyring, library))
        if as_json:
            typer.echo(json.dumps(_plain(library, found, content), indent=2, default=str))
        else:
            _print(library, found, content)
        if isinstance(content, str):
            raise typer.Exit(1)


async def _inspect(dsn: str, keyring: Keyring, library_id: UUID) -> tuple[Inspection, Content | str | None]:
    """What is stored, and what a room knows of it: a sentence where it does not open, None of a deleted library."""
    await schema.check(dsn, MIGRATIONS)
    database = await Database.open(dsn, size=2)
    workers = Workers(1)
    try:
        async with database.acquire() as connection:
            try:
                found = await inspection.inspect(connection, library_id)
            except NotFound:
                fail(f"there is no library {library_id}")
        if found.deleted_at is not None:
            return found, None
        try:
            room = await Shelf(database, keyring, workers, cache_bytes=0).room(library_id)
        except Unavailable:
            raise
        except (StorageError, CrdtError, WorkerDied) as error:
            return found, f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        room.knowledge.union(room.quarantined)
        return found, _content(room.knowledge, found.server_client_id)
    finally:
        workers.close()
        await database.close()


def _content(knowledge: Knowledge, server_client_id: int) -> Content:
    gaps: list[tuple[int, int, int]] = []
    count, last = 0, (-1, 0)
    for client, start, end in knowledge.held:
        before = last[1] if client == last[0] else 0
        if start > before:
            count += 1
            if len(gaps) < MOST_GAPS:
                gaps.append((client, before, start))
        last = (client, end)
    return Content(
        clients=knowledge.held.clients,
        deleted_runs=sum(1 for _ in knowledge.deleted),
        gap_count=count,
        gaps=gaps,
        server_clock=(knowledge.held.spans_of(server_client_id) or (0,))[-1],
    )


def _plain(library_id: UUID, found: Inspection, content: Content | str | None) -> dict[str, object]:
    opened = {"content": asdict(content)} if isinstance(content, Content) else {"error": content}
    return {"id": library_id, **asdict(found), **opened}


def _print(library_id: UUID, found: Inspection, content: Content | str | None) -> None:
    console = Console(soft_wrap=True, highlight=False)
    facts = Table(title=f"library {library_id}", title_justify="left", box=None, show_header=False)
    for name, value in _facts(found, content):
        facts.add_row(name, value)
    console.print(facts)
    if found.snapshots:
        table = _table("snapshots", "seq", "epoch", "made", "verified", "size", "")
        for row in found.snapshots:
            verified = _when(row.verified_at) if row.verified_at else "no: not used"
            table.add_row(str(row.seq), str(row.epoch), _when(row.created_at), verified, decimal(row.bytes), "pinned" if row.pinned else "")
        console.print(table)
    if found.quarantined:
        table = _table("quarantined: kept out of merges, sent to devices in frames of their own", "seq", "epoch", "since", "size", "reason")
        for item in found.quarantined:
            table.add_row(str(item.seq), str(item.epoch), _when(item.created_at), decimal(item.bytes), item.reason)
        console.print(table)


def _facts(found: Inspection, content: Content | str | None) -> list[tuple[str, str]]:
    kept = f"from {found.oldest_seq} on" if found.oldest_seq is not None else "none"
    facts = [
        ("owner", str(found.owner_id)),
        ("made", _when(found.created_at)),
        ("head", str(found.head)),
        ("epoch", str(found.epoch)),
        ("key", found.key_id or "destroyed"),
        ("updates kept", f"{found.kept_updates}, {decimal(found.kept_bytes)}, {kept}"),
        ("tail", f"{found.tail_updates} updates, {decimal(found.tail_bytes)}"),
        ("compacted", _when(found.compacted_at) if found.compacted_at else "never"),
        ("server edits as", f"client {found.server_client_id}" + _clock(content)),
    ]
    match content:
        case None:
            facts.append(("deleted", f"{_when(found.deleted_at)}; what is left is being purged" if found.deleted_at else ""))
        case str(error):
            facts.append(("opens", f"NO: {error}"))
        case Content():
            facts += [("clients", str(content.clients)), ("deleted runs", str(content.deleted_runs)), ("gaps", _gaps(content))]
    return facts


def _clock(content: Content | str | None) -> str:
    return f", next at clock {content.server_clock}" if isinstance(content, Content) else ""


def _gaps(content: Content) -> str:
    if not content.gap_count:
        return "none"
    shown = [f"client {client} lacks {start} to {end - 1}" for client, start, end in content.gaps[:SHOWN_GAPS]]
    rest = content.gap_count - len(shown)
    return "; ".join(shown) + (f"; and {rest} more" if rest else "")


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", box=None)
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    return table


def _when(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S %Z}" if moment else ""
