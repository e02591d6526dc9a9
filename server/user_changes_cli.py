"""The commands below `promptsync user` that change an account. Each leaves a line in the audit log, by `operator`."""

import secrets
from typing import Annotated

import typer

from auth.administration import OPERATOR
from auth.errors import TooBusy, WeakPassword
from server.accounts_terminal import Who, change, named
from server.terminal import explained, fail
from server.times import utc_now
from storage.users import Rank

GENERATED_BYTES = 15
"""Random bytes of a password that is made here: 20 characters."""
Generate = Annotated[bool, typer.Option("--generate", help="Make a password and print it once, instead of asking.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask; needed where nobody can answer.")]


def disable(account: Who) -> None:
    """Let nobody sign in to an account any more, and end its sessions: open sockets close within two seconds. Its libraries stay."""
    with explained():
        found = change(account, lambda parts, found: parts.disable(found.user.id, OPERATOR, now=utc_now()))
        typer.echo(f"Nobody can sign in to {named(found)} any more. Take it back with `promptsync user enable`.")


def enable(account: Who) -> None:
    """Let an account be signed in to again."""
    with explained():
        found = change(account, lambda parts, found: parts.enable(found.user.id, OPERATOR, now=utc_now()))
        typer.echo(f"{named(found)} can be signed in to.")


def set_role(
    account: Who, role: Annotated[Rank, typer.Argument(help="`admin` sees and changes all accounts, over REST too; `user` only its own.")]
) -> None:
    """Make an account an administrator's, or an ordinary one. This makes the first administrator."""
    with explained():
        found = change(account, lambda parts, found: parts.set_role(found.user.id, role, OPERATOR, now=utc_now()))
        typer.echo(f"{named(found)} is {'an administrator' if found.user.role is Rank.ADMIN else 'an ordinary user'} now.")


def reset_password(account: Who, generate: Generate = False) -> None:
    """Give an account a new password and end its sessions. Asks for it, so that it is in no shell history; or makes one."""
    with explained():
        password = new_password(generate=generate)
        try:
            ended = change(account, lambda parts, found: parts.replace_password(found.user.id, password, OPERATOR, now=utc_now()))
        except WeakPassword as error:
            fail(f"the password breaks a rule: {error.rule}")
        except TooBusy:
            fail("the password could not be hashed")
        typer.echo(f"The password is new, and {ended} {'session has' if ended == 1 else 'sessions have'} ended.")
        if generate:
            tell_password(password)


def delete(account: Who, yes: Yes = False) -> None:
    """Delete an account and every library that it owns, for good.

    Its data keys are destroyed at once: neither this database nor an older dump beside it opens what was sealed with them. Mail address
    and name are gone, sockets close within two seconds, and the address can be registered anew. Dumps that hold the keys still open.
    """
    with explained():
        if not yes and not typer.confirm(f"Delete {account} and all its libraries for good?"):
            fail("nothing was changed")
        change(account, lambda parts, found: parts.delete(found.user.id, OPERATOR, now=utc_now()))
        typer.echo("Deleted. What is left of it is removed by a background job; see `promptsync jobs list`.")


def new_password(*, generate: bool) -> str:
    """A password that is made here, or that the operator types twice."""
    if generate:
        return secrets.token_urlsafe(GENERATED_BYTES)
    typed: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    return typed


def tell_password(password: str) -> None:
    """Print a password that was made here."""
    typer.echo(f"Password (shown only now): {password}")
