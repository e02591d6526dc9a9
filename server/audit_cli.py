"""`promptsync audit`: who did what to accounts, when, and from where."""

import asyncio
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeAlias
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from server.accounts_terminal import AsJson, id_of
from server.database import ask
from server.terminal import explained, fail, printable
from server.times import utc_now
from storage import administration
from storage import audit as log
from storage.audit import Entry
from storage.pool import Connection

LOOK_SECONDS = 1.0
"""How often `--follow` looks for new lines."""
LOOK_BACK = 1_000
"""Lines before the last one that `--follow` looks at again: they are numbered before the commit, so one may come after its successors."""
MOST = 100_000
"""Lines that are read at once at most."""
Show: TypeAlias = Callable[[Sequence[Entry], Mapping[UUID, str]], None]
"""What prints entries, given the addresses of the accounts in them."""
_SINCE = re.compile(r"(\d{1,4})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which lines are wanted, the last `limit` of them."""

    user: str | None
    event: str | None
    since: datetime | None
    limit: int


def audit(
    user: Annotated[
        str | None, typer.Option(metavar="ADDRESS_OR_ID", help="Only what concerns this account; one that was deleted, by its id.")
    ] = None,
    event: Annotated[str | None, typer.Option(help="Only this kind, such as sign_in_failed.")] = None,
    since: Annotated[str | None, typer.Option(help="Not before this: 30m, 12h, 7d, 2w ago, or 2026-11-26T08:00 (UTC).")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="At most so many, the last ones.")] = 200,
    follow: Annotated[bool, typer.Option("--follow", help="Go on and print what comes, until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the audit log, oldest line first: sign-ins, sessions, changes of accounts, and who made them. It holds no secrets.

    With --json each line is one JSON object, whatever is in it. The log is append-only, and kept for PROMPTSYNC_AUDIT_DAYS.
    """
    with explained():
        wanted = Wanted(user=user, event=event, since=_moment(since) if since is not None else None, limit=limit)
        show: Show = _print_json if as_json else _print_lines if follow else _print_table
        with suppress(KeyboardInterrupt):  # how following ends
            ask(lambda connection: _show(connection, wanted, show, follow=follow))


async def _show(connection: Connection, wanted: Wanted, show: Show, *, follow: bool) -> None:
    user_id = await id_of(connection, wanted.user) if wanted.user is not None else None
    if wanted.user is not None and user_id is None:
        fail(f"there is no account {printable(wanted.user)}; one that was deleted goes by its id")

    async def page(limit: int, after: int | None = None) -> list[Entry]:
        found = await log.page(connection, user_id=user_id, event=wanted.event, since=wanted.since, after=after, limit=limit)
        return found[::-1]

    async def tell(entries: Sequence[Entry]) -> None:
        ids = {id for entry in entries for id in (entry.user_id, entry.actor_id) if id is not None}
        show(entries, await administration.addresses(connection, ids))

    if not follow:
        return await tell(await page(wanted.limit))
    looked_from = await log.newest(connection) - LOOK_BACK
    seen = {entry.id for entry in await page(MOST, looked_from)}
    await tell([entry for entry in await page(wanted.limit) if entry.id in seen or entry.id <= looked_from])
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        found = await page(MOST, looked_from)
        await tell([entry for entry in found if entry.id not in seen])
        seen = {entry.id for entry in found}
        looked_from = max(looked_from, max(seen, default=0) - LOOK_BACK)


def _print_json(entries: Sequence[Entry], addresses: Mapping[UUID, str]) -> None:
    for entry in entries:
        typer.echo(json.dumps(asdict(entry), default=_plain))


def _print_lines(entries: Sequence[Entry], addresses: Mapping[UUID, str]) -> None:
    for entry in entries:
        typer.echo("  ".join(_cells(entry, addresses)))


def _print_table(entries: Sequence[Entry], addresses: Mapping[UUID, str]) -> None:
    if not entries:
        return typer.echo("Nothing was noted.")
    table = Table("at (UTC)", "event", "account", "by", "from", "what", box=None)
    for entry in entries:
        table.add_row(*map(Text, _cells(entry, addresses)))  # not markup, whatever a client calls itself
    Console(soft_wrap=True).print(table)


def _cells(entry: Entry, addresses: Mapping[UUID, str]) -> list[str]:
    account, by = _named(entry.user_id, addresses), entry.actor
    if entry.actor_id is not None:
        by = f"{by} {_named(entry.actor_id, addresses)}"
    told = [*(f"{name}={value}" for name, value in entry.details.items()), *([f"of {entry.target}"] if entry.target else [])]
    cells = [f"{entry.at.astimezone(UTC):%Y-%m-%d %H:%M:%S}", entry.event, account, by, entry.address or "-", " ".join(told)]
    return [printable(cell) for cell in cells]


def _named(user_id: UUID | None, addresses: Mapping[UUID, str]) -> str:
    return "-" if user_id is None else addresses.get(user_id, str(user_id))


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _moment(text: str) -> datetime:
    if (found := _SINCE.fullmatch(text)) is not None:
        return utc_now() - timedelta(**{_UNITS[found[2]]: int(found[1])})
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        fail(f"{printable(text)} is no time: 30m, 12h, 7d, 2w, or 2026-11-26T08:00")
