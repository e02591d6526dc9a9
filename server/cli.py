"""The `promptsync` command. What a command needs is imported when it runs, so that `--help` and the workers start quickly."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Annotated, Final

import typer

from server import heap

FURTHER: Final[Mapping[str, str]] = {
    "user": "server.user_cli:app",
    "keys": "server.keys_cli:app",
    "epoch": "server.epoch_cli:app",
    "jobs": "server.jobs_cli:app",
    "library": "server.library_cli:app",
    "audit": "server.audit_cli:audit",
    "compact": "server.compact_cli:compact",
    "export": "server.export_cli:export",
    "watch": "server.watch_cli:watch",
    "import": "server.import_cli:import_file",
    "worker": "server.worker_cli:worker",
}
"""Commands that have a module of their own, and groups of them: where each is."""

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
    workers: Annotated[int | None, typer.Option(help="Processes that serve the port; also PROMPTSYNC_WORKERS.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain in PEM form: serve https; also PROMPTSYNC_TLS_CERT.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, chmod 600; also PROMPTSYNC_TLS_KEY.")] = None,
) -> None:
    """Run the server, with a private PostgreSQL unless PROMPTSYNC_DATABASE_URL names one.

    Everything it makes lives in PROMPTSYNC_DATA_DIR (default .data): the database, and keys.json, which must be kept
    apart from any database dump. It stops in order on Ctrl-C or SIGTERM, and starts again after any crash. With a
    certificate it serves https and wss, and reads a renewed one on SIGHUP.
    """
    from server.terminal import explained, settings_of_terminal

    with explained():
        settings = settings_of_terminal(host=host, port=port, workers=workers, tls_cert=tls_cert, tls_key=tls_key)
        import uvloop

        from server.run import serve as run

        uvloop.install()
        run(settings)


@app.command()
def migrate() -> None:
    """Bring the database's schema up to this version. `serve` does it by itself for the embedded PostgreSQL only."""
    import asyncio

    from server.database import MIGRATIONS, reachable_dsn
    from server.terminal import explained, settings_of_terminal
    from storage import schema

    with explained(), reachable_dsn(settings_of_terminal()) as dsn:
        before, after = asyncio.run(schema.migrate(dsn, MIGRATIONS))
        typer.echo(f"The schema is at revision {after} already." if before == after else f"Migrated from {before or 'nothing'} to {after}.")


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Keep the demo's data folder and say where it is.")] = False,
) -> None:
    """Watch two devices edit one library, online and offline, through a server that is killed and started again."""
    from server.demo import run
    from server.terminal import explained

    with explained():
        run(keep=keep)


def main() -> None:
    """Run the command line. Of the commands below only the one that is asked for is imported: all of them take as long as a start.

    Who asks for help, or for something else, gets to see them all.
    """
    heap.begin()
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    here = {command.callback.__name__ for command in app.registered_commands if command.callback is not None}
    for name, place in FURTHER.items():
        if asked == name or asked not in FURTHER.keys() | here:
            add(name, resolve_name(place))
    app()


def add(name: str, command: typer.Typer | Callable[..., None]) -> None:
    """Let there be this command, or group of them."""
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name)
    else:
        app.command(name)(command)


if __name__ == "__main__":
    main()
