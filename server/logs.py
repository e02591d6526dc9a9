"""Logs: constant text plus fields, one line an event; JSON in production. Never tokens, keys, queries or content."""

import logging
import sys
from contextlib import suppress
from typing import Any

import structlog
from structlog.tracebacks import ExceptionDictTransformer

_QUIET = ("uvicorn", "uvicorn.error", "uvicorn.access", "websockets", "asyncio", "alembic")
"""Libraries that log addresses with their queries, or every frame, at INFO."""
SILENT = ("httpx2", "httpcore2", "openai", "anthropic")
"""Libraries that log addresses, headers and bodies of what we ask others. Their level is no guard: `OPENAI_LOG` sets it at their import."""


class _StandardError:
    """Standard error as it is when a line is written: the configuration outlives a stream that was put in its place.

    A line that cannot be written (a pipe whose reader has gone, a full disk) is lost: it must not end what it tells of.
    """

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            return sys.stderr.write(text)
        return 0

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()


def configure_logs(level: str, *, json: bool, process: int | None = None) -> None:
    """Send structlog's and the libraries' log lines to standard error, at `level` and above.

    `process` is this process's number where several serve one port; each line then names it. Tracebacks never show local variables:
    those hold tokens, keys and content.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if json:
        shared += [structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)), structlog.processors.JSONRenderer()]
    else:
        formatter = structlog.dev.plain_traceback
        shared += [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=formatter)]
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(_StandardError()),  # type: ignore[arg-type]  # all that print() asks of a file
    )
    if process is not None:
        structlog.contextvars.bind_contextvars(process=process)
    which = "" if process is None else f" process={process}"
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format=f"%(asctime)s [%(levelname)s]{which} %(name)s %(message)s", force=True
    )
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in SILENT:
        logger = logging.getLogger(name)
        logger.setLevel(logging.WARNING)
        logger.propagate = False
        logger.handlers[:] = [logging.NullHandler()]
