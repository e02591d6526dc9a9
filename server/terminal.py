"""What the commands share: settings from the environment, and failures told in one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer
from pydantic import ValidationError

from server.config import Settings, load_settings
from server.errors import ServerError
from server.logs import configure_logs
from storage.errors import SchemaMismatch, StorageError

DEFAULT_URL = "http://127.0.0.1:8000"
"""The server that commands speak to unless they are told of another one."""


@contextmanager
def explained() -> Iterator[None]:
    """Expected failures end with one sentence that says what to do, and exit code 1; wrong settings with 2."""
    try:
        yield
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            where = ".".join(str(part) for part in problem["loc"]).upper().removeprefix("PROMPTSYNC_")
            typer.echo(f"promptsync: {f'PROMPTSYNC_{where}: ' if where else ''}{problem['msg'].removeprefix('Value error, ')}", err=True)
        raise typer.Exit(2) from None
    except SchemaMismatch as error:
        newer = error.found is not None and error.found > error.needed
        fail(f"{error}: {'run a newer version of promptsync' if newer else 'run `promptsync migrate`'}")
    except (StorageError, ServerError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}" if error.filename is not None else str(error))
    except KeyboardInterrupt:
        fail("interrupted")


def fail(text: str) -> NoReturn:
    """End the command with this sentence and exit code 1."""
    typer.echo(f"promptsync: {text}", err=True)
    raise typer.Exit(1) from None


def printable(text: str) -> str:
    """Text of others without what would move the cursor or change colours."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def settings_of_terminal(**given: object) -> Settings:
    """The settings, with logs configured as they say; `given` (from options) come first, None means not given.

    Raises:
        pydantic.ValidationError: see `explained`.
    """
    settings = load_settings(**{name: value for name, value in given.items() if value is not None})
    configure_logs(settings.log_level, json=settings.production)
    return settings
