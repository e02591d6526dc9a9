"""The `promptsync` command. Heavy parts are imported by the command that needs them, so that `--help` is quick."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from server.config import Settings

app = typer.Typer(
    help="An offline-first sync server for prompt libraries: any Yjs client, durable before visible, sealed at rest.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; also HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on, 0 for a free one; also PORT.")] = None,
) -> None:
    """Run the server, with a private PostgreSQL unless PROMPTSYNC_DATABASE_URL names one.

    Everything it makes lives in PROMPTSYNC_DATA_DIR (default .data): the database, and keys.json, which must be kept
    apart from any database dump. It stops in order on Ctrl-C or SIGTERM, and starts again after any crash.
    """
    with explained():
        settings = _settings(host=host, port=port)
        import uvloop

        from server.run import serve as run

        uvloop.install()
        run(settings)


@app.command()
def migrate() -> None:
    """Bring the database's schema up to this version. `serve` does it by itself for the embedded PostgreSQL only."""
    import asyncio

    from server.database import MIGRATIONS, reachable_dsn
    from storage import schema

    with explained(), reachable_dsn(_settings()) as dsn:
        before, after = asyncio.run(schema.migrate(dsn, MIGRATIONS))
        typer.echo(f"The schema is at revision {after} already." if before == after else f"Migrated from {before or 'nothing'} to {after}.")


@app.command()
def demo(
    keep: Annotated[bool, typer.Option(help="Keep the demo's data folder and say where it is.")] = False,
) -> None:
    """Watch two devices edit one library, online and offline, through a server that is killed and started again."""
    with explained():
        from server.demo import run

        run(keep=keep)


@contextmanager
def explained() -> Iterator[None]:
    """Expected failures end with one sentence that says what to do, and exit code 1; wrong settings with 2."""
    from pydantic import ValidationError

    from server.errors import ServerError
    from storage.errors import SchemaMismatch, StorageError

    try:
        yield
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            where = ".".join(map(str, problem["loc"])).upper()
            typer.echo(f"promptsync: setting PROMPTSYNC_{where}: {problem['msg']}" if where else f"promptsync: {problem['msg']}", err=True)
        raise typer.Exit(2) from None
    except SchemaMismatch as error:
        newer = error.found is not None and error.found > error.needed
        advice = "run a newer version of promptsync" if newer else "run `promptsync migrate`"
        _fail(f"{error}: {advice}")
    except (StorageError, ServerError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("interrupted")


def _fail(text: str) -> None:
    typer.echo(f"promptsync: {text}", err=True)
    raise typer.Exit(1) from None


def _settings(*, host: str | None = None, port: int | None = None) -> "Settings":
    from server.config import load_settings
    from server.logs import configure_logs

    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = load_settings(**given)
    configure_logs(settings.log_level, json=settings.production)
    return settings


if __name__ == "__main__":
    sys.exit(app())
