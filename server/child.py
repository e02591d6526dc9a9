"""One of several serving processes, started by the supervisor as `python -m server.child <number>`."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from server.apart import end_with_parent


def main() -> None:
    """Take the orders from standard input, serve, and end when told or with the parent."""
    number = int(sys.argv[1])
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the certificate is read as it is when this process begins to serve
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's business with the parent, until the server takes signals itself
    orders: dict[str, Any] = json.load(sys.stdin)
    end_with_parent(orders["parent"])  # it holds the port, which the next start needs, and no data
    from server import heap, metrics
    from server.config import load_settings
    from server.logs import configure_logs
    from server.terminal import explained

    heap.begin()
    metrics.share(Path(orders["metrics"]))
    settings = load_settings(**{name: value for name, value in orders["settings"].items() if value is not None})
    configure_logs(settings.log_level, json=settings.production, process=number)
    with _ended_by_exit(), explained(), socket.socket(fileno=orders["listener"]) as listener:
        import uvloop

        from server.process import serve_until_stopped
        from server.siblings import Siblings
        from server.stopping import Stop

        uvloop.install()
        assert settings.database_url is not None  # noqa: S101  # among the orders
        dsn = settings.database_url.get_secret_value()
        with closing(Siblings(number, orders["siblings"])) as siblings:
            asyncio.run(serve_until_stopped(settings, dsn, listener, Stop(), ready=lambda: print("ready", flush=True), siblings=siblings))


@contextmanager
def _ended_by_exit() -> Iterator[None]:
    """What ends a command ends this process, with the same exit code."""
    import typer

    try:
        yield
    except typer.Exit as ended:
        sys.exit(ended.exit_code)


if __name__ == "__main__":
    main()
