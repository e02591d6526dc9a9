"""`promptsync watch`: what happens in a library, as any device with a token is told it."""

import asyncio
import signal
from collections.abc import Coroutine
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape

from crdt.library_copy import LibraryCopy
from protocol.client_events import Failed, LibraryClosed, LibraryEvent, PresenceHeard, Received
from server.client import ClientError, ClosedForGood, Connected, Disconnected, Library, SyncClient
from server.sign_in import SignedIn, given_token, sign_in, sign_out
from server.terminal import DEFAULT_URL, explained, fail, printable

MOST_NAMES = 3
"""Prompts that are named on a line; the others are counted."""
MOST_NAME_CHARACTERS = 40


def watch(
    library: Annotated[UUID, typer.Argument(metavar="LIBRARY", help="The id of the library.", show_default=False)],
    url: Annotated[str, typer.Option(help="The server.")] = DEFAULT_URL,
    token_file: Annotated[Path | None, typer.Option(help="A file with a sync token or an access token.", show_default=False)] = None,
    email: Annotated[str | None, typer.Option(help="Sign in as this account; the password is asked for.", show_default=False)] = None,
) -> None:
    """Follow a library: a line for each update, for who comes and goes, and for each connection. Ctrl-C ends it.

    The token comes from --token-file, from PROMPTSYNC_TOKEN, or from signing in with --email, in this order; without any it is asked
    for. It is never an argument: those are seen in the list of processes. Login, register and refresh answer with a `sync_token`.

    Nothing is written to the library. Prompts are named by their titles:

    promptsync watch 6f1b2a3c-0000-4000-8000-000000000001 --email me@example.com
    """
    with explained():
        signed_in = None
        token = given_token(token_file)
        if token is None and email is not None:
            signed_in = sign_in(url, email, typer.prompt("Password", hide_input=True))
        try:
            asyncio.run(_until_signalled(follow(Console(highlight=False), url, _token(token, signed_in), library)))
        except KeyboardInterrupt:  # at the prompt
            pass
        except ClosedForGood as error:
            fail(f"the server closed it with {error.code}: {printable(error.reason)}{_advice(error.code)}")
        except (ClientError, ValueError) as error:
            fail(printable(str(error)))
        finally:
            if signed_in is not None:
                sign_out(url, signed_in)


async def _until_signalled(work: Coroutine[Any, Any, None]) -> None:
    """Run until it ends, or SIGINT or SIGTERM comes: SIGINT also where it was ignored when we started, as shells do for jobs behind."""
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


async def follow(console: Console, url: str, token: str, library_id: UUID) -> None:
    """Tell what happens until it is cancelled. Raises ClosedForGood, ValueError for an address that is none."""
    teller = _Teller(console)
    copy = LibraryCopy()
    async with SyncClient(url, token, on_connection=teller.connection, name="promptsync watch") as client:
        library = await client.open(library_id, copy, read_only=True)
        library.listen(lambda event: teller.event(library, copy, event))
        await library.until(lambda: False)


class _Teller:
    """Writes the lines."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._here = 0

    def connection(self, event: Connected | Disconnected) -> None:
        match event:
            case Connected(1):
                self._say("connected")
            case Connected():
                self._say("connected again")
            case Disconnected(reason, float(seconds)):
                self._say(f"not connected ({reason}); next attempt in {seconds:.1f} s")

    def event(self, library: Library, copy: LibraryCopy, event: LibraryEvent | Failed) -> None:
        match event:
            case Received(_, seq, update, True):
                self._say(f"[bold]seq {seq}[/bold]  synced as {library.role}: {decimal(len(update))}, {len(copy.titles())} prompts")
                copy.changes()
            case Received(_, seq, update):
                self._say(f"[bold]seq {seq}[/bold]  {decimal(len(update))}{_told(*copy.changes())}")
            case PresenceHeard() if len(library.present) != self._here:
                self._here = len(library.present)
                self._say(f"{self._here} here")
            case LibraryClosed(_, code, reason) if not event.permanent:
                self._say(f"the library was closed with {code}: {escape(printable(reason))}; it is opened again")

    def _say(self, text: str) -> None:
        self._console.print(f"[dim]{datetime.now():%H:%M:%S}[/dim]  {text}", soft_wrap=True)


def _told(written: set[str], deleted: set[str]) -> str:
    told = [f"{verb} {_names(names)}" for verb, names in (("wrote", written), ("deleted", deleted)) if names]
    return f"  {', '.join(told)}" if told else ""


def _names(names: set[str]) -> str:
    shown = [escape(printable(name)[:MOST_NAME_CHARACTERS]) for name in sorted(names)[:MOST_NAMES]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _token(token: str | None, signed_in: SignedIn | None) -> str:
    if signed_in is not None:
        return signed_in.sync_token
    return token if token is not None else str(typer.prompt("Token", hide_input=True))


def _advice(code: int) -> str:
    advice = {4401: "sign in again", 4404: "look at the id, and whose token it is", 4403: "another account may be allowed to"}
    return f" ({advice[code]})" if code in advice else ""
