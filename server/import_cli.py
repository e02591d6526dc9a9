"""`promptsync import`: a file brought into a library of a server that runs."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn
from rich.table import Table

from server.errors import ServerError
from server.sign_in import given_token, sign_in, sign_out
from server.terminal import DEFAULT_URL, explained, fail, printable

ANSWER_SECONDS = 300.0
"""How long the server may say nothing: it reads a file for up to a minute, and others may come first."""
PIECE_BYTES = 256 << 10
"""The file is sent in pieces of this: the bar moves with each."""

_CUT = "ended the connection while the file was sent: it may be larger than a file may be there"


class ImportRefused(ServerError):
    """The server did not take the file; the text says why."""


def import_file(
    file: Annotated[Path, typer.Argument(help="The file.", exists=True, dir_okay=False, readable=True, show_default=False)],
    library: Annotated[UUID | None, typer.Option(help="The library; without it the account's own.", show_default=False)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and store nothing.")] = False,
    url: Annotated[str, typer.Option(help="The server.")] = DEFAULT_URL,
    token_file: Annotated[Path | None, typer.Option(help="A file with an access token.", show_default=False)] = None,
    email: Annotated[str | None, typer.Option(help="Sign in as this account; the password is asked for.", show_default=False)] = None,
) -> None:
    """Bring a file into a library: one of ours, or one that Prompt Optimizer has exported (JSON, a backup, favorites, a template).

    What is in the library stays as it is, so the same file can come again. API keys in the file are left out, and told by their places.
    It exits with 1 where something was skipped for an error.

    The token comes from --token-file, from PROMPTSYNC_TOKEN, or from signing in with --email, in this order; without any it is asked for:

    promptsync import prompt-optimizer-backup.po-backup.zip --email me@example.com
    """
    with explained():
        token, signed_in = given_token(token_file), None
        if token is None and email is not None:
            signed_in = sign_in(url, email, typer.prompt("Password", hide_input=True))
            token = signed_in.access_token
        try:
            report = send(url, token or str(typer.prompt("Token", hide_input=True)), file, library, dry_run=dry_run)
        finally:
            if signed_in is not None:
                sign_out(url, signed_in)
        tell(Console(highlight=False, soft_wrap=True), report)
        if report["errors"]:
            raise typer.Exit(1)


def send(url: str, token: str, file: Path, library: UUID | None, *, dry_run: bool) -> Mapping[str, Any]:
    """What the server says has become of the file. Raises ImportRefused."""
    if not url.startswith(("http://", "https://")):
        fail("an address begins with https:// or http://")
    asked = {name: value for name, value in (("library", library), ("dry_run", "true" if dry_run else None)) if value is not None}
    address = f"{url.rstrip('/')}/api/import{f'?{urlencode(asked)}' if asked else ''}"
    size = file.stat().st_size
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with file.open("rb") as opened, bar:
        sending = _Sending(opened, bar, bar.add_task("sending", total=size))
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/octet-stream", "Content-Length": str(size)}
        request = urllib.request.Request(address, sending, headers, method="POST")  # noqa: S310  # looked at above
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310
                report = json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise ImportRefused(f"{printable(file.name)}: {_reason(error)}") from None
        except urllib.error.URLError as error:
            cut = isinstance(error.reason, BrokenPipeError | ConnectionResetError)
            raise ImportRefused(f"{url} {_CUT if cut else f'does not answer: {printable(str(error.reason))}'}") from None
        except (OSError, ValueError) as error:
            raise ImportRefused(f"{url} does not answer as a promptsync server: {printable(str(error))}") from None
    if not isinstance(report, dict) or "sections" not in report:
        raise ImportRefused(f"{url} does not answer as a promptsync server")
    return report


class _Sending:
    """A file that moves a bar while it is read."""

    def __init__(self, file: IO[bytes], bar: Progress, task: TaskID) -> None:
        self._file = file
        self._bar = bar
        self._task = task

    def read(self, _: int = -1) -> bytes:
        piece = self._file.read(PIECE_BYTES)
        self._bar.advance(self._task, len(piece))
        if not piece:
            self._bar.update(self._task, description="being brought in")
        return piece


def tell(console: Console, report: Mapping[str, Any]) -> None:
    """Print what became of the file."""
    table = Table(title=f"{report['kind']}{', a dry run: nothing is stored' if report['dry_run'] else ''}", title_justify="left", box=None)
    for heading in ("", "created", "merged", "unchanged", "skipped"):
        table.add_column(heading, justify="left" if not heading else "right")
    for section, counts in report["sections"].items():
        if any(counts.values()):
            table.add_row(section.replace("_", " "), *(str(counts[name]) for name in ("created", "merged", "unchanged", "skipped")))
    console.print(table)
    for problem in report["problems"]:
        console.print(_line(problem))
    _more(console, report["more_problems"], "more of this kind")
    if report["left_out"]:
        console.print("keys and other secrets that were left out; enter them again where they are needed:")
    for secret in report["left_out"]:
        console.print(f"  {escape(printable(secret['place']))} ({escape(printable(secret['kind']))})")
    _more(console, report["more_left_out"], "more secrets")
    if report["resources_left_out"]:
        console.print(f"images that were left out: {report['resources_left_out']}")
    console.print(f"the library is at seq {report['seq']}")


def _line(problem: Mapping[str, Any]) -> str:
    where = f", {problem['where']}" if problem["where"] else ""
    text = f"{problem['section']} {problem['item']}{where}: {problem['code'].replace('_', ' ')}"
    return f"{'[bold red]error[/]' if problem['error'] else 'note'}  {escape(printable(text))}"


def _more(console: Console, count: int, what: str) -> None:
    if count:
        console.print(f"  and {count} {what}")


def _reason(error: urllib.error.HTTPError) -> str:
    with suppress(OSError, ValueError, AttributeError):
        problem = json.loads(error.read())
        detail = f" ({problem['detail']})" if problem.get("detail") else ""
        return printable(f"{problem['title']}{detail} [{problem['code']}]")
    return f"the server answers with {error.code}"
