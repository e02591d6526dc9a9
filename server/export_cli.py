"""`promptsync export`: a library as a file, from a running server."""

import http.client
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from server.errors import ServerError
from server.intents.exporting import Format
from server.sign_in import ANSWER_SECONDS, given_token, sign_in, sign_out, title_of
from server.terminal import DEFAULT_URL, explained, fail
from storage.privatefile import create_private, replace_private

PIECE_BYTES = 256 << 10
"""What is read at a time: progress is told after each."""
_FULL_NAME = re.compile(r"filename\*=UTF-8''([^\s;]+)")
"""The name in all of its letters (RFC 8187); the one beside it is in ASCII."""


class ExportFailed(ServerError):
    """The server did not answer with all of a file; the text says why."""


def export(
    output: Annotated[
        Path | None, typer.Option(help="The file; without it, the server's name for it, in this folder.", show_default=False)
    ] = None,
    format: Annotated[Format, typer.Option(help="What for: docs/library-file.md has what is in which.")] = Format.LIBRARY,
    library: Annotated[UUID | None, typer.Option(help="Which library; without it your own.", show_default=False)] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    url: Annotated[str, typer.Option(help="The server.")] = DEFAULT_URL,
    token_file: Annotated[Path | None, typer.Option(help="A file with an access token.", show_default=False)] = None,
    email: Annotated[str | None, typer.Option(help="Sign in as this account; the password is asked for.", show_default=False)] = None,
) -> None:
    """Write a library into a file that only you can read: all of it, but no keys.

    The token comes from --token-file, from PROMPTSYNC_TOKEN, or from signing in with --email, in this order; without any it is asked for.
    It is an access token: a sync token opens sockets only.

    promptsync export --email me@example.com --format backup.zip
    """
    with explained():
        if output is not None:
            _check(output, force=force)
        token, signed_in = given_token(token_file), None
        if token is None and email is not None:
            signed_in = sign_in(url, email, typer.prompt("Password", hide_input=True))
            token = signed_in.access_token
        try:
            with _asked(url, token or typer.prompt("Token", hide_input=True), format, library) as answer:
                path = output if output is not None else Path(_name(answer))
                _check(path, force=force)
                content, left_out = _read(answer), int(answer.headers["X-Left-Out"])
        finally:
            if signed_in is not None:
                sign_out(url, signed_in)
        _write(path, content, force=force)
        typer.echo(f"{path}: {len(content)} bytes{f', without {left_out} things that could not be in it' if left_out else ''}")


def _check(path: Path, *, force: bool) -> None:
    if path.exists() and not force:
        fail(f"{path} is there already; --force writes over it")


def _write(path: Path, content: bytes, *, force: bool) -> None:
    """The file, 0600, whole or not at all."""
    if force:
        replace_private(path, content)
        return
    try:
        create_private(path, content)
    except FileExistsError:  # since it was looked for
        _check(path, force=False)


@contextmanager
def _asked(url: str, token: str, format: Format, library: UUID | None) -> Iterator[http.client.HTTPResponse]:
    """The server's answer, of which the head has come. Raises ExportFailed, also for what goes wrong while it is read."""
    query = {"format": format.value} | ({"library": str(library)} if library is not None else {})
    try:
        if not url.startswith(("http://", "https://")):
            raise ValueError("an address begins with https:// or http://")
        request = urllib.request.Request(  # noqa: S310  # looked at above
            f"{url.rstrip('/')}/api/export?{urllib.parse.urlencode(query)}", headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310
            yield answer
    except urllib.error.HTTPError as error:
        raise ExportFailed(f"{url} does not export it: {title_of(error)}") from None
    except (OSError, ValueError, TypeError, http.client.HTTPException) as error:
        raise ExportFailed(f"{url} does not answer as a promptsync server: {error}") from None


def _read(answer: http.client.HTTPResponse) -> bytes:
    """All of it, with its progress on the terminal, if there is one."""
    size = int(answer.headers["Content-Length"])
    columns = (TextColumn("export"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    pieces, got = [], 0
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("export", total=size)
        while piece := answer.read(PIECE_BYTES):
            pieces.append(piece)
            got += len(piece)
            progress.update(task, completed=got)
    if got != size:
        raise ExportFailed(f"the answer broke off after {got} of {size} bytes")
    return b"".join(pieces)


def _name(answer: http.client.HTTPResponse) -> str:
    """The name that the server gives the file, as one in this folder."""
    full = _FULL_NAME.search(answer.headers.get("Content-Disposition", ""))
    given = urllib.parse.unquote(full[1], errors="ignore") if full else answer.headers.get_filename() or ""
    name = "".join(character for character in given if character.isprintable() and character not in "/\\").lstrip(".")
    return name or "library.promptsync.json"
