"""The `promptsync` command. What a command needs is imported when it runs, so that `--help` and the workers start quickly."""

from typing import Annotated

import typer

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
) -> None:
    """Run the server, with a private PostgreSQL unless PROMPTSYNC_DATABASE_URL names one.

    Everything it makes lives in PROMPTSYNC_DATA_DIR (default .data): the database, and keys.json, which must be kept
    apart from any database dump. It stops in order on Ctrl-C or SIGTERM, and starts again after any crash.
    """
    from server.terminal import explained, settings_of_terminal

    with explained():
        settings = settings_of_terminal(host=host, port=port, workers=workers)
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
    """Run the command line: the groups are added here, where they are really needed."""
    from server.audit_cli import audit
    from server.compact_cli import compact
    from server.epoch_cli import app as epoch
    from server.export_cli import export
    from server.import_cli import import_file
    from server.jobs_cli import app as jobs
    from server.keys_cli import app as keys
    from server.library_cli import app as library
    from server.user_cli import app as user
    from server.watch_cli import watch
    from server.worker_cli import worker

    app.add_typer(user, name="user")
    app.add_typer(keys, name="keys")
    app.add_typer(epoch, name="epoch")
    app.add_typer(jobs, name="jobs")
    app.add_typer(library, name="library")
    app.command()(audit)
    app.command()(compact)
    app.command()(export)
    app.command()(watch)
    app.command(name="import")(import_file)
    app.command()(worker)
    app()


if __name__ == "__main__":
    main()
